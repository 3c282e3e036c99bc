//! The files of the project.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file, read.
pub struct Source {
    /// Its path from the root, with slashes.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// All files that people write.
pub struct Tree {
    /// Those that are text, by path.
    pub sources: Vec<Source>,
}

/// Endings of files that are read.
const READ: [&str; 6] = ["rs", "md", "sh", "toml", "wit", "py"];

impl Tree {
    /// Reads the project that this crate belongs to.
    pub fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up");
        let mut sources = Vec::new();
        read_folder(root, root, &mut sources);
        sources.sort_by(|one: &Source, other| one.path.cmp(&other.path));
        Tree { sources }
    }

    /// The files with that ending.
    pub fn ending(&self, ending: &str) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(move |source| source.path.ends_with(ending))
    }
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("it has a name").to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            read_folder(root, &path, sources);
        } else if path.extension().is_some_and(|ending| READ.iter().any(|read| ending == *read)) {
            let text = fs::read_to_string(&path).expect("it is text");
            sources.push(Source { path: from_root(root, path), text });
        }
    }
}

fn from_root(root: &Path, path: PathBuf) -> String {
    let path = path.strip_prefix(root).expect("it is below the root");
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
