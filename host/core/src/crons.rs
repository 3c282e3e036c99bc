//! Methods that run at times of the calendar: until when each has run.
//!
//! When one is due is found out by the host, which knows the calendar of each zone; that it is, and when it was due, is
//! logged.

use std::collections::BTreeMap;

use crate::{
    MethodId, Timestamp,
    digest::Digested,
    limits::CRONS_MAX,
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// The last time at which each method was due, and has run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Crons {
    done: BTreeMap<MethodId, Timestamp>,
}

impl Crons {
    /// Whether a method that is due at that time has not run for it.
    pub(crate) fn is_new(&self, method: MethodId, due: Timestamp) -> bool {
        let has_room = self.done.len() < CRONS_MAX || self.done.contains_key(&method);
        has_room && self.done.get(&method).is_none_or(|done| *done < due)
    }

    /// The method runs for that time.
    pub(crate) fn note(&mut self, method: MethodId, due: Timestamp) {
        assert!(self.is_new(method, due), "a method runs once for each time at which it is due");
        self.done.insert(method, due);
    }

    /// All of them.
    pub(crate) fn done(&self) -> &BTreeMap<MethodId, Timestamp> {
        &self.done
    }
}

impl Part for Crons {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Crons { done } = self;
        out.put_count(done.len());
        for (method, due) in done {
            out.put_count(method.0 as usize);
            out.put_u64(due.0);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Crons> {
        let (mut done, mut before) = (BTreeMap::new(), None);
        for _ in 0..reader.u32()? {
            let method = MethodId(reader.u32()?);
            rises(&mut before, method)?;
            done.insert(method, Timestamp(reader.u64()?));
        }
        Some(Crons { done })
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there were any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Crons { done } = self;
        if done.is_empty() {
            return;
        }
        digested.bytes(b"crons");
        for (method, due) in done {
            digested.number(u64::from(method.0));
            digested.number(due.0);
        }
    }

    fn validate(&self, _: Beside<'_>) -> Result<(), Broken> {
        holds!(self.done.len() <= CRONS_MAX, "there are no more methods with times than the limit");
        Ok(())
    }
}
