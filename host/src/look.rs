//! The figures of members and of their instances, for whoever watches them.
//!
//! **Architecture Invariant:** nothing is counted for this that is not counted anyway, but by a few additions of the driver; all else is looked
//! up when somebody asks.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_door::{Family, Figure};
use ambrosia_storage::{Instances, Role, Store, SyncTimes, WriterStats};

use crate::{
    event::Event,
    listener::{Reception, Receptions},
};

/// Members have this long to say what they are, all together. Those that are busy for longer are left out.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// Most flushes take longer than this, or are counted with those that do not.
const FLUSH_TIME_MIN: Duration = Duration::from_micros(16);

/// Flushes that take longer than this are counted together.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(17);

/// What a driver says of its member.
pub(crate) struct Look {
    /// By all reigns of this process.
    pub(crate) written: WriterStats,
    /// So many have begun.
    pub(crate) reigns: u64,
    /// Queries that were answered: those that failed, and those that gave a value.
    pub(crate) queries: [u64; 2],
    /// Outcomes of requests to the world outside.
    pub(crate) outcomes: u64,
    pub(crate) held_outputs: usize,
    pub(crate) outbox_messages: u64,
    pub(crate) outbox_bytes: usize,
    pub(crate) calls: usize,
    /// For how long the oldest of the calls is known to wait.
    pub(crate) oldest_call: Option<Duration>,
    /// Requests to the world outside without an outcome.
    pub(crate) outgoing: usize,
}

type Labels = Vec<(&'static str, String)>;

/// The figures of the members of this process.
pub(crate) fn members(receptions: &Receptions) -> Vec<Family> {
    let asked: Vec<(Labels, Receiver<Look>)> = receptions.all().iter().map(|reception| ask(reception)).collect();
    let until = Instant::now() + LOOK_WAIT;
    let mut looks = Vec::new();
    let mut answers =
        Family::gauge("ambrosia_member_answers", "1 if the member said in time what it is, 0 if it is busy or hangs");
    for (labels, look) in asked {
        let look = look.recv_timeout(until.saturating_duration_since(Instant::now()));
        answers.add(labels.clone(), Figure::Number(if look.is_ok() { 1.0 } else { 0.0 }));
        looks.extend(look.ok().map(|look| (labels, look)));
    }
    let mut families = vec![answers];
    let mut family = |empty: Family, figure: &dyn Fn(&Look) -> Option<Figure>| {
        families.push(looks.iter().fold(empty, |mut family, (labels, look)| {
            figure(look).into_iter().for_each(|figure| family.add(labels.clone(), figure));
            family
        }));
    };
    let gauge = Family::gauge;
    let counter = Family::counter;
    family(Family::histogram("ambrosia_log_flush_seconds", "Time that a flush of the log took"), &|look| {
        Some(flushes(&look.written.sync_times))
    });
    family(counter("ambrosia_log_records", "Records made durable"), &|look| Some(Figure::Count(look.written.records)));
    family(counter("ambrosia_log_bytes", "Bytes of the records made durable"), &|look| {
        Some(Figure::Count(look.written.bytes))
    });
    family(counter("ambrosia_reigns", "Reigns that the member has begun: takeovers, and the first one"), &|look| {
        Some(Figure::Count(look.reigns))
    });
    family(gauge("ambrosia_held_outputs", "Outputs that wait for their record to be durable"), &|look| {
        Some(Figure::Number(look.held_outputs as f64))
    });
    family(gauge("ambrosia_outbox_messages", "Messages that peers have not acknowledged"), &|look| {
        Some(Figure::Number(look.outbox_messages as f64))
    });
    family(gauge("ambrosia_outbox_bytes", "Bytes kept for these"), &|look| {
        Some(Figure::Number(look.outbox_bytes as f64))
    });
    family(gauge("ambrosia_open_calls", "Calls to peers without an answer"), &|look| {
        Some(Figure::Number(look.calls as f64))
    });
    family(
        gauge(
            "ambrosia_oldest_call_seconds",
            "Time that the oldest of these is known to wait, from the first look that saw it",
        ),
        &|look| look.oldest_call.map(|time| Figure::Number(time.as_secs_f64())),
    );
    family(gauge("ambrosia_outgoing_requests_pending", "Requests to the world outside without an outcome"), &|look| {
        Some(Figure::Number(look.outgoing as f64))
    });
    family(counter("ambrosia_outgoing_outcomes", "Outcomes of requests to the world outside"), &|look| {
        Some(Figure::Count(look.outcomes))
    });
    families.push(looks.iter().fold(
        counter("ambrosia_queries", "Queries answered, by whether they gave a value"),
        |mut family, (labels, look)| {
            for (result, count) in ["error", "value"].into_iter().zip(look.queries) {
                let labels = labels.iter().cloned().chain([("result", result.to_owned())]).collect();
                family.add(labels, Figure::Count(count));
            }
            family
        },
    ));
    families
}

fn ask(reception: &Arc<Reception>) -> (Labels, Receiver<Look>) {
    let (tell, told) = sync_channel(1);
    reception.mailbox.push(Event::LookWanted(tell));
    (labels(&reception.name, reception.replica), told)
}

fn labels(name: &InstanceName, replica: ambrosia_core::ReplicaIndex) -> Labels {
    vec![("instance", name.to_string()), ("replica", replica.to_string())]
}

fn flushes(times: &SyncTimes) -> Figure {
    let mut buckets = vec![(FLUSH_TIME_MIN.as_secs_f64(), 0)];
    let mut longer = 0;
    for (up_to, count) in times.doublings() {
        match up_to {
            _ if up_to <= FLUSH_TIME_MIN => buckets[0].1 += count,
            _ if up_to <= FLUSH_TIME_MAX => buckets.push((up_to.as_secs_f64(), count)),
            _ => longer += count,
        }
    }
    buckets.push((f64::INFINITY, longer));
    Figure::Histogram { sum: times.sum().as_secs_f64(), buckets }
}

/// The figures of all replicas of those instances, wherever they run, as the store has them.
pub(crate) fn replicas(store: &Arc<dyn Store>, names: &[InstanceName]) -> Vec<Family> {
    let mut primary = Family::gauge("ambrosia_replica_primary", "1 if the replica is primary, 0 if it is a standby");
    let mut applied = Family::gauge("ambrosia_replica_applied_lsn", "Last record that the replica has applied");
    let mut lag = Family::gauge("ambrosia_replica_lag_records", "Durable records that the replica has not applied");
    let mut silence =
        Family::gauge("ambrosia_replica_heartbeat_age_seconds", "Time since the replica said that it is alive");
    let mut recovery = Family::gauge(
        "ambrosia_replica_recovery_seconds",
        "Time that a replay of all since the newest checkpoint would take now",
    );
    let mut durable = Family::gauge("ambrosia_durable_lsn", "Last durable record of the instance");
    let mut epoch = Family::gauge("ambrosia_epoch", "Number of the newest reign of the instance");
    let mut unreadable = 0.0;
    for name in names {
        let (head, running) = match look_up(store, name) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(instance = %name, error, "an instance can't be watched");
                unreadable += 1.0;
                continue;
            }
        };
        let instance = || vec![("instance", name.to_string())];
        durable.add(instance(), Figure::Number(head.durable.0 as f64));
        epoch.add(instance(), Figure::Number(head.epoch.0 as f64));
        for member in running.iter().filter(|member| member.role != Role::Down) {
            let add =
                |family: &mut Family, number: f64| family.add(labels(name, member.replica), Figure::Number(number));
            add(&mut primary, if member.role == Role::Primary { 1.0 } else { 0.0 });
            add(&mut applied, member.applied.0 as f64);
            add(&mut lag, head.durable.0.saturating_sub(member.applied.0) as f64);
            add(&mut silence, member.heartbeat_age.as_secs_f64());
            add(&mut recovery, member.replay.as_secs_f64());
        }
    }
    let mut not_read =
        Family::gauge("ambrosia_instances_unreadable", "Instances whose place in the store can't be read");
    not_read.add(Vec::new(), Figure::Number(unreadable));
    vec![primary, applied, lag, silence, recovery, durable, epoch, not_read]
}

fn look_up(
    store: &Arc<dyn Store>,
    name: &InstanceName,
) -> Result<(ambrosia_storage::Head, Vec<ambrosia_storage::Member>), String> {
    let log = store.log_of(name).map_err(|error| error.to_string())?;
    let running = store.members(log).map(|members| members.running()).map_err(|error| error.to_string())?;
    let head = store.log(log).and_then(|log| log.head()).map_err(|error| error.to_string())?;
    Ok((head, running.map_err(|error| error.to_string())?))
}
