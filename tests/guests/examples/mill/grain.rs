//! What both mills do alike.

use std::hint::black_box;

#[ambrosia::interface]
pub(crate) trait Mill {
    fn grind(what: String) -> (u32, usize);
}

/// Calls a mill for each at once, so that the calls arrive together, and then awaits the answers in order.
pub(crate) async fn all(mill: &Mill, what: Vec<String>) -> Vec<Result<(u32, usize), String>> {
    let calls: Vec<_> = what.into_iter().map(|what| ambrosia::spawn(mill.grind(what))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.map_err(|error| error.to_string()));
    }
    answers
}

/// Counts that far.
pub(crate) fn toil(steps: u64) -> u64 {
    (0..steps).fold(0, |sum, step| black_box(sum + step % 2))
}
