//! Where the project is, and its store.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_etcd::{EtcdPlace, EtcdStore};
use ambrosia_postgres::{PostgresPlace, PostgresStore};
use ambrosia_project::PROJECT_FILE;
use ambrosia_relay::{RelayPlace, RelayStore};
use ambrosia_storage::StorePlace;
use ambrosia_storage_tls::is_open_to_others;
use anyhow::{Context, bail};

use crate::arguments::TlsArguments;

/// Directory of a project's store.
pub(crate) const PROJECT_STORE: &str = ".ambrosia";
/// No file that names a store is longer.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// The store where there is no project.
const STORE: &str = "./ambrosia-data";

pub(crate) const NO_PROJECT: &str =
    "there is no ambrosia.toml in this directory, nor in one above it: `ambrosia-host up --help` shows one";

/// The directory of the project: the given one, or this one or the next above it that has an `ambrosia.toml`.
///
/// # Errors
/// If the given one has none.
pub(crate) fn project(given: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(given) = given {
        if !given.join(PROJECT_FILE).is_file() {
            bail!("there is no {PROJECT_FILE} in {}", given.display());
        }
        return Ok(Some(given.to_owned()));
    }
    let here = std::env::current_dir().context("this directory can't be found")?;
    let found = here.ancestors().find(|directory| directory.join(PROJECT_FILE).is_file());
    // As it is shown in messages, the directory in which somebody is has no name.
    Ok(found.map(|found| if found == here { PathBuf::from(".") } else { found.to_owned() }))
}

/// What is of use for stores that are elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    /// Where this machine keeps what it would have to make or download again.
    pub(crate) cache: Option<&'a Path>,
    /// How hosts are connected with.
    pub(crate) tls: &'a TlsArguments,
}

/// The store of that name: a directory, or the URL of a database or of hosts.
///
/// # Errors
/// If it is a URL that can't be read, or one whose password everybody on this machine can see.
pub(crate) fn named(text: &OsStr, here: Here<'_>) -> anyhow::Result<StorePlace> {
    let Some(store) = shared(text, here)? else { return Ok(StorePlace::parse(text)?) };
    Ok(store.into())
}

/// The store that `PLACE` names: a directory, the URL of a database or of hosts, or `@FILE` that says it.
///
/// # Errors
/// As [`named`] and [`in_file`].
pub(crate) fn given(text: &OsStr, here: Here<'_>) -> anyhow::Result<StorePlace> {
    match text.as_bytes().strip_prefix(b"@") {
        Some(file) => in_file(Path::new(OsStr::from_bytes(file)), here),
        None => named(text, here),
    }
}

/// The store that the one line of a file names.
///
/// # Errors
/// If it has a password and others can read it than its owner, and its group if that is root, or names no store.
pub(crate) fn in_file(path: &Path, here: Here<'_>) -> anyhow::Result<StorePlace> {
    let shown = path.display();
    let unreadable = || format!("can't read {shown}");
    let file = File::open(path).with_context(unreadable)?;
    let metadata = file.metadata().with_context(unreadable)?;
    let mut text = Vec::new();
    file.take(LINE_BYTES_MAX + 1).read_to_end(&mut text).with_context(unreadable)?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.contains(&b'\n') || text.len() as u64 > LINE_BYTES_MAX {
        bail!("{shown} is to have one line, which names a directory or is the URL of a database");
    }
    let line = OsStr::from_bytes(line);
    let Some(store) = SharedStore::read(line, here).with_context(|| format!("in {shown}"))? else {
        return StorePlace::parse(line).with_context(|| format!("in {shown}"));
    };
    if store.has_password() && is_open_to_others(&metadata) {
        bail!(
            "others than its owner can read {shown}, and the URL in it has a password: use `chmod 600 {shown}`, or 640 if it belongs to root"
        );
    }
    let path = std::path::absolute(path).with_context(|| format!("{shown} can't be found"))?;
    Ok(store.of_file(path).into())
}

/// A store that machines share.
pub(crate) enum SharedStore {
    Postgres(PostgresStore),
    Etcd(EtcdStore),
    /// Through hosts.
    Relay(RelayStore),
}

impl SharedStore {
    /// Reads its URL; `None` if it is that of another kind of store.
    fn read(text: &OsStr, here: Here<'_>) -> anyhow::Result<Option<SharedStore>> {
        let url = text.to_str().unwrap_or_default();
        Ok(if PostgresPlace::is_one(url) {
            Some(SharedStore::Postgres(PostgresStore::read(url, caches(here.cache)?)?))
        } else if EtcdPlace::is_one(url) {
            Some(SharedStore::Etcd(EtcdStore::read(url, caches(here.cache)?)?))
        } else if RelayPlace::is_one(url) {
            let store = RelayStore::read(url, caches(here.cache)?)?;
            let place = store.place().clone().by(here.tls.security()?);
            Some(SharedStore::Relay(store.at(place)))
        } else {
            None
        })
    }

    fn has_password(&self) -> bool {
        match self {
            SharedStore::Postgres(store) => store.place().has_password(),
            SharedStore::Etcd(store) => store.place().has_password(),
            SharedStore::Relay(_) => false,
        }
    }

    fn of_file(self, file: PathBuf) -> SharedStore {
        match self {
            SharedStore::Postgres(store) => SharedStore::Postgres(store.of_file(file)),
            SharedStore::Etcd(store) => SharedStore::Etcd(store.of_file(file)),
            SharedStore::Relay(store) => SharedStore::Relay(store.of_file(file)),
        }
    }
}

impl From<SharedStore> for StorePlace {
    fn from(store: SharedStore) -> StorePlace {
        match store {
            SharedStore::Postgres(store) => StorePlace::Engine(Arc::new(store)),
            SharedStore::Etcd(store) => StorePlace::Engine(Arc::new(store)),
            SharedStore::Relay(store) => StorePlace::Engine(Arc::new(store)),
        }
    }
}

/// The store of that URL which machines share; `None` if it is another one.
///
/// # Errors
/// If it can't be read, or has a password that everybody on this machine can see.
pub(crate) fn shared(text: &OsStr, here: Here<'_>) -> anyhow::Result<Option<SharedStore>> {
    let Some(store) = SharedStore::read(text, here)? else { return Ok(None) };
    let url = text.to_str().unwrap_or_default();
    let is_shown = std::env::args_os().any(|word| word.to_str().is_some_and(|word| word.ends_with(url)));
    if is_shown && store.has_password() {
        bail!(
            "everybody on this machine sees the arguments of a process, and this URL has a password in it: have the URL in a \
             file that nobody else can read and name that by --store-file, or have it in the variable AMBROSIA_STORE"
        );
    }
    Ok(Some(store))
}

/// Where this machine keeps what it would have to compile or download again.
fn caches(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = given.map(Path::to_owned).or_else(|| set("XDG_CACHE_HOME").map(|caches| caches.join("ambrosia")));
    found.or_else(|| set("HOME").map(|home| home.join(".cache/ambrosia"))).context(
        "there is no directory for what this machine keeps of a store in a database: name one by --cache DIR, or by the \
         variable AMBROSIA_CACHE",
    )
}

/// The store of a project, or of the one that is around this directory, or else the one that is there without any.
///
/// # Errors
/// If this directory can't be found.
pub(crate) fn store(of: Option<&Path>) -> anyhow::Result<PathBuf> {
    let around = match of {
        Some(directory) => Some(directory.to_owned()),
        None => project(None)?,
    };
    Ok(around.map_or(PathBuf::from(STORE), |directory| directory.join(PROJECT_STORE)))
}

/// Sees that a store is reached itself, for what can't be done through hosts.
///
/// # Errors
/// If it is not.
pub(crate) fn need_itself(store: &StorePlace, what: &str) -> anyhow::Result<()> {
    if store.hosts().is_empty() {
        return Ok(());
    }
    bail!(
        "{what} needs the store itself, and {store} is reached through hosts: ask whoever operates them for the URL that they have in \
         AMBROSIA_STORE, and give that"
    )
}
