//! What is wrong with the text of a project.

use ambrosia_core::InstanceName;
use ambrosia_outgoing::{GrantError, SecretName, SecretNameError};

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct ProjectError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// The text is no TOML.
    #[error("this is no TOML: {0}")]
    Syntax(String),
    /// There is no such key.
    #[error("{section} has no key `{key}`{}", hint(.nearest.as_deref(), .known))]
    UnknownKey {
        /// The table that it stands in.
        section: String,
        /// The key.
        key: String,
        /// The key that may have been meant.
        nearest: Option<String>,
        /// All keys that may stand there.
        known: &'static [&'static str],
    },
    /// A value of another type is needed.
    #[error("`{key}` is {is}, and must be {needed}")]
    Type {
        /// The key.
        key: String,
        /// What the value is.
        is: &'static str,
        /// What it must be, with an example.
        needed: &'static str,
    },
    /// A number is too low or too high.
    #[error("`{key}` is {given}, and must be {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// The number, as it is written.
        given: String,
        /// The lowest that may be.
        least: u64,
        /// The highest that may be.
        most: u64,
    },
    /// There is no module.
    #[error(
        "instance {0} has no `module`: say where its component is, such as module = \"target/wasm32-wasip2/release/{file}.wasm\"",
        file = .0.as_str().replace('-', "_")
    )]
    NoModule(InstanceName),
    /// A text that must not be empty is.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// An instance can't be called that.
    #[error("`{name}` can't be the name of an instance: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Requests can't be allowed so.
    #[error("`http` has a grant that is none: {0}")]
    Grant(GrantError),
    /// A grant lists a secret that is nowhere.
    #[error(
        "the grant lists the secret {secret}, and instance {instance} has none of that name: say where it is, such as \
         {secret} = \"env:{secret}\" in [secrets]"
    )]
    NoSecret {
        /// Whose requests the grant is for.
        instance: InstanceName,
        /// What is missing.
        secret: SecretName,
    },
    /// A secret can't be called that.
    #[error(transparent)]
    SecretName(SecretNameError),
    /// It is not said where it is; what is said may be the secret itself, and is not shown.
    #[error("the secret {0} must be where it is, \"env:VARIABLE\" or \"file:PATH\", and never the value itself")]
    Secret(SecretName),
    /// A value can't be called that.
    #[error("`{name}` can't be the name of a value: {reason}")]
    ConfigName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// It is no number that JSON and 64 bits have.
    #[error("`{name}` is {given}, which is no number that a value can have")]
    ConfigRange {
        /// The name of the value.
        name: String,
        /// The number, as it is written.
        given: String,
    },
    /// It is large.
    #[error("the value `{name}` has {bytes} bytes as JSON, and {most} are allowed")]
    ConfigSize {
        /// Its name.
        name: String,
        /// What it has.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// It is no beginning of URLs.
    #[error("`public-url` is \"{0}\", and must be scheme, host and port, such as \"https://shop.example.com\"")]
    PublicUrl(String),
    /// Routes can't be there.
    #[error("`{prefix}` can't be where routes are: {reason}")]
    Prefix {
        /// The path.
        prefix: String,
        /// Why not.
        reason: String,
    },
    /// Routes of nobody.
    #[error("`{prefix}` is for the routes of instance {instance}, and there is none of that name: the project has {}", .known.join(", "))]
    NoRoutes {
        /// The path.
        prefix: String,
        /// Whose routes are to be there.
        instance: String,
        /// The instances that there are.
        known: Vec<String>,
    },
    /// There is nothing to run.
    #[error("there is no instance: add a table such as [instances.counter] with its module")]
    NoInstance,
    /// HTTP can't come in there.
    #[error(
        "`address` is \"{0}\", and must be an address of this machine with a port, such as \"127.0.0.1:8080\", or \"off\""
    )]
    Address(String),
    /// Others would read it.
    #[error(
        "`address` is {0}, which other machines reach: there is no encryption yet, so use one of the loopback, such as 127.0.0.1:8080"
    )]
    NotLoopback(std::net::SocketAddr),
}

fn hint(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; it may have {}", known.join(", ")),
    }
}
