//! Clocks of machines that are wrong, as processes see them that were started for it: by libfaketime, which tells them another time of day and
//! leaves alone by what they measure how long something takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::network::Machine;

/// How wrong a clock is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Wrong {
    /// Ahead by more than anything is kept that is kept for an hour.
    Ahead,
    /// Behind by less than the hour for which certificates make allowance.
    Behind,
}

/// The clocks of all machines of a site.
pub(crate) struct Clocks {
    library: PathBuf,
    /// Where a file of each machine says how wrong its clock is.
    directory: PathBuf,
}

impl Clocks {
    /// Why they can't be set here, if so.
    pub(crate) fn impossible() -> Option<String> {
        let missing = ambrosia_test_database::clock_library().is_none();
        missing.then(|| "libfaketime is not there (`scripts/engines.sh` fetches it)".to_owned())
    }

    /// All of them are right. `None` if they can't be set here.
    pub(crate) fn begin(directory: &Path, machines: usize) -> anyhow::Result<Option<Clocks>> {
        let Some(library) = ambrosia_test_database::clock_library() else { return Ok(None) };
        let clocks = Clocks { library, directory: directory.to_owned() };
        (0..machines).map(Machine).try_for_each(|machine| clocks.set(machine, None))?;
        Ok(Some(clocks))
    }

    /// Sets the clock of a machine, from now on for all that were started with it; `None` is right.
    pub(crate) fn set(&self, machine: Machine, wrong: Option<Wrong>) -> anyhow::Result<()> {
        let by = match wrong {
            None => "+0",
            Some(Wrong::Ahead) => "+2h",
            Some(Wrong::Behind) => "-50m",
        };
        // Whoever reads it while it is written would see a part of it.
        let (file, next) = (self.file(machine), self.file(machine).with_extension("next"));
        fs::write(&next, by).and_then(|()| fs::rename(&next, file)).context("set a clock")
    }

    /// A process that is started has the clock of that machine.
    pub(crate) fn equip(&self, machine: Machine, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file(machine));
        // It looks each time, and shares nothing with others.
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DISABLE_SHM", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    }

    fn file(&self, machine: Machine) -> PathBuf {
        self.directory.join(format!("clock-{}", machine.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_wrong_by_so_much_on_its_machine_alone() {
        let directory = tempfile::tempdir().expect("there is room");
        let Some(clocks) = Clocks::begin(directory.path(), 2).expect("there is room") else {
            ambrosia_test_database::skip("clocks that are wrong", &Clocks::impossible().expect("it is"));
            return;
        };
        let told = |machine: usize| -> i64 {
            let mut command = Command::new("date");
            clocks.equip(Machine(machine), &mut command);
            let output = command.arg("+%s").output().expect("every system has it");
            String::from_utf8(output.stdout).expect("plain").trim().parse().expect("seconds")
        };
        for (wrong, by) in [(Some(Wrong::Ahead), 7200), (Some(Wrong::Behind), -3000), (None, 0)] {
            clocks.set(Machine(1), wrong).expect("there is room");
            let ahead = told(1) - told(0);
            assert!((ahead - by).abs() < 60, "{wrong:?}: {ahead}");
        }
    }
}
