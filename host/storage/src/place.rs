//! Where a store is, as an operator writes it: a path, or a URL.
//!
//! **Architecture Invariant:** of a URL nothing but its scheme is repeated in a message, since it may hold a password.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::HostAddress;

use crate::{DirectoryPlace, FileStore, OpenError, Store};

/// There is no such store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlaceError {
    /// This program knows no such stores.
    #[error(
        "ambrosia-host has no store for {scheme}: URLs: name a directory of a local disk, as a path or as file:PATH, or a \
         database, as postgres://USER@HOST/DATABASE or etcd://HOST1,HOST2,HOST3/PREFIX"
    )]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// The files of another machine can't be had.
    #[error("a file: URL names files of this machine: write file:PATH or file:///PATH, without a host")]
    ForeignHost,
    /// There is no path.
    #[error("a file: URL needs a path: write file:PATH")]
    NoPath,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StorePlace {
    /// On files of this machine.
    Directory(DirectoryPlace),
    /// On an engine that machines share.
    Engine(Arc<dyn EnginePlace>),
}

/// Where an engine is. It is shown without secrets.
pub trait EnginePlace: fmt::Debug + fmt::Display + Send + Sync {
    /// Opens the store there.
    ///
    /// # Errors
    /// If there is none, or it can't be used.
    fn open(&self) -> Result<Arc<dyn Store>, OpenError>;

    /// The URL that was given, which may hold secrets: for the environment of another process.
    fn url(&self) -> &OsStr;

    /// The file that the URL was read from, if it was: another process may read it there, too.
    fn file(&self) -> Option<&Path>;

    /// The hosts through which it is reached, if it is not reached itself: then nothing can run on it here.
    fn hosts(&self) -> &[HostAddress];
}

impl From<PathBuf> for StorePlace {
    fn from(directory: PathBuf) -> StorePlace {
        StorePlace::Directory(directory.into())
    }
}

impl From<&PathBuf> for StorePlace {
    fn from(directory: &PathBuf) -> StorePlace {
        directory.clone().into()
    }
}

impl From<&Path> for StorePlace {
    fn from(directory: &Path) -> StorePlace {
        directory.to_path_buf().into()
    }
}

/// As it may be shown.
impl fmt::Display for StorePlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorePlace::Directory(place) => place.directory.display().fmt(out),
            StorePlace::Engine(place) => place.fmt(out),
        }
    }
}

impl StorePlace {
    /// The hosts through which the store is reached, if it is.
    pub fn hosts(&self) -> &[HostAddress] {
        match self {
            StorePlace::Directory(_) => &[],
            StorePlace::Engine(place) => place.hosts(),
        }
    }

    /// Opens the store there.
    ///
    /// # Errors
    /// If there is none, or it can't be used.
    pub fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            StorePlace::Directory(place) => Ok(Arc::new(FileStore::open(place)?)),
            StorePlace::Engine(place) => place.open(),
        }
    }

    /// The same, and makes one in a directory that has none. On an engine that is another's business.
    ///
    /// # Errors
    /// If it can't be made, or used.
    pub fn create_or_open(&self) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            StorePlace::Directory(place) => Ok(Arc::new(FileStore::create_or_open(place)?)),
            StorePlace::Engine(place) => place.open(),
        }
    }

    /// The same place, which is used also if it is a directory that other machines may see.
    pub fn allowing_network_file_system(self, allow: bool) -> StorePlace {
        match self {
            StorePlace::Directory(place) => {
                StorePlace::Directory(DirectoryPlace { allow_network_file_system: allow, ..place })
            }
            place => place,
        }
    }

    /// Reads where a store on files is: a path, `file:PATH` or `file:///PATH`.
    ///
    /// # Errors
    /// If it is a URL of something else.
    pub fn parse(text: &OsStr) -> Result<StorePlace, PlaceError> {
        Ok(StorePlace::Directory(DirectoryPlace::parse(text)?))
    }
}

impl DirectoryPlace {
    fn parse(text: &OsStr) -> Result<DirectoryPlace, PlaceError> {
        let bytes = text.as_bytes();
        if let Some(path) = bytes.strip_prefix(b"file:") {
            return Ok(path_of_url(path)?.into());
        }
        match scheme(bytes) {
            Some(scheme) => Err(PlaceError::UnknownScheme { scheme }),
            None => Ok(PathBuf::from(text).into()),
        }
    }
}

/// The path behind `file:`.
fn path_of_url(path: &[u8]) -> Result<PathBuf, PlaceError> {
    let path = match path.strip_prefix(b"//") {
        None => path,
        Some(rest) => match rest.strip_prefix(b"localhost").unwrap_or(rest) {
            rest if rest.starts_with(b"/") => rest,
            _ => return Err(PlaceError::ForeignHost),
        },
    };
    if path.is_empty() { Err(PlaceError::NoPath) } else { Ok(OsString::from_vec(path.to_vec()).into()) }
}

/// The scheme of a URL; a path may have a colon in it too, but hardly `://`.
fn scheme(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (scheme, _) = text.split_once("://")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_plain)).then(|| scheme.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PathBuf, PlaceError> {
        DirectoryPlace::parse(OsStr::new(text)).map(|place| place.directory)
    }

    #[test]
    fn a_path_and_a_url_of_files_name_a_directory() {
        for (text, directory) in [
            ("./ambrosia-data", "./ambrosia-data"),
            ("/var/lib/ambrosia", "/var/lib/ambrosia"),
            ("odd:name", "odd:name"),
            ("./a://b", "./a://b"),
            ("file:data", "data"),
            ("file:/var/lib", "/var/lib"),
            ("file:///var/lib", "/var/lib"),
            ("file://localhost/var/lib", "/var/lib"),
        ] {
            assert_eq!(parse(text), Ok(directory.into()), "{text}");
        }
        let odd = OsString::from_vec(vec![b'a', 0xff]);
        assert_eq!(DirectoryPlace::parse(&odd).map(|place| place.directory), Ok(odd.into()), "a path need not be text");
    }

    #[test]
    fn another_url_is_refused_with_its_scheme_and_without_its_password() {
        for url in ["mysql://me:secret@host/db", "etcd://secret@host:2379", "s3://bucket/secret"] {
            let said = parse(url).expect_err(url).to_string();
            assert!(said.contains(url.split(':').next().expect("a scheme")) && !said.contains("secret"), "{said}");
            assert!(said.contains("file:PATH"), "{said}");
        }
        assert_eq!(parse("file://elsewhere/var"), Err(PlaceError::ForeignHost));
        assert_eq!(parse("file:"), Err(PlaceError::NoPath));
    }
}
