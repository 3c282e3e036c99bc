//! What was read of an engine, from being wanted to being believed.
//!
//! A node may show what it has committed by itself and lose it with its office, and one that has lost its office goes on showing
//! what it knew. So what is read in a session counts once a barrier has returned in the same session:
//!
//! ```text
//! Wanted ─► Asked ─► Seen ─► Barred ─► believed
//!   ▲         │                 │
//!   └─failed──┴──the session is over
//! ```
//!
//! **Architecture Invariant:** [`Sight::on_barred`] alone hands out what was seen.

use core::time::Duration;

use crate::{engine::Session, task::Want};

/// A thing that is read of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sight<T> {
    /// It is to be asked for, but not before.
    Wanted(Duration),
    /// It was asked for.
    Asked,
    /// That is so if a barrier returns in that session.
    Seen(Session, T),
    /// The barrier was asked for.
    Barred(T),
}

impl<T> Sight<T> {
    /// What is to be done next, if `ask` is how it is asked for.
    pub(crate) fn want(&self, ask: impl FnOnce(Duration) -> Want) -> Want {
        match self {
            Sight::Wanted(at) => ask(*at),
            Sight::Seen(session, _) => Want::Barrier(*session),
            Sight::Asked | Sight::Barred(_) => Want::Nothing,
        }
    }

    pub(crate) fn on_asking(&mut self) {
        assert!(matches!(self, Sight::Wanted(_)), "what is asked for is wanted");
        *self = Sight::Asked;
    }

    /// It was asked for together with others, and was left out.
    pub(crate) fn on_left_out(&mut self) {
        assert!(matches!(self, Sight::Asked), "an answer comes to whoever has asked");
        *self = Sight::Wanted(Duration::ZERO);
    }

    /// It was read.
    pub(crate) fn see(&mut self, session: Session, seen: T) {
        assert!(matches!(self, Sight::Asked), "an answer comes to whoever has asked");
        *self = Sight::Seen(session, seen);
    }

    pub(crate) fn on_barring(&mut self) {
        match std::mem::replace(self, Sight::Asked) {
            Sight::Seen(_, seen) => *self = Sight::Barred(seen),
            _ => panic!("a barrier is for what was seen"),
        }
    }

    /// What was seen, if the barrier has returned. Else it is forgotten, and wanted anew.
    pub(crate) fn on_barred(&mut self, result: Result<(), String>) -> Result<T, String> {
        match std::mem::replace(self, Sight::Wanted(Duration::ZERO)) {
            Sight::Barred(seen) => result.map(|()| seen),
            _ => panic!("a barrier returns to whoever has asked"),
        }
    }
}
