//! Large contents: whole in the depot of the store, if it has one, or in parts in the engine. Their names are never used twice: so removing one
//! never takes another's.
//!
//! ```text
//! part/{of}/{host}-{attempt}/{number}     in the engine: at most PART_BYTES each
//! {folder}/{host}-{attempt}               in the depot
//! part/{of}/{host}-{attempt}/swept        it is removed, or about to be: it must not come to count
//! ```
//! A host that seems to be gone may only stand still, with an upload that is about to count. So whoever removes that writes down first
//! that it does, and looks then what counts; and whoever has it count looks in the other order. What a host that lives has left, it removes
//! itself in the same way: all that is not under way in it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use ambrosia_storage::{BlobHash, IoError, LogId};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use crate::{
    engine::HostId,
    keys::{PutRefused, Space},
    shell::{
        depot::{Depot, DepotError, Seal},
        host::lock,
    },
};

/// Bytes of a part.
const PART_BYTES: usize = 1 << 20;

/// The last part of the key that says that an upload is removed. It comes behind the numbers of parts.
const SWEPT: &str = "swept";

/// What the prefix of an upload in a depot begins with.
const IN_DEPOT: &str = "depot/";

/// Contents that are there as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    /// What the keys of all parts begin with; or, in a depot, `depot/`, the SHA-256 in hexadecimal digits, `/`, and the name there.
    pub(super) prefix: String,
    pub(super) bytes: u64,
}

impl Upload {
    fn in_depot(name: &str, seal: Seal) -> Upload {
        Upload { prefix: format!("{IN_DEPOT}{}/{name}", BlobHash(seal.sha256)), bytes: seal.bytes }
    }

    /// Its name and what it has to be, if it lies in a depot.
    fn sealed(&self) -> Option<(&str, Seal)> {
        let (sha256, name) = self.prefix.strip_prefix(IN_DEPOT)?.split_once('/')?;
        Some((name, Seal { bytes: self.bytes, sha256: BlobHash::parse(sha256)?.0 }))
    }
}

/// Large contents of a store.
pub(super) struct Uploads {
    desk: Arc<Desk>,
    depot: Option<Arc<dyn Depot>>,
    /// What this process uploads, by the names as which that was begun.
    under_way: Mutex<BTreeSet<String>>,
}

/// An upload of this process that may be about to count. Once it is dropped, whoever sweeps finds out whether it does.
pub(super) struct UnderWay<'a> {
    uploads: &'a Uploads,
    begun: String,
}

impl UnderWay<'_> {
    /// It may come to count as long as this process lives.
    pub(super) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.uploads.under_way).remove(&self.begun);
    }
}

/// Why contents are not there.
pub(super) enum Missing {
    /// Some of them are gone.
    Part(String),
    Io(IoError),
}

impl From<IoError> for Missing {
    fn from(error: IoError) -> Missing {
        Missing::Io(error)
    }
}

/// The prefix of all that is uploaded for something.
fn prefix_of(what: &str) -> String {
    format!("part/{what}/")
}

/// Which host has begun to upload that, by the name of a part.
fn uploader(key: &str) -> Option<HostId> {
    let (host, _) = key.rsplit('/').nth(1)?.split_once('-')?;
    let digits = |at: usize| u8::from_str_radix(host.get(2 * at..2 * at + 2)?, 16).ok();
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = digits(at)?;
    }
    (host.len() == 32).then_some(HostId(id))
}

/// What a part belongs to.
fn upload_of(key: &str) -> &str {
    key.rfind('/').map_or(key, |end| &key[..=end])
}

/// Which host has begun to upload that, by its name in a depot.
fn uploader_in_depot(name: &str) -> Option<HostId> {
    uploader(&format!("{name}/"))
}

/// The folder of a depot for something: all blobs lie in one.
fn folder_of(what: &str) -> &str {
    if what.starts_with("blob/") { "blob" } else { what }
}

impl Uploads {
    pub(super) fn new(desk: Arc<Desk>, depot: Option<Arc<dyn Depot>>) -> Uploads {
        Uploads { desk, depot, under_way: Mutex::default() }
    }

    pub(super) fn depot(&self) -> Option<Arc<dyn Depot>> {
        self.depot.clone()
    }

    /// Uploads contents. They count once somebody has written down that they are there, who holds on to what says that they are under way
    /// until that is settled.
    pub(super) fn upload(
        &self,
        what: &str,
        beside: Option<LogId>,
        mut contents: impl Read,
        reading: impl Fn(io::Error) -> IoError,
    ) -> Result<(Upload, UnderWay<'_>), IoError> {
        let claim = self.desk.new_claim();
        let host: String = claim.host.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let Some(depot) = &self.depot else {
            let prefix = format!("{}{host}-{}/", prefix_of(what), claim.attempt);
            let under_way = self.begin(prefix.clone());
            return Ok((self.upload_parts(prefix, beside, contents, reading)?, under_way));
        };
        let name = format!("{}/{host}-{}", folder_of(what), claim.attempt);
        let under_way = self.begin(name.clone());
        match depot.put_sealed(&name, &mut contents) {
            Ok(seal) => Ok((Upload::in_depot(&name, seal), under_way)),
            Err(DepotError::Contents(error)) => Err(reading(error)),
            Err(error) => Err(io_error("write", name, error)),
        }
    }

    fn begin(&self, begun: String) -> UnderWay<'_> {
        lock(&self.under_way).insert(begun.clone());
        UnderWay { uploads: self, begun }
    }

    fn upload_parts(
        &self,
        prefix: String,
        beside: Option<LogId>,
        mut contents: impl Read,
        reading: impl Fn(io::Error) -> IoError,
    ) -> Result<Upload, IoError> {
        let mut bytes = 0;
        for number in 0.. {
            let mut part = Vec::new();
            contents.by_ref().take(PART_BYTES as u64).read_to_end(&mut part).map_err(&reading)?;
            let length = part.len();
            if length > 0 {
                let key = part_key(&prefix, number);
                match self.desk.put(Space::Store, &key, None, part, beside)? {
                    Ok(_) => bytes += length as u64,
                    Err(PutRefused::NoLog) => {
                        let source = io::Error::new(io::ErrorKind::NotFound, "the log that it belongs to is gone");
                        return Err(IoError { action: "write", place: key, source });
                    }
                    Err(PutRefused::Stands(_)) => {
                        let source = io::Error::other("somebody else has used a name that was new");
                        return Err(IoError { action: "write", place: key, source });
                    }
                }
            }
            if length < PART_BYTES {
                break;
            }
        }
        Ok(Upload { prefix, bytes })
    }

    /// Writes the contents out.
    pub(super) fn download(
        &self,
        upload: &Upload,
        mut out: impl Write,
        writing: impl Fn(io::Error) -> IoError,
    ) -> Result<(), Missing> {
        if let Some((name, seal)) = upload.sealed() {
            let depot = self.depot_of(name)?;
            return depot.get_sealed(name, seal, &mut out).map_err(|error| match error {
                DepotError::Contents(error) => Missing::Io(writing(error)),
                error @ (DepotError::Missing { .. } | DepotError::Damaged { .. }) => Missing::Part(error.to_string()),
                error => Missing::Io(io_error("read", name.to_owned(), error)),
            });
        }
        for number in 0..upload.bytes.div_ceil(PART_BYTES as u64) {
            let key = part_key(&upload.prefix, number);
            let missing = || Missing::Part(format!("{key} is missing, or not what it was"));
            let Some(part) = self.desk.get(Space::Store, &key)? else { return Err(missing()) };
            let wanted = (upload.bytes - number * PART_BYTES as u64).min(PART_BYTES as u64);
            if part.value.len() as u64 != wanted {
                return Err(missing());
            }
            out.write_all(&part.value).map_err(&writing)?;
        }
        Ok(())
    }

    /// Removes an upload.
    pub(super) fn remove(&self, upload: &Upload) -> Result<(), IoError> {
        match upload.sealed() {
            Some((name, _)) => {
                let removed = self.depot_of(name)?.remove(name);
                removed.map_err(|error| io_error("remove", name.to_owned(), error))
            }
            None => self.remove_parts(&upload.prefix),
        }
    }

    /// Removes all that was uploaded for something.
    pub(super) fn remove_all(&self, of: &str) -> Result<(), IoError> {
        self.remove_parts(&prefix_of(of))?;
        for name in self.in_depot(of)? {
            self.remove_from_depot(&name)?;
        }
        Ok(())
    }

    /// Uploads for something that hosts have begun, and which hosts, without those that are under way here; of a depot that can't be looked at,
    /// which says so itself, none: what is of no use there is removed another time, and nobody is to wait for that.
    pub(super) fn begun(&self, of: &str) -> Result<BTreeMap<String, HostId>, IoError> {
        self.begun_with(of, self.in_depot(of).unwrap_or_default())
    }

    /// Those of this host; an error if not all of them can be seen.
    pub(super) fn begun_here(&self, of: &str) -> Result<BTreeSet<String>, IoError> {
        let mut begun = self.begun_with(of, self.in_depot(of)?)?;
        begun.retain(|_, uploader| *uploader == self.desk.me);
        Ok(begun.into_keys().collect())
    }

    fn begun_with(&self, of: &str, in_depot: Vec<String>) -> Result<BTreeMap<String, HostId>, IoError> {
        let parts = self.desk.list(Space::Store, &prefix_of(of), false)?;
        let part = |key: &str| Some((upload_of(key).to_owned(), uploader(key)?));
        let is_part = |key: &&str| !key.ends_with(SWEPT);
        let mut begun: BTreeMap<_, _> =
            parts.iter().map(|entry| &*entry.key).filter(is_part).filter_map(part).collect();
        let whole = |name: String| {
            let host = uploader_in_depot(&name)?;
            Some((name, host))
        };
        begun.extend(in_depot.into_iter().filter_map(whole));
        // Looked at behind them: of what is settled by now, whoever looks behind this sees whether it counts.
        begun.retain(|begun, _| !self.is_under_way(begun));
        Ok(begun)
    }

    fn is_under_way(&self, begun: &str) -> bool {
        // What is only being put into a directory has an end of its own behind the name.
        let name = begun.split_once('.').map_or(begun, |(name, _)| name);
        lock(&self.under_way).contains(name)
    }

    /// Has what hosts have begun count no more, if it does not yet. It stands there until that is removed, and of what lies in a depot longer:
    /// there nobody looks whether it is gone.
    pub(super) fn sweep_begun(&self, begun: &str) -> Result<(), IoError> {
        // Whoever has put it before has done so for the same.
        let _stands = self.desk.put(Space::Store, &swept_key(begun), None, Vec::new(), None)?;
        Ok(())
    }

    /// It counts after all.
    pub(super) fn spare_begun(&self, begun: &str) -> Result<(), IoError> {
        self.desk.remove(&swept_key(begun)).map(drop)
    }

    /// Whether an upload was removed, or is about to be, by somebody who took this host for gone.
    pub(super) fn is_swept(&self, upload: &Upload) -> Result<bool, IoError> {
        let begun = Uploads::begun_as(upload);
        if upload.sealed().is_some() {
            return Ok(self.desk.get(Space::Store, &swept_key(&begun))?.is_some());
        }
        let keys = self.desk.list(Space::Store, &begun, false)?;
        let parts = upload.bytes.div_ceil(PART_BYTES as u64);
        Ok(keys.len() as u64 != parts || keys.iter().any(|entry| entry.key == swept_key(&begun)))
    }

    /// Removes what hosts have begun. Whether it is gone: of a depot that can't do that now, which says so itself, it is not.
    pub(super) fn remove_begun(&self, begun: &str) -> Result<bool, IoError> {
        if begun.starts_with("part/") {
            return self.remove_parts(begun).map(|()| true);
        }
        Ok(self.remove_from_depot(begun).is_ok())
    }

    /// By what name an upload is among those that were begun.
    pub(super) fn begun_as(upload: &Upload) -> String {
        upload.sealed().map_or_else(|| upload.prefix.clone(), |(name, _)| name.to_owned())
    }

    /// Folders of the depot in one of its folders; none, if they can't be seen now.
    pub(super) fn folders(&self, folder: &str) -> Vec<String> {
        let listing = self.depot.as_ref().and_then(|depot| depot.list(folder).ok());
        listing.unwrap_or_default().folders
    }

    /// Names of what lies in the depot for something.
    fn in_depot(&self, of: &str) -> Result<Vec<String>, IoError> {
        let Some(depot) = &self.depot else { return Ok(Vec::new()) };
        let folder = folder_of(of);
        let listing = depot.list(folder).map_err(|error| io_error("list", folder.to_owned(), error))?;
        Ok(listing.files.iter().map(|name| format!("{folder}/{name}")).collect())
    }

    fn remove_from_depot(&self, name: &str) -> Result<(), IoError> {
        self.depot_of(name)?.remove(name).map_err(|error| io_error("remove", name.to_owned(), error))
    }

    /// Removes all parts that begin so.
    fn remove_parts(&self, prefix: &str) -> Result<(), IoError> {
        for part in self.desk.list(Space::Store, prefix, false)? {
            // Whoever has changed or removed it meanwhile has done that on purpose, too.
            let _done = self.desk.delete(Space::Store, &part.key, part.revision)?;
        }
        Ok(())
    }

    fn depot_of(&self, name: &str) -> Result<&dyn Depot, IoError> {
        self.depot.as_deref().ok_or_else(|| {
            let reason = "it lies beside the engine, and the URL of the store does not say where: give it the blobs= that the other hosts have";
            IoError { action: "use", place: name.to_owned(), source: io::Error::other(reason) }
        })
    }
}

fn io_error(action: &'static str, place: String, error: DepotError) -> IoError {
    IoError { action, place, source: io::Error::other(error) }
}

/// By the name of what was begun: a prefix of parts, or a name in the depot.
fn swept_key(begun: &str) -> String {
    if begun.starts_with("part/") { format!("{begun}{SWEPT}") } else { format!("part/{begun}/{SWEPT}") }
}

fn part_key(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_tells_who_has_uploaded_it() {
        let key = format!("part/checkpoint/x/{}-7/00000003", "0f".repeat(16));
        assert_eq!(uploader(&key), Some(HostId([15; 16])));
        assert_eq!(upload_of(&key), format!("part/checkpoint/x/{}-7/", "0f".repeat(16)));
        assert_eq!(uploader_in_depot(&format!("blob/{}-7", "0f".repeat(16))), Some(HostId([15; 16])));
        for other in ["", "part/a/b", "part/x/0f-7/00000001", "part/x/é-7/00000001"] {
            assert_eq!(uploader(other), None, "{other}");
        }
    }

    #[test]
    fn an_upload_in_a_depot_says_its_name_and_what_it_has_to_be() {
        let seal = Seal { bytes: 7, sha256: [0xab; 32] };
        let upload = Upload::in_depot("blob/x-1", seal);
        assert_eq!(upload.prefix, format!("depot/{}/blob/x-1", "ab".repeat(32)));
        assert_eq!(upload.sealed(), Some(("blob/x-1", seal)));
        let part = Upload { prefix: format!("part/blob/{}/x-1/", "ab".repeat(32)), bytes: 7 };
        assert_eq!(part.sealed(), None);
    }
}
