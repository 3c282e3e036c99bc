//! A project: `ambrosia.toml`, what it may say, and what is wrong with one that says something else.
//!
//! **Architecture Invariant:** it reads no file, runs nothing and knows no store: a text comes in, and a project or an error
//! with its line goes out.

mod error;
mod outside;
mod parse;
mod routes;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use ambrosia_core::InstanceName;
use ambrosia_methods::Mounts;
use ambrosia_outgoing::{Grant, SecretName, SecretSource};

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
    /// How the project is reached from outside: what URLs of promises begin with. `None` if it is not said.
    pub public_url: Option<String>,
    /// Where routes of its instances are, beside their names.
    pub routes: Mounts,
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
    /// What it may reach outside, and what is set for it.
    pub surroundings: Surroundings,
}

/// What an instance may reach outside, and what is set for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// Where its HTTP requests may go. Each secret that one of them lists is among `secrets`.
    pub grants: Vec<Grant>,
    /// Where secrets are; a path is as it is written, relative to the file's directory.
    pub secrets: BTreeMap<SecretName, SecretSource>,
    /// Values that it finds by name.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// Whether URLs may begin so: a scheme, a host and perhaps a port, without a path.
pub fn is_public_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', ' ']))
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
