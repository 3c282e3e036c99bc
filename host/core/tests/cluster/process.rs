//! One process with one replica: it holds outputs until they may leave, as DESIGN.md part 4 says.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_core::{Epoch, Genesis, Input, InstanceName, Lsn, Output, PeerIndex, Record, RecordKind, Replica};

use crate::model::Model;

pub(crate) struct Process {
    /// Which instance, by number.
    pub(crate) instance: usize,
    pub(crate) replica: Replica<Model>,
    /// Links of the records applied, by lsn from 1.
    pub(crate) links: Vec<u64>,
    /// Only a primary, or one that takes itself for it, has this.
    pub(crate) writer: Option<Writer>,
    /// What waits to leave, in order.
    pub(crate) held: VecDeque<Output>,
    /// Peers to stay connected to.
    pub(crate) wanted: BTreeMap<PeerIndex, InstanceName>,
    /// How far the clock is off, in milliseconds.
    pub(crate) skew: i64,
}

pub(crate) struct Writer {
    pub(crate) epoch: Epoch,
    /// Appended and not durable.
    pub(crate) queue: VecDeque<Record>,
    /// Last record that landed in the log.
    pub(crate) landed: Lsn,
    /// Last record that the process was told is durable.
    pub(crate) durable: Lsn,
}

impl Process {
    pub(crate) fn new(instance: usize, genesis: &Record, guest: Model) -> Process {
        Process {
            instance,
            replica: Replica::new(genesis, guest).expect("a genesis record"),
            links: vec![genesis.header().link()],
            writer: None,
            held: VecDeque::new(),
            wanted: BTreeMap::new(),
            skew: 0,
        }
    }

    pub(crate) fn genesis(&self) -> &Genesis {
        self.replica.genesis()
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.writer.is_some()
    }

    /// Gives the replica one input, executes what it appended, and puts what comes out in line.
    pub(crate) fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        if let Input::Record(record) = &input {
            self.links.push(record.header().link());
        }
        self.replica.step(input, &mut outputs);
        if self.take(outputs) {
            let mut outputs = Vec::new();
            self.replica.step(Input::Execute, &mut outputs);
            assert!(!self.take(outputs), "executing appends nothing");
        }
        assert_eq!(self.replica.applied().0, self.links.len() as u64, "what is applied was appended or read");
    }

    /// True if a delivery was appended, which is to be executed now.
    fn take(&mut self, outputs: Vec<Output>) -> bool {
        let mut to_execute = false;
        for output in outputs {
            let Output::Append(record) = output else {
                self.held.push_back(output);
                continue;
            };
            assert!(!to_execute, "nothing is appended between a delivery and its execution");
            to_execute = record.header().kind == RecordKind::Deliver;
            self.links.push(record.header().link());
            self.writer.as_mut().expect("only a primary appends").queue.push_back(record);
        }
        to_execute
    }

    /// The next output that may leave now.
    pub(crate) fn pop_ready(&mut self) -> Option<Output> {
        let durable = self.writer.as_ref().map_or(Lsn(self.links.len() as u64), |writer| writer.durable);
        if self.held.front()?.after() > durable {
            return None;
        }
        self.held.pop_front()
    }
}
