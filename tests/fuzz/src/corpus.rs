//! The corpus of a target: its seeds, what fuzzing has added, and a regression for each bug found.

use std::{collections::BTreeMap, env, fs, path::Path};

/// An input made by the project's own encoders or taken from its golden files, with the name of its file: `seed-…`, or
/// `bug-…` where it is what a bug was found by.
pub type Seed = (String, Vec<u8>);

/// Runs `target` on each file of `corpus`, after it was checked that the seeds are there as they would be made today.
/// `AMBROSIA_BLESS=1` writes them.
///
/// # Panics
/// If the target does, or a seed is missing or another.
pub fn replay(corpus: &Path, seeds: Vec<Seed>, target: fn(&[u8])) {
    let seeds: BTreeMap<String, Vec<u8>> = seeds.into_iter().collect();
    if env::var_os("AMBROSIA_BLESS").is_some() {
        fs::create_dir_all(corpus).expect("the repository can be written");
        for (name, bytes) in &seeds {
            fs::write(corpus.join(name), bytes).expect("the repository can be written");
        }
    }
    let files = files(corpus);
    for (name, bytes) in &seeds {
        assert!(files.get(name) == Some(bytes), "{name} in {} is not as it is made today", corpus.display());
    }
    let left_over = files.keys().find(|name| name.starts_with("seed-") && !seeds.contains_key(*name));
    assert_eq!(left_over, None, "it is not made any more");
    for (name, bytes) in &files {
        // Shown with a panic that follows: which file it was.
        println!("{}", corpus.join(name).display());
        target(bytes);
    }
}

/// The contents of a directory, by name.
pub(crate) fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    entries.map(read).collect()
}
