//! One host: its committer, its connections, and what each of its replicas does.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_core::{Epoch, Lsn};
use ambrosia_shared_log::{
    Claim, Committer, EngineFacts, HostId, Lane, LogFault, Position, RequestId, Session, Standing, TaskId,
};
use ambrosia_storage::LogId;

/// A host, dead or alive.
#[derive(Debug)]
pub(super) struct Host {
    /// Another one for each life.
    pub(super) me: HostId,
    /// Another number for each life.
    pub(super) life: u32,
    pub(super) is_up: bool,
    /// It stands still until then.
    pub(super) frozen_until: u64,
    pub(super) committer: Committer,
    pub(super) connections: BTreeMap<Lane, Session>,
    /// Requests that are not answered, with the ways that they took.
    pub(super) asked: BTreeMap<RequestId, (Lane, Session)>,
    pub(super) replicas: BTreeMap<LogId, Replica>,
    /// Whom the engine had heard of, and when, at the last beat of which the answer has come; and when that was.
    pub(super) heard: (u64, BTreeMap<HostId, u64>),
    /// When it has asked to be told the time.
    pub(super) alarm: Option<u64>,
}

/// One replica of a log.
#[derive(Debug)]
pub(super) struct Replica {
    /// What it has read, or written and knows to be durable.
    pub(super) standing: Standing,
    pub(super) stage: Stage,
    /// Why it does not go on.
    pub(super) fault: Option<LogFault>,
    /// It is told by that when there seems to be no primary.
    pub(super) watch: Option<TaskId>,
    /// The reign whose primary seemed to be gone.
    pub(super) vacant: Option<Epoch>,
    /// Looks at the fence: of which epoch, since when.
    pub(super) looks: BTreeMap<TaskId, (Epoch, u64)>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It waits to read on.
    Standby,
    /// It reads, since then.
    Reading(TaskId, u64),
    Candidate(TaskId, Claim),
    Reigning(Reign),
}

/// A reign as its primary sees it.
#[derive(Debug)]
pub(super) struct Reign {
    pub(super) task: TaskId,
    pub(super) claim: Claim,
    pub(super) epoch: Epoch,
    /// The record made last.
    pub(super) last: Standing,
    /// The last one that it was told to be durable.
    pub(super) durable: Lsn,
    /// Those behind it.
    pub(super) sent: VecDeque<Standing>,
    pub(super) is_closing: bool,
    /// It was told that its log stands, and not yet that it goes on.
    pub(super) is_stalled: bool,
}

impl Host {
    pub(super) fn new(facts: &EngineFacts, me: HostId) -> Host {
        Host {
            me,
            life: 0,
            is_up: false,
            frozen_until: 0,
            committer: Committer::new(facts.clone(), me),
            connections: BTreeMap::new(),
            asked: BTreeMap::new(),
            replicas: BTreeMap::new(),
            heard: (0, BTreeMap::new()),
            alarm: None,
        }
    }

    /// It comes to life with nothing but checkpoints.
    pub(super) fn start(&mut self, facts: &EngineFacts, checkpoints: &BTreeMap<LogId, Standing>) {
        let replica = |standing: &Standing| Replica::new(*standing);
        let life = self.life + 1;
        let mut me = self.me;
        me.0[8..12].copy_from_slice(&life.to_le_bytes());
        *self = Host {
            life,
            is_up: true,
            replicas: checkpoints.iter().map(|(log, standing)| (*log, replica(standing))).collect(),
            ..Host::new(facts, me)
        };
    }

    pub(super) fn replica(&mut self, log: LogId) -> &mut Replica {
        self.replicas.get_mut(&log).expect("each host has a replica of each log")
    }

    /// The log of a task.
    pub(super) fn log_of(&self, task: TaskId) -> Option<LogId> {
        self.replicas.iter().find(|(_, replica)| replica.has(task)).map(|(log, _)| *log)
    }
}

impl Replica {
    pub(super) fn new(standing: Standing) -> Replica {
        Replica { standing, stage: Stage::Standby, fault: None, watch: None, vacant: None, looks: BTreeMap::new() }
    }

    fn has(&self, task: TaskId) -> bool {
        self.looks.contains_key(&task)
            || self.watch == Some(task)
            || match &self.stage {
                Stage::Standby => false,
                Stage::Reading(own, _) | Stage::Candidate(own, _) => *own == task,
                Stage::Reigning(reign) => reign.task == task,
            }
    }

    pub(super) fn reign(&mut self) -> Option<&mut Reign> {
        match &mut self.stage {
            Stage::Reigning(reign) => Some(reign),
            _ => None,
        }
    }

    /// Its log stands, or goes on: told once each, in turn.
    pub(super) fn tell_stalled(&mut self, is_stalled: bool) {
        let reign = self.reign().expect("only a reign is told that its log stands");
        assert_ne!(std::mem::replace(&mut reign.is_stalled, is_stalled), is_stalled, "it is told once");
    }

    /// What it has seen of the log, durable all of it.
    pub(super) fn seen(&self) -> Position {
        self.standing.last
    }
}
