//! The log of one life of an instance, in memory: what is in it is durable, and the latest epoch alone may append.

use ambrosia_core::{Epoch, EpochBody, InstanceUuid, Record, RecordHeader, RecordKind, ReplicaIndex, Timestamp};

pub(crate) struct Log {
    pub(crate) uuid: InstanceUuid,
    pub(crate) records: Vec<Record>,
    pub(crate) epoch: Epoch,
}

/// The writer was deposed.
#[derive(Debug)]
pub(crate) struct Fenced;

impl Log {
    pub(crate) fn new(uuid: InstanceUuid, genesis: Record) -> Log {
        Log { uuid, records: vec![genesis], epoch: Epoch(0) }
    }

    /// Begins a reign: nobody else appends from here on.
    pub(crate) fn acquire(&mut self, replica: u16, now: Timestamp) -> Record {
        let last = self.last();
        self.epoch = Epoch(self.epoch.0 + 1);
        let mut header = RecordHeader::new(RecordKind::Epoch, self.epoch, last.lsn.next(), now.max(last.time));
        header.previous = last.link();
        let mut body = Vec::new();
        EpochBody { replica: ReplicaIndex(replica), engine: [9; 32] }.encode(&mut body);
        let record = Record::seal(header, &body);
        self.records.push(record.clone());
        record
    }

    /// Makes a record durable.
    pub(crate) fn land(&mut self, record: &Record) -> Result<(), Fenced> {
        let (header, last) = (record.header(), self.last());
        if header.epoch != self.epoch {
            return Err(Fenced);
        }
        assert_eq!(header.lsn, last.lsn.next(), "a primary appends without a gap");
        assert_eq!(header.previous, last.link(), "a primary chains its records");
        assert!(header.time >= last.time, "the time of records never falls");
        // Read back as the storage would.
        let read = Record::split_from(&mut record.stored().clone()).expect("what was sealed reads back");
        self.records.push(read);
        Ok(())
    }

    pub(crate) fn last(&self) -> RecordHeader {
        *self.records.last().expect("genesis is always there").header()
    }

    /// The record with that number, if it is durable.
    pub(crate) fn link_at(&self, lsn: u64) -> Option<u64> {
        self.records.get(lsn as usize - 1).map(|record| record.header().link())
    }
}
