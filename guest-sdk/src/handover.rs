//! An upgrade: what the old code gives, and how the new one takes over.
//!
//! **Architecture Invariant:** what waits is begun again, ended with an error for its caller, or refused by name; nothing is
//! left out in silence.

use crate::{
    Immortal, State, This,
    carried::{Carried, Kept, Origin, Pending},
    deliver, host,
    layout::{self, Message, MessageKind, OUTSIDE},
    request::AnswerTo,
    runtime::{Current, Runtime},
    state,
};

/// What a caller gets whose handler does not go on.
const ENDED: &str = "ended by an upgrade";

const NANOS_PER_TENTH: u64 = 100_000_000;

/// Handlers that a refusal names.
const NAMED_MAX: usize = 8;

/// All that goes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Saved {
    /// Of the state.
    pub(crate) version: u32,
    pub(crate) state: Vec<u8>,
    pub(crate) waiting: Vec<Waiting>,
    /// A [`Carried`].
    pub(crate) runtime: Vec<u8>,
}

/// A handler that has begun and not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(target_arch = "wasm32", allow(unreachable_pub, reason = "the test harness shows it"))]
pub struct Waiting {
    /// The name of the method or hook; `spawned future` for what runs beside them.
    pub handler: String,
    /// What it awaits, in words.
    pub awaits: String,
    /// Since when.
    pub since: crate::Timestamp,
}

/// Why the new code does not take over, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Handlers wait that it can't begin again.
    Waits(String),
    /// It can't read what is handed over.
    Unreadable(String),
}

/// What the old code gives.
///
/// Panics if the state can't be encoded.
pub(crate) fn save<S: Immortal + State>(runtime: &Runtime) -> Saved {
    let current = runtime.current.replace(Current::UPGRADE);
    let state = runtime.this::<S>().with(|state| state::encode(state)).unwrap_or_else(|error| panic!("{error}"));
    runtime.current.set(current);
    let (mut waiting, mut pending) = (Vec::new(), Vec::new());
    for task in runtime.executor.pending() {
        waiting.push(Waiting {
            handler: task.pending.name.clone(),
            awaits: runtime.awaited(task.awaits),
            since: crate::Timestamp::from_nanos(task.pending.since),
        });
        pending.push(task.pending);
    }
    let carried = Carried { last_id: runtime.last_id(), timers: runtime.timers(), pending, outside: runtime.outside() };
    Saved { version: S::VERSION, state, waiting, runtime: carried.encode() }
}

/// Takes over, in a runtime to which nothing has happened, and gives the effects.
///
/// # Errors
/// Why it does not.
pub(crate) fn load<S: Immortal + State>(
    runtime: &Runtime,
    saved: &Saved,
    end_waiting: bool,
) -> Result<Vec<u8>, Refusal> {
    runtime.current.set(Current::UPGRADE);
    let state = state::decode::<S>(saved.version, &saved.state).map_err(Refusal::Unreadable)?;
    let carried = Carried::decode(&saved.runtime).map_err(Refusal::Unreadable)?;
    let (mut restarting, mut ending) = (Vec::new(), Vec::new());
    for (at, pending) in carried.pending.iter().enumerate() {
        if begins_again::<S>(pending) { restarting.push(at) } else { ending.push(at) }
    }
    if !ending.is_empty() && !end_waiting {
        return Err(waits::<S>(&ending, &carried.pending, &saved.waiting));
    }
    runtime.begin_upgrade(state, carried.last_id);
    for id in carried.timers {
        runtime.push(OUTSIDE, MessageKind::CancelTimer, 0, id, &[]);
    }
    for (cancel, id) in carried.outside {
        runtime.push(OUTSIDE, cancel, 0, id, &[]);
    }
    for at in ending {
        end(runtime, &carried.pending[at]);
    }
    let this = runtime.this::<S>();
    runtime.current.set(Current::UPGRADE);
    S::upgraded(&this);
    deliver::run_tasks(runtime, None);
    for at in restarting {
        if runtime.exiting() {
            break;
        }
        begin_again(runtime, &this, &carried.pending[at]);
    }
    runtime.end_upgrade();
    Ok(runtime.take_effects())
}

/// Whether this code lets it begin again.
fn begins_again<S: Immortal>(pending: &Pending) -> bool {
    match &pending.origin {
        Origin::Handler(kept) => S::METHODS.iter().any(|method| method.restarts && method.answers_to(kept.method)),
        Origin::Hook => S::RESTARTING_HOOKS.contains(&pending.name.as_str()),
        Origin::Future => false,
    }
}

fn begin_again<S: Immortal>(runtime: &Runtime, this: &This<S>, pending: &Pending) {
    match &pending.origin {
        Origin::Handler(Kept { peer, kind, method, call_id, arguments }) => {
            let message = Message { kind: *kind, method: *method, call_id: *call_id, arguments };
            runtime.current.set(Current { peer: *peer, kind: *kind, method: *method, ..Current::UPGRADE });
            deliver::handle(runtime, this, *peer, message);
            let mut bytes = Vec::new();
            layout::push_message(&mut bytes, message);
            deliver::run_tasks(runtime, Some((*peer, &bytes)));
        }
        Origin::Hook => {
            runtime.current.set(Current::UPGRADE);
            S::restart_hook(this, &pending.name);
            deliver::run_tasks(runtime, None);
        }
        Origin::Future => unreachable!("it does not begin again"),
    }
}

/// Tells who waits for an answer that there will be none.
fn end(runtime: &Runtime, pending: &Pending) {
    if let Origin::Handler(Kept { peer, call_id, .. }) = pending.origin
        && call_id != 0
    {
        AnswerTo { peer, call_id }.send_error(runtime, ENDED);
    }
}

fn waits<S: Immortal>(ending: &[usize], pending: &[Pending], waiting: &[Waiting]) -> Refusal {
    let mut named = String::new();
    for at in ending.iter().take(NAMED_MAX) {
        let awaits = waiting.get(*at).map_or("something", |waiting| &waiting.awaits);
        let separator = if named.is_empty() { "" } else { ", " };
        named += &format!("{separator}{}", described::<S>(&pending[*at], awaits));
    }
    if ending.len() > NAMED_MAX {
        named += &format!(", and {} more", ending.len() - NAMED_MAX);
    }
    let count =
        if ending.len() == 1 { "1 handler waits".to_string() } else { format!("{} handlers wait", ending.len()) };
    Refusal::Waits(format!(
        "{count} and can't go on in the new code: {named}. It can begin again what it marks `#[ambrosia(restart)]`; what is \
         spawned `until_upgrade()` ends"
    ))
}

fn described<S: Immortal>(pending: &Pending, awaits: &str) -> String {
    let gone = match &pending.origin {
        Origin::Handler(kept) if !S::METHODS.iter().any(|method| method.answers_to(kept.method)) => {
            ", and the new code has no such method"
        }
        _ => "",
    };
    let tenths = host::now().saturating_sub(pending.since) / NANOS_PER_TENTH;
    format!("{} awaits {awaits} ({}.{} s{gone})", pending.name, tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{host::native::World, runtime};

    #[crate::state]
    struct Nothing;

    #[crate::immortal(no_exports)]
    impl Nothing {}

    /// A second random beginning would very likely do as well, and the promise is "never".
    #[test]
    fn ids_go_on_where_the_old_code_stood() {
        let [old, new] = [1, 2].map(|seed| Rc::new(Runtime::new(World::new("it", seed, 1))));
        runtime::enter(Some(Rc::clone(&old)));
        let [.., last] = [(); 7].map(|()| old.next_id());
        let saved = save::<Nothing>(&old);
        runtime::enter(Some(Rc::clone(&new)));
        load::<Nothing>(&new, &saved, false).expect("nothing waits");
        assert_eq!(new.next_id(), last + 1);
        runtime::enter(None);
    }
}
