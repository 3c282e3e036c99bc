//! What has to be done now and then: etcd keeps all that ever was until somebody tells it to forget, and stops for good when its quota is
//! used up.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use ambrosia_shared_log::ANSWER_TIME;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    channel::Method,
    error::Failed,
    keys,
    line::Effect,
    lives,
    messages::{Status, compaction},
    office::{Shared, Way},
    removal,
};

/// The room is looked at that often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is older than that is forgotten, that often. No read goes back as far.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(60);

/// Lives of hosts that have said nothing for so long are removed, and files that count for nothing.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Parts of a hundred of the quota behind which no record is put, so that there is room to remove something. A minute of what is put besides, before
/// it is forgotten, is far less: a hundred hosts say that they live in 10 MiB.
const FULL_PERCENT: u64 = 80;

/// Does it for as long as the engine is there.
pub(crate) async fn keep_up(office: Shared) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut compacted, mut swept) = (Instant::now(), Instant::now());
    let mut seen = office.revision();
    let mut before = Garbage::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = office.look.notified() => {}
        }
        look(&office).await;
        if compacted.elapsed() >= COMPACTION_INTERVAL {
            compacted = Instant::now();
            told("forgetting what is old", compact(&office, seen).await);
            seen = office.revision();
            told("removing what is left of logs", finish_removals(&office).await);
        }
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            match sweep(&office, &before).await {
                Ok(now) => before = now,
                Err(fault) => told("removing what is of no use", Err(fault)),
            }
        }
    }
}

/// It is tried again before long.
fn told(what: &str, done: Result<(), Failed>) {
    if let Err(Failed(fault)) = done {
        tracing::debug!("etcd: {what} has failed: {fault}");
    }
}

fn until() -> Instant {
    Instant::now() + ANSWER_TIME
}

/// Sees whether there is room.
pub(crate) async fn look(office: &Shared) {
    let answer = office.call(Way::Quick, Method::Status, Bytes::new(), Effect::Repeatable, until()).await;
    match answer.and_then(|answer| Ok(Status::decode(answer)?)) {
        Ok(status) => {
            let words = words_of(&status, office.place.quota);
            if let Some(words) = &words {
                tracing::warn!("{words}");
            }
            office.set_full(words);
        }
        // Requests say so themselves.
        Err(fault) => tracing::debug!("etcd does not say how full it is: {fault}"),
    }
}

/// Why no record is to be put, if so.
fn words_of(status: &Status, quota: u64) -> Option<String> {
    let alarm = |name: &str| status.errors.iter().any(|error| error.contains(name));
    if alarm("NOSPACE") {
        return Some(
            "etcd has raised its alarm NOSPACE, and nothing is written: when there is room again (see `etcdctl endpoint status`), \
             `etcdctl defrag` and `etcdctl alarm disarm`"
                .to_owned(),
        );
    }
    let quota = if status.quota > 0 { status.quota } else { quota };
    let is_full = u128::from(status.size) * 100 > u128::from(quota) * u128::from(FULL_PERCENT);
    is_full.then(|| {
        format!(
            "the database of etcd has {} MiB, more than {FULL_PERCENT} % of its quota of {} MiB, and no record is put there: `etcdctl defrag` gives \
             back what is free in it; else let checkpoints be more frequent, or raise --quota-backend-bytes and say so by quota= in the URL",
            status.size >> 20,
            quota >> 20
        )
    })
}

async fn compact(office: &Shared, revision: u64) -> Result<(), Failed> {
    if revision == 0 {
        return Ok(());
    }
    let done = office.call(Way::Bulk, Method::Compact, compaction(revision), Effect::Repeatable, until()).await;
    match done {
        // Another host has done more.
        Ok(_) | Err(crate::channel::CallFault::Compacted(_)) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

async fn finish_removals(office: &Shared) -> Result<(), Failed> {
    for log in removal::unfinished(office, until()).await? {
        removal::finish(office, log, until()).await?;
    }
    Ok(())
}

/// What was of no use when it was looked at.
#[derive(Default)]
struct Garbage {
    hosts: HashMap<Bytes, u64>,
    files: BTreeMap<String, ()>,
}

/// Removes what was of no use at the last sweep already, for no put and no host takes as long.
async fn sweep(office: &Shared, before: &Garbage) -> Result<Garbage, Failed> {
    let hosts = lives::all(office, until()).await?;
    for (key, changed) in hosts.iter().filter(|(key, changed)| before.hosts.get(*key) == Some(*changed)) {
        lives::forget(office, key, *changed, until()).await?;
    }
    let files = keys::all_files(office).await?;
    // Read behind the files: what has come to count meanwhile is in it.
    let used = keys::files_in_use(office, until()).await?;
    let unused: BTreeMap<_, _> = files.into_iter().filter(|name| !used.contains(name)).map(|name| (name, ())).collect();
    let old = unused.keys().filter(|name| before.files.contains_key(*name)).cloned().collect();
    keys::remove_files(office, old).await;
    Ok(Garbage { hosts, files: unused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_four_fifths_of_the_quota_no_record_is_put() {
        let status = |size, quota| Status { size, quota, ..Status::default() };
        assert_eq!(words_of(&status(80, 0), 100), None);
        assert!(words_of(&status(81, 0), 100).is_some_and(|words| words.contains("80 % of its quota")));
        assert_eq!(words_of(&status(81, 1000), 100), None, "what etcd says itself counts");
        let alarmed = Status { errors: vec!["memberID:1 alarm:NOSPACE ".to_owned()], ..Status::default() };
        assert!(words_of(&alarmed, 100).is_some_and(|words| words.contains("alarm disarm")));
    }
}
