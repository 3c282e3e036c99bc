//! Replays the corpus of each target. The name of a file that makes one panic is the last that was printed.

use std::path::Path;

use ambrosia_fuzz::{checkpoints, corpus, layout, member, records, relayed, segments, states};

fn replay(name: &str, seeds: Vec<corpus::Seed>, target: fn(&[u8])) {
    corpus::replay(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name), seeds, target);
}

#[test]
fn records_of_the_corpus() {
    replay("records", records::seeds(), records::target);
}

#[test]
fn layouts_of_the_corpus() {
    replay("layout", layout::seeds(), layout::target);
}

#[test]
fn what_is_relayed_of_the_corpus() {
    replay("relayed", relayed::seeds(), relayed::target);
}

#[test]
fn segments_of_the_corpus() {
    replay("segments", segments::seeds(), segments::target);
}

#[test]
fn members_of_the_corpus() {
    replay("member", member::seeds(), member::target);
}

#[test]
fn states_of_the_corpus() {
    replay("states", states::seeds(), states::target);
}

#[test]
fn checkpoints_of_the_corpus() {
    replay("checkpoints", checkpoints::seeds(), checkpoints::target);
}
