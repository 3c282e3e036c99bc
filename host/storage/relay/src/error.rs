//! What can go wrong before anything is asked.

use ambrosia_core::HostAddressError;

/// A URL does not say which hosts are asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayPlaceError {
    /// It is no URL of hosts.
    #[error("the URL of the hosts can't be read ({0}): use ambrosia://HOST:PORT,HOST:PORT")]
    Url(&'static str),
    /// One of them is none.
    #[error("{0}; several stand as ambrosia://a.example:7400,b.example:7400")]
    Host(#[from] HostAddressError),
}

/// No host relays the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    /// None was reached, or they were not in time.
    #[error("no host of {place} is reached: {reasons}")]
    Unreached {
        /// Which hosts.
        place: String,
        /// Why, of each of them that was tried.
        reasons: String,
    },
    /// None that was reached lets this process use it: asked again, they say the same.
    #[error("no host of {place} lets its store be used from here: {reasons}")]
    Refused {
        /// Which hosts.
        place: String,
        /// Why, of each of them that was tried.
        reasons: String,
    },
    /// There are no threads for it.
    #[error("the threads of the connections can't be had: {0}")]
    Threads(String),
}
