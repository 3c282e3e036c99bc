//! The shared page of one log: fence, durable lsn, who is primary, and a slot for each replica.
//!
//! Layout, little-endian words, offsets in bytes; only atomics touch it:
//!
//! ```text
//!    0 magic and version    8 boot id of the machine
//!   64 fence: newest epoch  72 reign: epoch << 16 | replica   80 primary: the same, once it answers
//!   88 layout: count of segments put in place             96 newest checkpoint published
//!  128 durable lsn         192 futex: news of the log, of any kind   256 futex: changes of the primary
//!  320 futex: checkpoints published
//! 4096 64 slots of 128 bytes:
//!      0 role   8 process id   16 applied lsn   24 beats   32 time of the last beat
//!     40 sequence lock of the address   48 address, 32 bytes
//!     80 how long a replay would take, in nanoseconds   88 how the guest is captured   96 the upgrade it is prepared for
//!    104 handlers that wait, and one
//! 12288 64 places of 128 bytes, where the processes of the replicas run:
//!      0 pid namespace   8 bytes of the host's name; 0 while it changes   16 the name, 64 bytes
//!     80 the rest of the replica's address, 48 bytes
//! ```
//!
//! It need not survive the machine: what it holds is rebuilt from the log at the first use after each start.
//!
//! **Architecture Invariant:** the fence, the durable lsn and the primary only rise while the machine runs.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
    time::Duration,
};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};

use super::{
    address::{ADDRESS_WORDS, IP_ADDRESS_WORDS, address_from_words},
    machine::Page,
    shared_page::futex_wake_all,
};
use crate::{ProcessPlace, REPLICAS_MAX};

const MAGIC: u64 = u64::from_le_bytes(*b"AMBCTL\0\x01");
const MAGIC_AT: usize = 0;
const BOOT_AT: usize = 8;
const FENCE_AT: usize = 64;
const REIGN_AT: usize = 72;
const PRIMARY_AT: usize = 80;
const LAYOUT_AT: usize = 88;
const CHECKPOINT_AT: usize = 96;
const DURABLE_AT: usize = 128;
const DURABLE_FUTEX_AT: usize = 192;
const LEADERSHIP_FUTEX_AT: usize = 256;
const CHECKPOINT_FUTEX_AT: usize = 320;
const SLOTS_AT: usize = 4096;
const SLOT_BYTES: usize = 128;
const PLACES_AT: usize = SLOTS_AT + SLOT_BYTES * REPLICAS_MAX as usize;
const PLACE_BYTES: usize = 128;
/// Bytes of the file.
pub(crate) const CONTROL_BYTES: usize = PLACES_AT + PLACE_BYTES * REPLICAS_MAX as usize;

const ROLE_AT: usize = 0;
const PID_AT: usize = 8;
const APPLIED_AT: usize = 16;
const BEATS_AT: usize = 24;
const BEAT_TIME_AT: usize = 32;
const ADDRESS_LOCK_AT: usize = 40;
const ADDRESS_AT: usize = 48;
const REPLAY_AT: usize = ADDRESS_AT + 8 * IP_ADDRESS_WORDS;
const CAPTURE_AT: usize = REPLAY_AT + 8;
const READY_AT: usize = CAPTURE_AT + 8;
const WAITING_AT: usize = READY_AT + 8;
const _: () = assert!(WAITING_AT + 8 <= SLOT_BYTES);

const NAMESPACE_AT: usize = 0;
const HOST_BYTES_AT: usize = 8;
const HOST_AT: usize = 16;
/// Longest name of a host on Linux; of a longer one as much is kept.
const HOST_BYTES_MAX: usize = 64;
const ADDRESS_REST_AT: usize = HOST_AT + HOST_BYTES_MAX;
const _: () = assert!(ADDRESS_REST_AT + 8 * (ADDRESS_WORDS - IP_ADDRESS_WORDS) <= PLACE_BYTES);

/// Roles, as their replicas say them.
pub(crate) const STANDBY: u64 = 0;
pub(crate) const PRIMARY: u64 = 1;

/// Tries at an address that is being changed, before it counts as unknown: its owner may have died meanwhile.
const ADDRESS_TRIES_MAX: u32 = 1000;

/// Which replica reigns with which epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ReignWord {
    pub(crate) epoch: Epoch,
    pub(crate) replica: ReplicaIndex,
}

impl ReignWord {
    fn to_word(self) -> u64 {
        assert!(self.epoch.0 < 1 << 48, "epochs stay below 2^48, the room that the word has for them");
        self.epoch.0 << 16 | u64::from(self.replica.0)
    }

    fn from_word(word: u64) -> ReignWord {
        ReignWord { epoch: Epoch(word >> 16), replica: ReplicaIndex(word as u16) }
    }
}

/// The shared page of one log.
pub(crate) struct ControlPage {
    page: Box<dyn Page>,
    is_from_log: bool,
}

impl ControlPage {
    pub(crate) fn new(page: Box<dyn Page>) -> ControlPage {
        ControlPage { page, is_from_log: false }
    }

    /// Memory of this process alone, which shows what the log told when it was opened.
    pub(crate) fn own(page: Box<dyn Page>) -> ControlPage {
        ControlPage { page, is_from_log: true }
    }

    pub(crate) fn is_from_log(&self) -> bool {
        self.is_from_log
    }

    /// An error if this process may only look. To be called before anything is stored: a page that is mapped for
    /// reading kills whoever does.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        if self.page.is_writable() && !self.is_from_log {
            return Ok(());
        }
        let text = "this process may only read the control page: run it as the owner of the store's files, or give \
                    them to its user (chown -R)";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Whether the file at `path` is still this page.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.page.is_at(path)
    }

    /// Whether the page was filled since the machine started. `boot` 0 means that nobody knows.
    pub(crate) fn is_current(&self, boot: u64) -> bool {
        self.has_magic() && self.page.word(BOOT_AT).load(Ordering::SeqCst) == boot && boot != 0
    }

    pub(crate) fn has_magic(&self) -> bool {
        self.page.word(MAGIC_AT).load(Ordering::SeqCst) == MAGIC
    }

    /// Fills the page from what the log says. No other process may use it yet.
    ///
    /// It becomes current with its last store, since others look at it without a lock.
    pub(crate) fn reset(&self, boot: u64, newest: Epoch, durable: Lsn, checkpoint: Lsn) {
        self.page.word(BOOT_AT).store(0, Ordering::SeqCst);
        if !self.has_magic() {
            self.page.word(FENCE_AT).store(0, Ordering::SeqCst);
        }
        for offset in [REIGN_AT, PRIMARY_AT, LAYOUT_AT].into_iter().chain((SLOTS_AT..CONTROL_BYTES).step_by(8)) {
            self.page.word(offset).store(0, Ordering::SeqCst);
        }
        self.page.word(FENCE_AT).fetch_max(newest.0, Ordering::SeqCst);
        self.page.word(DURABLE_AT).store(durable.0, Ordering::SeqCst);
        self.page.word(CHECKPOINT_AT).store(checkpoint.0, Ordering::SeqCst);
        self.page.word(MAGIC_AT).store(MAGIC, Ordering::SeqCst);
        self.page.word(BOOT_AT).store(boot, Ordering::SeqCst);
    }

    pub(crate) fn fence(&self) -> Epoch {
        Epoch(self.page.word(FENCE_AT).load(Ordering::SeqCst))
    }

    /// Announces `reign` and deposes the one before. `false` if somebody else did since `before` was read. The caller
    /// holds the lock of the reign.
    ///
    /// What the deposed primary wrote before it last saw the fence down can be read after this returns.
    pub(crate) fn raise_fence(&self, before: Epoch, reign: ReignWord) -> bool {
        assert!(reign.epoch > before, "a reign is named by a number that no reign before it had");
        let raised = self
            .page
            .word(FENCE_AT)
            .compare_exchange(before.0, reign.epoch.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        // Only by who won: candidates try several numbers, and nobody is to watch the heartbeat of one that lost. One
        // that is stopped before this store is taken for silent, as the primary before it is.
        if raised {
            self.page.word(REIGN_AT).fetch_max(reign.to_word(), Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        raised
    }

    /// The fence, read after all that this thread wrote and synced.
    pub(crate) fn fence_after_writes(&self) -> Epoch {
        fence(Ordering::SeqCst);
        self.fence()
    }

    pub(crate) fn reign(&self) -> ReignWord {
        ReignWord::from_word(self.page.word(REIGN_AT).load(Ordering::SeqCst))
    }

    pub(crate) fn layout(&self) -> u64 {
        self.page.word(LAYOUT_AT).load(Ordering::SeqCst)
    }

    /// Counts a segment put in place. To be called before any record in it is published as durable.
    pub(crate) fn count_segment(&self) {
        self.page.word(LAYOUT_AT).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.page.word(DURABLE_AT).load(Ordering::SeqCst))
    }

    pub(crate) fn publish_durable(&self, durable: Lsn) {
        self.page.word(DURABLE_AT).fetch_max(durable.0, Ordering::SeqCst);
        self.count_news();
    }

    pub(crate) fn publish_checkpoint(&self, lsn: Lsn) {
        self.page.word(CHECKPOINT_AT).fetch_max(lsn.0, Ordering::SeqCst);
        let word = self.page.futex(CHECKPOINT_FUTEX_AT);
        word.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(word);
        self.count_news();
    }

    /// Tells whoever follows the log that there is something new of it.
    fn count_news(&self) {
        let word = self.news_word();
        word.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(word);
    }

    /// Changes after [`ControlPage::checkpoint`] has.
    pub(crate) fn checkpoint_word(&self) -> &AtomicU32 {
        self.page.futex(CHECKPOINT_FUTEX_AT)
    }

    /// The newest checkpoint published since the page was filled.
    pub(crate) fn checkpoint(&self) -> Lsn {
        Lsn(self.page.word(CHECKPOINT_AT).load(Ordering::SeqCst))
    }

    /// Changes after the durable lsn, the newest checkpoint or the primary has: one word for all of it, since each word that
    /// is waited for takes its part of a thread.
    pub(crate) fn news_word(&self) -> &AtomicU32 {
        self.page.futex(DURABLE_FUTEX_AT)
    }

    /// The last primary that said where it answers.
    pub(crate) fn primary(&self) -> Option<ReignWord> {
        let word = self.page.word(PRIMARY_AT).load(Ordering::SeqCst);
        (word != 0).then(|| ReignWord::from_word(word))
    }

    pub(crate) fn publish_primary(&self, reign: ReignWord) {
        self.page.word(PRIMARY_AT).fetch_max(reign.to_word(), Ordering::SeqCst);
        self.count_leadership_change();
    }

    pub(crate) fn count_leadership_change(&self) {
        let word = self.page.futex(LEADERSHIP_FUTEX_AT);
        word.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(word);
        self.count_news();
    }

    pub(crate) fn leadership_word(&self) -> &AtomicU32 {
        self.page.futex(LEADERSHIP_FUTEX_AT)
    }

    /// The slot of a replica, whose number is below [`REPLICAS_MAX`].
    pub(crate) fn slot(&self, replica: ReplicaIndex) -> Slot<'_> {
        assert!(replica.0 < REPLICAS_MAX, "a replica gets no number above the limit");
        let number = usize::from(replica.0);
        Slot { page: &*self.page, at: SLOTS_AT + SLOT_BYTES * number, place_at: PLACES_AT + PLACE_BYTES * number }
    }
}

/// What one replica tells of itself. Only the holder of the replica's lock stores.
pub(crate) struct Slot<'a> {
    page: &'a dyn Page,
    at: usize,
    place_at: usize,
}

impl Slot<'_> {
    fn word(&self, offset: usize) -> &AtomicU64 {
        self.page.word(self.at + offset)
    }

    fn place_word(&self, offset: usize) -> &AtomicU64 {
        self.page.word(self.place_at + offset)
    }

    pub(crate) fn enter(&self, pid: u32, place: &ProcessPlace) {
        self.set_place(place);
        self.word(PID_AT).store(u64::from(pid), Ordering::SeqCst);
        self.word(ROLE_AT).store(0, Ordering::SeqCst);
        for offset in [APPLIED_AT, REPLAY_AT, CAPTURE_AT, READY_AT, WAITING_AT] {
            self.word(offset).store(0, Ordering::SeqCst);
        }
        self.set_address([0; ADDRESS_WORDS]);
    }

    fn set_place(&self, place: &ProcessPlace) {
        let length = place.host.floor_char_boundary(HOST_BYTES_MAX);
        let mut name = [0; HOST_BYTES_MAX];
        name[..length].copy_from_slice(&place.host.as_bytes()[..length]);
        self.place_word(HOST_BYTES_AT).store(0, Ordering::SeqCst);
        self.place_word(NAMESPACE_AT).store(place.pid_namespace, Ordering::SeqCst);
        for (i, word) in name.as_chunks().0.iter().enumerate() {
            self.place_word(HOST_AT + 8 * i).store(u64::from_le_bytes(*word), Ordering::SeqCst);
        }
        self.place_word(HOST_BYTES_AT).store(length as u64, Ordering::SeqCst);
    }

    /// Where the process runs; unknown parts if an older version entered, or while it enters.
    pub(crate) fn place(&self) -> ProcessPlace {
        let length = self.place_word(HOST_BYTES_AT).load(Ordering::SeqCst);
        let pid_namespace = self.place_word(NAMESPACE_AT).load(Ordering::SeqCst);
        let words = (0..HOST_BYTES_MAX / 8).map(|i| self.place_word(HOST_AT + 8 * i).load(Ordering::SeqCst));
        let name: Vec<u8> = words.flat_map(u64::to_le_bytes).take(length as usize).collect();
        if self.place_word(HOST_BYTES_AT).load(Ordering::SeqCst) != length {
            return ProcessPlace::default();
        }
        ProcessPlace { host: String::from_utf8_lossy(&name).into_owned(), pid_namespace }
    }

    pub(crate) fn set_applied(&self, applied: Lsn) {
        self.word(APPLIED_AT).store(applied.0, Ordering::Relaxed);
    }

    pub(crate) fn set_replay(&self, replay: Duration) {
        self.word(REPLAY_AT).store(replay.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn replay(&self) -> Duration {
        Duration::from_nanos(self.word(REPLAY_AT).load(Ordering::SeqCst))
    }

    pub(crate) fn set_capture(&self, capture: u64) {
        self.word(CAPTURE_AT).store(capture, Ordering::SeqCst);
    }

    pub(crate) fn capture(&self) -> u64 {
        self.word(CAPTURE_AT).load(Ordering::SeqCst)
    }

    /// 0 is what a host writes that knows no upgrades: nothing.
    pub(crate) fn set_ready(&self, attempt: u64) {
        self.word(READY_AT).store(attempt, Ordering::SeqCst);
    }

    pub(crate) fn ready(&self) -> u64 {
        self.word(READY_AT).load(Ordering::SeqCst)
    }

    /// One more than how many there are; 0 is what a host writes that does not tell: nothing.
    pub(crate) fn set_waiting(&self, handlers: Option<u64>) {
        let word = handlers.map_or(0, |handlers| handlers.saturating_add(1));
        self.word(WAITING_AT).store(word, Ordering::Relaxed);
    }

    pub(crate) fn waiting(&self) -> Option<u64> {
        self.word(WAITING_AT).load(Ordering::SeqCst).checked_sub(1)
    }

    pub(crate) fn beat(&self, role: u64, now: Duration) {
        self.word(ROLE_AT).store(role, Ordering::SeqCst);
        self.word(BEAT_TIME_AT).store(now.as_nanos() as u64, Ordering::SeqCst);
        self.word(BEATS_AT).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn role(&self) -> u64 {
        self.word(ROLE_AT).load(Ordering::SeqCst)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.word(PID_AT).load(Ordering::SeqCst) as u32
    }

    pub(crate) fn applied(&self) -> Lsn {
        Lsn(self.word(APPLIED_AT).load(Ordering::SeqCst))
    }

    pub(crate) fn beats(&self) -> u64 {
        self.word(BEATS_AT).load(Ordering::SeqCst)
    }

    pub(crate) fn beat_time(&self) -> Duration {
        Duration::from_nanos(self.word(BEAT_TIME_AT).load(Ordering::SeqCst))
    }

    /// The word of that number of the address.
    fn address_word(&self, number: usize) -> &AtomicU64 {
        match number.checked_sub(IP_ADDRESS_WORDS) {
            None => self.word(ADDRESS_AT + 8 * number),
            Some(of_rest) => self.place_word(ADDRESS_REST_AT + 8 * of_rest),
        }
    }

    /// An odd sequence number says that the address is being changed.
    pub(crate) fn set_address(&self, address: [u64; ADDRESS_WORDS]) {
        let lock = self.word(ADDRESS_LOCK_AT);
        let odd = lock.load(Ordering::SeqCst) | 1;
        lock.store(odd, Ordering::SeqCst);
        for (number, word) in address.into_iter().enumerate() {
            self.address_word(number).store(word, Ordering::SeqCst);
        }
        lock.store(odd + 1, Ordering::SeqCst);
    }

    pub(crate) fn address(&self) -> Option<HostAddress> {
        let lock = self.word(ADDRESS_LOCK_AT);
        for _ in 0..ADDRESS_TRIES_MAX {
            let before = lock.load(Ordering::SeqCst);
            let words = std::array::from_fn(|number| self.address_word(number).load(Ordering::SeqCst));
            if before.is_multiple_of(2) && lock.load(Ordering::SeqCst) == before {
                return address_from_words(words);
            }
            std::hint::spin_loop();
        }
        None
    }
}
