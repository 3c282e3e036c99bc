//! A small disk of its own for the store: a file with a file system in it, mounted where only this round sees it.

use std::{
    ffi::CString,
    fs::File,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, ensure};

use super::{
    namespace::{is_root, leave_mounts_of_others},
    tool::{need_tool, run_tool},
};

/// Of the whole file system. The file is sparse.
const DISK_BYTES: u64 = 512 << 20;

/// Where the kernel is told how many writes a second a disk does: that of all processes, which only cgroups of version 1 have.
const WRITES_FILE: &str = "/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device";

/// What a slow disk does: a sync takes two at least, which is a quarter of a second.
const SLOW_WRITES_PER_S: u64 = 8;

/// A mounted disk. Dropped, it is unmounted; when the thread of the round ends, it vanishes in any case.
pub(crate) struct Disk {
    mounted: PathBuf,
    is_slow: AtomicBool,
}

impl Disk {
    /// Why there can be none here, if so.
    pub(crate) fn impossible() -> Option<String> {
        if !is_root() {
            return Some("mounting a disk needs root".to_owned());
        }
        for (tool, version) in [("mkfs.ext4", "-V"), ("mount", "-V"), ("umount", "-V")] {
            if let Err(reason) = need_tool(tool, version) {
                return Some(reason);
            }
        }
        let tried = || -> anyhow::Result<()> {
            let directory = tempfile::tempdir()?;
            let mounted = directory.path().join("disk");
            std::thread::spawn(move || Disk::mount(&mounted, &mounted.with_extension("image")).map(drop))
                .join()
                .expect("mounting does not panic")
        };
        tried().err().map(|error| format!("{error:#}"))
    }

    /// Makes a disk in the file `image`, and mounts it at `mounted`, for the calling thread and what it starts.
    pub(crate) fn mount(mounted: &Path, image: &Path) -> anyhow::Result<Disk> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the path is text");
        leave_mounts_of_others().context("make a mount namespace")?;
        File::create(image)?.set_len(DISK_BYTES)?;
        run_tool("mkfs.ext4", &["-q", "-F", "-m", "0", &text(image)?])?;
        std::fs::create_dir(mounted)?;
        run_tool("mount", &["-o", "loop", &text(image)?, &text(mounted)?])?;
        Ok(Disk { mounted: mounted.to_owned(), is_slow: AtomicBool::new(false) })
    }

    /// Where it is mounted.
    pub(crate) fn mounted(&self) -> &Path {
        &self.mounted
    }

    /// Why one can't be made slow here, if so.
    pub(crate) fn slow_impossible() -> Option<String> {
        let missing = !Path::new(WRITES_FILE).exists();
        missing.then(|| format!("a disk is made slow by {WRITES_FILE}, which this kernel has not mounted"))
    }

    /// Each sync takes long from now on, or no more.
    pub(crate) fn slow_down(&self, is_slow: bool) -> anyhow::Result<()> {
        let device = std::fs::metadata(&self.mounted)?.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let writes = if is_slow { SLOW_WRITES_PER_S } else { 0 };
        std::fs::write(WRITES_FILE, format!("{major}:{minor} {writes}")).context("make a disk slow")?;
        self.is_slow.store(is_slow, Ordering::Relaxed);
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join("ballast")
    }

    /// Leaves at most `left` bytes free.
    pub(crate) fn fill(&self, left: u64) -> anyhow::Result<()> {
        let ballast = File::options().append(true).create(true).open(self.ballast()).context("create the ballast")?;
        let mut step = DISK_BYTES;
        while step >= 4096 {
            let free = free_bytes(&self.mounted)?;
            let more = free.saturating_sub(left).min(step) & !4095;
            if more == 0 {
                break;
            }
            match allocate(&ballast, more) {
                Ok(()) => {}
                // Others take some of it at the same time.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => step = more / 2,
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
        ensure!(free_bytes(&self.mounted)? <= left + (8 << 20), "the disk could not be filled");
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.ballast()).context("remove the ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The next disk may have the same number.
        if self.is_slow.load(Ordering::Relaxed)
            && let Err(error) = self.slow_down(false)
        {
            eprintln!("{error:#}");
        }
        // Lazily: threads of clients may still look at the store. It goes with the namespace in any case.
        if let Some(path) = self.mounted.to_str()
            && let Err(error) = run_tool("umount", &["-l", path])
        {
            eprintln!("{error:#}");
        }
    }
}

#[allow(unsafe_code, reason = "a system call that the standard library does not have")]
fn free_bytes(directory: &Path) -> anyhow::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with zero, and the buffer is as large as the call wants it.
    let done = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    ensure!(done == 0, "statvfs: {}", std::io::Error::last_os_error());
    // SAFETY: the call has succeeded, so the buffer is filled.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Makes a file longer by that many bytes, which it really occupies.
#[allow(unsafe_code, reason = "a system call that the standard library does not have")]
fn allocate(file: &File, bytes: u64) -> std::io::Result<()> {
    let (from, bytes) = (file.metadata()?.len().cast_signed(), bytes.cast_signed());
    // SAFETY: it acts on an open file, and touches no memory.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, from, bytes) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
