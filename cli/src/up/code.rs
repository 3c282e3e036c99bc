//! The code of what runs: swapped when its module has changed, on save too.
//!
//! **Architecture Invariant:** it is swapped by `upgrade` alone, with its trial; whatever goes wrong, the old code runs on.

use std::{collections::BTreeSet, path::PathBuf, thread};

use ambrosia_core::InstanceName;
use ambrosia_host::running_code;
use ambrosia_project::{PROJECT_FILE, ProjectInstance};
use ambrosia_storage::{BlobHash, InstanceEntry, Instances, RecordedOutcome, StorePlace};
use anyhow::Context;

use super::{
    Place,
    building::build,
    speaker::Speaker,
    watch::{self, Seen},
};
use crate::{
    arguments::{NamedWithNext, Upgrade},
    checked_module::read_module,
    said::said,
    upgrade::upgrade,
};

/// What is kept as the project says it.
pub(crate) struct Code {
    pub(crate) store: StorePlace,
    pub(crate) place: Place,
    pub(crate) speaker: Speaker,
}

impl Code {
    /// Swaps what has changed since the last time, and then, if sources are watched, whenever they change; in a thread of its own,
    /// that nobody waits for.
    pub(crate) fn keep(self, seen: Seen, watches: bool) -> anyhow::Result<()> {
        let keep = move || {
            self.swap_all();
            if watches && let Err(error) = self.watch(seen) {
                self.speaker.say(format_args!("sources are not watched any more: {}", said(&error)));
            }
        };
        thread::Builder::new().name("code".to_owned()).spawn(keep).context("a thread can't be started")?;
        Ok(())
    }

    fn watch(&self, mut built: Seen) -> anyhow::Result<()> {
        self.speaker.say("watches the sources: a change is built, tried and swapped");
        let mut rewritten = Rewritten::default();
        let mut before = built.clone();
        loop {
            let now = Seen::look(&self.place, &before)?.without(&rewritten.left_out);
            // Who saves many files is waited for.
            if now == before && now != built {
                let cause = now.changed_since(&built);
                if text_differs(&self.place) {
                    self.speaker
                        .say(format_args!("{PROJECT_FILE} has changed: end this and start it again to have it so"));
                }
                match build(&self.place, &self.speaker) {
                    Ok(()) => self.swap_all(),
                    Err(error) => self.speaker.say(format_args!("{}; the old code runs on", said(&error))),
                }
                let after = Seen::look(&self.place, &now)?;
                for file in rewritten.built(&cause, after.changed_since(&now)) {
                    self.speaker.say(format_args!(
                        "{} is written anew by each build, which would go on for ever: it is not watched any more. What a build makes is \
                         best put below target/, or made the same if nothing has changed",
                        file.display()
                    ));
                }
                built = now.without(&rewritten.left_out);
                before = built.clone();
            } else {
                before = now;
                thread::park_timeout(watch::LOOK_INTERVAL);
            }
        }
    }

    fn swap_all(&self) {
        for (name, instance) in &self.place.project.instances {
            if let Err(error) = self.swap(name, instance) {
                self.speaker.say(format_args!("instance {name} is not changed: {}", said(&error)));
            }
        }
    }

    /// Swaps the code of an instance, if its module or its limits have changed.
    fn swap(&self, name: &InstanceName, instance: &ProjectInstance) -> anyhow::Result<()> {
        let store = self.store.open()?;
        let entry = store.instance(name)?;
        if matches!(entry.outcome, Some(RecordedOutcome::Finished { .. })) {
            return Ok(());
        }
        let now = running_code(&*store.looking(), &entry)?;
        let file = self.place.module(instance);
        let has_other_module = BlobHash::of(&read_module(&file)?).0 != now.module;
        let fuel = instance.fuel.filter(|fuel| *fuel != now.limits.fuel);
        let memory_mib = instance.memory_mib.filter(|mib| *mib << 20 != now.limits.memory_bytes);
        if !has_other_module && fuel.is_none() && memory_mib.is_none() {
            return Ok(());
        }
        self.speaker.say(format_args!("swaps the code of instance {name}"));
        let module = if has_other_module {
            Some(file.to_str().with_context(|| format!("{} is no text", file.display()))?.to_owned())
        } else {
            None
        };
        upgrade(&self.store, &as_asked(&entry, module, fuel, memory_mib)).map(|_| ())
    }
}

/// Sources that builds themselves write, which would be the cause of the next build for ever.
#[derive(Default)]
struct Rewritten {
    /// Those that changed while the last build ran: somebody may have saved them just then.
    suspected: BTreeSet<PathBuf>,
    /// Those that did so again, in a build that had no other cause.
    left_out: BTreeSet<PathBuf>,
}

impl Rewritten {
    /// Takes note of a build: what it was for, and what changed while it ran. Returns what is left out from now on.
    fn built(&mut self, cause: &BTreeSet<PathBuf>, changed: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let is_own_fault = cause.is_subset(&self.suspected);
        let again: Vec<_> = changed.intersection(&self.suspected).filter(|_| is_own_fault).cloned().collect();
        self.left_out.extend(again.iter().cloned());
        self.suspected = changed;
        again
    }
}

/// An upgrade as somebody asks for it who gives nothing but what has changed.
fn as_asked(entry: &InstanceEntry, module: Option<String>, fuel: Option<u64>, memory_mib: Option<u64>) -> Upgrade {
    Upgrade {
        of: NamedWithNext { instance: entry.name.clone(), module },
        yes: true,
        dry_run: false,
        last: 1000,
        despite_trial: false,
        wait: std::time::Duration::from_secs(30),
        hold: false,
        end_waiting: false,
        fuel,
        memory_mib,
        cancel: false,
        json: false,
        timeout: None,
    }
}

/// Whether the project says something else by now.
fn text_differs(place: &Place) -> bool {
    Place::read(place.directory.clone()).map_or(true, |now| now.project != place.project)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_a_build_writes_twice_is_left_out_and_what_somebody_saves_meanwhile_is_not() {
        let mut rewritten = Rewritten::default();
        assert!(
            rewritten.built(&files(&["lib.rs"]), files(&["version.rs"])).is_empty(),
            "it may have been saved just then"
        );
        assert_eq!(rewritten.built(&files(&["version.rs"]), files(&["version.rs"])), [PathBuf::from("version.rs")]);
        assert_eq!(rewritten.left_out, files(&["version.rs"]));

        let mut saved = Rewritten::default();
        assert!(saved.built(&files(&["a.rs"]), files(&["b.rs"])).is_empty());
        assert!(saved.built(&files(&["b.rs"]), files(&[])).is_empty());
        assert!(saved.built(&files(&["b.rs"]), files(&["b.rs"])).is_empty());
        assert!(saved.built(&files(&["a.rs", "b.rs"]), files(&["b.rs"])).is_empty(), "a.rs is a cause of its own");
    }
}
