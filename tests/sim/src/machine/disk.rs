//! Files as their processes see them, and as much of them as the disk holds.
//!
//! Every sector of a write that was not synced may be lost on its own when the power fails; the last one may be torn. Names change in order, as in a file system with a journal.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::dice::Dice;

/// What a disk writes or loses at once.
const SECTOR_BYTES: usize = 512;

/// Number of a file, whatever its name is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Inode(u64);

#[derive(Debug, Default)]
struct File {
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// What the disk lacks, in order: pieces of at most a sector.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Change::Length(bytes) => contents.resize(*bytes, 0),
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// A part of it, from the front.
    fn torn(&self, dice: &mut Dice) -> Change {
        match self {
            Change::Length(bytes) => Change::Length(*bytes),
            Change::Write { offset, bytes } => {
                let kept = dice.below(bytes.len() as u64 + 1) as usize;
                Change::Write { offset: *offset, bytes: bytes[..kept].to_vec() }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, Inode),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<Inode, File>,
    names: BTreeMap<PathBuf, Inode>,
    names_on_disk: BTreeMap<PathBuf, Inode>,
    /// By directory.
    names_unsynced: Vec<NameChange>,
    last: u64,
    /// The next sync fails, and this decides what of it reaches the disk.
    sync_fails: Option<u64>,
}

impl Disk {
    fn file(&mut self, inode: Inode) -> &mut File {
        self.files.get_mut(&inode).expect("no process has a file that is gone")
    }

    fn put_name(&mut self, path: &Path, inode: Inode) {
        self.names.insert(path.to_path_buf(), inode);
        self.names_unsynced.push(NameChange::Put(path.to_path_buf(), inode));
    }

    pub(crate) fn create(&mut self, path: &Path) -> Inode {
        if let Some(inode) = self.names.get(path).copied() {
            self.set_bytes(inode, 0);
            return inode;
        }
        self.last += 1;
        let inode = Inode(self.last);
        self.files.insert(inode, File::default());
        self.put_name(path, inode);
        inode
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn list(&self, directory: &Path) -> Vec<String> {
        let inside = self.names.keys().filter(|path| path.parent() == Some(directory));
        inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.open(from)?;
        self.names.remove(from);
        // One change of the journal holds both halves.
        self.put_name(to, inode);
        self.names_unsynced.push(NameChange::Remove(from.to_path_buf()));
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.names_unsynced.push(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    pub(crate) fn sync_directory(&mut self, directory: &Path) {
        let (mine, others) = std::mem::take(&mut self.names_unsynced).into_iter().partition(|change| match change {
            NameChange::Put(path, _) | NameChange::Remove(path) => path.parent() == Some(directory),
        });
        self.names_unsynced = others;
        self.settle_names(mine);
    }

    fn settle_names(&mut self, changes: Vec<NameChange>) {
        for change in changes {
            match change {
                NameChange::Put(path, inode) => self.names_on_disk.insert(path, inode),
                NameChange::Remove(path) => self.names_on_disk.remove(&path),
            };
        }
    }

    pub(crate) fn read(&mut self, inode: Inode, buffer: &mut [u8], offset: u64) -> usize {
        let cache = &self.file(inode).cache;
        let begin = (offset as usize).min(cache.len());
        let count = buffer.len().min(cache.len() - begin);
        buffer[..count].copy_from_slice(&cache[begin..begin + count]);
        count
    }

    pub(crate) fn write(&mut self, inode: Inode, bytes: &[u8], offset: u64) {
        let file = self.file(inode);
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
            let change = Change::Write { offset: at, bytes: piece.to_vec() };
            change.apply(&mut file.cache);
            file.unsynced.push(change);
            (at, rest) = (at + piece.len(), others);
        }
    }

    pub(crate) fn set_bytes(&mut self, inode: Inode, bytes: u64) {
        let file = self.file(inode);
        let change = Change::Length(bytes as usize);
        change.apply(&mut file.cache);
        file.unsynced.push(change);
    }

    pub(crate) fn bytes(&mut self, inode: Inode) -> u64 {
        self.file(inode).cache.len() as u64
    }

    pub(crate) fn fail_next_sync(&mut self, seed: u64) {
        self.sync_fails = Some(seed);
    }

    pub(crate) fn sync(&mut self, inode: Inode) -> io::Result<()> {
        let failure = self.sync_fails.take();
        let file = self.file(inode);
        let unsynced = std::mem::take(&mut file.unsynced);
        let Some(seed) = failure else {
            unsynced.iter().for_each(|change| change.apply(&mut file.disk));
            return Ok(());
        };
        // As Linux does: the pages stay in memory, count as clean, and are not written again.
        let mut dice = Dice::new(seed);
        for change in unsynced {
            if dice.percent(50) {
                change.apply(&mut file.disk);
            }
        }
        Err(io::Error::other("simulated error of the disk"))
    }

    /// Returns how many changes were lost.
    pub(crate) fn lose_power(&mut self, dice: &mut Dice) -> u64 {
        let mut lost = 0;
        let kept_percent = [0, 50, 90, 100][dice.below(4) as usize];
        for file in self.files.values_mut() {
            let unsynced = std::mem::take(&mut file.unsynced);
            let last = unsynced.len();
            for (at, change) in unsynced.into_iter().enumerate() {
                if dice.percent(kept_percent) {
                    change.apply(&mut file.disk);
                } else {
                    lost += 1;
                    if at + 1 == last {
                        change.torn(dice).apply(&mut file.disk);
                    }
                }
            }
            file.cache.clone_from(&file.disk);
        }
        let mut changes = std::mem::take(&mut self.names_unsynced);
        let kept = dice.below(changes.len() as u64 + 1) as usize;
        // A rename is one change: its second half never comes without its first, or the other way round.
        let half = matches!(
            (changes.get(kept.wrapping_sub(1)), changes.get(kept)),
            (Some(NameChange::Put(..)), Some(NameChange::Remove(_)))
        );
        lost += (changes.len() - kept) as u64;
        changes.truncate(kept + usize::from(half));
        self.settle_names(changes);
        self.names.clone_from(&self.names_on_disk);
        self.sync_fails = None;
        lost
    }

    pub(crate) fn flip(&mut self, inode: Inode, offset: u64, bits: &[u8]) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for contents in [&mut file.cache, &mut file.disk] {
            contents.iter_mut().skip(offset as usize).zip(bits).for_each(|(byte, bits)| *byte ^= bits);
        }
    }

    pub(crate) fn on_disk(&self, directory: &Path) -> Vec<(String, Vec<u8>)> {
        let names = self.names_on_disk.iter().filter(|(path, _)| path.parent() == Some(directory));
        names
            .filter_map(|(path, inode)| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((name, self.files.get(inode)?.disk.clone()))
            })
            .collect()
    }

    pub(crate) fn remove_directory(&mut self, directory: &Path) {
        let outside = |path: &Path| path.parent() != Some(directory);
        let gone: Vec<_> = self.names.iter().filter(|(path, _)| !outside(path)).map(|(_, inode)| *inode).collect();
        self.names.retain(|path, _| outside(path));
        self.names_on_disk.retain(|path, _| outside(path));
        self.names_unsynced.retain(|change| match change {
            NameChange::Put(path, _) | NameChange::Remove(path) => outside(path),
        });
        for inode in gone {
            self.files.remove(&inode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_outlives_the_power_and_the_rest_may_not() {
        let path = Path::new("/d/f");
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let mut disk = Disk::default();
            let inode = disk.create(path);
            disk.write(inode, &[1; 10_000], 0);
            disk.sync(inode).expect("no failure was asked for");
            disk.sync_directory(Path::new("/d"));
            disk.write(inode, &[2; 100], 20);
            disk.lose_power(&mut Dice::new(seed));
            let mut contents = vec![0; 10_000];
            assert_eq!(disk.read(disk.open(path).expect("its name was synced"), &mut contents, 0), 10_000);
            assert!(contents[..20].iter().chain(&contents[120..]).all(|byte| *byte == 1));
            match contents[20..120].iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                100 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 0 && kept > 0 && torn > 0, "{lost} lost, {kept} kept, {torn} torn");
    }

    #[test]
    fn after_a_sync_that_failed_memory_shows_what_the_disk_may_never_have() {
        let mut stale = 0;
        for seed in 0..50 {
            let mut disk = Disk::default();
            let inode = disk.create(Path::new("/d/f"));
            disk.sync_directory(Path::new("/d"));
            disk.write(inode, &[7; 8], 0);
            disk.fail_next_sync(seed);
            assert!(disk.sync(inode).is_err());
            assert!(disk.sync(inode).is_ok(), "it fails once");
            let mut contents = [0; 8];
            disk.read(inode, &mut contents, 0);
            assert_eq!(contents, [7; 8]);
            disk.lose_power(&mut Dice::new(seed));
            stale += usize::from(disk.bytes(inode) == 0);
        }
        assert!(stale > 0);
    }
}
