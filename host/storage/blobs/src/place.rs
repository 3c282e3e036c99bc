//! Where large contents of stores lie, as an operator writes it in the URL of a store.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, sync::Arc};

use ambrosia_shared_log::{Depot, DepotError};
use ambrosia_storage_tls::decoded;
use uuid::Uuid;

use crate::{directory::Directory, objects::Objects, provider::Provider, variables::Variables};

/// What `blobs=` in the URL of a store says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobsPlace {
    kind: Kind,
    variables: Variables,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Directory(PathBuf),
    Objects {
        provider: Provider,
        bucket: String,
        /// For several stores; empty, or without a `/` at its ends.
        prefix: String,
    },
}

/// It is no place for blobs. What was written is not shown: it may hold what should not stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what blobs= says is no place for blobs: use blobs=s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, with letters, digits, '.', '_' \
     and '-' in their names and credentials in the environment alone, or file:/DIRECTORY, with a directory that all hosts share"
)]
pub struct BlobsPlaceError;

impl BlobsPlace {
    /// Reads the value of the parameter, as it stands in a URL.
    ///
    /// # Errors
    /// If it is no such place.
    pub fn read(value: &str) -> Result<BlobsPlace, BlobsPlaceError> {
        let bytes = decoded(value);
        if let Some(objects) = std::str::from_utf8(&bytes).ok().and_then(read_objects) {
            return Ok(BlobsPlace::of(objects));
        }
        let path = bytes.strip_prefix(b"file:").filter(|path| path.starts_with(b"/"));
        // As `file:///directory`.
        let path = path.map(|path| path.strip_prefix(b"//").unwrap_or(path)).filter(|path| path.starts_with(b"/"));
        let path = path.map(|path| PathBuf::from(OsString::from_vec(path.to_vec())));
        path.map(|path| BlobsPlace::of(Kind::Directory(path))).ok_or(BlobsPlaceError)
    }

    fn of(kind: Kind) -> BlobsPlace {
        BlobsPlace { kind, variables: Variables::default() }
    }

    /// The same with these variables, names and values, in the place of those of the environment: by them the client of an object store
    /// has its endpoint and credentials.
    #[must_use]
    pub fn with_variables(self, variables: Vec<(String, String)>) -> BlobsPlace {
        BlobsPlace { variables: Variables::given(variables), ..self }
    }

    /// The depot of a store there.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn depot(&self, store: Uuid) -> Result<Arc<dyn Depot>, DepotError> {
        match &self.kind {
            Kind::Directory(directory) => Ok(Arc::new(Directory::of(directory, store)?)),
            Kind::Objects { provider, bucket, prefix } => {
                Ok(Arc::new(Objects::of(*provider, bucket, prefix, store, &self.variables)?))
            }
        }
    }
}

fn read_objects(text: &str) -> Option<Kind> {
    let (scheme, rest) = text.split_once("://")?;
    let provider = Provider::ALL.into_iter().find(|provider| provider.scheme() == scheme)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_name = |name: &str| {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_plain && name.bytes().any(|byte| byte != b'.')
    };
    let is_one = is_name(bucket) && (prefix.is_empty() || prefix.split('/').all(is_name));
    is_one.then(|| Kind::Objects { provider, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_as_a_file() {
        for (value, path) in [("file:/mnt/b", "/mnt/b"), ("file:///mnt/b%20c", "/mnt/b c")] {
            assert_eq!(BlobsPlace::read(value), Ok(BlobsPlace::of(Kind::Directory(path.into()))));
        }
        for value in ["file:relative", "file://host/b", "/mnt", ""] {
            assert!(BlobsPlace::read(value).is_err(), "{value}");
        }
    }

    #[test]
    fn an_object_store_is_named_by_bucket_and_prefix_and_never_with_credentials() {
        let objects = |provider, bucket: &str, prefix: &str| {
            Ok(BlobsPlace::of(Kind::Objects { provider, bucket: bucket.to_owned(), prefix: prefix.to_owned() }))
        };
        assert_eq!(BlobsPlace::read("s3://shop.example"), objects(Provider::S3, "shop.example", ""));
        assert_eq!(BlobsPlace::read("gs%3A//shop/a/b/"), objects(Provider::Google, "shop", "a/b"));
        assert_eq!(BlobsPlace::read("az://shop/a"), objects(Provider::Azure, "shop", "a"));
        for value in [
            "s3://",
            "s3:///a",
            "s3://me:s3cret@shop/a",
            "s3://shop//a",
            "s3://shop/../a",
            "s3://shop/a?b",
            "ftp://shop/a",
        ] {
            let said = BlobsPlace::read(value).expect_err(value).to_string();
            assert!(said.contains("no place for blobs") && !said.contains("s3cret"), "{said}");
        }
    }
}
