//! Where an instance may send requests.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{
    secret::SecretName,
    target::{Scheme, Target},
};

/// One origin, or a pattern of origins, to which requests may go, and which secrets may go there.
///
/// As text: `SCHEME://HOST[:PORT][/PATH] [secrets=NAME,NAME]`. `HOST` may begin with `*.`, for all names below it, or be `*`; `PORT` is
/// the one of the scheme if it is not given, and may be `*`; a `PATH` that ends with `*` stands for all that begin so, and without one all
/// of the origin is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    scheme: Scheme,
    host: Host,
    port: Port,
    path: Path,
    secrets: BTreeSet<SecretName>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Named(String),
    /// Names that end with it; it begins with a dot.
    Below(String),
    Any,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Port {
    Number(u16),
    Any,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Path {
    Whole(String),
    Beginning(String),
}

/// Why a text is no grant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GrantError {
    /// Neither of the two.
    #[error("`{0}` begins with neither http:// nor https://; write it like https://api.example.com/*")]
    Scheme(String),
    /// No name, no address and no pattern of names.
    #[error("`{0}` names no host: write a name, an address, *.NAME or *")]
    Host(String),
    /// No number.
    #[error("`{0}` is no port: write a number from 1 to 65535, or *")]
    Port(String),
    /// A path that no request has.
    #[error("`{0}` is no path: one `*` may stand at its end, and it has no query")]
    Path(String),
    /// Something behind the pattern.
    #[error("`{0}` is not known behind a pattern: write secrets=NAME,NAME there, or nothing")]
    Option(String),
    /// A name that no secret has.
    #[error("`{0}` is no name of a secret: use letters, digits and _")]
    Secret(String),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Grant, GrantError> {
        let mut words = text.split_whitespace();
        let pattern = words.next().unwrap_or_default();
        let mut secrets = BTreeSet::new();
        for word in words {
            let names = word.strip_prefix("secrets=").ok_or_else(|| GrantError::Option(word.to_owned()))?;
            for name in names.split(',') {
                secrets.insert(name.parse().map_err(|_| GrantError::Secret(name.to_owned()))?);
            }
        }
        let (scheme, rest) = Scheme::split(pattern).ok_or_else(|| GrantError::Scheme(pattern.to_owned()))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/*"),
        };
        let (host, port) = authority_of(authority, scheme)?;
        Ok(Grant { scheme, host, port, path: Path::parse(path)?, secrets })
    }
}

fn authority_of(authority: &str, scheme: Scheme) -> Result<(Host, Port), GrantError> {
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    };
    let port = match port {
        None => Port::Number(scheme.port()),
        Some("*") => Port::Any,
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => Port::Number(number),
            _ => return Err(GrantError::Port(text.to_owned())),
        },
    };
    Ok((Host::parse(host)?, port))
}

impl Host {
    fn parse(text: &str) -> Result<Host, GrantError> {
        let lower = text.to_ascii_lowercase();
        let is_name = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
            !name.is_empty() && !name.starts_with('.') && !name.ends_with('.') && name.bytes().all(known)
        };
        match lower.strip_prefix("*.") {
            _ if lower == "*" => Ok(Host::Any),
            Some(name) if is_name(name) => Ok(Host::Below(format!(".{name}"))),
            None if is_name(&lower) => Ok(Host::Named(lower)),
            _ => Err(GrantError::Host(text.to_owned())),
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Host::Named(name) => name == host,
            Host::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Host::Any => true,
        }
    }
}

impl Path {
    fn parse(text: &str) -> Result<Path, GrantError> {
        let (path, is_beginning) = match text.strip_suffix('*') {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains(['*', '?', '#']) {
            return Err(GrantError::Path(text.to_owned()));
        }
        Ok(if is_beginning { Path::Beginning(path.to_owned()) } else { Path::Whole(path.to_owned()) })
    }

    fn covers(&self, path: &str) -> bool {
        match self {
            Path::Whole(whole) => whole == path,
            Path::Beginning(beginning) => path.starts_with(beginning.as_str()),
        }
    }
}

impl Grant {
    fn covers(&self, target: &Target) -> bool {
        self.scheme == target.scheme
            && self.host.covers(&target.host)
            && match self.port {
                Port::Number(port) => port == target.port,
                Port::Any => true,
            }
            && self.path.covers(&target.path)
    }
}

impl Grant {
    /// The secrets that may go there.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.secrets.iter()
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://", self.scheme)?;
        match &self.host {
            Host::Named(name) => write!(out, "{name}")?,
            Host::Below(end) => write!(out, "*{end}")?,
            Host::Any => write!(out, "*")?,
        }
        match self.port {
            Port::Number(port) if port == self.scheme.port() => {}
            Port::Number(port) => write!(out, ":{port}")?,
            Port::Any => write!(out, ":*")?,
        }
        match &self.path {
            Path::Whole(path) => write!(out, "{path}")?,
            Path::Beginning(path) => write!(out, "{path}*")?,
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            write!(out, "{}{secret}", if index == 0 { " secrets=" } else { "," })?;
        }
        Ok(())
    }
}

/// All that an instance may do outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants(pub Vec<Grant>);

/// What may be done with one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Granted {
    /// Secrets that may go there.
    pub(crate) secrets: BTreeSet<SecretName>,
    /// A grant names the host itself, so it may be an address of this machine or network.
    pub(crate) is_named: bool,
}

impl Grants {
    /// `None` if nothing may go there.
    pub(crate) fn find(&self, target: &Target) -> Option<Granted> {
        let covering: Vec<_> = self.0.iter().filter(|grant| grant.covers(target)).collect();
        if covering.is_empty() {
            return None;
        }
        Some(Granted {
            is_named: covering.iter().any(|grant| matches!(grant.host, Host::Named(_))),
            secrets: covering.iter().flat_map(|grant| grant.secrets.iter().cloned()).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
