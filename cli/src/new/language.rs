//! What a project is made of, for each language that it can be written in.

use anyhow::bail;

use super::lock;

// What the SDK is made of, by the names of its files in a workspace of its own.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where the SDK for Rust lies in a project.
const SDK_DIRECTORY: &str = "vendor/ambrosia";

/// A language that a project can be written in.
pub(crate) struct Language {
    /// What it is called on the command line.
    word: &'static str,
    /// What has to be installed to build it, for a person.
    pub(crate) takes: &'static str,
    /// Files with names in them: NAME stands for that of the project, CRATE for that as cargo names what it builds.
    templates: &'static [(&'static str, &'static str)],
    /// Files that are in every project as they are.
    plain: &'static [(&'static str, &'static str)],
    /// Names that a project can't have, since its tools have something else of that name.
    pub(crate) reserved: &'static [&'static str],
}

const LANGUAGES: [Language; 3] = [
    Language {
        word: "rust",
        takes: "Rust 1.95 or newer",
        templates: &[
            ("Cargo.toml", include_str!("rust/Cargo.toml.in")),
            ("ambrosia.toml", include_str!("rust/ambrosia.toml.in")),
            ("src/lib.rs", include_str!("rust/lib.rs.in")),
            ("README.md", include_str!("rust/README.md.in")),
            ("AGENTS.md", include_str!("rust/AGENTS.md.in")),
        ],
        plain: &[(".gitignore", "/target\n/.ambrosia\n")],
        // Cargo refuses the names of its own crates and of keywords; these are the ones that one would think of.
        reserved: &[
            "test",
            "core",
            "std",
            "alloc",
            "build",
            "deps",
            "examples",
            "incremental",
            "ambrosia",
            "ambrosia-sdk",
        ],
    },
    Language {
        word: "js",
        takes: "Node.js 20 or newer, with npm",
        templates: &[
            ("package.json", include_str!("javascript/package.json.in")),
            ("ambrosia.toml", include_str!("javascript/ambrosia.toml.in")),
            ("README.md", include_str!("javascript/README.md.in")),
            ("AGENTS.md", include_str!("javascript/AGENTS.md.in")),
        ],
        plain: &[
            ("build.sh", include_str!("javascript/build.sh")),
            ("src/app.js", include_str!("javascript/src/app.js")),
            ("test/app.test.js", include_str!("javascript/test/app.test.js")),
            ("ambrosia/component.js", include_str!("javascript/ambrosia/component.js")),
            ("ambrosia/host.js", include_str!("javascript/ambrosia/host.js")),
            ("ambrosia/index.js", include_str!("javascript/ambrosia/index.js")),
            ("ambrosia/messagepack.js", include_str!("javascript/ambrosia/messagepack.js")),
            ("ambrosia/state.js", include_str!("javascript/ambrosia/state.js")),
            ("ambrosia/testing.js", include_str!("javascript/ambrosia/testing.js")),
            ("ambrosia/types.js", include_str!("javascript/ambrosia/types.js")),
            ("ambrosia/utf8.js", include_str!("javascript/ambrosia/utf8.js")),
            ("wit/world.wit", include_str!("javascript/wit/world.wit")),
            ("wit/deps/wasi-cli/cli.wit", include_str!("javascript/wit/deps/wasi-cli/cli.wit")),
            ("wit/deps/wasi-io/streams.wit", include_str!("javascript/wit/deps/wasi-io/streams.wit")),
            RUNTIME,
            (".gitignore", "/build/\n/node_modules/\n/.ambrosia/\n"),
        ],
        reserved: &[],
    },
    Language {
        word: "python",
        takes: "Python 3.10 or newer, with venv and pip",
        templates: &[
            ("ambrosia.toml", include_str!("python/ambrosia.toml.in")),
            ("README.md", include_str!("python/README.md.in")),
            ("AGENTS.md", include_str!("python/AGENTS.md.in")),
        ],
        plain: &[
            ("build.sh", include_str!("python/build.sh")),
            ("requirements.txt", include_str!("python/requirements.txt")),
            ("app.py", include_str!("python/app.py")),
            ("test_app.py", include_str!("python/test_app.py")),
            ("ambrosia/__init__.py", include_str!("python/ambrosia/__init__.py")),
            ("ambrosia/component.py", include_str!("python/ambrosia/component.py")),
            ("ambrosia/layout.py", include_str!("python/ambrosia/layout.py")),
            ("ambrosia/messagepack.py", include_str!("python/ambrosia/messagepack.py")),
            ("ambrosia/testing.py", include_str!("python/ambrosia/testing.py")),
            ("ambrosia/types.py", include_str!("python/ambrosia/types.py")),
            ("wit/world.wit", include_str!("python/wit/world.wit")),
            RUNTIME,
            (".gitignore", "/build/\n/.venv/\n/.ambrosia/\n__pycache__/\n"),
        ],
        reserved: &[],
    },
];

/// The interface that this host offers.
const RUNTIME: (&str, &str) = ("wit/deps/ambrosia-runtime/immortal.wit", include_str!("../../../wit/immortal.wit"));

impl Language {
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn of(word: &str) -> anyhow::Result<&'static Language> {
        match LANGUAGES.iter().find(|language| language.word == word) {
            Some(language) => Ok(language),
            None => bail!("there is no project in {word} to begin with: rust, js and python are there"),
        }
    }

    /// All files of a project of that name, by their paths in it.
    pub(crate) fn files(&self, name: &str) -> Vec<(String, String)> {
        let of_name = |text: &str| text.replace("NAME", name).replace("CRATE", &name.replace('-', "_"));
        let made = self.templates.iter().map(|(file, text)| ((*file).to_owned(), of_name(text)));
        let plain = self.plain.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        let mut files: Vec<_> = made.chain(plain).collect();
        if self.word == "rust" {
            files.extend(SDK.iter().map(|(file, text)| (format!("{SDK_DIRECTORY}/{file}"), (*text).to_owned())));
            files.push(("Cargo.lock".to_owned(), lock::of(name)));
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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

    /// What is in the directory of a language and in no project would be missed by whoever makes one.
    #[test]
    fn every_file_of_a_language_is_in_its_projects() {
        for (word, directory) in [("js", "javascript"), ("python", "python")] {
            let language = Language::of(word).expect("it is there");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/new").join(directory);
            let mut left = vec![root.clone()];
            while let Some(path) = left.pop() {
                if path.is_dir() {
                    let entries = fs::read_dir(&path).expect("it can be read");
                    left.extend(entries.map(|entry| entry.expect("it can be read").path()));
                    continue;
                }
                let file = path.strip_prefix(&root).expect("it is below").to_str().expect("text").to_owned();
                if file.contains("__pycache__") {
                    continue;
                }
                let has = |files: &[(&str, &str)], name: &str| files.iter().any(|(file, _)| *file == name);
                let is_there = match file.strip_suffix(".in") {
                    Some(name) => has(language.templates, name),
                    None => has(language.plain, &file),
                };
                assert!(is_there, "{directory}/{file}");
            }
        }
    }

    #[test]
    fn names_stand_where_they_are_meant() {
        for language in &LANGUAGES {
            let files = language.files("my-shop");
            for (file, text) in &files {
                let is_template = language.templates.iter().any(|(name, _)| name == file);
                assert!(!is_template || !text.contains("NAME") && !text.contains("CRATE"), "{file}");
            }
            let project = files.iter().find(|(file, _)| file == "ambrosia.toml").expect("it has one");
            assert!(project.1.contains("[instances.my-shop]"), "{}", project.1);
            ambrosia_project::Project::parse(&project.1).expect("`up` can read it");
        }
    }
}
