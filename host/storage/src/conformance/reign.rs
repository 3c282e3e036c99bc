//! A primary for checks: appends records with text in them and waits for their events.
//!
//! **Architecture Invariant:** it waits for events and never for time, but for a limit after which the check fails.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use ambrosia_core::{
    Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex,
    Timestamp,
};

use crate::{
    Acquired, AppendError, BlobHash, FenceLook, LogEvent, LogStore, LogTail, LogWriter, StopCause, Subscription,
    Vacancy,
};

/// Nothing in a check takes that long.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Opens further handles on one log.
pub type Handles = Box<dyn Fn() -> Arc<dyn LogStore> + Send + Sync>;

/// The module of the instance whose log is checked.
pub const MODULE: &[u8] = b"module";

/// A genesis record.
pub fn genesis() -> Record {
    genesis_of(InstanceUuid([7; 16]))
}

/// That of another instance of the same name.
pub fn genesis_of(uuid: InstanceUuid) -> Record {
    Genesis {
        uuid,
        module: BlobHash::of(MODULE).0,
        seed: 1,
        limits: Limits { fuel: 1, memory_bytes: 1 },
        name: InstanceName::new("checked").expect("plain"),
    }
    .record(Timestamp(1))
}

/// All durable records from the first.
pub fn read_all(log: &dyn LogStore) -> Vec<Record> {
    drain(log.tail(Lsn(1)).expect("the log can be read").as_mut())
}

/// Watches until nobody seems to be primary, but no longer than that.
///
/// # Panics
/// If it can't be found out.
pub fn wait_for_vacancy(log: &dyn LogStore, limit: Duration) -> Option<Vacancy> {
    let (sender, found) = mpsc::channel();
    // Whoever waits may have given up.
    let _watch = log.watch(Box::new(move |vacancy| drop(sender.send(vacancy)))).expect("there are threads");
    found.recv_timeout(limit).ok().map(|vacancy| vacancy.expect("works"))
}

/// A tail, and a subscription to what it may read.
pub struct Follower {
    /// Where it reads.
    pub tail: Box<dyn LogTail>,
    more: mpsc::Receiver<()>,
    _subscription: Subscription,
}

impl Follower {
    /// Follows the log from `from` on.
    pub fn new(log: &dyn LogStore, from: Lsn) -> Follower {
        let (sender, more) = mpsc::channel();
        let call = move || {
            // Whoever followed may have gone.
            let _gone = sender.send(());
        };
        let subscription = log.subscribe(Box::new(call)).expect("there are threads");
        Follower { tail: log.tail(from).expect("the log can be read"), more, _subscription: subscription }
    }

    /// The next records, at least one.
    pub fn follow(&mut self) -> Vec<Record> {
        loop {
            let records = self.tail.read().expect("the log can be read");
            if !records.is_empty() {
                return records;
            }
            self.more.recv_timeout(LIMIT).expect("it is told when there is more");
        }
    }
}

/// All durable records that the tail has not returned yet.
pub(super) fn drain(tail: &mut dyn LogTail) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = tail.read().expect("the log can be read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// One reign of one primary.
pub struct Reign {
    /// Its epoch.
    pub epoch: Epoch,
    /// What [`LogTail::acquire`] returned.
    pub records: Vec<Record>,
    /// Where it appends.
    pub writer: Box<dyn LogWriter>,
    events: mpsc::Receiver<(Epoch, LogEvent)>,
    last: RecordHeader,
    durable: Lsn,
    stopped: Option<StopCause>,
    looks: u64,
    looked: Option<(u64, Result<(), Epoch>)>,
}

impl Reign {
    /// Begins after all that is durable was read.
    pub fn begin(log: &dyn LogStore, replica: u16) -> Reign {
        let mut tail = log.tail(Lsn(1)).expect("the log can be read");
        drain(tail.as_mut());
        Reign::begin_with(log, replica, tail)
    }

    /// Begins with a tail that stands anywhere.
    pub fn begin_with(log: &dyn LogStore, replica: u16, tail: Box<dyn LogTail>) -> Reign {
        let (sender, events) = mpsc::channel();
        let me = EpochBody { replica: ReplicaIndex(replica), engine: [3; 32] };
        // The test may have ended: then nobody wants the events any more.
        let send = move |epoch, event| drop(sender.send((epoch, event)));
        let over = log.head().expect("works").epoch;
        let acquired = tail.acquire(over, me, Timestamp(5), Box::new(send)).expect("nobody else is at it");
        let Acquired { records, epoch, writer } = acquired;
        let last = *records.last().expect("the epoch record is there").header();
        assert_eq!((last.kind, last.epoch), (RecordKind::Epoch, epoch));
        Reign { epoch, durable: last.lsn, records, writer, events, last, stopped: None, looks: 0, looked: None }
    }

    /// The next record, not appended.
    pub fn next_record(&self, body: &[u8]) -> Record {
        let lsn = self.last.lsn.next();
        let mut header = RecordHeader::new(RecordKind::Deliver, self.epoch, lsn, Timestamp(6));
        header.previous = self.last.link();
        header.durable = self.durable;
        Record::seal(header, body)
    }

    /// Appends a record.
    pub fn append(&mut self, body: &[u8]) -> Result<Lsn, AppendError> {
        let record = self.next_record(body);
        self.last = *record.header();
        self.writer.append(record)?;
        Ok(self.last.lsn)
    }

    /// Appends a record and waits until it is durable.
    pub fn append_durably(&mut self, body: &[u8]) -> Lsn {
        let lsn = self.append(body).expect("the reign goes on");
        self.wait_durable(lsn);
        lsn
    }

    /// Waits until `lsn` is durable.
    pub fn wait_durable(&mut self, lsn: Lsn) {
        let reached = self.wait_durable_or_stopped(lsn);
        assert!(reached, "stopped before {lsn} was durable: {:?}", self.stopped);
    }

    /// Waits until `lsn` is durable, or the end of the reign; whether it is durable.
    pub fn wait_durable_or_stopped(&mut self, lsn: Lsn) -> bool {
        while self.durable < lsn && self.stopped.is_none() {
            self.next_event();
        }
        self.durable >= lsn
    }

    /// Waits for the end of the reign.
    pub fn wait_stopped(&mut self) -> StopCause {
        loop {
            if let Some(cause) = &self.stopped {
                return cause.clone();
            }
            self.next_event();
        }
    }

    /// Looks whether it is the newest reign, and waits until that is seen.
    pub fn look_at_fence(&mut self) -> Result<(), Epoch> {
        match self.begin_look()? {
            FenceLook::Done => Ok(()),
            FenceLook::Begun => self.wait_looked(),
        }
    }

    /// Begins to look whether it is the newest reign.
    pub fn begin_look(&mut self) -> Result<FenceLook, Epoch> {
        self.looks += 1;
        self.writer.look_at_fence(self.looks)
    }

    /// Waits until a look that was begun has been made.
    pub fn wait_looked(&mut self) -> Result<(), Epoch> {
        loop {
            match self.looked {
                Some((number, newest)) if number == self.looks => return newest,
                _ => self.next_event(),
            }
        }
    }

    /// The last record of which an event said that it is durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    fn next_event(&mut self) {
        let (epoch, event) = self.events.recv_timeout(LIMIT).expect("an event comes");
        assert_eq!(epoch, self.epoch, "an event comes with the epoch of its reign");
        match event {
            LogEvent::Durable(durable) => {
                assert!(durable > self.durable, "durable events rise");
                self.durable = durable;
            }
            LogEvent::Room | LogEvent::Stalled { .. } | LogEvent::Resumed => {}
            LogEvent::Looked { number, newest } => self.looked = Some((number, newest)),
            LogEvent::Stopped(cause) => self.stopped = Some(cause),
        }
    }
}
