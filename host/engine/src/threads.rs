//! Whether the compiler gets the threads that it would take. It panics where it does not.
//!
//! **Architecture Invariant:** no thread that is begun here outlives the question.

use std::{sync::mpsc::channel, thread};

/// Threads among which the compiler shares its work: one for each processor that this process may use.
pub(crate) fn of_the_compiler() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Whether this process may have that many more threads at once.
pub(crate) fn can_be_had(count: usize) -> bool {
    can_be_had_by(thread::Builder::new, count)
}

fn can_be_had_by(builder: impl Fn() -> thread::Builder, count: usize) -> bool {
    thread::scope(|scope| {
        let mut holds = Vec::new();
        (0..count).all(|_| {
            let (hold, held) = channel::<()>();
            holds.push(hold);
            // It ends when the other end of its channel is dropped.
            let wait = move || assert!(held.recv().is_err(), "nothing is ever sent");
            builder().spawn_scoped(scope, wait).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_threads_enough_but_none_whose_stack_is_larger_than_its_addresses() {
        assert!(can_be_had(of_the_compiler()));
        assert!(!can_be_had_by(|| thread::Builder::new().stack_size(1 << 50), 1));
    }
}
