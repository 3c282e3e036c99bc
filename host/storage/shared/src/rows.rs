//! What an engine keeps, and what each request does to it: the meaning of [`Request`], as a state in memory.
//!
//! The engine in memory is this behind a lock, simulated ones are several of these that differ for a while, and a real one has to
//! do the same by its statements.
//!
//! **Architecture Invariant:** a request happens as a whole, here and now; whether it is durable, and whether anybody hears of
//! it, is the business of whoever has the rows.

use std::collections::BTreeMap;

use ambrosia_core::{Epoch, Lsn, Record, ReplicaIndex};
use ambrosia_storage::LogId;

use crate::engine::{
    Answered, AppendFault, Claim, EngineHead, Group, HostId, LogRead, News, Raise, RaiseFault, ReadFrom, Request, Seen,
    Session,
};
use crate::keys::KeyRows;

/// The rows of all logs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    logs: BTreeMap<LogId, LogRows>,
    beats: BTreeMap<HostId, u64>,
    keys: KeyRows,
}

/// The rows of one log.
#[derive(Clone, PartialEq, Eq, Debug)]
struct LogRows {
    head: EngineHead,
    /// By their last records.
    groups: BTreeMap<Lsn, Group>,
}

impl Rows {
    /// Makes a log that begins with `genesis`; whether there was none.
    pub fn create(&mut self, log: LogId, genesis: &Record) -> bool {
        self.create_with(&Group::genesis(log, genesis))
    }

    fn create_with(&mut self, genesis: &Group) -> bool {
        let Group { log, epoch, last, .. } = *genesis;
        let head = EngineHead {
            log,
            epoch,
            claim: Claim::default(),
            replica: ReplicaIndex(0),
            is_reigned: false,
            is_announced: false,
            checkpoint: Lsn(0),
            first: genesis.first(),
            last,
            bytes: genesis.bytes.len() as u64,
        };
        let is_new = !self.logs.contains_key(&log);
        self.logs.entry(log).or_insert(LogRows { head, groups: BTreeMap::from([(last.lsn, genesis.clone())]) });
        is_new
    }

    /// The head row of a log.
    pub fn head(&self, log: LogId) -> Option<EngineHead> {
        self.logs.get(&log).map(|rows| rows.head)
    }

    /// The groups of a log, in order.
    pub fn groups(&self, log: LogId) -> impl Iterator<Item = &Group> {
        self.logs.get(&log).into_iter().flat_map(|rows| rows.groups.values())
    }

    /// All logs.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.keys().copied()
    }

    /// Does what is asked. What is read is read in `session`.
    pub fn execute(&mut self, request: &Request, session: Session) -> Answered {
        match request {
            Request::Append { groups } => Answered::Appended(groups.iter().map(|group| self.append(group)).collect()),
            Request::Heads { logs } => self.heads(logs, session),
            Request::Raise { wanted } => Answered::Raised(wanted.iter().map(|raise| self.raise(raise)).collect()),
            Request::Barrier { .. } => Answered::Barred,
            Request::Read { wanted, bytes } => Answered::Read { session, logs: self.read(wanted, *bytes) },
            Request::Release { log, epoch, claim } => self.release(*log, *epoch, *claim),
            Request::Beat { host, beats, of } => {
                self.beats.insert(*host, *beats);
                Answered::Beats { session, beats: self.beats(of) }
            }
            Request::Trim { log, before } => self.trim(*log, *before),
            Request::Tell { news } => {
                news.iter().for_each(|news| self.tell(news));
                Answered::Told
            }
            Request::Create { genesis } => Answered::Created(self.create_with(genesis)),
            Request::Remove { log } => Answered::Removed(self.logs.remove(log).is_some()),
            Request::Logs => Answered::Logs { session, logs: self.logs().collect() },
            Request::Lives { of } => Answered::Beats { session, beats: self.beats(of) },
            Request::Keys(request) => {
                let has_log = |log| self.logs.contains_key(&log);
                Answered::Keys(self.keys.execute(request, session, has_log))
            }
        }
    }

    fn beats(&self, of: &[HostId]) -> Vec<(HostId, u64)> {
        of.iter().filter_map(|host| Some((*host, *self.beats.get(host)?))).collect()
    }

    fn tell(&mut self, news: &News) {
        let Some(LogRows { head, .. }) = self.logs.get_mut(&news.log()) else { return };
        match *news {
            News::Announced { epoch, host, .. } => {
                head.is_announced |= head.epoch == epoch && head.claim.host == host && head.is_reigned;
            }
            News::Checkpoint { lsn, .. } => head.checkpoint = head.checkpoint.max(lsn),
        }
    }

    fn append(&mut self, group: &Group) -> Result<(), AppendFault> {
        let Some(rows) = self.logs.get_mut(&group.log) else { return Err(AppendFault::Refused(None)) };
        let head = &mut rows.head;
        if !(head.epoch == group.epoch && head.last == group.after) {
            return Err(AppendFault::Refused(Some(*head)));
        }
        head.last = group.last;
        head.bytes += group.bytes.len() as u64;
        rows.groups.insert(group.last.lsn, group.clone());
        Ok(())
    }

    fn heads(&self, logs: &[Seen], session: Session) -> Answered {
        let (mut heads, mut gone) = (Vec::new(), Vec::new());
        for seen in logs {
            match self.head(seen.log) {
                None => gone.push(seen.log),
                Some(head) if seen.known == Some(head.known()) => {}
                Some(head) => heads.push(head),
            }
        }
        Answered::Heads { session, heads, gone }
    }

    fn raise(&mut self, raise: &Raise) -> Result<EngineHead, RaiseFault> {
        let head = &mut self.logs.get_mut(&raise.log).ok_or(RaiseFault::Gone)?.head;
        let epoch = Epoch(raise.over.0 + 1);
        let is_mine = head.epoch == epoch && head.claim == raise.claim;
        if head.epoch != raise.over && !is_mine {
            return Err(RaiseFault::Contended(*head));
        }
        head.is_announced &= is_mine;
        // One that comes once more may come after the end of its reign.
        head.is_reigned |= head.epoch == raise.over;
        (head.epoch, head.claim, head.replica) = (epoch, raise.claim, raise.replica);
        Ok(*head)
    }

    fn read(&self, wanted: &[ReadFrom], bytes: usize) -> Vec<LogRead> {
        let (mut logs, mut had) = (Vec::new(), 0);
        for wanted in wanted {
            if had >= bytes {
                break;
            }
            let ReadFrom { log, from, .. } = wanted;
            let until = bytes.min(had.saturating_add(wanted.bytes));
            let mut groups = Vec::new();
            let rows = self.logs.get(log);
            for group in rows.into_iter().flat_map(|rows| rows.groups.range(*from..)).map(|(_, group)| group) {
                if had >= until {
                    break;
                }
                had += group.bytes.len();
                groups.push(group.clone());
            }
            logs.push(LogRead { head: self.head(*log), groups });
        }
        logs
    }

    fn release(&mut self, log: LogId, epoch: Epoch, claim: Claim) -> Answered {
        if let Some(rows) = self.logs.get_mut(&log)
            && rows.head.epoch == epoch
            && rows.head.claim == claim
        {
            rows.head.is_reigned = false;
        }
        Answered::Released
    }

    fn trim(&mut self, log: LogId, before: Lsn) -> Answered {
        if let Some(rows) = self.logs.get_mut(&log) {
            let last = rows.head.last.lsn;
            rows.groups.retain(|end, _| *end >= before || *end == last);
            rows.head.bytes = rows.groups.values().map(|group| group.bytes.len() as u64).sum();
            rows.head.first = rows.groups.values().next().map_or(rows.head.first, Group::first);
        }
        Answered::Trimmed
    }
}
