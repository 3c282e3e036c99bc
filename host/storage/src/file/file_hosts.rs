//! Hosts of a store on files: a file for each of them, which is mapped by all processes.
//!
//! ```text
//! hosts/{name}:   0 magic "AMBHOST" and format version   8 length of the text   16 CRC-32C of it
//!                24 when it said last that it is alive, in nanoseconds since the machine started
//!                64 text: uuid, address, process, namespace of that number, name of the machine, and which time that runs;
//!                   a line each
//! ```
//! Byte 0 is locked for as long as the host lives.
//!
//! **Architecture Invariant:** a host runs as long as that lock is held, whatever the page says.

use std::{io, path::PathBuf, sync::atomic::Ordering, time::Duration};

use ambrosia_core::HostAddress;

use super::{
    byte_lock::{ByteLock, held_byte},
    durable_file::{create_directory_durably, file_names, remove_durably},
    machine::ThisMachine,
    shared_page::SharedPage,
    system::{boot_id, machine_uptime},
};
use crate::{
    HEARTBEAT_SILENCE, HostInfo, HostName, HostPresence, HostUuid, Hosts, IoError, JoinError, ProcessPlace,
    io_error::IoContext,
};

const PAGE_BYTES: usize = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"AMBHOST\x01");
const MAGIC_AT: usize = 0;
const LENGTH_AT: usize = 8;
const CHECKSUM_AT: usize = 16;
const BEAT_AT: usize = 24;
const TEXT_AT: usize = 64;
const TEXT_BYTES_MAX: usize = PAGE_BYTES - TEXT_AT;

const LOCK_BYTE: std::ops::Range<u64> = 0..1;

/// What somebody writes just now can be read a moment later.
const READS_MAX: u32 = 100;

/// The hosts of a store in a directory.
pub(crate) struct FileHosts {
    directory: PathBuf,
}

/// What a host says of itself.
struct Said {
    uuid: HostUuid,
    address: HostAddress,
    pid: u32,
    place: ProcessPlace,
    boot: u64,
}

impl Said {
    fn encode(&self) -> String {
        let Said { uuid, address, pid, place: ProcessPlace { host, pid_namespace }, boot } = self;
        let machine: String = host.chars().filter(|c| !c.is_control()).take(255).collect();
        format!("{uuid}\n{address}\n{pid}\n{pid_namespace}\n{machine}\n{boot}\n")
    }

    /// `None` if it is nothing that this program has written.
    fn decode(text: &str) -> Option<Said> {
        let mut lines = text.split('\n');
        let uuid = HostUuid(uuid::Uuid::parse_str(lines.next()?).ok()?.into_bytes());
        let address = lines.next()?.parse().ok()?;
        let pid = lines.next()?.parse().ok()?;
        let pid_namespace = lines.next()?.parse().ok()?;
        let place = ProcessPlace { host: lines.next()?.to_owned(), pid_namespace };
        let boot = lines.next()?.parse().ok()?;
        Some(Said { uuid, address, pid, place, boot })
    }
}

/// Others read it while it changes: the length is 0 meanwhile, and the checksum shows what is half of each.
fn write(page: &SharedPage, said: &Said) {
    let text = said.encode();
    let text = text.as_bytes();
    assert!(text.len() <= TEXT_BYTES_MAX, "names of hosts and machines are bounded");
    page.word(LENGTH_AT).store(0, Ordering::SeqCst);
    page.word(BEAT_AT).store(machine_uptime().as_nanos() as u64, Ordering::SeqCst);
    for (n, bytes) in text.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        page.word(TEXT_AT + 8 * n).store(u64::from_le_bytes(word), Ordering::SeqCst);
    }
    page.word(CHECKSUM_AT).store(crc32c::crc32c(text).into(), Ordering::SeqCst);
    page.word(MAGIC_AT).store(MAGIC, Ordering::SeqCst);
    page.word(LENGTH_AT).store(text.len() as u64, Ordering::SeqCst);
}

/// `None` if nobody has said anything there that can be read.
fn read(page: &SharedPage) -> Option<Said> {
    let word = |at| page.word(at).load(Ordering::SeqCst);
    (0..READS_MAX).find_map(|tries| {
        if tries > 0 {
            std::thread::yield_now();
        }
        let (length, checksum) = (word(LENGTH_AT) as usize, word(CHECKSUM_AT));
        if word(MAGIC_AT) != MAGIC || length == 0 || length > TEXT_BYTES_MAX {
            return None;
        }
        let words = (0..length.div_ceil(8)).flat_map(|n| word(TEXT_AT + 8 * n).to_le_bytes());
        let text: Vec<u8> = words.take(length).collect();
        if u64::from(crc32c::crc32c(&text)) != checksum {
            return None;
        }
        Said::decode(std::str::from_utf8(&text).ok()?)
    })
}

impl FileHosts {
    pub(crate) fn new(directory: PathBuf) -> FileHosts {
        FileHosts { directory }
    }

    fn path(&self, name: &HostName) -> PathBuf {
        self.directory.join(name.as_str())
    }

    fn info(&self, name: HostName) -> Result<Option<HostInfo>, IoError> {
        let path = self.path(&name);
        let Some(page) = SharedPage::open(&path, PAGE_BYTES).context("map", &path)? else { return Ok(None) };
        let Some(Said { uuid, address, pid, place, boot }) = read(&page) else { return Ok(None) };
        let runs = match held_byte(&path, LOCK_BYTE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None), // it was forgotten meanwhile
            held => held.context("examine the locks of", &path)?.is_some(),
        };
        let uptime = machine_uptime();
        let beaten = Duration::from_nanos(page.word(BEAT_AT).load(Ordering::SeqCst));
        // What was said before the machine started says nothing of how long ago that is.
        let silence = if boot == boot_id() { uptime.saturating_sub(beaten) } else { uptime };
        let is_alive = runs && silence < HEARTBEAT_SILENCE;
        Ok(Some(HostInfo { name, uuid, address, pid, place, is_alive, silence }))
    }
}

impl Hosts for FileHosts {
    fn join(&self, name: &HostName, address: &HostAddress) -> Result<Box<dyn HostPresence>, JoinError> {
        create_directory_durably(&self.directory)?;
        let path = self.path(name);
        loop {
            let page = SharedPage::create_or_open(&path, PAGE_BYTES).context("map", &path)?;
            let lock = ByteLock::try_take(&path, LOCK_BYTE);
            if lock.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue; // it was forgotten meanwhile
            }
            let Some(lock) = lock.context("lock", &path)? else {
                let (pid, place) = read(&page).map_or_else(Default::default, |said| (said.pid, said.place));
                return Err(JoinError::Taken { name: name.clone(), pid, place });
            };
            // Whoever has the lock of the file that is there may change it.
            if !page.is_at(&path).context("examine", &path)? {
                continue;
            }
            let uuid = HostUuid(uuid::Uuid::new_v4().into_bytes());
            let (pid, place) = (std::process::id(), ProcessPlace::here().clone());
            write(&page, &Said { uuid, address: address.clone(), pid, place, boot: boot_id() });
            return Ok(Box::new(FileHostPresence { page, uuid, _lock: lock }));
        }
    }

    fn hosts(&self) -> Result<Vec<HostInfo>, IoError> {
        if !self.directory.is_dir() {
            return Ok(Vec::new());
        }
        let names = file_names(&ThisMachine, &self.directory)?;
        let names = names.iter().filter_map(|name| HostName::new(name).ok());
        names.filter_map(|name| self.info(name).transpose()).collect()
    }

    fn forget(&self, host: &HostInfo) -> Result<(), IoError> {
        let path = self.path(&host.name);
        let Some(page) = SharedPage::open(&path, PAGE_BYTES).context("map", &path)? else { return Ok(()) };
        let lock = match ByteLock::try_take(&path, LOCK_BYTE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            lock => lock.context("lock", &path)?,
        };
        let is_it =
            page.is_at(&path).context("examine", &path)? && read(&page).is_none_or(|said| said.uuid == host.uuid);
        if lock.is_some() && is_it { remove_durably(&ThisMachine, &path) } else { Ok(()) }
    }
}

struct FileHostPresence {
    page: SharedPage,
    uuid: HostUuid,
    _lock: ByteLock,
}

impl HostPresence for FileHostPresence {
    fn beat(&self) {
        self.page.word(BEAT_AT).store(machine_uptime().as_nanos() as u64, Ordering::SeqCst);
    }

    fn uuid(&self) -> HostUuid {
        self.uuid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> (tempfile::TempDir, FileHosts) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let hosts = FileHosts::new(directory.path().join("hosts"));
        (directory, hosts)
    }

    fn address() -> HostAddress {
        "a.example:7400".parse().expect("an address")
    }

    #[test]
    fn a_host_that_does_not_say_that_it_is_alive_is_silent_and_keeps_its_name() {
        let (_directory, hosts) = hosts();
        let name = HostName::new("a.example:7400").expect("a name");
        let presence = hosts.join(&name, &address()).expect("nobody has it");
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while hosts.hosts().expect("works")[0].is_alive {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(matches!(hosts.join(&name, &address()), Err(JoinError::Taken { .. })), "it may go on");
        presence.beat();
        assert!(hosts.hosts().expect("works")[0].is_alive);
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_no_host() {
        let (_directory, hosts) = hosts();
        let name = HostName::new("a").expect("a name");
        drop(hosts.join(&name, &address()).expect("nobody has it"));
        let path = hosts.path(&name);
        let good = std::fs::read(&path).expect("it is there");
        for at in [0, 7, 8, 16, TEXT_AT, TEXT_AT + 40] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).expect("there is room");
            assert_eq!(hosts.hosts().expect("works"), [], "byte {at}");
        }
        std::fs::write(&path, b"short").expect("there is room");
        assert_eq!(hosts.hosts().expect("works"), []);
        assert!(hosts.join(&name, &address()).is_ok(), "it is written anew");
    }
}
