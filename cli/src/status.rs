//! `status`: who is primary, the epoch, the lsn, and how far each replica is.

use std::{
    io::Write,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{HostAddress, InstanceName, Lsn, ReplicaIndex};
use ambrosia_host::{Modules, Security};
use ambrosia_storage::{
    BlobHash, CaptureMeans, InstanceEntry, InstanceError, Instances, Member, PrimaryInfo, ProcessPlace,
    RecordedOutcome, Role, Rollback, Store, StorePlace,
};
use serde::Serialize;

use crate::{
    arguments::Status,
    said::said,
    status_by_hosts,
    status_hosts::{Hosts, ShownHost, Unclaimed},
    status_methods::ShownMethod,
    status_outgoing::ShownOutgoing,
    status_peers::{Said, ShownPeer, ShownStall, ask_all},
    status_requests::{ShownRequests, ShownSessions},
    status_schedules::ShownSchedule,
    status_upgrades::{ShownAnswer, ShownWish},
    status_watch::watch,
    style::{Style, Tone},
};

/// Longest wait for the end of a registration or deregistration that is under way.
const CHANGES_WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// So many instances are looked at at a time.
const LOOKS_AT_ONCE: usize = 32;

/// The whole answer; its JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct Answer {
    instances: Vec<Shown>,
    /// Those that take places by themselves, if all instances are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<ShownHost>>,
    /// Where those of them are that are alive.
    #[serde(skip)]
    pub(crate) alive: Vec<HostAddress>,
}

/// An instance, or why nothing can be said of it.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Instance(Box<Instance>),
    Broken { name: String, state: &'static str, error: String },
}

#[derive(Serialize)]
struct Instance {
    name: String,
    uuid: String,
    /// The module that it runs, as it was written down when it last began to.
    module: String,
    /// All modules that it was ever given, the first one first.
    modules: Vec<String>,
    /// The upgrade that is under way; null if there is none.
    wanted: Option<ShownWish>,
    /// What came of the last upgrade; null if there was none.
    answered: Option<ShownAnswer>,
    state: &'static str,
    /// Why no replica runs before that is accepted; null if the store has all that was durable.
    lost: Option<String>,
    /// Why it is halted, or with which code it finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Ended>,
    epoch: u64,
    durable_lsn: u64,
    /// True if the instance was not used since the machine started and this process may only read the store: then the
    /// files tell where the log ends.
    from_files: bool,
    first_lsn: u64,
    /// How far back `debug` goes; null if no checkpoint fits the log, which was trimmed.
    history_from_lsn: Option<u64>,
    disk_bytes: u64,
    checkpoints: Vec<ShownCheckpoint>,
    /// How checkpoints are taken: "memory", "save" or "none"; null if nobody runs.
    capture: Option<&'static str>,
    /// How long the guest would need for what is behind the newest checkpoint; null if nobody runs.
    recovery_ms: Option<u64>,
    /// How many handlers of the guest wait, as the primary last said; null if nobody says.
    waiting_handlers: Option<u64>,
    primary: Option<Primary>,
    replicas: Vec<Replica>,
    /// Those that no host has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    unclaimed: Option<Unclaimed>,
    /// What the primary waits for; null if there is none, or it does not say.
    peers: Option<Vec<ShownPeer>>,
    /// Its requests to the world outside that have no outcome yet; null as for `peers`.
    outgoing: Option<ShownOutgoing>,
    /// What it remembers of requests; null as for `peers`.
    requests: Option<ShownRequests>,
    /// Its methods that run by themselves; null as for `peers`.
    schedules: Option<Vec<ShownSchedule>>,
    /// What it has of sessions of programs; null as for `peers`.
    sessions: Option<ShownSessions>,
    /// Since when its log takes nothing for the time being, and why; null if it does, or as for `peers`.
    stall: Option<ShownStall>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    peers_error: Option<String>,
    /// What its methods take and give, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<Vec<ShownMethod>>,
    /// Why that can't be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    methods_error: Option<String>,
    /// SHA-256 of the module.
    #[serde(skip)]
    module_hash: [u8; 32],
    /// Whom to ask for the peers.
    #[serde(skip)]
    answers: Option<(InstanceName, PrimaryInfo)>,
}

#[derive(Serialize)]
struct ShownCheckpoint {
    lsn: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Ended {
    Finished { code: i32, lsn: u64 },
    Halted { lsn: u64, reason: String },
}

#[derive(Serialize)]
struct Primary {
    replica: u16,
    address: String,
    pid: u32,
    host: Option<String>,
}

#[derive(Serialize)]
struct Replica {
    replica: u16,
    role: &'static str,
    applied_lsn: Option<u64>,
    pid: Option<u32>,
    /// Name of the host, or container, in which that is; null if it is not known.
    host: Option<String>,
    /// The host that has taken the place by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_by: Option<String>,
    heartbeat_age_ms: Option<u64>,
    #[serde(skip)]
    place: ProcessPlace,
}

pub(crate) fn status(place: &StorePlace, verb: &Status, style: Style, security: &Security) -> anyhow::Result<ExitCode> {
    let store = place.open()?;
    if verb.watch {
        return watch(&store, place, verb, style, security);
    }
    let mut out = std::io::stdout();
    let answer = match Answer::of(&store, verb, security) {
        Ok(answer) => answer,
        Err(error) => {
            match status_by_hosts::ask(place.hosts(), verb.instance.0.as_ref(), &error, security)? {
                Some(known) if verb.json => writeln!(out, "{}", serde_json::to_string_pretty(&known)?)?,
                Some(known) => out.write_all(known.as_text(style).as_bytes())?,
                None => {}
            }
            return Err(error);
        }
    };
    let is_whole = answer.instances.iter().all(|shown| matches!(shown, Shown::Instance(_)));
    if verb.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        out.write_all(answer.text(style).as_bytes())?;
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Answer {
    /// How it is just now.
    pub(crate) fn of(store: &Arc<dyn Store>, verb: &Status, security: &Security) -> anyhow::Result<Answer> {
        let hosts = Hosts::of(&**store)?;
        let rollbacks = store.rollbacks()?;
        let instances = match &verb.instance.0 {
            Some(name) => {
                let shown = show(&**store, name, &hosts)?;
                vec![shown.ok_or_else(|| InstanceError::Unknown { name: name.clone() })?]
            }
            None => {
                let names: Vec<_> = store.survey()?.into_iter().map(|found| found.name).collect();
                show_all(&**store, &names, &hosts)?
            }
        };
        let alive = hosts.alive();
        let hosts = verb.instance.0.is_none().then(|| hosts.shown());
        let mut answer = Answer { instances, hosts, alive };
        add_rollbacks(rollbacks, &mut answer);
        add_peers(&**store, &mut answer, security)?;
        if verb.methods {
            add_methods(Arc::clone(store), &mut answer);
        }
        Ok(answer)
    }

    /// For a person.
    pub(crate) fn text(&self, style: Style) -> String {
        if self.instances.is_empty() && self.hosts.as_ref().is_none_or(Vec::is_empty) {
            return "no instances; register one with `ambrosia-host register-instance`\n".to_owned();
        }
        as_text(self, style)
    }
}

/// Says which instances wait for an operator, for the store has gone back.
fn add_rollbacks(rollbacks: Vec<Rollback>, answer: &mut Answer) {
    for rollback in rollbacks {
        let of_it = |shown: &&mut Shown| matches!(shown, Shown::Instance(one) if one.uuid == rollback.log.to_string());
        if let Some(Shown::Instance(instance)) = answer.instances.iter_mut().find(of_it) {
            instance.lost = Some(rollback.reason);
        }
    }
}

/// Looks up what the modules describe.
fn add_methods(store: Arc<dyn Store>, answer: &mut Answer) {
    let modules = Modules::new(store);
    for shown in &mut answer.instances {
        let Shown::Instance(instance) = shown else { continue };
        match modules.methods(instance.module_hash) {
            Ok(methods) => instance.methods = Some(methods.iter().map(ShownMethod::of).collect()),
            Err(error) => instance.methods_error = Some(error.to_string()),
        }
    }
}

/// Asks the primaries what they wait for.
fn add_peers(store: &dyn Store, answer: &mut Answer, security: &Security) -> anyhow::Result<()> {
    let instances = answer.instances.iter_mut().filter_map(|shown| match shown {
        Shown::Instance(instance) => Some((instance.answers.take()?, instance)),
        Shown::Broken { .. } => None,
    });
    let (primaries, instances): (Vec<_>, Vec<_>) = instances.unzip();
    for (instance, peers) in instances.into_iter().zip(ask_all(store, primaries, security)?) {
        match peers {
            Ok(Said { peers, outgoing, requests, schedules, sessions, stall }) => {
                instance.stall = stall;
                (instance.peers, instance.outgoing) = (Some(peers), outgoing);
                (instance.requests, instance.schedules, instance.sessions) = (requests, schedules, sessions);
            }
            Err(reason) => instance.peers_error = Some(reason),
        }
    }
    Ok(())
}

/// What is to be shown of these instances, in their order. Many are looked at at a time, for a look is mostly waiting where the store is
/// elsewhere.
fn show_all(store: &dyn Store, names: &[InstanceName], hosts: &Hosts) -> Result<Vec<Shown>, InstanceError> {
    let (next, shown) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(names.len())));
    let look = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(name) = names.get(number) else { return };
        let instance = show(store, name, hosts);
        shown.lock().unwrap_or_else(PoisonError::into_inner).push((number, instance));
    };
    thread::scope(|scope| (0..names.len().min(LOOKS_AT_ONCE)).for_each(|_| drop(scope.spawn(look))));
    let mut shown = shown.into_inner().unwrap_or_else(PoisonError::into_inner);
    shown.sort_unstable_by_key(|(number, _)| *number);
    shown.into_iter().filter_map(|(_, instance)| instance.transpose()).collect()
}

/// What is to be shown of an instance; `None` if there is none of that name.
///
/// While somebody registers or deregisters, files come and go: an error counts if nobody has done so meanwhile.
fn show(store: &dyn Store, name: &InstanceName, hosts: &Hosts) -> Result<Option<Shown>, InstanceError> {
    let changes = || Ok::<_, InstanceError>((store.is_changing()?, store.registry().changes()));
    let deadline = Instant::now() + CHANGES_WAIT_MAX;
    loop {
        let before = changes()?;
        let error = match store.instance(name) {
            Err(InstanceError::Unknown { .. }) => return Ok(None),
            Err(error) => error.into(),
            Ok(entry) => match look(store, entry, hosts) {
                Ok(instance) => return Ok(Some(Shown::Instance(Box::new(instance)))),
                Err(error) => error,
            },
        };
        let is_quiet = !before.0 && changes()? == before;
        if is_quiet || Instant::now() >= deadline {
            return Ok(Some(Shown::Broken { name: name.to_string(), state: "unreadable", error: said(&error) }));
        }
        thread::park_timeout(LOOK_INTERVAL);
    }
}

fn look(store: &dyn Store, entry: InstanceEntry, hosts: &Hosts) -> anyhow::Result<Instance> {
    let replicas = store.members(entry.log())?;
    let log = store.log(entry.log())?;
    let head = log.head()?;
    let checkpoints = store.checkpoints(entry.log())?.list()?;
    let numbers: Vec<_> = entry.replicas.iter().copied().map(ReplicaIndex).collect();
    let members = replicas.members(&numbers)?;
    let primary = members.iter().find(|member| member.role == Role::Primary);
    let state = match (&entry.outcome, primary) {
        (Some(RecordedOutcome::Finished { .. }), _) => "finished",
        (Some(RecordedOutcome::Halted { .. }), _) => "halted",
        (None, Some(_)) => "running",
        (None, None) => "down",
    };
    let shown: Vec<Replica> = members.iter().map(|member| replica(member, hosts.count(member))).collect();
    let taken_by: Vec<String> = shown.iter().filter_map(|replica| replica.taken_by.clone()).collect();
    let unclaimed = if entry.outcome.is_none() { hosts.unclaimed(entry.uuid, &members, &taken_by) } else { None };
    let outcome = entry.outcome.map(|outcome| match outcome {
        RecordedOutcome::Finished { code, lsn } => Ended::Finished { code, lsn: lsn.0 },
        RecordedOutcome::Halted { lsn, reason, .. } => Ended::Halted { lsn: lsn.0, reason },
    });
    let first = log.first()?;
    let beginnings = checkpoints.iter().map(|info| info.lsn);
    let history = if first == Lsn(1) { Some(first) } else { beginnings.into_iter().find(|lsn| lsn.next() >= first) };
    Ok(Instance {
        name: entry.name.to_string(),
        uuid: entry.uuid.to_string(),
        module: BlobHash(entry.upgrades.current).to_string(),
        modules: entry.upgrades.modules.iter().map(|module| BlobHash(*module).to_string()).collect(),
        wanted: entry.upgrades.wanted.as_ref().map(ShownWish::of),
        answered: entry.upgrades.answered.as_ref().map(ShownAnswer::of),
        module_hash: entry.upgrades.current,
        methods: None,
        methods_error: None,
        state,
        lost: None,
        outcome,
        epoch: head.epoch.0,
        durable_lsn: head.durable.0,
        from_files: log.is_at_rest(),
        first_lsn: first.0,
        history_from_lsn: history.map(|lsn| lsn.0),
        disk_bytes: log.stored_bytes()?,
        checkpoints: checkpoints.iter().map(|info| ShownCheckpoint { lsn: info.lsn.0, bytes: info.bytes }).collect(),
        capture: primary.and_then(|member| member.capture).map(|means| match means {
            CaptureMeans::Memory => "memory",
            CaptureMeans::Save => "save",
            CaptureMeans::None => "none",
        }),
        waiting_handlers: primary.and_then(|member| member.waiting),
        recovery_ms: primary.map(|member| member.replay.as_millis() as u64),
        primary: primary.and_then(|member| {
            let address = member.address.as_ref()?.to_string();
            Some(Primary { replica: member.replica.0, address, pid: member.pid, host: host(member) })
        }),
        replicas: shown,
        unclaimed,
        peers: None,
        outgoing: None,
        requests: None,
        schedules: None,
        sessions: None,
        stall: None,
        peers_error: None,
        answers: replicas.primary()?.map(|primary| (entry.name, primary)),
    })
}

fn replica(member: &Member, taken_by: Option<String>) -> Replica {
    let alive = member.role != Role::Down;
    Replica {
        replica: member.replica.0,
        role: match member.role {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Down => "down",
        },
        applied_lsn: alive.then_some(member.applied.0),
        pid: alive.then_some(member.pid),
        host: alive.then(|| host(member)).flatten(),
        taken_by,
        place: member.place.clone(),
        heartbeat_age_ms: alive.then_some(member.heartbeat_age.as_millis() as u64),
    }
}

/// Where the process of a replica runs, if it has said so.
fn host(member: &Member) -> Option<String> {
    Some(member.place.host.clone()).filter(|host| !host.is_empty())
}

fn as_text(answer: &Answer, style: Style) -> String {
    let mut text = String::new();
    answer.hosts.iter().flatten().for_each(|host| text += &host.as_text(style));
    for shown in &answer.instances {
        let instance = match shown {
            Shown::Instance(instance) => &**instance,
            Shown::Broken { name, error, .. } => {
                text += &format!(
                    "{}: {}: {error}\n",
                    style.paint(Tone::Place, name),
                    style.paint(Tone::Fault, "can't be read")
                );
                continue;
            }
        };
        let Instance { name, state, epoch, durable_lsn, .. } = instance;
        let tone = match *state {
            "running" => Tone::Print,
            "halted" => Tone::Fault,
            _ => Tone::Aside,
        };
        let (name, state) = (style.paint(Tone::Place, name), style.paint(tone, state));
        text += &format!("{name}: {state}, epoch {epoch}, durable lsn {durable_lsn}");
        match &instance.outcome {
            Some(Ended::Finished { code, lsn }) => text += &format!(", exit code {code} at lsn {lsn}"),
            Some(Ended::Halted { lsn, reason }) => text += &format!(", at lsn {lsn}: {reason}"),
            None => {}
        }
        if let Some(reason) = &instance.lost {
            text += &format!("\n  {}: {reason}", style.paint(Tone::Fault, "the store has lost records"));
        }
        if instance.from_files {
            text += ", as its files tell: it was not used since the machine started";
        }
        text += "\n";
        text += &format!("  {} on the disk, log from lsn {}", size(instance.disk_bytes), instance.first_lsn);
        if let Some(history) = instance.history_from_lsn.filter(|history| *history != instance.first_lsn) {
            text += &format!(", history from lsn {history}");
        }
        text += "; ";
        text += &checkpoints_as_text(instance);
        for replica in &instance.replicas {
            let role = format!("{:<8}", replica.role);
            let role = match replica.role {
                "primary" => style.paint(Tone::Print, role),
                "down" => style.paint(Tone::Aside, role),
                _ => role,
            };
            text += &format!("  replica {:<3} {role}", replica.replica);
            if let (Some(applied), Some(pid), Some(age)) = (replica.applied_lsn, replica.pid, replica.heartbeat_age_ms)
            {
                let lag = durable_lsn.saturating_sub(applied);
                let pid = format!("{pid}{}", replica.place);
                text += &format!(" applied {applied:<10} lag {lag:<6} pid {pid:<8} heartbeat {age} ms ago");
            }
            if let Some(primary) = &instance.primary
                && primary.replica == replica.replica
            {
                text += &format!("  at {}", primary.address);
            }
            if let Some(host) = &replica.taken_by {
                text += &format!("  on {host}");
            }
            text += "\n";
        }
        instance.unclaimed.iter().for_each(|unclaimed| text += &unclaimed.as_text());
        instance.stall.iter().for_each(|stall| text += &stall.as_text());
        match instance.waiting_handlers {
            None | Some(0) => {}
            Some(1) => text += "  1 handler waits\n",
            Some(count) => text += &format!("  {count} handlers wait\n"),
        }
        instance.wanted.iter().for_each(|wish| text += &wish.as_text());
        instance.answered.iter().for_each(|answer| text += &answer.as_text());
        instance.methods.iter().flatten().for_each(|method| text += &method.as_text());
        if let Some(reason) = &instance.methods_error {
            text += &format!("  methods: not known, {reason}\n");
        }
        instance.peers.iter().flatten().for_each(|peer| text += &peer.as_text());
        instance.outgoing.iter().for_each(|outgoing| text += &outgoing.as_text());
        instance.requests.iter().for_each(|requests| text += &requests.as_text());
        instance.sessions.iter().for_each(|sessions| text += &sessions.as_text());
        instance.schedules.iter().flatten().for_each(|schedule| text += &schedule.as_text());
        if let Some(reason) = &instance.peers_error {
            text += &format!("  peers: not known, {reason}\n");
        }
    }
    text
}

fn checkpoints_as_text(instance: &Instance) -> String {
    let mut text = match instance.checkpoints.last() {
        Some(newest) => {
            let bytes = instance.checkpoints.iter().map(|checkpoint| checkpoint.bytes).sum();
            let count = instance.checkpoints.len();
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} checkpoint{plural}, {}, the newest at lsn {}", size(bytes), newest.lsn)
        }
        None => "no checkpoint yet".to_owned(),
    };
    match instance.capture {
        Some("none") => text += "; the guest can't be captured, so recovery is a replay of the whole log",
        Some("save") => text += "; by the guest's own save and load",
        _ => {}
    }
    if let Some(recovery_ms) = instance.recovery_ms {
        text += &format!("; replay about {recovery_ms} ms");
    }
    text + "\n"
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
