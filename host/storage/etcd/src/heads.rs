//! Heads: reading them, and changing what is not the last record.
//!
//! Changes of several logs are one transaction, in which each log has its own condition.

use std::sync::Arc;

use ambrosia_core::Epoch;
use ambrosia_shared_log::{Answered, EngineHead, Group, News, Raise, RaiseFault, Seen, Session};
use ambrosia_storage::LogId;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    error::Failed,
    layout::{Fence, Head, Layout},
    messages::{Compare, Range, Step, Txn},
    office::{Office, Shared, Way, found},
};

/// Logs of one transaction. etcd takes 128 steps, those within each log's own counted in.
pub(crate) const LOGS_MAX: usize = 100;

/// Keys of one page.
const PAGE: u64 = 2000;

/// Reads heads, in the order of the logs; of many logs by reading all that there are, which is one moment too.
pub(crate) async fn read(
    office: &Office,
    way: Way,
    logs: &[LogId],
    until: Instant,
) -> Result<(Session, Vec<Option<Head>>), Failed> {
    let layout = &office.layout;
    if logs.len() > LOGS_MAX {
        return read_all(office, way, logs, until).await;
    }
    let steps = logs.iter().map(|log| Step::Read(Range::under(&layout.head(*log)))).collect();
    let (session, outcome) = office.transact(way, &Txn::of(steps), until).await?;
    let heads = outcome.brought.into_iter().map(|brought| Ok(Head::decode(&found(brought)?.entries)?));
    let heads = heads.collect::<Result<Vec<_>, Failed>>()?;
    if heads.len() != logs.len() {
        return Err(crate::protobuf::Malformed.into());
    }
    Ok((session, heads))
}

async fn read_all(
    office: &Office,
    way: Way,
    logs: &[LogId],
    until: Instant,
) -> Result<(Session, Vec<Option<Head>>), Failed> {
    let prefix = office.layout.heads();
    let (session, entries) = office.all(way, Range::under(&prefix), PAGE, until).await?;
    let mut heads = std::collections::HashMap::new();
    for both in entries.chunk_by(|one, other| one.key.get(..prefix.len() + 32) == other.key.get(..prefix.len() + 32)) {
        heads.insert(Layout::log_in(&both[0].key, &prefix)?, Head::decode(both)?);
    }
    Ok((session, logs.iter().map(|log| heads.get(log).copied().flatten()).collect()))
}

/// What those heads show that is news.
pub(crate) async fn heads(office: &Office, seen: &[Seen], until: Instant) -> Result<Answered, Failed> {
    let logs: Vec<_> = seen.iter().map(|seen| seen.log).collect();
    let (session, there) = read(office, Way::Quick, &logs, until).await?;
    let (mut heads, mut gone) = (Vec::new(), Vec::new());
    for (seen, head) in seen.iter().zip(there) {
        match head.map(|head| head.told(seen.log)) {
            None => gone.push(seen.log),
            Some(head) if seen.known == Some(head.known()) => {}
            Some(head) => heads.push(head),
        }
    }
    Ok(Answered::Heads { session, heads, gone })
}

/// Changes what a fence shows, each as `change` says of the head as it is; nothing where it says nothing. The heads behind that; `None` where there is no
/// such log.
async fn change(
    office: &Shared,
    logs: &[LogId],
    change: impl Fn(usize, &Head) -> Option<Fence>,
    until: Instant,
) -> Result<Vec<Option<Head>>, Failed> {
    let (_, mut heads) = read(office, Way::Quick, logs, until).await?;
    let mut pending: Vec<usize> = (0..logs.len()).collect();
    loop {
        let mut wanted = Vec::new();
        for at in pending.drain(..) {
            let head = heads[at];
            let fence =
                head.and_then(|head| change(at, &head)).filter(|fence| head.map(|head| head.fence) != Some(*fence));
            if let (Some(head), Some(fence)) = (head, fence) {
                wanted.push((at, logs[at], head.fence, fence));
            }
        }
        if wanted.is_empty() {
            return Ok(heads);
        }
        if Instant::now() >= until {
            return Err(Failed::undone("what heads of logs show changes all the time"));
        }
        let mut tasks = JoinSet::new();
        for part in wanted.chunks(LOGS_MAX) {
            let (office, part) = (Arc::clone(office), part.to_vec());
            tasks.spawn(async move { put_fences(&office, &part, until).await });
        }
        let mut failed = None;
        while let Some(ended) = tasks.join_next().await {
            match ended.expect("no task is ended from outside") {
                Ok(done) => {
                    for (at, is_done, head) in done {
                        heads[at] = head;
                        if !is_done {
                            pending.push(at);
                        }
                    }
                }
                // That others may be done does not matter: asked again, they are.
                Err(fault) => failed = Some(fault),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
    }
}

/// Puts each fence where the old one stands. Whether that was done, and the head by then.
async fn put_fences(
    office: &Office,
    wanted: &[(usize, LogId, Fence, Fence)],
    until: Instant,
) -> Result<Vec<(usize, bool, Option<Head>)>, Failed> {
    let layout = &office.layout;
    let one = |(_, log, old, new): &(usize, LogId, Fence, Fence)| {
        let (key, look) = (layout.fence(*log), Step::Read(Range::under(&layout.head(*log))));
        Step::Transact(Txn {
            compare: vec![Compare::Value(key.clone(), old.encode())],
            success: vec![Step::Put(key, new.encode()), look.clone()],
            failure: vec![look],
        })
    };
    let txn = Txn::of(wanted.iter().map(one).collect());
    let (_, outcome) = office.transact(Way::Quick, &txn, until).await?;
    if outcome.brought.len() != wanted.len() {
        return Err(crate::protobuf::Malformed.into());
    }
    let done = wanted.iter().zip(outcome.brought).map(|((at, ..), brought)| {
        let mut outcome = brought.outcome()?;
        let look = outcome.brought.pop().ok_or(crate::protobuf::Malformed)?;
        Ok((*at, outcome.succeeded, Head::decode(&found(look)?.entries)?))
    });
    done.collect()
}

pub(crate) async fn raise(office: &Shared, wanted: &[Raise], until: Instant) -> Result<Answered, Failed> {
    let logs: Vec<_> = wanted.iter().map(|raise| raise.log).collect();
    let is_mine = |raise: &Raise, fence: &Fence| fence.epoch.0 == raise.over.0 + 1 && fence.claim == raise.claim;
    let raised = |at: usize, head: &Head| {
        let (raise, fence) = (&wanted[at], head.fence);
        let is_mine = is_mine(raise, &fence);
        (is_mine || fence.epoch == raise.over).then_some(Fence {
            epoch: Epoch(raise.over.0 + 1),
            claim: raise.claim,
            replica: raise.replica,
            is_reigned: fence.is_reigned || fence.epoch == raise.over,
            is_announced: fence.is_announced && is_mine,
            ..fence
        })
    };
    let heads = change(office, &logs, raised, until).await?;
    let answer = |(raise, head): (&Raise, Option<Head>)| -> Result<EngineHead, RaiseFault> {
        let head = head.ok_or(RaiseFault::Gone)?;
        office.heads().insert(raise.log, head);
        let told = head.told(raise.log);
        if is_mine(raise, &head.fence) { Ok(told) } else { Err(RaiseFault::Contended(told)) }
    };
    Ok(Answered::Raised(wanted.iter().zip(heads).map(answer).collect()))
}

pub(crate) async fn release(
    office: &Shared,
    log: LogId,
    epoch: Epoch,
    claim: ambrosia_shared_log::Claim,
    until: Instant,
) -> Result<Answered, Failed> {
    let released = |_: usize, head: &Head| {
        let is_its = head.fence.epoch == epoch && head.fence.claim == claim;
        is_its.then_some(Fence { is_reigned: false, ..head.fence })
    };
    change(office, &[log], released, until).await?;
    Ok(Answered::Released)
}

pub(crate) async fn tell(office: &Shared, news: &[News], until: Instant) -> Result<Answered, Failed> {
    let mut logs: Vec<_> = news.iter().map(News::log).collect();
    logs.sort();
    logs.dedup();
    let told = |at: usize, head: &Head| {
        let mut fence = head.fence;
        for news in news.iter().filter(|news| news.log() == logs[at]) {
            match *news {
                News::Announced { epoch, host, .. } => {
                    fence.is_announced |= fence.epoch == epoch && fence.claim.host == host && fence.is_reigned;
                }
                News::Checkpoint { lsn, .. } => fence.checkpoint = fence.checkpoint.max(lsn),
            }
        }
        Some(fence)
    };
    change(office, &logs, told, until).await?;
    Ok(Answered::Told)
}

/// Makes a log.
pub(crate) async fn create(office: &Shared, genesis: &Group, until: Instant) -> Result<Answered, Failed> {
    office.check_room(genesis.bytes.len())?;
    let (layout, log) = (&office.layout, genesis.log);
    let head = Head::beginning(genesis);
    let parts = crate::parts::put(office, genesis, None, until).await?;
    let (fence, gone) = (layout.fence(log), layout.gone(log));
    let mut compare = vec![Compare::Made(fence.clone(), 0), Compare::Made(gone.clone(), 0)];
    compare.extend(crate::parts::conditions(layout, genesis, parts));
    let stored = crate::layout::StoredGroup::of(genesis, 0, parts);
    let txn = Txn {
        compare,
        success: vec![
            Step::Put(fence, head.fence.encode()),
            Step::Put(layout.last(log), head.last.encode()),
            Step::Put(layout.group(log, genesis.last.lsn), stored.encode()),
        ],
        failure: vec![Step::Read(Range::of(gone)), Step::Read(Range::under(&layout.head(log)))],
    };
    loop {
        let (_, outcome) = office.transact(Way::Groups, &txn, until).await?;
        if outcome.succeeded {
            return Ok(Answered::Created(true));
        }
        let [gone, there] = outcome.brought()?;
        if !found(there)?.entries.is_empty() {
            return Ok(Answered::Created(false));
        }
        if found(gone)?.entries.is_empty() {
            return Err(Failed::undone("the parts of the first group are gone; they are put again"));
        }
        crate::removal::finish(office, log, until).await?;
    }
}

/// Which logs there are.
pub(crate) async fn logs(office: &Office, until: Instant) -> Result<Answered, Failed> {
    let prefix = office.layout.heads();
    let range = Range { keys_only: true, ..Range::under(&prefix) };
    let (session, entries) = office.all(Way::Bulk, range, PAGE, until).await?;
    let mut logs = entries.iter().map(|entry| Layout::log_in(&entry.key, &prefix)).collect::<Result<Vec<_>, _>>()?;
    logs.dedup();
    Ok(Answered::Logs { session, logs })
}
