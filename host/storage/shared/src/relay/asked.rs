//! What whoever uses an engine through a host says, and what the host says.

use bytes::Bytes;

use super::{
    octets::{Octets, Unreadable, fields, kinds},
    rights::needs_to_change,
};
use crate::{
    engine::{Answer, Answered, Lane, Request, Session},
    keys::KeysAnswer,
};

/// What is asked of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Something of its engine.
    Engine {
        /// Which way it is to take.
        lane: Lane,
        /// What.
        request: Request,
    },
    /// Sees that the depot is that of the store.
    Check,
    /// What lies in a folder of the depot.
    List {
        /// The folder.
        folder: String,
    },
    /// Removes contents of the depot.
    Remove {
        /// Their name.
        name: String,
    },
    /// The first piece of contents of the depot.
    Take {
        /// Their name.
        name: String,
    },
    /// The next one.
    More,
    /// Contents for the depot follow.
    Give {
        /// Their name.
        name: String,
    },
    /// A piece of them.
    Piece {
        /// At most [`super::PIECE_BYTES`].
        bytes: Bytes,
    },
    /// That was all of them.
    Given,
}

kinds!(Asked {
    1 => Engine { lane, request },
    2 => Check,
    3 => List { folder },
    4 => Remove { name },
    5 => Take { name },
    6 => More,
    7 => Give { name },
    8 => Piece { bytes },
    9 => Given,
});

impl Asked {
    /// The contents or the folder of a depot that it names; the topmost one has no name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Asked::List { folder } => Some(&**folder).filter(|folder| !folder.is_empty()),
            Asked::Remove { name } | Asked::Take { name } | Asked::Give { name } => Some(name),
            Asked::Engine { .. } | Asked::Check | Asked::More | Asked::Piece { .. } | Asked::Given => None,
        }
    }

    /// Whether it changes something that others see.
    pub fn needs_to_change(&self) -> bool {
        match self {
            Asked::Engine { request, .. } => needs_to_change(request),
            Asked::Check | Asked::List { .. } | Asked::Take { .. } | Asked::More => false,
            Asked::Remove { .. } | Asked::Give { .. } | Asked::Piece { .. } | Asked::Given => true,
        }
    }
}

/// What a host answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// What its engine has answered.
    Engine(Answer),
    /// It is done.
    Done,
    /// What lies in the folder.
    Listed {
        /// Contents.
        files: Vec<String>,
        /// Folders in it.
        folders: Vec<String>,
    },
    /// A piece of contents.
    Piece {
        /// At most [`super::PIECE_BYTES`].
        bytes: Bytes,
        /// Whether that was all.
        is_last: bool,
    },
    /// The depot can't.
    Failed(DepotFault),
    /// Whoever asks may not.
    Refused {
        /// What would be needed.
        reason: String,
    },
}

kinds!(Told {
    1 => Engine(answer),
    2 => Done,
    3 => Listed { files, folders },
    4 => Piece { bytes, is_last },
    5 => Failed(fault),
    6 => Refused { reason },
});

/// What a depot can't do, as [`crate::DepotError`] has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DepotFault {
    /// It does not answer.
    Away(RelayedPlace),
    /// It can't be used as it is.
    Unusable(RelayedPlace),
    /// There are no such contents, and what to do.
    Missing(RelayedPlace),
    /// The contents are not what they were.
    Damaged(RelayedPlace),
}

/// Where, and why or what to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelayedPlace {
    /// The contents, if it is about some.
    pub name: String,
    /// What and where, without secrets.
    pub place: String,
    /// For people.
    pub words: String,
}

kinds!(DepotFault { 1 => Away(place), 2 => Unusable(place), 3 => Missing(place), 4 => Damaged(place) });
fields!(RelayedPlace { name, place, words });

impl Told {
    /// The session in which something was read. Each connection has sessions of its own.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        let Told::Engine(Ok(answered)) = self else { return None };
        match answered {
            Answered::Heads { session, .. }
            | Answered::Read { session, .. }
            | Answered::Beats { session, .. }
            | Answered::Logs { session, .. }
            | Answered::Keys(KeysAnswer::Got { session, .. } | KeysAnswer::Listed { session, .. }) => Some(session),
            Answered::Appended(_)
            | Answered::Raised(_)
            | Answered::Barred
            | Answered::Released
            | Answered::Trimmed
            | Answered::Told
            | Answered::Created(_)
            | Answered::Removed(_)
            | Answered::Keys(
                KeysAnswer::Put(_)
                | KeysAnswer::Deleted(_)
                | KeysAnswer::Changes(_)
                | KeysAnswer::Noted
                | KeysAnswer::Notes(_),
            ) => None,
        }
    }
}
