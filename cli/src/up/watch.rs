//! Whether a source of the project has changed, by looking.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Context;

use super::Place;

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// More files than that are no sources of one project.
const FILES_MAX: usize = 50_000;

/// What a build makes, and what cargo writes by itself.
const PRODUCTS: [&str; 3] = ["target", "node_modules", "Cargo.lock"];

/// The sources as they were at one look.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Seen(BTreeMap<PathBuf, (SystemTime, u64)>);

impl Seen {
    /// Looks at all files of the project, without those that a build makes, those that are hidden, and modules.
    ///
    /// # Errors
    /// If its directory can't be read, or has too many files in it.
    pub(crate) fn look(place: &Place) -> anyhow::Result<Seen> {
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
                    seen.insert(path, (metadata.modified()?, metadata.len()));
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
        let look = || Seen::look(&place).expect("it can be read");
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
        assert_ne!(look(), second);
    }
}
