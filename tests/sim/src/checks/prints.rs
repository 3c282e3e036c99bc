//! Every line is shown at most once.

use std::collections::BTreeSet;

use ambrosia_core::InstanceUuid;

#[derive(Default)]
pub(crate) struct Prints {
    shown: BTreeSet<(InstanceUuid, Vec<u8>)>,
}

impl Prints {
    pub(crate) fn on_print(&mut self, uuid: InstanceUuid, line: &[u8]) {
        let news = self.shown.insert((uuid, line.to_vec()));
        assert!(news, "a line was shown twice: {}", String::from_utf8_lossy(line));
    }
}
