//! A directory that all hosts share, such as one of NFS.
//!
//! A file is written under another name, made durable, and renamed, before anybody is told of it. So nothing is ever changed in one, and it
//! is of no matter in which order other machines see the directory change.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use ambrosia_shared_log::{Depot, DepotError, Listing};
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    errands::{Abandoned, Errands, Incoming, Outgoing, PIECE_BYTES, THREADS_MAX, aside, wait},
    mark::{MARK, MARK_TEXT},
};

/// So long the next step may take, of which each has a few mebibytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is written is made durable that often, so that no step takes much longer than others.
const SYNC_BYTES: usize = 16 << 20;

/// A folder may be removed as empty whenever somebody wants to put something into it.
const TRIES: usize = 8;

/// What to do about a file that is gone.
const REMEDY: &str = "see that the same directory is mounted on all machines, or restore it from a copy";

/// The directory of a store.
pub(crate) struct Directory {
    errands: Errands,
    directory: PathBuf,
}

impl Directory {
    /// That of a store, in a directory for several.
    pub(crate) fn of(directory: &Path, store: Uuid) -> Result<Directory, DepotError> {
        let directory = directory.join(store.to_string());
        let place = format!("the directory {} for blobs", directory.display());
        // Each takes a thread: what waits for one keeps what it is to put in memory.
        let errands = Errands::begin(place, PATIENCE, THREADS_MAX)?;
        Ok(Directory { errands, directory })
    }

    fn place(&self) -> String {
        self.errands.place().to_owned()
    }

    fn unusable(place: String, error: &io::Error) -> DepotError {
        DepotError::Unusable { place, reason: error.to_string() }
    }

    fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DepotError> {
        let (directory, place) = (self.directory.clone(), self.place());
        self.errands.ask(async move {
            aside(move || what(&directory)).await.map_err(|error| Directory::unusable(place, &error))
        })
    }
}

impl Depot for Directory {
    fn place(&self) -> String {
        self.place()
    }

    fn make(&self) -> Result<(), DepotError> {
        self.ask(|directory| {
            fs::create_dir_all(directory)?;
            if directory.join(MARK).exists() { Ok(()) } else { write(directory, MARK, &mut one(MARK_TEXT)) }
        })
    }

    fn check(&self) -> Result<(), DepotError> {
        let is_there = self.ask(|directory| match fs::metadata(directory.join(MARK)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        });
        let is_there = self.errands.told_if_away(is_there)?;
        if is_there {
            return Ok(());
        }
        let reason = "it is not the one that `ambrosia-host store init` has made for this store: see that the same directory is mounted on \
                      all machines, and that blobs= in the URL names it";
        Err(DepotError::Unusable { place: self.place(), reason: reason.to_owned() })
    }

    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
        let (directory, name, place, given_up) =
            (self.directory.clone(), name.to_owned(), self.place(), self.errands.given_up());
        self.errands.told(self.errands.put(contents, |mut incoming: Incoming| async move {
            let mut next = move || wait(incoming.next());
            match aside(move || Ok(write(&directory, &name, &mut next))).await.and_then(|written| written) {
                Err(error) if is_abandoned(&error) => Err(given_up),
                written => written.map_err(|error| Directory::unusable(place, &error)),
            }
        }))
    }

    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
        let (path, name, place) = (self.directory.join(name), name.to_owned(), self.place());
        self.errands.told(self.errands.get(out, |outgoing: Outgoing| async move {
            match aside(move || read(&path, &outgoing)).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(DepotError::Missing { name, place, remedy: REMEDY.into() })
                }
                read => read.map_err(|error| Directory::unusable(place, &error)),
            }
        }))
    }

    fn remove(&self, name: &str) -> Result<(), DepotError> {
        let name = name.to_owned();
        self.errands.told(self.ask(move |directory| {
            match fs::remove_file(directory.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut folder = Path::new(&name).parent();
            while let Some(empty) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
                // One that holds something stays.
                if fs::remove_dir(directory.join(empty)).is_err() {
                    break;
                }
                folder = empty.parent();
            }
            Ok(())
        }))
    }

    fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        let folder = folder.to_owned();
        self.errands.told(self.ask(move |directory| {
            let mut listing = Listing::default();
            let entries = match fs::read_dir(directory.join(&folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => return Ok(listing),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type()?.is_dir() {
                    listing.folders.push(name);
                } else if !folder.is_empty() || name != MARK {
                    listing.files.push(name);
                }
            }
            Ok(listing)
        }))
    }
}

/// Pieces of contents, until there are no more.
type Pieces<'a> = dyn FnMut() -> Result<Option<Bytes>, Abandoned> + 'a;

fn one(text: &'static [u8]) -> impl FnMut() -> Result<Option<Bytes>, Abandoned> {
    let mut pieces = [Bytes::from_static(text)].into_iter();
    move || Ok(pieces.next())
}

/// Writes a file, which is durable when this returns, or not there.
fn write(directory: &Path, name: &str, pieces: &mut Pieces<'_>) -> io::Result<()> {
    // Another one for each try: one that was given up may still be under way.
    let (fresh, path) = (directory.join(format!("{name}.{}.new", Uuid::new_v4().simple())), directory.join(name));
    let mut file = create(&fresh, directory)?;
    let written = fill(&mut file, pieces).and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        // What is at hand is the error that matters; the file counts for nothing.
        let _gone = fs::remove_file(&fresh);
    }
    written?;
    let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(directory));
    folders.into_iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

fn create(path: &Path, directory: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(directory);
    let mut tries = 0;
    loop {
        match File::create(path) {
            // The directory itself is made by `store init` alone: else contents would be put where a file system is to be mounted.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES && directory.exists() => {
                fs::create_dir_all(folder)?;
            }
            created => return created,
        }
        tries += 1;
    }
}

fn fill(file: &mut File, pieces: &mut Pieces<'_>) -> io::Result<()> {
    let mut unsynced = 0;
    while let Some(piece) = pieces().map_err(|Abandoned| io::Error::other(GivenUp))? {
        file.write_all(&piece)?;
        unsynced += piece.len();
        if unsynced >= SYNC_BYTES {
            file.sync_data()?;
            unsynced = 0;
        }
    }
    file.sync_all()
}

/// Whoever has put it waits no more.
#[derive(Debug, thiserror::Error)]
#[error("it was given up")]
struct GivenUp;

fn is_abandoned(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<GivenUp>())
}

fn read(path: &Path, outgoing: &Outgoing) -> io::Result<()> {
    let file = File::open(path)?;
    loop {
        let mut piece = Vec::new();
        (&file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() || wait(outgoing.send(piece.into())).is_err() {
            return Ok(());
        }
    }
}
