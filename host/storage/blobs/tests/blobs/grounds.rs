//! Depots of a test's own.

use std::{net::SocketAddr, sync::Arc};

use ambrosia_blobs::BlobsPlace;
use ambrosia_shared_log::Depot;
use ambrosia_test_database::Objects;
use tempfile::TempDir;
use uuid::Uuid;

use crate::gate::{Gate, Mode};

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

/// What Google's requests go to: they are those of S3, but show a token where those are signed.
pub(crate) struct AsOfGoogle {
    objects: Objects,
    gate: Gate,
}

impl AsOfGoogle {
    const TOKEN: &str = "open-sesame";

    pub(crate) fn begin() -> Option<AsOfGoogle> {
        let objects = Objects::begin()?;
        let gate = Gate::before(objects.address());
        gate.set(Mode::Takes(AsOfGoogle::TOKEN));
        Some(AsOfGoogle { objects, gate })
    }

    /// A place for whoever shows that token.
    pub(crate) fn place_with(&self, token: &str) -> BlobsPlace {
        let variables =
            [("GOOGLE_BASE_URL", format!("http://{}", self.gate.address())), ("GOOGLE_BEARER_TOKEN", token.to_owned())];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        BlobsPlace::read("gs://open/some/prefix").expect("it is one").with_variables(variables)
    }
}

impl Ground for AsOfGoogle {
    fn place(&self) -> BlobsPlace {
        self.place_with(AsOfGoogle::TOKEN)
    }

    fn count(&self) -> usize {
        // The mark of the one store.
        self.objects.count_open() - 1
    }
}

/// A place for an identity of the test's server, or for whatever stands before it.
pub(crate) fn at(address: SocketAddr, place: &str, identity: &str) -> BlobsPlace {
    BlobsPlace::read(place).expect("it is one").with_variables(Objects::variables_of(identity, address))
}
