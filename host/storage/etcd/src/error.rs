//! What can go wrong before anything is asked, and what a fault of a call means for a request.

use ambrosia_blobs::BlobsPlaceError;
use ambrosia_shared_log::{DepotError, Fault};
use ambrosia_storage_tls::TlsError;

use crate::{channel::CallFault, layout::Damaged, protobuf::Malformed};

/// A URL does not say where logs are.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is no URL of etcd. The URL is not shown: it may hold a password.
    #[error(
        "the URL of etcd can't be read ({0}): use etcd://HOST1,HOST2,HOST3/PREFIX?blobs=PLACE, where PLACE is s3://BUCKET/PREFIX or file:/DIRECTORY"
    )]
    Url(String),
    /// The prefix can't be one.
    #[error(
        "{0:?} is no prefix of keys: use lower-case letters, digits, '_', '-' and '/', and begin and end with a letter or digit"
    )]
    Prefix(String),
    /// Large contents have no place.
    #[error(
        "modules and checkpoints are too large for etcd, whose database has 8 GiB at most: name an object store by blobs=s3://BUCKET/PREFIX in the URL \
         (or gs://BUCKET/PREFIX, az://CONTAINER/PREFIX), or a directory that all hosts share, such as one of NFS, by blobs=file:/DIRECTORY"
    )]
    NoBlobs,
    /// The place for them is none.
    #[error(transparent)]
    Blobs(#[from] BlobsPlaceError),
    /// The quota is no size.
    #[error("{0:?} is no size: say what --quota-backend-bytes of etcd is as quota=BYTES, or as 8GiB or 512MiB")]
    Quota(String),
    /// What it says of TLS can't be.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An etcd can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// Nobody answers, or not in time.
    #[error("no etcd answers at {place}: {reason}")]
    Unreachable {
        /// Where, without a password.
        place: String,
        /// Why.
        reason: String,
    },
    /// It is there, and keeps no logs.
    #[error(
        "there is no store of Ambrosia under {prefix} of the etcd at {place}: make it with `ambrosia-host store init`"
    )]
    NoStore {
        /// Where, without a password.
        place: String,
        /// The prefix of its keys.
        prefix: String,
    },
    /// It is there, and this program can't or must not use it.
    #[error("the etcd at {place} can't be used: {reason}")]
    Unusable {
        /// Where, without a password.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The place for blobs can't be used.
    #[error(transparent)]
    Blobs(#[from] DepotError),
    /// The system has no more threads.
    #[error("no thread can be begun for the connections with etcd: {0}")]
    Threads(std::io::Error),
}

/// A request has failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) Fault);

impl Failed {
    /// It has not happened, and why.
    pub(crate) fn undone(words: impl Into<String>) -> Failed {
        Failed(Fault::Unavailable(words.into()))
    }
}

impl From<CallFault> for Failed {
    fn from(fault: CallFault) -> Failed {
        match fault {
            CallFault::Lost(words) => Failed(Fault::Unknown(words)),
            CallFault::Unsent(words) | CallFault::Refused(words) | CallFault::Compacted(words) => {
                Failed(Fault::Unavailable(words))
            }
        }
    }
}

/// An answer that can't be read: what was asked may have happened.
impl From<Malformed> for Failed {
    fn from(malformed: Malformed) -> Failed {
        CallFault::from(malformed).into()
    }
}

/// Something that was read before anything was changed.
impl From<Damaged> for Failed {
    fn from(damaged: Damaged) -> Failed {
        Failed::undone(damaged.to_string())
    }
}
