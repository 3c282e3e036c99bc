//! What is said of a replica that is not what the log says it was: where, since when, in which pages, and who is wrong.
//!
//! **Architecture Invariant:** it only looks; the replica has stopped, and nothing on the disk is changed.

use std::fmt::Write;

use ambrosia_core::Divergence;

use crate::driver::{Driver, Replica};

/// Pages named one by one; of the others only the count is told.
const PAGES_NAMED_MAX: usize = 16;

/// Describes the difference, by comparing the replica with a replay of the log to the same record. `other_engine` says that
/// the primary that wrote the digest is of another engine.
pub(crate) fn describe(driver: &Driver, replica: &mut Replica, found: &Divergence, other_engine: bool) -> String {
    let mut replayed = match driver.replay_to(found.lsn) {
        Ok(replayed) => replayed,
        Err(error) => return format!("{found}\nNo replay could be made to compare with: {error}"),
    };
    let (state, memory) = (replayed.digest(), replayed.guest_mut().digest());
    let as_in_log = state == found.state && memory == found.memory;
    let as_here = state == found.own_state && memory == found.own_memory;
    let verdict = match (as_in_log, as_here) {
        (true, _) => {
            "A replay of the log agrees with the log: the memory of this process was changed by something else than its \
             messages, such as failing hardware"
        }
        (_, true) if other_engine => {
            "A replay of the log agrees with this replica: its version of the engine and that of the primary do not do the \
             same with the same messages, or the primary was not what its log made it. Run the version of the primary"
        }
        (_, true) => {
            "A replay of the log agrees with this replica: the primary that wrote the digest was not what its log made \
             it. End it before it does more"
        }
        _ => "A replay of the log agrees with neither: the guest, or this program, is not deterministic",
    };
    assert!(replayed.applied() <= found.lsn, "what is compared is no newer");
    let pages = differing_pages(replica, &mut replayed);
    format!("{found}\n{verdict}.\n{pages}")
}

/// Where the memory of the replica differs from that of the replayed one.
fn differing_pages(replica: &mut Replica, replayed: &mut Replica) -> String {
    let (own, other) = (replica.guest_mut().page_hashes(), replayed.guest_mut().page_hashes());
    let mut text = String::new();
    for (memory, (own, other)) in own.iter().zip(&other).enumerate() {
        let hash = |hashes: &[u64], page: usize| hashes.get(page).copied().unwrap_or(0);
        let pages: Vec<_> =
            (0..own.len().max(other.len())).filter(|page| hash(own, *page) != hash(other, *page)).collect();
        if pages.is_empty() {
            continue;
        }
        let named: Vec<_> = pages.iter().take(PAGES_NAMED_MAX).map(usize::to_string).collect();
        assert!(pages.is_sorted(), "pages are named in order");
        let more = pages.len().saturating_sub(PAGES_NAMED_MAX);
        write!(
            text,
            "Memory {memory} differs from the replay in {} pages of 4096 bytes: {}",
            pages.len(),
            named.join(", ")
        )
        .expect("a string takes all");
        if more > 0 {
            write!(text, " and {more} more").expect("a string takes all");
        }
        text.push('\n');
    }
    if text.is_empty() { "No page of the memory differs from the replay.\n".to_owned() } else { text }
}
