//! Whether a source of the project has changed, by looking.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::Metadata,
    hash::Hasher,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context;

use super::Place;

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// More files than that are no sources of one project.
const FILES_MAX: usize = 50_000;

/// What a build makes, and what cargo and npm write by themselves.
const PRODUCTS: [&str; 5] = ["target", "node_modules", "__pycache__", "Cargo.lock", "package-lock.json"];

/// Files larger than this are known by their time and size alone.
const CONTENT_BYTES_MAX: u64 = 64 << 20;

/// The sources as they were at one look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(BTreeMap<PathBuf, File>);

/// A source: who saves it without a change, or writes the same again, has changed nothing.
#[derive(Clone, Copy, Debug)]
struct File {
    /// When it was written, and how long it was: while both are the same it is not read again.
    stamp: (SystemTime, u64),
    /// Of what is in it; `None` if it can't be read, or is large.
    content: Option<u64>,
}

impl PartialEq for File {
    fn eq(&self, other: &File) -> bool {
        match (self.content, other.content) {
            (Some(mine), Some(others)) => mine == others,
            _ => self.stamp == other.stamp,
        }
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        self.0 == other.0
    }
}

impl Seen {
    /// The sources that are in one of the two looks alone, or have something else in them.
    pub(crate) fn changed_since(&self, before: &Seen) -> BTreeSet<PathBuf> {
        let paths: BTreeSet<_> = self.0.keys().chain(before.0.keys()).cloned().collect();
        paths.into_iter().filter(|path| self.0.get(path) != before.0.get(path)).collect()
    }

    /// Without those.
    pub(crate) fn without(mut self, paths: &BTreeSet<PathBuf>) -> Seen {
        self.0.retain(|path, _| !paths.contains(path));
        self
    }

    /// Looks at all files of the project, without those that a build makes, those that are hidden, and modules. Files that are as they were
    /// at the look `before` are not read again.
    ///
    /// # Errors
    /// If its directory can't be read, or has too many files in it.
    pub(crate) fn look(place: &Place, before: &Seen) -> anyhow::Result<Seen> {
        let made: Vec<_> = place.project.instances.values().filter(|one| one.build.is_some()).collect();
        let made: Vec<_> = made.into_iter().map(|one| place.module(one)).collect();
        // What is said goes there: as a source it would have everything built for ever.
        let said =
            ["/proc/self/fd/1", "/proc/self/fd/2"].map(|stream| std::fs::metadata(stream).ok().as_ref().map(identity));
        let (mut seen, mut left) = (BTreeMap::new(), vec![place.directory.clone()]);
        while let Some(directory) = left.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                // Whatever is gone again is none of the sources any more.
                Err(_) if directory != place.directory => continue,
                Err(error) => return Err(error).with_context(|| format!("can't read {}", directory.display())),
            };
            for entry in entries.flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                if is_product(&name) || made.contains(&path) {
                    continue;
                }
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() && !path.join("CACHEDIR.TAG").exists() {
                    left.push(path);
                } else if metadata.is_file() && !said.contains(&Some(identity(&metadata))) {
                    let file = File::look(&path, &metadata, before.0.get(&path))?;
                    seen.insert(path, file);
                }
            }
            anyhow::ensure!(
                seen.len() <= FILES_MAX,
                "the project has more than {FILES_MAX} files, too many to be watched"
            );
        }
        Ok(Seen(seen))
    }
}

impl File {
    fn look(path: &Path, metadata: &Metadata, before: Option<&File>) -> anyhow::Result<File> {
        let stamp = (metadata.modified()?, metadata.len());
        if let Some(before) = before.filter(|before| before.stamp == stamp) {
            return Ok(*before);
        }
        let is_small = metadata.len() <= CONTENT_BYTES_MAX;
        // What is gone again is not there at the next look.
        let bytes = if is_small { std::fs::read(path).ok() } else { None };
        Ok(File { stamp, content: bytes.map(|bytes| hash(&bytes)) })
    }
}

/// Only this process compares it.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn is_product(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || name.ends_with('~') || PRODUCTS.contains(&&*name)
}

#[cfg(test)]
mod tests {
    use ambrosia_project::Project;

    use super::*;

    #[test]
    fn sources_are_seen_and_what_a_build_makes_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let text = "[instances.a]\nmodule = \"a.wasm\"\nbuild = \"make\"";
        let place = Place { directory: directory.path().to_owned(), project: Project::parse(text).expect("a project") };
        let look = || Seen::look(&place, &Seen::default()).expect("it can be read");
        file("src/lib.rs", "one");
        let first = look();
        for made in ["a.wasm", "target/x", ".ambrosia/x", "Cargo.lock", "src/lib.rs~", "node_modules/x", "src/.lib.swp"]
        {
            file(made, "made");
            assert_eq!(look(), first, "{made}");
        }
        file("src/lib.rs", "longer");
        let second = look();
        assert_ne!(second, first);
        file("src/b/c.rs", "new");
        let third = look();
        assert_ne!(third, second);
        assert_eq!(third.changed_since(&second).len(), 1);
        assert_eq!(third.clone().without(&third.changed_since(&second)), second);

        // Who writes the same again has changed nothing, be it the editor or a build.
        file("src/lib.rs", "longer");
        let again = Seen::look(&place, &third).expect("it can be read");
        assert_eq!(again, third);
        file("src/lib.rs", "LONGER");
        let path = directory.path().join("src/lib.rs");
        let written = std::fs::File::options().write(true).open(path).expect("it is there");
        written.set_modified(SystemTime::UNIX_EPOCH).expect("its time can be set");
        assert_eq!(Seen::look(&place, &again).expect("it can be read").changed_since(&third).len(), 1);
    }
}
