//! What commands say as JSON, kept for whoever asked.

use std::{cell::RefCell, io::Write, rc::Rc};

use serde_json::Value;

/// Lines of JSON. Each copy has the same.
#[derive(Clone, Default)]
pub(crate) struct Answers(Rc<RefCell<Vec<u8>>>);

impl Answers {
    /// Takes out what was said since this was called last.
    pub(crate) fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.borrow_mut());
        let lines = serde_json::Deserializer::from_slice(&bytes).into_iter();
        lines.map(|line| line.expect("commands answer with lines of JSON")).collect()
    }
}

impl Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
