//! Questions to the kernel that the standard library does not ask, and the one clock of this crate.
//!
//! **Architecture Invariant:** no other file of this crate reads a clock that is compared between processes.
#![allow(unsafe_code, reason = "statfs and clock_gettime have no safe form without another dependency")]

use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path, time::Duration};

/// The magic number of the file system that holds `path`.
pub(crate) fn file_system_magic(path: &Path) -> io::Result<i64> {
    file_system(path).map(|answer| answer.f_type)
}

/// Bytes that the file system that holds `path` still has for this process.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    file_system(path).map(|answer| answer.f_bavail.saturating_mul(answer.f_bsize.cast_unsigned()))
}

/// What `statfs` tells.
fn file_system(path: &Path) -> io::Result<libc::statfs> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut answer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with a zero, and `answer` has room for what statfs writes.
    if unsafe { libc::statfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statfs succeeded, so it filled the structure.
    Ok(unsafe { answer.assume_init() })
}

/// The name of this host, or container; empty if the system does not tell.
pub(crate) fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: `name` has room for as many bytes as are said.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } != 0;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    if failed { String::new() } else { String::from_utf8_lossy(&name[..end]).into_owned() }
}

/// Time since the machine started, the same in every process of it.
pub(crate) fn machine_uptime() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

/// The same with the time in which the machine was suspended. No change of the wall clock moves it.
pub fn time_since_boot() -> Duration {
    clock(libc::CLOCK_BOOTTIME)
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for what clock_gettime writes.
    let failed = unsafe { libc::clock_gettime(which, &mut time) };
    assert_eq!(failed, 0, "every Linux has these clocks");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Differs after each start of the machine. 0 if the system does not tell.
pub(crate) fn boot_id() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    uuid::Uuid::parse_str(text.trim()).map_or(0, |id| {
        let (high, low) = id.as_u64_pair();
        (high ^ low).max(1)
    })
}

/// Why a file system can't hold a store: its name, if it is known to be shared between machines.
///
/// The fence and the durable lsn lie in a mapping that all replicas must see at once. Two machines that mount the
/// same directory each have a page cache of their own.
pub(crate) fn network_file_system(magic: i64) -> Option<&'static str> {
    // From linux/magic.h and the sources of each file system. Some are negative where the field has 32 bits.
    Some(match magic as u32 {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9p",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 | 0x0bd0_0bd1 => "Lustre",
        0x4750_4653 => "GPFS",
        0x7375_7245 => "Coda",
        0x564c => "NCP",
        0x1983_0326 => "BeeGFS",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        0xaad7_aaea => "PanFS",
        0x786f_4256 => "VirtualBox shared folders",
        0xbacb_acbc => "VMware shared folders",
        0x7c7c_6673 => "Parallels shared folders",
        0x6163_6673 => "ACFS",
        0x0131_11a8 => "IBRIX",
        0x2003_0528 => "OrangeFS",
        0xbeef_dead => "SNFS",
        // What lies behind it nobody tells.
        0x6573_5546 => "FUSE: sshfs, virtiofs, GlusterFS, JuiceFS or another",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert_eq!(network_file_system(0x6969), Some("NFS"));
        assert_eq!(network_file_system(i64::from(0xff53_4d42_u32)), Some("CIFS"));
        assert_eq!(network_file_system(i64::from(0xff53_4d42_u32 as i32)), Some("CIFS"));
        for (shared, name) in [
            (0x6573_5546, "FUSE: sshfs, virtiofs, GlusterFS, JuiceFS or another"),
            (0x0102_1997, "9p"),
            (0x00c3_6400, "Ceph"),
            (0x5346_414f, "AFS"),
            (0x0bd0_0bd0, "Lustre"),
            (0x7461_636f, "OCFS2"),
            (0x0116_1970, "GFS2"),
        ] {
            assert_eq!(network_file_system(shared), Some(name));
        }
        for (local, name) in [(0xef53, "ext4"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs"), (0x0102_1994, "tmpfs")] {
            assert_eq!(network_file_system(local), None, "{name}");
        }
    }

    #[test]
    fn this_machine_answers() {
        assert!(file_system_magic(Path::new("/")).is_ok());
        assert!(file_system_magic(Path::new("/no such directory")).is_err());
        let before = machine_uptime();
        assert!(machine_uptime() >= before);
        assert!(time_since_boot() >= before);
        assert_eq!(boot_id(), boot_id());
    }
}
