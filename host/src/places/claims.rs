//! Enters several instances at once: to take a place is to wait, time and again, for the store to be durable.
//!
//! **Architecture Invariant:** what comes of a try is told, and nothing else remembered: who has tried decides.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{Builder, scope},
};

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_storage::{EnterError, InstanceEntry, Store};

use crate::{
    host::{Entrance, Ready, enter},
    modules::Modules,
    resources,
    run::RunError,
};

/// An instance that is to have a replica here: one of these, whichever is free first.
pub(super) struct Claim {
    pub(super) name: InstanceName,
    pub(super) entry: InstanceEntry,
    pub(super) numbers: Vec<ReplicaIndex>,
}

/// What comes of a try to take a place.
pub(super) enum Try {
    /// It is taken.
    Entered { ready: Box<Ready>, replica: ReplicaIndex },
    /// All of them are.
    AllRun,
    /// The instance has come to its end, or stands.
    Over,
}

/// Tries all of them at once; what came of each, in their order.
pub(super) fn claim_all(
    store: &dyn Store,
    modules: &Modules,
    claims: Vec<Claim>,
) -> Vec<(Claim, Result<Try, RunError>)> {
    let tried = match resources::check_more(claims.len()) {
        Ok(()) => at_once(&claims, |claim| claim_one(store, modules, claim)),
        // There may be enough for some of them.
        Err(_) => {
            let alone = |claim| resources::check_more(1).and_then(|()| claim_one(store, modules, claim));
            claims.iter().map(alone).collect()
        }
    };
    claims.into_iter().zip(tried).collect()
}

fn claim_one(store: &dyn Store, modules: &Modules, claim: &Claim) -> Result<Try, RunError> {
    for replica in &claim.numbers {
        match enter(store, claim.entry.name.clone(), *replica) {
            Err(RunError::Enter(EnterError::AlreadyRunning { .. })) => {}
            Err(error) => return Err(error),
            Ok(Entrance::Over(_)) => return Ok(Try::Over),
            Ok(Entrance::Entered(entered)) => {
                let ready = Box::new(entered.get_ready(modules)?);
                return Ok(Try::Entered { ready, replica: *replica });
            }
        }
    }
    Ok(Try::AllRun)
}

/// Does the same with each, in a thread each as far as the system has them; what came of each, in their order.
fn at_once<T: Sync, R: Send>(of: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(of.len())));
    let work = || {
        while let Some((number, one)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            of.get(number).map(|one| (number, one))
        } {
            let came = act(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, came));
        }
    };
    scope(|scope| {
        for _ in 1..of.len() {
            // What no thread is there for is done by those that are, this one among them.
            if Builder::new().name("claim".to_owned()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, came)| came).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn all_are_tried_at_once_and_told_in_their_order() {
        // None of them gets on before all have begun.
        let barrier = Barrier::new(16);
        let numbers: Vec<usize> = (0..16).collect();
        let came = at_once(&numbers, |number| {
            barrier.wait();
            number * 10
        });
        assert_eq!(came, (0..16).map(|number| number * 10).collect::<Vec<_>>());
        assert!(at_once(&[], |_: &u8| ()).is_empty());
    }
}
