//! Where logs are, as an operator writes it.

use std::fmt;

use ambrosia_blobs::BlobsPlace;
use ambrosia_storage_tls::{TlsFiles, TlsParameters, decoded, is_here};

use crate::error::PlaceError;

/// What URLs of etcd begin with.
const SCHEME: &str = "etcd://";

/// The prefix that is used unless the URL says another one.
const PREFIX: &str = "ambrosia";

/// Where etcd listens for clients.
const PORT: u16 = 2379;

/// What etcd takes if its operator says nothing.
const QUOTA: u64 = 2 << 30;

/// Keys under a prefix in an etcd cluster, and how that is reached.
#[derive(Clone)]
pub struct EtcdPlace {
    pub(crate) members: Vec<Member>,
    pub(crate) prefix: String,
    /// Who asks, and the password.
    pub(crate) user: Option<(String, String)>,
    /// `None` in clear text.
    pub(crate) tls: Option<TlsFiles>,
    /// For values that are too large for etcd.
    pub(crate) blobs: BlobsPlace,
    /// Bytes that the database may have, unless etcd says it.
    pub(crate) quota: u64,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(out, "[{}]:{}", self.host, self.port);
        }
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl EtcdPlace {
    /// Reads a URL such as `etcd://etcd1,etcd2,etcd3/shop?blobs=file:/mnt/shared/blobs&sslrootcert=/etc/ambrosia/ca.crt`.
    ///
    /// # Errors
    /// If it is none, has no place for blobs, or names a member on another machine without seeing by TLS that it is the one.
    pub fn read(url: &str) -> Result<EtcdPlace, PlaceError> {
        let wrong = |words: &str| PlaceError::Url(words.to_owned());
        let rest = url.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with etcd://"))?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, members) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((user, members)) => {
                let (user, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((text(user), text(password))), members)
            }
        };
        let members =
            members.split(',').map(|member| read_member(member).ok_or_else(|| wrong("a host or port is none")));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let prefix = check_prefix(if prefix.is_empty() { PREFIX } else { prefix })?;
        let (mut blobs, mut quota, mut tls) = (None, QUOTA, TlsParameters::default());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("blobs", value) => blobs = Some(BlobsPlace::read(value)?),
                ("quota", value) => quota = read_size(value).ok_or_else(|| PlaceError::Quota(text(value)))?,
                (name, value) if tls.take(name, value) => {}
                (name, _) => return Err(PlaceError::Url(format!("there is no parameter {name:?}"))),
            }
        }
        let elsewhere = members.iter().find(|member| !is_here(&member.host));
        let tls = tls.files(elsewhere.map(ToString::to_string))?;
        let blobs = blobs.ok_or(PlaceError::NoBlobs)?;
        Ok(EtcdPlace { members, prefix, user, tls, blobs, quota })
    }

    /// The same with these variables in the place of those of the environment, for an object store that `blobs` names.
    #[must_use]
    pub fn with_variables(self, variables: Vec<(String, String)>) -> EtcdPlace {
        EtcdPlace { blobs: self.blobs.with_variables(variables), ..self }
    }

    /// Whether a text is meant to be a URL of etcd.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Whether it has a password in it.
    pub fn has_password(&self) -> bool {
        self.user.as_ref().is_some_and(|(_, password)| !password.is_empty())
    }
}

/// Without a password.
impl fmt::Display for EtcdPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, member) in self.members.iter().enumerate() {
            write!(out, "{}{member}", if number > 0 { "," } else { "" })?;
        }
        write!(out, "/{}", self.prefix)
    }
}

impl fmt::Debug for EtcdPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

fn read_member(text: &str) -> Option<Member> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_name);
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    is_host.then(|| Member { host: host.to_owned(), port })
}

fn check_prefix(prefix: &str) -> Result<String, PlaceError> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_plain = prefix.bytes().all(|byte| is_letter(byte) || b"_-/".contains(&byte));
    let ends = [prefix.bytes().next(), prefix.bytes().last()];
    let is_closed = ends.iter().all(|end| end.is_some_and(is_letter));
    let is_prefix = is_plain && is_closed && !prefix.contains("//");
    if is_prefix { Ok(prefix.to_owned()) } else { Err(PlaceError::Prefix(prefix.to_owned())) }
}

fn read_size(text: &str) -> Option<u64> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("", 1)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

fn text(escaped: &str) -> String {
    String::from_utf8_lossy(&decoded(escaped)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> EtcdPlace {
        EtcdPlace::read(url).expect(url)
    }

    fn refused(url: &str) -> String {
        EtcdPlace::read(url).expect_err(url).to_string()
    }

    #[test]
    fn a_url_names_members_a_prefix_and_a_directory_and_its_password_is_not_shown() {
        let place =
            read("etcd://me:s%3Acret@127.0.0.1:2400,[::1],localhost:7/shop/one?blobs=file:///mnt/b%20c&quota=8GiB");
        assert_eq!(format!("{place:?}"), "127.0.0.1:2400,[::1]:2379,localhost:7/shop/one");
        assert_eq!(place.user, Some(("me".to_owned(), "s:cret".to_owned())));
        let blobs = BlobsPlace::read("file:/mnt/b%20c").expect("it is one");
        assert_eq!((place.blobs, place.quota, place.tls), (blobs, 8 << 30, None));
        assert_eq!(read("etcd://localhost?blobs=file:/b").prefix, "ambrosia");
    }

    #[test]
    fn what_can_not_be_a_place_is_refused_without_its_password() {
        for url in [
            "etcd://",
            "etcd://me:s3cret@/shop",
            "etcd://me:s3cret@h:x/shop",
            "etcd://me:s3cret@h:0/shop",
            "etcd://[::1/shop",
        ] {
            let said = refused(&format!("{url}?blobs=file:/b"));
            assert!(said.contains("etcd://HOST1") && !said.contains("s3cret"), "{said}");
        }
        for prefix in ["Shop", "/a", "a/", "a//b", "a b", "a.b", "-a"] {
            assert!(refused(&format!("etcd://localhost/{prefix}?blobs=file:/b")).contains("no prefix"), "{prefix}");
        }
        assert!(refused("etcd://localhost/shop").contains("blobs=file:/DIRECTORY"));
        for blobs in ["s3://", "file:relative", "/mnt", ""] {
            assert!(refused(&format!("etcd://localhost/shop?blobs={blobs}")).contains("no place for blobs"), "{blobs}");
        }
        for quota in ["", "0", "8GB", "-1", "99999999999999999999", "99999999999GiB"] {
            assert!(
                refused(&format!("etcd://localhost/shop?blobs=file:/b&quota={quota}")).contains("no size"),
                "{quota}"
            );
        }
        assert!(refused("etcd://localhost/shop?blobs=file:/b&schema=a").contains("no parameter \"schema\""));
    }

    #[test]
    fn another_machine_is_asked_by_tls_that_sees_who_answers_and_this_one_if_that_is_wanted() {
        for members in ["etcd1,etcd2", "localhost,10.0.0.7", "0.0.0.0", "localhost.example"] {
            let url = format!("etcd://{members}/shop?blobs=file:/b");
            assert_eq!(read(&url).tls, Some(TlsFiles { roots: None, own: None }), "{url}");
            let ca = read(&format!("{url}&sslrootcert=/ca.crt")).tls.expect("by TLS");
            assert_eq!(ca.roots, Some("/ca.crt".into()));
            for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
                let said = refused(&format!("{url}&sslmode={mode}"));
                assert!(said.contains("is not this machine") && said.contains("verify-full"), "{said}");
            }
        }
        assert_eq!(read("etcd://localhost,127.0.0.1,[::1]/shop?blobs=file:/b").tls, None);
        assert!(read("etcd://localhost/shop?blobs=file:/b&sslrootcert=/ca.crt").tls.is_some());
    }
}
