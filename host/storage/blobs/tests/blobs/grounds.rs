//! Depots of a test's own.

use std::{net::SocketAddr, sync::Arc};

use ambrosia_blobs::BlobsPlace;
use ambrosia_shared_log::Depot;
use ambrosia_test_database::Objects;
use tempfile::TempDir;
use uuid::Uuid;

/// Where depots are, and how many contents lie there, whosever they are.
pub(crate) trait Ground {
    fn place(&self) -> BlobsPlace;

    /// Beside the marks of stores.
    fn count(&self) -> usize;

    /// A depot that is marked.
    fn depot(&self) -> Arc<dyn Depot> {
        let depot = self.place().depot(Uuid::new_v4()).expect("a place of the test's own");
        depot.make().expect("a place of the test's own");
        depot
    }
}

impl Ground for TempDir {
    fn place(&self) -> BlobsPlace {
        BlobsPlace::read(&format!("file:{}", self.path().display())).expect("it is one")
    }

    fn count(&self) -> usize {
        let (mut folders, mut files) = (vec![self.path().to_owned()], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is there") {
                let path = entry.expect("it is read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("store") {
                    files += 1;
                }
            }
        }
        files
    }
}

impl Ground for Objects {
    fn place(&self) -> BlobsPlace {
        at(self.address(), "s3://shop/some/prefix", "all")
    }

    fn count(&self) -> usize {
        // The mark of the one store.
        Objects::count(self) - 1
    }
}

/// A place for an identity of the test's server, or for whatever stands before it.
pub(crate) fn at(address: SocketAddr, place: &str, identity: &str) -> BlobsPlace {
    BlobsPlace::read(place).expect("it is one").with_variables(Objects::variables_of(identity, address))
}
