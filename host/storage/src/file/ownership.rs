//! Files and directories of a store, which belong to whom the directory that they lie in belongs to: so that one run as
//! root does not lock the owner out, and who may use the store may use all of it.
//!
//! **Architecture Invariant:** nothing in a store is made but here. What was there before keeps its owner: root would
//! give away what a link points to.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// Bits of a directory's mode that hold for files and for directories in it.
const FILE_BITS: u32 = 0o666;
const DIRECTORY_BITS: u32 = 0o2777;

/// Makes a file for reading and writing, or opens the one that is there.
pub(crate) fn create_or_open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            adopt(&file, path, FILE_BITS)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Makes a file for reading and writing, or empties the one that is there.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let file = create_or_open_file(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Makes a directory.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let made = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    adopt(&made, path, DIRECTORY_BITS)
}

/// Gives what was just made at `path` the owner and the mode of the directory that it lies in.
fn adopt(made: &File, path: &Path, bits: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::metadata(parent)?,
        _ => fs::metadata(".")?,
    };
    let own = made.metadata()?;
    if owner(&own) != owner(&parent) {
        or_leave(fchown(made, Some(parent.uid()), Some(parent.gid())))?;
    }
    let mode = parent.mode() & bits;
    if own.mode() & DIRECTORY_BITS != mode {
        or_leave(made.set_permissions(Permissions::from_mode(mode)))?;
    }
    Ok(())
}

fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

/// Only root may give a file away, and not every file system knows owners: then it stays with its maker.
fn or_leave(changed: io::Result<()>) -> io::Result<()> {
    match changed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
        changed => changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_has_the_mode_of_its_directory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for (mode, of_file) in [(0o700, 0o600), (0o750, 0o640), (0o2775, 0o664), (0o777, 0o666)] {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).expect("it is ours");
            let mode_of =
                |name: &str| fs::metadata(directory.path().join(name)).expect("it was made").mode() & DIRECTORY_BITS;
            create_file(&directory.path().join(format!("file-{mode:o}"))).expect("works");
            create_directory(&directory.path().join(format!("directory-{mode:o}"))).expect("works");
            assert_eq!(mode_of(&format!("file-{mode:o}")), of_file);
            assert_eq!(mode_of(&format!("directory-{mode:o}")), mode);
        }
    }

    #[test]
    fn what_was_there_keeps_its_mode() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        fs::write(&path, "old").expect("works");
        fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("it is ours");
        assert_eq!(create_or_open_file(&path).and_then(|file| file.metadata()).expect("works").len(), 3);
        assert_eq!(create_file(&path).and_then(|file| file.metadata()).expect("works").len(), 0);
        assert_eq!(fs::metadata(&path).expect("works").mode() & 0o777, 0o604);
    }
}
