//! Where one request goes.

use std::fmt;

use hyper::{Uri, http::uri::Authority};

/// By which protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme of a URL, and what is behind `://`.
    pub(crate) fn split(url: &str) -> Option<(Scheme, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Some((Scheme::Http, rest)),
            "https" => Some((Scheme::Https, rest)),
            _ => None,
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

/// A URL taken apart, as grants see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    /// In lower case, without a dot at its end. An IPv6 address has its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it is sent, without the query.
    pub(crate) path: String,
}

/// Why a URL can't be asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("the URL is none: {0}")]
    Malformed(String),
    #[error("the URL begins with neither http:// nor https://")]
    Scheme,
    #[error("the URL names no host")]
    NoHost,
    #[error("the URL holds a user or a password: put it into a header, as a secret")]
    UserInfo,
    #[error("the path of the URL holds `.` or `..`, which servers read in different ways: write it without")]
    Dots,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Target, TargetError> {
        let (scheme, _) = Scheme::split(url).ok_or(TargetError::Scheme)?;
        let uri: Uri = url.parse().map_err(|error| TargetError::Malformed(format!("{error}")))?;
        let authority: &Authority = uri.authority().ok_or(TargetError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let path = uri.path().to_owned();
        if has_dots(&path) {
            return Err(TargetError::Dots);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None => scheme.port(),
        };
        Ok(Target { scheme, host, port, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme, self.host)?;
        if self.port != self.scheme.port() {
            write!(out, ":{}", self.port)?;
        }
        out.write_str(&self.path)
    }
}

/// Whether some server could read a segment of the path as `.` or `..`, and so leave what a grant allows.
fn has_dots(path: &str) -> bool {
    let mut decoded = path.as_bytes().to_vec();
    // What is encoded twice is decoded twice by some.
    for _ in 0..2 {
        decoded = percent_decoded(&decoded);
    }
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"." || segment == b"..")
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                rest = &behind[2..];
            }
            _ => {
                decoded.push(first);
                rest = behind;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("HTTPS://Api.Example.COM.:8443/a/b?c=d").expect("it is a URL");
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("api.example.com", 8443, "/a/b"));
        assert_eq!(target.to_string(), "https://api.example.com:8443/a/b");
        assert_eq!(Target::parse("http://[::1]").map(|target| target.to_string()), Ok("http://[::1]/".to_owned()));
    }

    #[test]
    fn what_can_leave_its_grant_is_refused() {
        for path in ["/v1/../x", "/v1/%2e%2E/x", "/v1/..%2fx", "/v1/.", "/..\\x", "/v1/%252e%252e/x", "/v1/%2e."] {
            assert!(has_dots(path), "{path}");
        }
        for path in ["/v1/.../x", "/v1/a..b", "/.well-known/x", "/", "/%", "/%2"] {
            assert!(!has_dots(path), "{path}");
        }
        assert_eq!(Target::parse("https://a.com/v1/../x"), Err(TargetError::Dots));
        assert_eq!(Target::parse("https://me:word@a.com/"), Err(TargetError::UserInfo));
        assert_eq!(Target::parse("ftp://a.com/"), Err(TargetError::Scheme));
        assert!(matches!(Target::parse("https:///x"), Err(TargetError::Malformed(_) | TargetError::NoHost)));
        assert!(matches!(Target::parse("https://a b/"), Err(TargetError::Malformed(_))));
    }
}
