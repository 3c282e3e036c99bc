//! Replays the corpus of each target. The name of a file that makes one panic is the last that was printed.

use std::path::Path;

use ambrosia_fuzz::corpus;
use ambrosia_fuzz_host::{arguments, components, frames};

fn replay(name: &str, seeds: Vec<corpus::Seed>, target: fn(&[u8])) {
    corpus::replay(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name), seeds, target);
}

#[test]
fn frames_of_the_corpus() {
    replay("frames", frames::seeds(), frames::target);
}

#[test]
fn arguments_of_the_corpus() {
    replay("arguments", arguments::seeds(), arguments::target);
}

#[test]
fn components_of_the_corpus() {
    replay("components", components::seeds(), components::target);
}
