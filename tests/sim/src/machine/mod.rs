//! A simulated machine: the disk, the locks and the shared memory that the file store works with.
//!
//! What it does to a process in the middle of an operation is decided by a [`Stage`], which the simulation sets for
//! its thread: the process may be killed there, paused while others go on, or told that the operation failed.

mod disk;
mod locks;
mod page;

use std::{
    cell::RefCell,
    io,
    ops::Range,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambrosia_storage::{Lock, Machine, MachineFile, Page};

pub(crate) use self::disk::Inode;
use self::{disk::Disk, locks::Locks, page::Pages};
use crate::{dice::Dice, ids::ProcessId};

/// What a process asks of its machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Create,
    Open,
    Read,
    Write,
    Sync,
    Names,
    Lock,
}

/// Decides what befalls the process at work.
pub(crate) trait Stage {
    /// The process at work; `None` while the simulation itself looks at the machine or drops what is left of a process.
    fn actor(&self) -> Option<ProcessId>;

    /// An operation is about to be carried out. Does not return if the process dies here.
    fn before(&self, machine: usize, operation: Operation) -> io::Result<()>;

    /// An operation was carried out. Does not return if the process dies here.
    fn after(&self, machine: usize, operation: Operation);

    /// The process at work would wait for another one for ever, and is killed.
    fn give_up(&self);

    /// Whether the thread that makes a segment ready in time is fast enough.
    fn is_spare_ready(&self) -> bool;
}

thread_local! {
    static STAGE: RefCell<Option<Rc<dyn Stage>>> = const { RefCell::new(None) };
}

/// Sets who decides for the machines of this thread.
pub(crate) fn set_stage(stage: Option<Rc<dyn Stage>>) {
    STAGE.with_borrow_mut(|current| *current = stage);
}

fn stage() -> Rc<dyn Stage> {
    STAGE.with_borrow(|stage| stage.clone()).expect("a simulation is under way")
}

/// One machine. All processes on it see its page cache; only what was synced outlives its loss of power for certain.
#[derive(Debug)]
pub(crate) struct SimMachine {
    pub(crate) number: usize,
    state: Mutex<MachineState>,
    /// For the files that it hands out.
    me: std::sync::Weak<SimMachine>,
}

#[derive(Debug)]
struct MachineState {
    disk: Disk,
    locks: Locks,
    pages: Pages,
    boot: u64,
    /// Numbers drawn so far.
    drawn: u64,
}

impl SimMachine {
    pub(crate) fn new(number: usize) -> Arc<SimMachine> {
        let state =
            MachineState { disk: Disk::default(), locks: Locks::default(), pages: Pages::default(), boot: 1, drawn: 0 };
        Arc::new_cyclic(|me| SimMachine { number, state: Mutex::new(state), me: me.clone() })
    }

    fn state(&self) -> MutexGuard<'_, MachineState> {
        // A process that is killed unwinds, and leaves nothing half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operate<T>(&self, operation: Operation, work: impl FnOnce(&mut MachineState) -> io::Result<T>) -> io::Result<T> {
        let stage = stage();
        stage.before(self.number, operation)?;
        let result = work(&mut self.state());
        stage.after(self.number, operation);
        result
    }

    /// The process is gone: so are its locks.
    pub(crate) fn release_locks(&self, process: ProcessId) {
        self.state().locks.release_all(process);
    }

    /// Everything that was not synced may be lost, in whole or in part.
    pub(crate) fn lose_power(&self, dice: &mut Dice) -> u64 {
        let mut state = self.state();
        state.boot += 1;
        let lost = state.disk.lose_power(dice);
        state.locks.clear();
        state.pages.lose_power(dice);
        lost
    }

    /// The sync of that file is about to fail: nobody knows what of it reaches the disk, and nothing tries again.
    pub(crate) fn fail_next_sync(&self, dice: &mut Dice) {
        self.state().disk.fail_next_sync(dice.next());
    }

    /// The file of that name.
    pub(crate) fn inode(&self, path: &Path) -> Option<Inode> {
        self.state().disk.open(path).ok()
    }

    /// Flips bits of a file from `offset` on, on the disk and in memory, whatever its name is by now. The same again heals
    /// it.
    pub(crate) fn flip(&self, inode: Inode, offset: u64, bits: &[u8]) {
        self.state().disk.flip(inode, offset, bits);
    }

    /// The names in a directory.
    pub(crate) fn names(&self, directory: &Path) -> Vec<String> {
        self.state().disk.list(directory)
    }

    /// The names of a directory and what the disk holds of each, for those who look at a log from outside.
    pub(crate) fn files_on_disk(&self, directory: &Path) -> Vec<(String, Vec<u8>)> {
        self.state().disk.on_disk(directory)
    }

    /// Removes the files of a directory.
    pub(crate) fn remove_directory(&self, directory: &Path) {
        let mut state = self.state();
        state.disk.remove_directory(directory);
        state.pages.remove_directory(directory);
    }

    fn file(&self, inode: Inode) -> Box<dyn MachineFile> {
        let machine = self.me.upgrade().expect("it is asked through its handle");
        Box::new(SimFile { machine, inode })
    }
}

impl Machine for SimMachine {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        let inode = self.operate(Operation::Create, |state| Ok(state.disk.create(path)))?;
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        let inode = self.operate(Operation::Open, |state| state.disk.open(path))?;
        Ok(self.file(inode))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        self.open(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.operate(Operation::Open, |state| Ok(state.disk.list(directory)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(Operation::Names, |state| state.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if stage().actor().is_none() {
            return Err(io::Error::other("the process is gone"));
        }
        self.operate(Operation::Names, |state| state.disk.remove(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Names, |state| {
            state.disk.sync_directory(path);
            Ok(())
        })
    }

    fn map(&self, path: &Path, bytes: usize) -> io::Result<Box<dyn Page>> {
        self.operate(Operation::Create, |state| Ok(Box::new(state.pages.map(path, bytes)) as Box<dyn Page>))
    }

    fn map_if_there(&self, path: &Path, bytes: usize) -> io::Result<Option<Box<dyn Page>>> {
        self.operate(Operation::Open, |state| {
            Ok(state.pages.map_if_there(path, bytes).map(|page| Box::new(page) as Box<dyn Page>))
        })
    }

    fn try_lock(&self, path: &Path, range: Range<u64>) -> io::Result<Option<Lock>> {
        let stage = stage();
        let owner = stage.actor().ok_or_else(|| io::Error::other("the process is gone"))?;
        let taken = self.operate(Operation::Lock, |state| Ok(state.locks.take(path, range, owner)))?;
        let machine = self.me.upgrade().expect("it is asked through its handle");
        Ok(taken.map(|number| Box::new(SimLock { machine, number }) as Lock))
    }

    fn lock(&self, path: &Path, range: Range<u64>) -> io::Result<Lock> {
        match self.try_lock(path, range)? {
            Some(lock) => Ok(lock),
            None => {
                stage().give_up();
                Err(io::Error::other("the process waits for a lock for ever"))
            }
        }
    }

    /// Whoever would have to wait is killed, as by `lock`.
    fn lock_within(&self, path: &Path, range: Range<u64>, _: Duration) -> io::Result<Option<Lock>> {
        self.lock(path, range).map(Some)
    }

    fn held_byte(&self, path: &Path, range: Range<u64>) -> io::Result<Option<u64>> {
        Ok(self.state().locks.held(path, range))
    }

    /// A disk that is full says so when it is written, at a moment that nobody foresees.
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn boot_id(&self) -> u64 {
        self.state().boot
    }

    /// Nobody in a simulation tries to foresee it, and it must follow from the seed alone.
    fn random(&self) -> u64 {
        let mut state = self.state();
        state.drawn += 1;
        (state.drawn ^ (self.number as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn spawn(&self, _name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        // Otherwise the thread is never heard of, as one that is slow.
        if stage().is_spare_ready() {
            work();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    machine: Arc<SimMachine>,
    inode: Inode,
}

impl MachineFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.machine.operate(Operation::Read, |state| Ok(state.disk.read(self.inode, buffer, offset)))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.machine.operate(Operation::Write, |state| {
            state.disk.write(self.inode, bytes, offset);
            Ok(())
        })
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.machine.operate(Operation::Write, |state| {
            state.disk.set_bytes(self.inode, bytes);
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.machine.state().disk.bytes(self.inode))
    }

    fn sync(&self) -> io::Result<()> {
        self.machine.operate(Operation::Sync, |state| state.disk.sync(self.inode))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

struct SimLock {
    machine: Arc<SimMachine>,
    number: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.machine.state().locks.release(self.number);
    }
}
