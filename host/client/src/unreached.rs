//! Why a primary that is said to run can't be talked to, and what to do about it.

use std::io;

use ambrosia_core::HostAddress;
use ambrosia_wire::{ConnectionError, socket::UnknownName};

/// A primary could not be reached where it is said to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreached {
    /// Nothing there takes connections.
    #[error(
        "a primary at {address} can't be reached from here ({reason}): use the network namespace of its host; in a \
         container, share it, for example by `--network container:NAME`"
    )]
    Address {
        /// Where it is said to be.
        address: HostAddress,
        /// What the system says.
        reason: String,
    },
    /// This machine does not know the name of its host.
    #[error(
        "the host of the primary is not found from here ({unknown}): see that this machine knows that name, by DNS or in /etc/hosts"
    )]
    Name {
        /// What the system says of it.
        unknown: UnknownName,
    },
    /// The connection stands, and nothing comes.
    #[error("the primary at {address} does not answer: it is busy or stopped, see `ambrosia-host status`")]
    Silent {
        /// Where it is said to be.
        address: HostAddress,
    },
    /// The two sides don't agree on TLS, or one does not believe the other.
    #[error("no TLS with the host at {address}: {reason}")]
    Tls {
        /// Where it is said to be.
        address: HostAddress,
        /// What is wrong.
        reason: String,
    },
    /// Somebody answers, and refuses.
    #[error("the host at {address} refuses the connection: {reason}")]
    Refused {
        /// Where it is said to be.
        address: HostAddress,
        /// Its words.
        reason: String,
    },
}

impl Unreached {
    /// What an attempt to connect to `address` has met. `None` if it merely ended, as at any change of the primary.
    pub fn of(address: &HostAddress, error: &ConnectionError) -> Option<Unreached> {
        let address = address.clone();
        match error {
            // A primary that dies resets what it has; it had been reached.
            ConnectionError::Io(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) =>
            {
                None
            }
            ConnectionError::Io(error) if let Some(unknown) = unknown_name(error) => Some(Unreached::Name { unknown }),
            ConnectionError::Io(error) => Some(Unreached::Address { address, reason: error.to_string() }),
            ConnectionError::Tls(reason) => Some(Unreached::Tls { address, reason: reason.clone() }),
            ConnectionError::HandshakeTimeout => Some(Unreached::Silent { address }),
            ConnectionError::Refused(reason) => Some(Unreached::Refused { address, reason: reason.clone() }),
            ConnectionError::Full | ConnectionError::TooMuch | ConnectionError::StandsStill(_) => {
                Some(Unreached::Refused { address, reason: error.to_string() })
            }
            ConnectionError::Wire(_)
            | ConnectionError::Unexpected
            | ConnectionError::Stream(_)
            | ConnectionError::Relayed(_) => {
                Some(Unreached::Refused { address, reason: format!("it speaks another protocol: {error}") })
            }
            ConnectionError::Closed => None,
        }
    }
}

fn unknown_name(error: &io::Error) -> Option<UnknownName> {
    error.get_ref()?.downcast_ref().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_known_is_no_matter_of_network_namespaces() {
        let address: HostAddress = "nobody.invalid:7400".parse().expect("an address");
        let unknown = UnknownName { name: "nobody.invalid".to_owned(), reason: "no such name".to_owned() };
        let said = |error| Unreached::of(&address, &ConnectionError::Io(error)).expect("it is told").to_string();
        let unknown = said(io::Error::other(unknown));
        assert!(unknown.contains("nobody.invalid is not found") && !unknown.contains("namespace"), "{unknown}");
        assert!(said(io::ErrorKind::ConnectionRefused.into()).contains("namespace"));
    }
}
