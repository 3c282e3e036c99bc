//! What a URL says of TLS, in the words of libpq.

use std::{ffi::OsString, net::IpAddr, os::unix::ffi::OsStringExt, path::PathBuf};

use crate::files::{OwnFiles, TlsFiles};

/// What a URL says of TLS.
#[derive(Default, Debug)]
pub struct TlsParameters {
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
}

/// What a URL says of TLS can't be.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server is on another machine, and it is not to be seen that it is the one that is meant.
    #[error(
        "{host} is not this machine, and sslmode={mode} does not see that the server there is the one that is meant: leave sslmode out or write \
         verify-full, and name the certificate of the CA that has signed the server's by sslrootcert=PATH"
    )]
    NeedsTls {
        /// Who is elsewhere.
        host: String,
        /// What was to be done.
        mode: String,
    },
    /// The mode encrypts, and does not see for whom.
    #[error(
        "sslmode={0} encrypts without seeing that the server is the one that is meant: write verify-full, and sslrootcert=PATH for the CA that has \
         signed the server's certificate, or disable for clear text on this machine"
    )]
    Unverified(String),
    /// There is no such mode.
    #[error("{0:?} is no mode of sslmode: use verify-full, or disable for clear text on this machine")]
    Mode(String),
    /// A certificate without its key, or the other way round.
    #[error("{given} needs {missing} beside it: both name files of PEM, the certificate of this client and its key")]
    Half {
        /// What was given.
        given: &'static str,
        /// What is needed, too.
        missing: &'static str,
    },
}

impl TlsParameters {
    /// Takes a parameter, if it is one of these. Of those that stand there twice, the last one counts.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        let text = || String::from_utf8_lossy(&decoded(value)).into_owned();
        // Empty ones are as none, as they are for libpq.
        let path = || Some(decoded(value)).filter(|path| !path.is_empty()).map(|path| OsString::from_vec(path).into());
        match name {
            "sslmode" => self.sslmode = Some(text()).filter(|mode| !mode.is_empty()),
            "sslrootcert" => self.sslrootcert = path(),
            "sslcert" => self.sslcert = path(),
            "sslkey" => self.sslkey = path(),
            _ => return false,
        }
        true
    }

    /// How connections are made: by TLS that sees who is there, or in clear text, for which nobody may be on another machine. `elsewhere` is a server that is.
    ///
    /// # Errors
    /// If that can't be seen, or what is said is not whole.
    pub fn files(self, elsewhere: Option<String>) -> Result<Option<TlsFiles>, TlsError> {
        let TlsParameters { sslmode, sslrootcert, sslcert, sslkey } = self;
        let own = match (sslcert, sslkey) {
            (Some(certificate), Some(key)) => Some(OwnFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(TlsError::Half { given: "sslcert", missing: "sslkey" }),
            (None, Some(_)) => return Err(TlsError::Half { given: "sslkey", missing: "sslcert" }),
        };
        let is_asked_for = sslrootcert.is_some() || own.is_some();
        let is_by_tls = match (sslmode.as_deref(), elsewhere) {
            (None, elsewhere) => elsewhere.is_some() || is_asked_for,
            (Some("verify-full"), _) => true,
            (Some("disable" | "allow" | "prefer"), None) => false,
            (Some(mode @ ("disable" | "allow" | "prefer" | "require" | "verify-ca")), Some(host)) => {
                return Err(TlsError::NeedsTls { host, mode: mode.to_owned() });
            }
            (Some(mode @ ("require" | "verify-ca")), None) => return Err(TlsError::Unverified(mode.to_owned())),
            (Some(mode), _) => return Err(TlsError::Mode(mode.to_owned())),
        };
        let roots = sslrootcert.filter(|path| path.as_os_str() != "system");
        Ok(is_by_tls.then_some(TlsFiles { roots, own }))
    }
}

/// Whether a host, by name or address, is this machine for sure.
pub fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Of `%2F` and the like the bytes that they stand for; what is none stays as it is.
pub fn decoded(text: &str) -> Vec<u8> {
    let (mut rest, mut bytes) = (text.as_bytes(), Vec::new());
    while let Some((first, others)) = rest.split_first() {
        let escaped = others.first_chunk().and_then(|digits| byte_of(*digits)).filter(|_| *first == b'%');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &others[2..] } else { others };
    }
    bytes
}

fn byte_of(digits: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}
