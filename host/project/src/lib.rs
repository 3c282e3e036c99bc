//! A project: `ambrosia.toml`, what it may say, and what is wrong with one that says something else.
//!
//! **Architecture Invariant:** it reads no file, runs nothing and knows no store: a text comes in, and a project or an error
//! with its line goes out.

mod error;
mod parse;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use ambrosia_core::InstanceName;

pub use error::{ProjectError, Wrong};

/// Name of the file that describes a project.
pub const PROJECT_FILE: &str = "ambrosia.toml";

/// Replicas of an instance, where nothing else is said: enough that one may die.
pub const REPLICAS_DEFAULT: u16 = 2;

/// What is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Project {
    /// The instances, in the order of their names. There is at least one.
    pub instances: BTreeMap<InstanceName, ProjectInstance>,
    /// Where HTTP comes in; `None` if it does not.
    pub http: Option<SocketAddr>,
}

/// One of its instances.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProjectInstance {
    /// The component, as it is written: relative to the file's directory.
    pub module: PathBuf,
    /// The command that makes it, for `sh -c` in the file's directory; `None` if it is there already.
    pub build: Option<String>,
    /// How many replicas run, numbered from 0; 1 to 64.
    pub replicas: u16,
    /// Fuel for one delivery.
    pub fuel: Option<u64>,
    /// Memory that the guest may use, in MiB.
    pub memory_mib: Option<u64>,
    /// A module that imports what is denied to it is refused.
    pub strict_imports: bool,
}

impl Project {
    /// Reads the text of an `ambrosia.toml`.
    ///
    /// # Errors
    /// If it is no TOML, or says what a project can't have. The error names the line.
    pub fn parse(text: &str) -> Result<Project, ProjectError> {
        parse::project(text)
    }
}
