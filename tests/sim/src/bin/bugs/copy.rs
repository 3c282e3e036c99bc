//! A copy of the sources with deliberate bugs in it, and the simulator that is made of it.
//!
//! **Architecture Invariant:** what has not changed is not written, so that it is not compiled again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Bug, Simulation,
    switched::{SWITCH, Switched, switched},
};

/// What of the sources the simulator consists of. Methods, engine and the count of allocations are not built, but cargo wants
/// to see them.
const PARTS: &[&str] = &[
    "host/core",
    "host/storage",
    "host/storage/shared",
    "host/methods",
    "host/engine",
    "tests/allocations",
    "tests/sim",
];

/// The crate that has the switch.
const SWITCHING: &str = "host/core/src";

/// A copy of the sources, in which bugs are put.
pub(crate) struct Copy {
    texts: Texts,
    sources: PathBuf,
    root: PathBuf,
    /// Where dependencies are compiled, once for all copies.
    target: PathBuf,
}

/// Files that differ from those of the sources.
pub(crate) struct Texts {
    of: BTreeMap<PathBuf, String>,
    /// Bugs that are in none of them.
    pub(crate) left_out: Vec<usize>,
}

impl Texts {
    /// Puts all bugs into the files that they are about.
    ///
    /// # Errors
    /// If a file is not what a bug takes it for.
    pub(crate) fn of(sources: &Path, bugs: &[Bug]) -> Result<Texts, String> {
        let mut texts = Texts { of: BTreeMap::new(), left_out: Vec::new() };
        let mut numbers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        bugs.iter().enumerate().for_each(|(number, bug)| numbers.entry(bug.file).or_default().push(number));
        for (file, numbers) in numbers {
            let text = read(&sources.join(file))?;
            for number in &numbers {
                // Whoever reads what is wrong wants to know where.
                bugs[*number].applied(&text)?;
            }
            let owner = if file.starts_with(SWITCHING) { "crate" } else { "ambrosia_core" };
            let changes: Vec<_> = numbers.iter().map(|number| (*number, bugs[*number].changes)).collect();
            let asks = format!("{owner}::deliberate::is_in");
            let Switched { text, left_out } =
                switched(&text, &asks, &changes).map_err(|reason| format!("{file}: {reason}"))?;
            texts.of.insert(PathBuf::from(file), text);
            texts.left_out.extend(left_out);
        }
        let root = Path::new(SWITCHING).join("lib.rs");
        let text = texts.of.remove(&root).map_or_else(|| read(&sources.join(&root)), Ok)?;
        texts.of.insert(root, text + "\n#[doc(hidden)]\npub mod deliberate;\n");
        texts.of.insert(Path::new(SWITCHING).join("deliberate.rs"), SWITCH.to_owned());
        Ok(texts)
    }
}

impl Copy {
    /// Copies, with all bugs that can be switched, and builds.
    ///
    /// # Errors
    /// If a file can't be read or written, or the copy does not compile.
    pub(crate) fn make(sources: PathBuf, bugs: &[Bug]) -> Result<Copy, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources.join("target"), PathBuf::from);
        let root = target.join("bugs-tree");
        let copy = Copy { texts: Texts::of(&sources, bugs)?, sources, root, target };
        for part in PARTS {
            copy.copy_directory(Path::new(part))?;
        }
        for (file, text) in &copy.texts.of {
            write(&copy.root.join(file), text)?;
        }
        for file in ["Cargo.toml", "Cargo.lock"] {
            let text = read(&copy.sources.join(file))?;
            let text = if file == "Cargo.toml" { only_parts(&text)? } else { text };
            write(&copy.root.join(file), &text)?;
        }
        copy.build()?;
        Ok(copy)
    }

    /// Bugs that are not in it.
    pub(crate) fn left_out(&self) -> &[usize] {
        &self.texts.left_out
    }

    fn build(&self) -> Result<(), String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--profile", "bugs", "-p", "ambrosia-sim", "--bin", "vopr"]);
        let built = command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).output();
        match built {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "the copy in {} does not compile:\n{}",
                self.root.display(),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Err(format!("cargo can't be started: {error}")),
        }
    }

    /// Puts in a bug that is left out, in the place of those that are in its file.
    pub(crate) fn put_in(&self, bug: &Bug) -> Result<(), String> {
        write(&self.root.join(bug.file), &bug.applied(&read(&self.sources.join(bug.file))?)?)?;
        self.build()
    }

    /// Takes it out. What is built next is without it.
    pub(crate) fn take_out(&self, bug: &Bug) -> Result<(), String> {
        write(&self.root.join(bug.file), &self.texts.of[Path::new(bug.file)])
    }

    /// Whether a promise is broken within so many seeds, and which.
    pub(crate) fn hunt(
        &self,
        seeds: u64,
        simulation: Simulation,
        bug: Option<usize>,
    ) -> Result<(bool, String), String> {
        let mut command = Command::new(self.target.join("bugs/vopr"));
        command.env_remove("DELIBERATE_BUG").envs(bug.map(|number| ("DELIBERATE_BUG", number.to_string())));
        if simulation == Simulation::Engines {
            command.arg("--engine");
        }
        command.args(["--no-shrink", "--first", "1", "--seeds", &seeds.to_string()]);
        let output = command.output().map_err(|error| format!("vopr can't be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = said.lines().find(|line| line.starts_with("SEED "));
        match (output.status.success(), failed) {
            (true, _) => Ok((false, format!("{seeds} seeds held"))),
            (false, Some(line)) => Ok((true, line.to_owned())),
            // Not a broken promise but a broken simulator.
            (false, None) => Err(format!("vopr ended with {}:\n{said}", output.status)),
        }
    }

    fn copy_directory(&self, directory: &Path) -> Result<(), String> {
        let (from, to) = (self.sources.join(directory), self.root.join(directory));
        let fails = |error| format!("{} can't be copied: {error}", from.display());
        fs::create_dir_all(&to).map_err(fails)?;
        for entry in fs::read_dir(&from).map_err(fails)? {
            let entry = entry.map_err(fails)?;
            let (source, file) = (entry.path(), directory.join(entry.file_name()));
            let copy = self.root.join(&file);
            if entry.file_type().map_err(fails)?.is_dir() {
                self.copy_directory(&file)?;
            } else if !self.texts.of.contains_key(&file)
                && fs::read(&copy).ok() != Some(fs::read(&source).map_err(fails)?)
            {
                fs::copy(&source, &copy).map_err(fails)?;
            }
        }
        Ok(())
    }
}

/// The workspace's manifest, with only the parts that were copied.
fn only_parts(manifest: &str) -> Result<String, String> {
    let cut = |text: &str, key: &str| -> Option<String> {
        let begin = text.find(key)?;
        let end = begin + text[begin..].find(']')? + 1;
        Some(format!("{}{key}{PARTS:?}{}", &text[..begin], &text[end..]))
    };
    let members = cut(manifest, "members = ").ok_or("Cargo.toml has no members")?;
    Ok(members.replace("default-members = [\"cli\"]\n", ""))
}

pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| format!("{} can't be written: {error}", path.display()))
}
