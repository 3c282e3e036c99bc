//! An object store: a prefix in a bucket, in which each contents are one object.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use ambrosia_shared_log::{Depot, DepotError, Listing};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, PutPayloadMut, WriteMultipart, path::Path};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    errands::{Abandoned, Errands, Incoming, Outgoing},
    mark::{MARK, MARK_TEXT},
    provider::Provider,
    variables::Variables,
    words::{code, is_denied, said},
};

/// So long the next step may take: more than one request does, with its repetitions.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever opens a store waits no longer to see whether it is the one.
const CHECK_TIME: Duration = Duration::from_secs(5);

/// What is larger goes in parts of so many bytes; S3 takes 10 000 of them, of 5 MiB at least.
const PART_BYTES: usize = 8 << 20;

/// Parts that are on their way at a time. With what is gathered behind them, they are all of an upload that is in memory.
const PARTS_TOGETHER: usize = 4;

/// What to do about an object that is gone.
const REMEDY: &str = "see that no rule of the bucket removes what is old, or restore it from a copy";

/// The objects of a store.
pub(crate) struct Objects {
    errands: Errands,
    shared: Arc<Shared>,
}

/// What errands need.
struct Shared {
    client: Arc<dyn ObjectStore>,
    provider: Provider,
    bucket: String,
    place: String,
    folder: String,
}

impl Objects {
    /// Those of a store, under a prefix for several, which may be empty.
    pub(crate) fn of(
        provider: Provider,
        bucket: &str,
        prefix: &str,
        store: Uuid,
        variables: &Variables,
    ) -> Result<Objects, DepotError> {
        let slash = if prefix.is_empty() { "" } else { "/" };
        let folder = format!("{prefix}{slash}{store}");
        let place = format!("{}://{bucket}/{folder}", provider.scheme());
        let client = provider.client(bucket, &place, variables)?;
        // None takes a thread, and each comes to an end by itself.
        let errands = Errands::begin(place.clone(), PATIENCE, Semaphore::MAX_PERMITS)?;
        let shared = Shared { client, provider, bucket: bucket.to_owned(), place, folder };
        Ok(Objects { errands, shared: Arc::new(shared) })
    }
}

impl Shared {
    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.folder))
    }

    /// What an error means for whoever wanted to do something with an object.
    fn fault(&self, name: &str, error: &Error) -> DepotError {
        let (place, said) = (self.place.clone(), said(error));
        let unusable = |reason: String| DepotError::Unusable { place: place.clone(), reason };
        match (error, code(error).as_deref()) {
            (_, Some("NoSuchBucket" | "ContainerNotFound")) => unusable(format!(
                "there is no {0} {1} ({said}): make it, or name another one by blobs= in the URL",
                self.provider.bucket(),
                self.bucket
            )),
            (Error::NotFound { .. }, _) => {
                DepotError::Missing { name: name.to_owned(), place: self.place.clone(), remedy: REMEDY.into() }
            }
            _ if is_denied(error) => {
                unusable(format!("access to {name} is denied ({said}): {}", self.provider.credentials()))
            }
            _ => DepotError::Away { place: self.place.clone(), reason: format!("{name}: {said}") },
        }
    }

    async fn put(&self, name: &str, mut incoming: Incoming, given_up: DepotError) -> Result<(), DepotError> {
        let (path, fault) = (self.path(name), |error: Error| self.fault(name, &error));
        let mut first = PutPayloadMut::new();
        while first.content_length() < PART_BYTES {
            match incoming.next().await {
                Ok(Some(piece)) => first.push(piece),
                Ok(None) => return self.client.put(&path, first.freeze()).await.map(drop).map_err(fault),
                Err(Abandoned) => return Err(given_up),
            }
        }
        let upload = self.client.put_multipart(&path).await.map_err(fault)?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut pieces = first.freeze().into_iter();
        loop {
            let piece = match pieces.next() {
                Some(piece) => Ok(Some(piece)),
                None => incoming.next().await,
            };
            let failed = match piece {
                Ok(Some(piece)) => {
                    parts.put(piece);
                    let Err(error) = parts.wait_for_capacity(PARTS_TOGETHER).await else { continue };
                    fault(error)
                }
                // It removes the parts itself if it fails.
                Ok(None) => return parts.finish().await.map(drop).map_err(fault),
                Err(Abandoned) => given_up,
            };
            self.remove_parts(parts).await;
            return Err(failed);
        }
    }

    /// They are no object, and a rule of the bucket removes what stays of them.
    async fn remove_parts(&self, parts: WriteMultipart) {
        if let Err(error) = parts.abort().await {
            tracing::debug!("parts of an upload stay in {}: {}", self.place, said(&error));
        }
    }

    async fn get(&self, name: &str, outgoing: &Outgoing) -> Result<(), DepotError> {
        let fault = |error: Error| self.fault(name, &error);
        let mut pieces = self.client.get(&self.path(name)).await.map_err(fault)?.into_stream();
        while let Some(piece) = std::future::poll_fn(|context| pieces.as_mut().poll_next(context)).await {
            if outgoing.send(piece.map_err(fault)?).await.is_err() {
                // Nobody waits for the rest.
                return Ok(());
            }
        }
        Ok(())
    }

    async fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        let path = if folder.is_empty() { Path::from(&*self.folder) } else { self.path(folder) };
        let found = self.client.list_with_delimiter(Some(&path)).await.map_err(|error| self.fault(folder, &error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let files = found.objects.iter().filter_map(|object| name(&object.location));
        let files = files.filter(|name| !folder.is_empty() || name != MARK).collect();
        Ok(Listing { files, folders: found.common_prefixes.iter().filter_map(name).collect() })
    }
}

impl Depot for Objects {
    fn place(&self) -> String {
        self.shared.place.clone()
    }

    fn make(&self) -> Result<(), DepotError> {
        let shared = Arc::clone(&self.shared);
        self.errands.ask(async move {
            let put = shared.client.put(&shared.path(MARK), PutPayload::from_static(MARK_TEXT)).await;
            put.map(drop).map_err(|error| shared.fault(MARK, &error))
        })
    }

    fn check(&self) -> Result<(), DepotError> {
        let shared = Arc::clone(&self.shared);
        let checked = self.errands.ask(async move {
            // By reading it: of what is only asked for by its head, a server does not say what is wrong.
            let path = shared.path(MARK);
            let got = tokio::time::timeout(CHECK_TIME, shared.client.get(&path)).await;
            let late = |_| DepotError::Away {
                place: shared.place.clone(),
                reason: format!("no answer within {CHECK_TIME:?}"),
            };
            match got.map_err(late)?.map_err(|error| shared.fault(MARK, &error)) {
                Err(DepotError::Missing { place, .. }) => {
                    let reason = "`ambrosia-host store init` has not made it for this store: see that blobs= in the URL is that of the other \
                                  hosts, or let `store init` make it";
                    Err(DepotError::Unusable { place, reason: reason.to_owned() })
                }
                got => got.map(drop),
            }
        });
        self.errands.told_if_away(checked)
    }

    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
        let (shared, name, given_up) = (Arc::clone(&self.shared), name.to_owned(), self.errands.given_up());
        self.errands
            .told(self.errands.put(contents, |incoming| async move { shared.put(&name, incoming, given_up).await }))
    }

    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        self.errands.told(self.errands.get(out, |outgoing| async move { shared.get(&name, &outgoing).await }))
    }

    fn remove(&self, name: &str) -> Result<(), DepotError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        self.errands.told(self.errands.ask(async move {
            match shared.client.delete(&shared.path(&name)).await.map_err(|error| shared.fault(&name, &error)) {
                Err(DepotError::Missing { .. }) => Ok(()),
                removed => removed,
            }
        }))
    }

    fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        let (shared, folder) = (Arc::clone(&self.shared), folder.to_owned());
        self.errands.told(self.errands.ask(async move { shared.list(&folder).await }))
    }
}
