//! Who may ask while there are no tokens: programs of this machine, and no page of the web through its reader's browser.
//!
//! **Architecture Invariant:** a name that somebody else gives to this machine leads here, too, so it is looked under which name it
//! was asked, and by which page.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use crate::problem::{Problem, ProblemKind};

/// Refuses what was asked under a foreign name, or by a page of another site.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).into_iter().map(|host| host.to_str().unwrap_or_default());
    let named = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, None) => authority.as_str(),
        (None, Some(host), None) => host,
        _ => "",
    };
    if !is_of_this_machine(named) {
        let detail =
            format!("asked for {named:?}: ask for localhost, 127.0.0.1 or [::1], since this is for this machine only");
        return Err(Problem::new(ProblemKind::OtherName, detail));
    }
    match headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
        None => Ok(()),
        Some(origin) if origin.strip_prefix("http://") == Some(named) => Ok(()),
        Some(origin) => {
            let detail = format!("a page of {origin:?} asks, and only pages of http://{named} may");
            Err(Problem::new(ProblemKind::ForeignOrigin, detail))
        }
    }
}

/// Whether the host, with or without a port, is a name that this machine has for itself.
fn is_of_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, headers: &[(header::HeaderName, &str)]) -> Option<ProblemKind> {
        let uri: Uri = uri.parse().expect("a path or an address");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a value"));
        }
        check(&uri, &map).err().map(|problem| problem.kind)
    }

    #[test]
    fn this_machine_is_asked_under_its_own_names() {
        for host in [
            "localhost",
            "localhost:8080",
            "LocalHost",
            "a.localhost:1",
            "127.0.0.1:80",
            "127.1.2.3",
            "[::1]:8080",
            "[::1]",
        ] {
            assert_eq!(asked("/v1", &[(header::HOST, host)]), None, "{host}");
            assert_eq!(asked(&format!("http://{host}/v1"), &[]), None, "{host}");
        }
        for host in
            ["example.com", "localhost.example.com", "10.0.0.1", "", "[::2]", "127.0.0.1.example.com", "notlocalhost"]
        {
            assert_eq!(asked("/v1", &[(header::HOST, host)]), Some(ProblemKind::OtherName), "{host}");
        }
        assert_eq!(asked("/v1", &[]), Some(ProblemKind::OtherName));
        assert_eq!(
            asked("/v1", &[(header::HOST, "localhost"), (header::HOST, "localhost")]),
            Some(ProblemKind::OtherName)
        );
        assert_eq!(asked("http://example.com/", &[(header::HOST, "localhost")]), Some(ProblemKind::OtherName));
    }

    #[test]
    fn only_pages_of_its_own_may_ask() {
        let origin = |origin| asked("/v1", &[(header::HOST, "localhost:8080"), (header::ORIGIN, origin)]);
        assert_eq!(origin("http://localhost:8080"), None);
        for foreign in ["http://localhost:8081", "https://localhost:8080", "null", "http://example.com", ""] {
            assert_eq!(origin(foreign), Some(ProblemKind::ForeignOrigin), "{foreign}");
        }
    }
}
