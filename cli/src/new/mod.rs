//! `new`: a project to begin with, which builds and runs outside of this repository.
//!
//! **Architecture Invariant:** nothing is fetched and nothing that is there is changed: the SDK is in the program.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::arguments::New;

// What the SDK is made of, by the names of its files in a workspace of its own.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where the SDK lies in a project.
const SDK_DIRECTORY: &str = "vendor/ambrosia";

/// Files of a project; NAME stands for its name, CRATE for that as cargo names what it builds.
const RUST: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("rust/Cargo.toml.in")),
    ("ambrosia.toml", include_str!("rust/ambrosia.toml.in")),
    ("src/lib.rs", include_str!("rust/lib.rs.in")),
    ("README.md", include_str!("rust/README.md.in")),
    ("AGENTS.md", include_str!("rust/AGENTS.md.in")),
    (".gitignore", "/target\n/.ambrosia\n"),
];

pub(crate) fn new(verb: &New) -> anyhow::Result<ExitCode> {
    let directory = verb.directory.clone().unwrap_or_else(|| PathBuf::from(&verb.name));
    check_name(&verb.name)?;
    fs::create_dir(&directory).with_context(|| format!("can't make the directory {}", directory.display()))?;
    let files = match verb.lang.as_str() {
        "rust" => &RUST,
        other => bail!("there is no project in {other} to begin with"),
    };
    for (file, text) in files {
        let text = text.replace("NAME", &verb.name).replace("CRATE", &verb.name.replace('-', "_"));
        write(&directory.join(file), &text)?;
    }
    for (file, text) in SDK {
        write(&directory.join(SDK_DIRECTORY).join(file), text)?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "made the project {} in {}", verb.name, directory.display())?;
    writeln!(out, "run it with `cd {} && ambrosia-host up`; its README.md says what next", directory.display())?;
    Ok(ExitCode::SUCCESS)
}

/// A name that cargo takes for a crate, and Ambrosia for an instance.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_plain) || name.len() > 60 {
        bail!("`{name}` can't be the name of a project: use a small letter, then small letters, digits, '-' and '_'");
    }
    // Cargo refuses the names of its own crates and of keywords; these are the ones that one would think of.
    if ["test", "core", "std", "alloc", "build", "deps", "examples", "incremental", "ambrosia", "ambrosia-sdk"]
        .contains(&name)
    {
        bail!("`{name}` can't be the name of a project: cargo, or the SDK, has that name for something else");
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let parent = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("can't make the directory {}", parent.display()))?;
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_whole() {
        let has = |name: &str| SDK.iter().any(|(file, text)| *file == name && !text.is_empty());
        for name in [
            "Cargo.toml",
            "guest-sdk/Cargo.toml",
            "guest-sdk/src/lib.rs",
            "guest-sdk/macros/src/lib.rs",
            "wit/immortal.wit",
        ] {
            assert!(has(name), "{name}");
        }
        assert!(SDK[0].1.contains("members = [\"guest-sdk\", \"guest-sdk/macros\"]\n"), "{}", SDK[0].1);
        assert!(!SDK[0].1.contains("default-members"));
    }

    #[test]
    fn names_are_those_of_crates() {
        ["counter", "my-shop", "a_1"].iter().for_each(|name| check_name(name).expect(name));
        for name in ["", "1a", "Counter", "a.b", "a/b", "..", "test", "ambrosia"] {
            check_name(name).expect_err(name);
        }
    }
}
