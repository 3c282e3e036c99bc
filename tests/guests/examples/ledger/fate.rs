//! What is to go wrong in an upgrade: a part of the state that a test sets.

use std::hint::black_box;

use ambrosia::serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What to do, by its word; empty for nothing.
#[derive(Default, Clone, PartialEq, Debug)]
pub(crate) struct Fate(pub(crate) String);

impl Fate {
    /// Does it, if the word begins with `when`.
    pub(crate) fn strike(&self, when: &str) {
        match self.0.strip_prefix(when) {
            Some("trap") => panic!("it was asked to {}", self.0),
            Some("loop") => loop {
                black_box(&self);
            },
            Some("eat") => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            _ => {}
        }
    }
}

impl Serialize for Fate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.strike("save-");
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Fate)
    }
}
