//! What whoever begins to use an engine through a host is told of it.

use bytes::Bytes;

use super::octets::{Octets, Unreadable, fields};
use crate::engine::EngineFacts;

/// No text of them is longer: they come before anything else, from somebody who was not heard before.
const TEXT_BYTES_MAX: usize = 1000;

/// What an engine is like, and what lies beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayFacts {
    /// As [`EngineFacts::group_bytes_max`].
    pub group_bytes_max: u64,
    /// As [`EngineFacts::lanes`].
    pub lanes: u8,
    /// As [`EngineFacts::place`].
    pub place: String,
    /// As [`EngineFacts::caution`].
    pub caution: Option<String>,
    /// Names the store, whichever way it is reached.
    pub store: String,
    /// Where large contents lie, if that is beside the engine.
    pub depot: Option<String>,
    /// Whether whoever asks may change something, too.
    pub may_change: bool,
}

fields!(RelayFacts { group_bytes_max, lanes, place, caution, store, depot, may_change });

impl RelayFacts {
    /// Of an engine.
    pub(crate) fn of(engine: EngineFacts, store: &str, depot: Option<String>, may_change: bool) -> RelayFacts {
        let EngineFacts { group_bytes_max, lanes, place, caution } = engine;
        RelayFacts {
            group_bytes_max: group_bytes_max.min(super::RELAYED_GROUP_BYTES_MAX) as u64,
            lanes,
            place: shortened(place),
            caution: caution.map(shortened),
            store: store.to_owned(),
            depot: depot.map(shortened),
            may_change,
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}
