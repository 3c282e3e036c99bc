//! Which replicas of a log run, and where its primary answers.
//!
//! ```text
//! place/{log}/{replica}    which process has the place of a replica: whoever takes it has changed that key
//! closed/{log}             which process removes or copies the log: while it is alive nobody takes a place
//! member/{log}/{replica}/{host}   a note: what the replica of that host says of itself
//! ```
//! A replica runs as long as its place is taken by a host that is alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};
use ambrosia_storage::{
    Callback, CaptureMeans, EnterError, IoError, LogId, Member, Members, Presence, PrimaryInfo, ProcessPlace,
    REPLICAS_MAX, Revision, Role, Subscription,
};
use serde::{Deserialize, Serialize};

use super::{
    Inner,
    note::{self, Note, Speaker},
    observer::Life,
    registrations, rollbacks, stored,
};
use crate::{
    engine::{EngineHead, HostId, News},
    keys::{KeyEntry, PutRefused, Space},
    limits::ANSWER_TIME,
    shell::host::io_error,
};

pub(super) struct EngineMembers {
    pub(super) inner: Arc<Inner>,
    pub(super) log: LogId,
}

/// Which process has the place of a replica, or is a host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    host: [u8; 16],
    pid: u32,
    machine: String,
    pid_namespace: u64,
    /// Which time that machine runs since it was switched on; empty if that is not known.
    boot: String,
}

impl Place {
    pub(super) fn here(host: HostId) -> Place {
        let ProcessPlace { host: machine, pid_namespace } = ProcessPlace::here().clone();
        Place { host: host.0, pid: std::process::id(), machine, pid_namespace, boot: boot() }
    }

    pub(super) fn host(&self) -> HostId {
        HostId(self.host)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn process(&self) -> ProcessPlace {
        ProcessPlace { host: self.machine.clone(), pid_namespace: self.pid_namespace }
    }

    /// Whether its process is known to be over: nothing has to be waited for then.
    pub(super) fn has_ended(&self) -> bool {
        // Another machine may have the same number for its namespace.
        let is_same_machine = !self.boot.is_empty() && self.boot == boot();
        let has_same_numbers = self.process().has_same_numbers(ProcessPlace::here());
        is_same_machine && has_same_numbers && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// Another one each time a machine is switched on.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn prefix(log: LogId) -> String {
    format!("place/{log}/")
}

pub(super) fn key(log: LogId, replica: ReplicaIndex) -> String {
    format!("{}{:05}", prefix(log), replica.0)
}

pub(super) fn closed_key(log: LogId) -> String {
    format!("closed/{log}")
}

/// What replicas say of themselves, by the hosts that they are on.
type Notes = BTreeMap<(ReplicaIndex, HostId), Note>;

/// The places of the replicas of a log that are taken.
type Places = BTreeMap<ReplicaIndex, (Place, Life)>;

impl EngineMembers {
    fn head(&self) -> Result<EngineHead, IoError> {
        self.inner.host.head(self.log).map_err(|fault| io_error(&fault))
    }

    /// Which replicas run, and what became of hosts that had a place.
    fn places(&self) -> Result<Places, IoError> {
        let entries = self.inner.desk.list(Space::Store, &prefix(self.log), true)?;
        let place = |entry: &KeyEntry| Some((note::replica_of(&entry.key)?, stored::decode::<Place>(&entry.value)?));
        let places: BTreeMap<ReplicaIndex, Place> = entries.iter().filter_map(place).collect();
        let ended = |place: &&Place| !place.has_ended();
        let hosts: BTreeSet<HostId> = places.values().filter(ended).map(Place::host).collect();
        let lives = self.inner.observer.lives(&self.inner.desk, hosts)?;
        let gone = Life { is_alive: false, silence: Duration::MAX };
        let life = |replica: ReplicaIndex, place: &Place| {
            let life = lives.get(&place.host()).copied().unwrap_or(gone);
            // A place of this process that nobody here has was put by a request that came late.
            let is_entered = place.host() != self.inner.desk.me || self.inner.places.has(self.log, replica);
            Life { is_alive: life.is_alive && is_entered, ..life }
        };
        Ok(places.into_iter().map(|(replica, place)| (replica, (place.clone(), life(replica, &place)))).collect())
    }

    fn notes(&self) -> Result<Notes, IoError> {
        self.inner.clerk.flush()?;
        let notes = self.inner.notes(&note::prefix(self.log))?;
        Ok(notes.iter().filter_map(|(name, note)| Some((note::speaker_of(name)?, Note::decode(note)?))).collect())
    }
}

fn member(replica: ReplicaIndex, places: &Places, notes: &Notes, head: &EngineHead) -> Member {
    let place = places.get(&replica);
    let runs = place.is_some_and(|(_, life)| life.is_alive);
    // What another life has said counts no more.
    let note = place.and_then(|(place, _)| notes.get(&(replica, place.host()))).cloned().unwrap_or_default();
    let reigns =
        head.is_reigned && head.replica == replica && place.is_some_and(|(place, _)| place.host() == head.claim.host);
    let role = match (runs, reigns && note.is_primary()) {
        (false, _) => Role::Down,
        (true, true) => Role::Primary,
        (true, false) => Role::Standby,
    };
    Member {
        replica,
        role,
        applied: note.applied(),
        pid: place.map_or(0, |(place, _)| place.pid),
        place: place.map(|(place, _)| place.process()).unwrap_or_default(),
        heartbeat_age: place.map_or(Duration::MAX, |(_, life)| life.silence),
        address: note.address().filter(|_| runs),
        replay: note.replay(),
        capture: note.capture().filter(|_| runs),
        ready: note.ready().filter(|_| runs),
        waiting: note.waiting().filter(|_| runs),
    }
}

impl Members for EngineMembers {
    fn enter(&self, replica: ReplicaIndex) -> Result<Box<dyn Presence>, EnterError> {
        if replica.0 >= REPLICAS_MAX {
            return Err(EnterError::NumberTooHigh { replica });
        }
        let (desk, me) = (&self.inner.desk, self.inner.desk.me);
        let place = key(self.log, replica);
        let already = |place: &Place| EnterError::AlreadyRunning { replica, pid: place.pid, place: place.process() };
        if !self.inner.places.enter(self.log, replica) {
            return Err(already(&Place::here(me)));
        }
        // While a log is followed the host says that it is alive.
        let alive = self.inner.host.follow(self.log, Box::new(|| ()));
        // Given back by whatever ends this.
        let entered = Entered { inner: Arc::clone(&self.inner), log: self.log, replica };
        let value = stored::encode(&Place::here(me));
        let revision = loop {
            let stands = desk.get(Space::Store, &place)?;
            if let Some(other) = stands.as_ref().and_then(|entry| stored::decode::<Place>(&entry.value))
                && other.host() != me
                && !other.has_ended()
                && self.inner.observer.is_alive(desk, other.host())?
            {
                return Err(already(&other));
            }
            let expected = stands.as_ref().map(|entry| entry.revision);
            let before = stands.and_then(|entry| stored::decode::<Place>(&entry.value)).map(|other| other.host());
            let put = desk.put(Space::Store, &place, expected, value.clone(), Some(self.log));
            match put.inspect_err(|_| self.inner.places.may_be_taken(self.log, replica))? {
                Ok(revision) => {
                    // Nobody else removes what a host has said that is gone.
                    let gone = before.filter(|host| *host != me);
                    gone.iter().for_each(|host| self.inner.clerk.forget(&note::name(self.log, replica, *host)));
                    break revision;
                }
                Err(PutRefused::NoLog) => return Err(self.gone("the log is gone").into()),
                Err(PutRefused::Stands(_)) => {}
            }
        };
        let speaker = Arc::new(Speaker::new(note::name(self.log, replica, me)));
        let presence = EnginePresence { entered, revision, speaker: Arc::clone(&speaker), _alive: alive };
        // Whoever closes the log looks at places after that is written down: so one sees the other.
        if let Some(closed) = desk.get(Space::Store, &closed_key(self.log))? {
            let goes_on = match stored::decode::<Place>(&closed.value) {
                Some(by) => !by.has_ended() && self.inner.observer.is_alive(desk, by.host())?,
                // An older program does not say who it is.
                None => registrations::are_held(desk)?,
            };
            if goes_on {
                return Err(self.gone("the instance is being deregistered or copied").into());
            }
            // What was cut short.
            let _changed = desk.delete(Space::Store, &closed.key, closed.revision)?;
        }
        rollbacks::check(&self.inner, self.log)?;
        self.inner.clerk.listen(&speaker);
        Ok(Box::new(presence))
    }

    fn members(&self, replicas: &[ReplicaIndex]) -> Result<Vec<Member>, IoError> {
        let (notes, head, places) = (self.notes()?, self.head()?, self.places()?);
        let numbers = replicas.iter().filter(|replica| replica.0 < REPLICAS_MAX);
        Ok(numbers.map(|replica| member(*replica, &places, &notes, &head)).collect())
    }

    fn running(&self) -> Result<Vec<Member>, IoError> {
        let (notes, head, places) = (self.notes()?, self.head()?, self.places()?);
        let running = places.iter().filter(|(_, (_, life))| life.is_alive);
        Ok(running.map(|(replica, _)| member(*replica, &places, &notes, &head)).collect())
    }

    fn is_running(&self, replica: ReplicaIndex) -> Result<bool, IoError> {
        Ok(self.places()?.get(&replica).is_some_and(|(_, life)| life.is_alive))
    }

    fn primary(&self) -> Result<Option<PrimaryInfo>, IoError> {
        let (notes, head) = (self.notes()?, self.head()?);
        if !(head.is_reigned && head.is_announced) {
            return Ok(None);
        }
        let (replica, epoch) = (head.replica, head.epoch);
        let note = notes.get(&(replica, head.claim.host)).filter(|note| note.announced() == epoch);
        let Some(address) = note.and_then(Note::address) else { return Ok(None) };
        let place = self.inner.desk.get(Space::Store, &key(self.log, replica))?;
        let place = place.and_then(|entry| stored::decode::<Place>(&entry.value));
        Ok(place.map(|place| PrimaryInfo { replica, epoch, address, pid: place.pid }))
    }

    fn primary_seen(&self) -> Result<Option<PrimaryInfo>, IoError> {
        let Some(head) = self.inner.host.seen(self.log) else { return self.primary() };
        if !(head.is_reigned && head.is_announced) {
            return Ok(None);
        }
        let Some((address, pid)) = self.inner.addresses.of(&self.inner.desk, head.claim.host)? else {
            return self.primary();
        };
        Ok(Some(PrimaryInfo { replica: head.replica, epoch: head.epoch, address, pid }))
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.inner.host.follow(self.log, call))
    }
}

impl EngineMembers {
    fn gone(&self, why: &str) -> IoError {
        let source = io::Error::new(io::ErrorKind::NotFound, why.to_owned());
        IoError { action: "enter", place: self.inner.place_of(self.log), source }
    }
}

/// A replica that runs in this process, until dropped.
struct Entered {
    inner: Arc<Inner>,
    log: LogId,
    replica: ReplicaIndex,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.inner.places.leave(self.log, self.replica);
    }
}

struct EnginePresence {
    entered: Entered,
    revision: Revision,
    speaker: Arc<Speaker>,
    /// By which others see that it runs.
    _alive: Subscription,
}

impl Presence for EnginePresence {
    fn beat(&self, role: Role) {
        // That the host is alive its committer says.
        self.speaker.say(|note| note.set_role(role));
    }

    fn lost_store(&self) -> Result<Option<String>, IoError> {
        Ok(None)
    }

    fn set_applied(&self, applied: Lsn) {
        self.speaker.say(|note| note.set_applied(applied));
    }

    fn set_replay(&self, replay: Duration) {
        self.speaker.say(|note| note.set_replay(replay));
    }

    fn set_capture(&self, means: CaptureMeans) {
        self.speaker.say(|note| note.set_capture(means));
    }

    fn set_ready(&self, attempt: u64) {
        self.speaker.say(|note| note.set_ready(attempt));
    }

    fn set_waiting(&self, handlers: Option<u64>) {
        self.speaker.say(|note| note.set_waiting(handlers));
    }

    fn set_address(&self, address: &HostAddress) -> Result<(), IoError> {
        self.speaker.say(|note| note.set_address(address));
        Ok(())
    }

    fn publish_primary(&self, epoch: Epoch) {
        self.speaker.say(|note| note.announced() <= epoch && note.set_announced(epoch));
        let Entered { inner, log, .. } = &self.entered;
        inner.clerk.tell(News::Announced { log: *log, epoch, host: inner.desk.me });
    }

    fn replica(&self) -> ReplicaIndex {
        self.entered.replica
    }
}

impl Drop for EnginePresence {
    fn drop(&mut self) {
        let Entered { inner, log, replica } = &self.entered;
        self.speaker.fall_silent();
        inner.clerk.forget(&self.speaker.name);
        let left = inner.desk.delete_within(Space::Store, &key(*log, *replica), self.revision, ANSWER_TIME);
        if left.is_err() {
            // This host may be alive for long, and for others the replica with it.
            inner.places.is_left(*log, *replica);
        }
    }
}

/// Which replica of a log runs, if one does, or a primary; seen by whoever has closed it.
pub(super) fn running(inner: &Arc<Inner>, log: LogId) -> Result<Option<String>, IoError> {
    let members = EngineMembers { inner: Arc::clone(inner), log };
    if let Some((replica, _)) = members.places()?.iter().find(|(_, (_, life))| life.is_alive) {
        return Ok(Some(format!("replica {replica}")));
    }
    let head = members.head()?;
    let reigns = head.is_reigned && inner.observer.is_alive(&inner.desk, head.claim.host)?;
    Ok(reigns.then(|| "a primary".to_owned()))
}

/// Removes the places of a log that is gone.
pub(super) fn remove_places(inner: &Inner, log: LogId) -> Result<(), IoError> {
    for place in inner.desk.list(Space::Store, &prefix(log), false)? {
        // Whoever has changed it is told that the log is gone.
        let _changed = inner.desk.delete(Space::Store, &place.key, place.revision)?;
    }
    Ok(())
}
