//! Where the project is, and its store.

use std::path::{Path, PathBuf};

use ambrosia_project::PROJECT_FILE;
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
