//! Upgrades of the code, and states that come from elsewhere.

use std::{fmt, mem, rc::Rc};

use super::{Harness, delivery::Entered, state_file};
use crate::{
    Immortal, State,
    carried::Carried,
    handover::{self, Refusal, Saved, Waiting},
    runtime::Runtime,
};

/// An upgrade that the new code refused. Nothing has happened.
pub struct Refused<S: Immortal> {
    /// The instance as it was.
    pub harness: Box<Harness<S>>,
    /// What the new code says, or the old one.
    pub reason: String,
}

impl<S: Immortal> fmt::Debug for Refused<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Upgrades.
impl<S: Immortal + State> Harness<S> {
    /// The same instance with other code: its state is handed over, `on_upgrade` runs, handlers that wait begin again if the
    /// new code lets them.
    ///
    /// Panics if the new code refuses it: see [`Harness::try_upgrade`].
    pub fn upgrade<N: Immortal + State>(self) -> Harness<N> {
        self.try_upgrade().unwrap_or_else(|refused| panic!("the upgrade is refused: {}", refused.reason))
    }

    /// The same, or the instance as it was.
    ///
    /// # Errors
    /// [`Refused`] if the new code can't read the state, or handlers wait that it can't begin again.
    pub fn try_upgrade<N: Immortal + State>(self) -> Result<Harness<N>, Refused<S>> {
        self.handed_over(false)
    }

    /// The same, and handlers that can't go on are ended: their callers get an error.
    ///
    /// Panics if the new code can't read the state.
    pub fn upgrade_ending_waiting<N: Immortal + State>(self) -> Harness<N> {
        self.handed_over(true).unwrap_or_else(|refused| panic!("the upgrade is refused: {}", refused.reason))
    }

    /// The handlers that have begun and not ended, in that order, without what is spawned `until_upgrade`.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.saved().waiting
    }

    /// The state as a file, which a later build can [`Harness::load`] in its tests.
    pub fn save(&self) -> Vec<u8> {
        let Saved { version, state, .. } = self.saved();
        state_file::encode(version, &state)
    }

    /// An instance called `name` that has taken over that state, from a file. `on_upgrade` has run.
    ///
    /// ```
    /// # use ambrosia::testing::Harness;
    /// # #[ambrosia::state] struct Counter { total: u64 }
    /// # #[ambrosia::immortal]
    /// # impl Counter { fn add(&mut self, n: u64) { self.total += n; } }
    /// # fn main() {
    /// # let mut counter = Harness::<Counter>::start("counter");
    /// # counter.state(|counter| counter.total = 7);
    /// # let file = counter.save();
    /// let mut counter = Harness::<Counter>::load("counter", &file); // as of `include_bytes!("counter-1.state")`
    /// counter.state(|counter| assert_eq!(counter.total, 7));
    /// # }
    /// ```
    ///
    /// Panics if it is no such file, or the code can't read the state.
    pub fn load(name: &str, file: &[u8]) -> Self {
        let (version, state) = state_file::decode(file).unwrap_or_else(|error| panic!("{error}"));
        let runtime = Carried::default().encode();
        let saved = Saved { version, state: state.to_vec(), waiting: Vec::new(), runtime };
        let mut harness = Harness::new(name);
        let runtime = &harness.runtime;
        let effects = Entered::new(runtime).run(|| handover::load::<S>(runtime, &saved, true));
        let effects = effects.unwrap_or_else(|refusal| panic!("the state is refused: {}", reason(refusal)));
        harness.on_effects_of_upgrade(&effects);
        harness
    }

    fn saved(&self) -> Saved {
        let runtime = &self.runtime;
        Entered::new(runtime).run(|| handover::save::<S>(runtime))
    }

    fn handed_over<N: Immortal + State>(mut self, end_waiting: bool) -> Result<Harness<N>, Refused<S>> {
        if let Some(code) = self.exit_code {
            panic!("the instance has finished with code {code}: its code stays as it is");
        }
        let saved = self.saved();
        let runtime = Rc::new(Runtime::new(self.runtime.world.borrow().clone()));
        let effects = match Entered::new(&runtime).run(|| handover::load::<N>(&runtime, &saved, end_waiting)) {
            Ok(effects) => effects,
            Err(refusal) => return Err(Refused { harness: Box::new(self), reason: reason(refusal) }),
        };
        let mut harness = Harness {
            name: mem::take(&mut self.name),
            runtime,
            tester: Rc::clone(&self.tester),
            instance_seen_by_tester: self.instance_seen_by_tester,
            sequence: mem::take(&mut self.sequence),
            sent: mem::take(&mut self.sent),
            to_itself: mem::take(&mut self.to_itself),
            answers: mem::take(&mut self.answers),
            timers: mem::take(&mut self.timers),
            outside: mem::take(&mut self.outside),
            exit_code: None,
            told_waiting: 0,
            application: std::marker::PhantomData,
        };
        harness.on_effects_of_upgrade(&effects);
        Ok(harness)
    }
}

fn reason(refusal: Refusal) -> String {
    match refusal {
        Refusal::Waits(reason) | Refusal::Unreadable(reason) => reason,
    }
}
