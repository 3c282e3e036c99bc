//! `new`: a project to begin with, which builds and runs outside of this repository.
//!
//! **Architecture Invariant:** nothing is fetched and nothing that is there is changed: all files of a project are in the program.

mod language;
mod lock;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::arguments::New;
use language::Language;

pub(crate) fn new(verb: &New) -> anyhow::Result<ExitCode> {
    let language = Language::of(&verb.lang)?;
    check_name(&verb.name, language)?;
    let directory = verb.directory.clone().unwrap_or_else(|| PathBuf::from(&verb.name));
    fs::create_dir(&directory).with_context(|| format!("can't make the directory {}", directory.display()))?;
    for (file, text) in language.files(&verb.name) {
        write(&directory.join(file), &text)?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "made the project {} in {}", verb.name, directory.display())?;
    writeln!(out, "to build it takes {}", language.takes)?;
    writeln!(out, "run it with `cd {} && ambrosia-host up`; its README.md says what next", directory.display())?;
    Ok(ExitCode::SUCCESS)
}

/// A name that Ambrosia takes for an instance, and the tools of the language for what they build.
fn check_name(name: &str, language: &Language) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_plain) || name.len() > 60 {
        bail!("`{name}` can't be the name of a project: use a small letter, then small letters, digits, '-' and '_'");
    }
    if language.reserved.contains(&name) {
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
    fn names_are_those_of_instances_and_crates() {
        let of = |word: &str| Language::of(word).expect("it is there");
        ["counter", "my-shop", "a_1"].iter().for_each(|name| check_name(name, of("rust")).expect(name));
        for name in ["", "1a", "Counter", "a.b", "a/b", "..", "test", "ambrosia"] {
            check_name(name, of("rust")).expect_err(name);
        }
        check_name("test", of("js")).expect("only cargo has that name for something else");
        check_name("A", of("python")).expect_err("an instance can't have that name");
    }
}
