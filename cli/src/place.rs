//! Where the project is, and its store.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_postgres::{PostgresPlace, PostgresStore};
use ambrosia_project::PROJECT_FILE;
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};

/// Directory of a project's store.
pub(crate) const PROJECT_STORE: &str = ".ambrosia";
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

/// The store of that name: a directory, or the URL of a database.
///
/// # Errors
/// If it is a URL that can't be read, or one whose password everybody on this machine can see.
pub(crate) fn named(text: &OsStr, cache: Option<&Path>) -> anyhow::Result<StorePlace> {
    let Some(store) = postgres(text, cache)? else { return Ok(StorePlace::parse(text)?) };
    Ok(StorePlace::Engine(Arc::new(store)))
}

/// The store in PostgreSQL of that name; `None` if it is another one.
pub(crate) fn postgres(text: &OsStr, cache: Option<&Path>) -> anyhow::Result<Option<PostgresStore>> {
    let Some(url) = text.to_str().filter(|text| PostgresPlace::is_one(text)) else { return Ok(None) };
    let store = PostgresStore::read(url, caches(cache)?)?;
    let is_shown = std::env::args().any(|word| word.strip_prefix("--store=").unwrap_or(&word) == url);
    if is_shown && store.place().has_password() {
        bail!(
            "everybody on this machine sees the arguments of a process, and this URL has a password in it: have the URL in the \
             variable AMBROSIA_STORE, or the password in a file named by the variable PGPASSFILE"
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
