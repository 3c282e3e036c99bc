//! What the trial of an upgrade has found, for a person or a script.
//!
//! **Architecture Invariant:** text and JSON show the same; nothing of a guest reaches a terminal as a control character.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{
    Fault, InstanceName, MessageKind, Timestamp,
    limits::{EFFECTS_BYTES_MAX, MEMORY_BYTES_DEFAULT},
};
use ambrosia_engine::{HandedOver, WaitingHandler};
use ambrosia_host::{
    Clock, Methods, Modules, SystemClock, decode_value, show_raw, show_value,
    travel::{
        Brought, Difference, Handover, NoTrial, Trial, TrialChange, TrialMessage, TrialPlan, TrialProgress, TrialTrap,
        try_upgrade, with_stack_for_guests,
    },
    without_controls,
};
use ambrosia_storage::{Instances, Store};
use serde::Serialize;
use serde_json::Value;

use crate::{said::said, shortened::shortened, status::size};

/// A trial that takes longer says how far it is.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// And again so often.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Characters of a value that people are shown.
const VALUE_SHOWN: usize = 160;

/// What a trial has come to. The JSON is an interface for scripts.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ShownTrial {
    /// There is none, and why.
    None { not_made: String },
    /// There was one.
    Made(Box<Made>),
}

#[derive(Serialize)]
pub(crate) struct Made {
    /// The record behind which the new code took over.
    from_lsn: u64,
    deliveries: u64,
    messages: u64,
    seconds: f64,
    /// What the hand-over takes: with the state as it is now, or, if handlers wait now, as it was where the trial began. Null if
    /// the new code could not take over.
    handover: Option<ShownHandover>,
    /// Why not, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    /// Messages that bring about the same.
    same: u64,
    /// Messages that bring about something else.
    different: u64,
    /// The first of those.
    differences: Vec<ShownDifference>,
    /// What the new code fails at; null if it does not.
    trap: Option<ShownTrap>,
    /// What the old code fails at, and the new code does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    mended: Option<ShownTrap>,
    /// Why it ended before the end of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// Messages that the new code did not get, as it waits for no such thing: ends of timers, and answers.
    left_out: u64,
    /// Ends of timers that only the new code has set.
    own_timers: u64,
    /// Handlers that wait now.
    waiting: Vec<ShownWaiting>,
    #[serde(skip)]
    fuel: Option<u64>,
    #[serde(skip)]
    memory_limit: u64,
}

#[derive(Serialize)]
struct ShownHandover {
    ms: f64,
    /// Of the state, as it is saved; null if the module stays.
    bytes: Option<u64>,
    save_fuel: Option<u64>,
    load_fuel: Option<u64>,
    old_memory_bytes: Option<u64>,
    new_memory_bytes: Option<u64>,
    /// What the new code brings about as it takes over.
    changes: Vec<ShownChange>,
    calls: bool,
}

#[derive(Serialize)]
struct Refused {
    /// Whether it is so with the state as it is now; else where the trial was to begin.
    is_now: bool,
    #[serde(flatten)]
    fault: ShownFault,
}

#[derive(Serialize)]
struct ShownFault {
    reason: String,
    backtrace: String,
}

#[derive(Serialize)]
struct ShownDifference {
    lsn: u64,
    /// Null for the end of a timer that only the new code has set.
    message: Option<ShownMessage>,
    changes: Vec<ShownChange>,
}

#[derive(Serialize)]
struct ShownMessage {
    index: u32,
    source: String,
    kind: String,
    method: Option<String>,
    arguments: Value,
}

#[derive(Serialize)]
struct ShownTrap {
    lsn: u64,
    message: Option<ShownMessage>,
    #[serde(flatten)]
    fault: ShownFault,
}

#[derive(Serialize)]
struct Ended {
    lsn: u64,
    reason: String,
}

#[derive(Serialize)]
struct ShownWaiting {
    handler: String,
    awaits: String,
    seconds: f64,
}

/// A change; without a side that does not have it.
#[derive(Serialize)]
struct ShownChange {
    /// "other", "gone", "new" or "order".
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<ShownEffect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<ShownEffect>,
    /// The peer, where only the order is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

#[derive(Serialize)]
struct ShownEffect {
    /// "answer", "error", "fork", "call", "timer", "cancel timer" or "exit".
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    value: Value,
}

/// Tries an upgrade, and says on a terminal how far that is. `tell` hears it too.
///
/// # Errors
/// If the clock can't be read, or there is no thread for it.
pub(crate) fn tried(
    plan: &TrialPlan<'_>,
    tell: &mut (dyn FnMut(TrialProgress<'_>) + Send),
) -> anyhow::Result<ShownTrial> {
    let mut progress = Progress::begin();
    let tried = with_stack_for_guests(|| {
        try_upgrade(plan, &mut |stage| {
            progress.tell(stage);
            tell(stage);
        })
    });
    progress.end();
    let trial = match tried.map_err(NoTrial::Travel).flatten() {
        Ok(trial) => trial,
        Err(error) => return Ok(ShownTrial::None { not_made: without_controls(&said(&error.into())) }),
    };
    let mut namer = Namer::new(plan);
    Ok(ShownTrial::Made(Box::new(namer.show(trial, memory_limit(plan), SystemClock::check()?.now()))))
}

/// What the new code may have.
fn memory_limit(plan: &TrialPlan<'_>) -> u64 {
    plan.limits.map_or(MEMORY_BYTES_DEFAULT, |limits| limits.memory_bytes)
}

/// Knows what methods are called.
struct Namer {
    store: Arc<dyn Store>,
    modules: Modules,
    me: InstanceName,
    old: Option<Methods>,
    new: Option<Methods>,
    others: BTreeMap<InstanceName, Option<Methods>>,
}

impl Namer {
    fn new(plan: &TrialPlan<'_>) -> Namer {
        let modules = Modules::looking(Arc::clone(plan.store));
        let entry = plan.store.instance(plan.instance).ok();
        let from = plan.from.or(entry.map(|entry| entry.upgrades.current));
        let old = from.and_then(|from| modules.methods(from).ok());
        let new = plan.module.methods_within(memory_limit(plan)).map(Methods::new).ok();
        let (store, me) = (Arc::clone(plan.store), plan.instance.clone());
        Namer { store, modules, me, old, new, others: BTreeMap::new() }
    }

    fn show(&mut self, trial: Trial, memory_limit: u64, now: Timestamp) -> Made {
        let fuel = trial.handover_fuel();
        let Trial { begins_at, handover, handover_now, deliveries, messages, same, different, differences, .. } = trial;
        let Trial { trap, mended, ended, left_out, own_timers, waiting, took, .. } = trial;
        let (handover, refused) = match (handover, handover_now) {
            (Err(fault), _) => (None, Some(Refused { is_now: false, fault: shown_fault(fault) })),
            (Ok(_), Some(Err(fault))) => (None, Some(Refused { is_now: true, fault: shown_fault(fault) })),
            (Ok(then), now) => (Some(self.handover(&now.and_then(Result::ok).unwrap_or(then))), None),
        };
        Made {
            from_lsn: begins_at.0,
            deliveries,
            messages,
            seconds: took.as_secs_f64(),
            handover,
            refused,
            same,
            different,
            differences: differences.into_iter().map(|difference| self.difference(difference)).collect(),
            trap: trap.map(|trap| self.trap(trap)),
            mended: mended.map(|trap| self.trap(trap)),
            ended: ended.map(|(lsn, reason)| Ended { lsn: lsn.0, reason }),
            left_out,
            own_timers,
            waiting: waiting.into_iter().map(|waiting| shown_waiting(waiting, now)).collect(),
            fuel,
            memory_limit,
        }
    }

    fn handover(&mut self, handover: &Handover) -> ShownHandover {
        let Handover { took, cost, changes, calls } = handover;
        let of = |number: fn(&HandedOver) -> u64| cost.as_ref().map(number);
        ShownHandover {
            ms: took.as_secs_f64() * 1000.0,
            bytes: of(|cost| cost.state_bytes),
            save_fuel: of(|cost| cost.save_fuel),
            load_fuel: of(|cost| cost.load_fuel),
            old_memory_bytes: of(|cost| cost.old_memory_bytes),
            new_memory_bytes: of(|cost| cost.new_memory_bytes),
            changes: changes.iter().map(|change| self.change(change, None)).collect(),
            calls: *calls,
        }
    }

    fn difference(&mut self, difference: Difference) -> ShownDifference {
        let Difference { lsn, message, changes } = difference;
        let changes = changes.iter().map(|change| self.change(change, message.as_ref())).collect();
        ShownDifference { lsn: lsn.0, changes, message: message.map(|message| self.message(&message)) }
    }

    fn trap(&self, trap: TrialTrap) -> ShownTrap {
        let TrialTrap { lsn, message, fault } = trap;
        ShownTrap { lsn: lsn.0, message: message.map(|message| self.message(&message)), fault: shown_fault(fault) }
    }

    fn message(&self, message: &TrialMessage) -> ShownMessage {
        let TrialMessage { index, source, kind, method, call_id: _, arguments } = message;
        let known = self.old.as_ref().and_then(|methods| methods.by_id(*method)).filter(|_| kind.names_method());
        let raw = || if kind.names_method() { show_raw(arguments) } else { decode_value(arguments) };
        ShownMessage {
            index: *index,
            source: source.as_ref().map_or_else(|| "outside".to_owned(), InstanceName::to_string),
            kind: format!("{kind:?}").to_lowercase(),
            method: kind.names_method().then(|| known.map_or_else(|| method.to_string(), |method| method.name.clone())),
            arguments: known.map_or_else(raw, |method| show_value(method, arguments)),
        }
    }

    /// `cause` is the message that brought it about.
    fn change(&mut self, change: &TrialChange, cause: Option<&TrialMessage>) -> ShownChange {
        let (change, before, after, to) = match change {
            TrialChange::Other { before, after } => ("other", Some(before), Some(after), None),
            TrialChange::Gone(before) => ("gone", Some(before), None, None),
            TrialChange::New(after) => ("new", None, Some(after), None),
            TrialChange::Order(to) => ("order", None, None, Some(to.to_string())),
        };
        let before = before.map(|brought| self.effect(brought, cause, false));
        let after = after.map(|brought| self.effect(brought, cause, true));
        ShownChange { change, before, after, to }
    }

    fn effect(&mut self, brought: &Brought, cause: Option<&TrialMessage>, is_new: bool) -> ShownEffect {
        let Brought { kind, to, method, call_id, arguments } = brought;
        let number = || arguments.as_slice().try_into().map(u64::from_le_bytes).ok();
        let shown = |kind, value| ShownEffect { kind, to: None, method: None, value };
        match kind {
            MessageKind::Fork | MessageKind::Call => {
                let to = to.as_ref().expect("they go to a peer");
                let methods = self.methods_of(to);
                let known = methods.as_ref().and_then(|methods| methods.by_id(*method));
                ShownEffect {
                    kind: if *kind == MessageKind::Fork { "fork" } else { "call" },
                    to: Some(to.to_string()),
                    method: Some(known.map_or_else(|| method.to_string(), |method| method.name.clone())),
                    value: known.map_or_else(|| show_raw(arguments), |method| show_value(method, arguments)),
                }
            }
            MessageKind::Reply => {
                let own = if is_new { &self.new } else { &self.old };
                let cause = cause.filter(|cause| cause.call_id == *call_id && cause.kind.names_method());
                let method = cause.and_then(|cause| own.as_ref()?.by_id(cause.method));
                shown("answer", method.map_or_else(|| decode_value(arguments), |method| show_value(method, arguments)))
            }
            MessageKind::SetTimer => {
                let due = number().and_then(|due| jiff::Timestamp::from_nanosecond(i128::from(due)).ok());
                shown("timer", due.map_or(Value::Null, |due| format!("{due:.3}").into()))
            }
            MessageKind::CancelTimer => shown("cancel timer", Value::Null),
            MessageKind::Exit => {
                let code = arguments.as_slice().try_into().map(i32::from_le_bytes);
                shown("exit", code.map_or(Value::Null, Value::from))
            }
            MessageKind::Request => shown("request", decode_value(arguments)),
            MessageKind::CancelRequest => shown("cancel request", Value::Null),
            MessageKind::Promise => shown("promise", Value::Null),
            MessageKind::CancelPromise => shown("cancel promise", Value::Null),
            MessageKind::Log => shown("log", decode_value(arguments)),
            MessageKind::Emit => shown("event", Value::Null),
            MessageKind::Error
            | MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron
            | MessageKind::Waiting => shown("error", decode_value(arguments)),
        }
    }

    /// Those of another instance, as far as the store has them.
    fn methods_of(&mut self, name: &InstanceName) -> Option<Methods> {
        if *name == self.me {
            return self.old.clone();
        }
        let look = || self.modules.methods(self.store.instance(name).ok()?.upgrades.current).ok();
        self.others.entry(name.clone()).or_insert_with(look).clone()
    }
}

fn shown_fault(fault: Fault) -> ShownFault {
    ShownFault { reason: fault.reason, backtrace: fault.backtrace }
}

fn shown_waiting(waiting: WaitingHandler, now: Timestamp) -> ShownWaiting {
    let WaitingHandler { handler, awaits, since } = waiting;
    ShownWaiting { handler, awaits, seconds: now.0.saturating_sub(since.0) as f64 / 1e9 }
}

impl ShownTrial {
    /// Whether it found that the new code fails.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, ShownTrial::Made(made) if made.refused.is_some() || made.trap.is_some())
    }

    /// Whether both codes bring about the same.
    pub(crate) fn is_same(&self) -> bool {
        let differs = |made: &Made| made.different > 0 || made.mended.is_some();
        !self.has_failed() && !matches!(self, ShownTrial::Made(made) if differs(made))
    }

    /// Fuel that the hand-over should have by it.
    pub(crate) fn handover_fuel(&self) -> Option<u64> {
        match self {
            ShownTrial::None { .. } => None,
            ShownTrial::Made(made) => made.fuel,
        }
    }

    /// Whether it names the handlers that wait now.
    pub(crate) fn names_waiting(&self) -> bool {
        matches!(self, ShownTrial::Made(made) if !made.waiting.is_empty())
    }

    /// For people, some lines.
    pub(crate) fn as_text(&self) -> String {
        match self {
            ShownTrial::None { not_made } => format!("trial    none: {not_made}\n"),
            ShownTrial::Made(made) => made.lines().into_iter().map(|line| without_controls(&line) + "\n").collect(),
        }
    }
}

impl Made {
    fn lines(&self) -> Vec<String> {
        let Made { from_lsn, deliveries, messages, seconds, .. } = self;
        let (deliveries, messages) =
            (counted(*deliveries, "delivery", "deliveries"), counted(*messages, "message", "messages"));
        let mut lines: Vec<_> = self.waits().map(|waits| format!("  waits  {waits}")).into_iter().collect();
        lines.push(format!("trial    from lsn {from_lsn}, {deliveries} of {messages} by both, {seconds:.2} s"));
        if let Some(refused) = &self.refused {
            let with = if refused.is_now { " the state as it is now" } else { "" };
            lines.push(format!("  the new code can't take over{with}: {}", first_line(&refused.fault.reason)));
        }
        if let Some(handover) = &self.handover {
            let bring = if self.same == 1 { "message brings" } else { "messages bring" };
            lines.push(format!("  {}; {} {bring} about the same", handover.line(), self.same));
            lines.extend(handover.warnings(self.memory_limit));
            lines.extend(handover.changes.iter().map(|change| format!("  the upgrade itself: {}", change.line())));
            if handover.calls {
                lines.push("  what the new code calls as it takes over answers nothing in the trial".to_owned());
            }
        }
        lines.extend(self.differences.iter().map(ShownDifference::line));
        let more = self.different - self.differences.len() as u64;
        if more > 0 {
            lines.push(format!(
                "  and {} more",
                counted(more, "message that brings about something else", "messages that bring about something else")
            ));
        }
        lines.extend(
            self.trap
                .as_ref()
                .map(|trap| format!("  {}the new code traps: {}", trap.place(), first_line(&trap.fault.reason))),
        );
        let mended = self.mended.as_ref();
        lines.extend(mended.map(|trap| {
            format!(
                "  {}the old code traps, and the new one does not: {}",
                trap.place(),
                first_line(&trap.fault.reason)
            )
        }));
        if let Some(Ended { lsn, reason }) = &self.ended {
            lines.push(format!("  nothing is compared behind lsn {lsn}: {reason}"));
        }
        if self.left_out > 0 {
            let left_out = counted(self.left_out, "message", "messages");
            lines.push(format!(
                "  {left_out} left out, as the new code waits for no such thing: ends of timers, and answers"
            ));
        }
        if self.own_timers > 0 {
            lines.push(format!(
                "  {} that only the new code sets",
                counted(self.own_timers, "end of a timer", "ends of timers")
            ));
        }
        lines
    }

    /// The handlers that wait now, in words.
    fn waits(&self) -> Option<String> {
        let waits = |waiting: &ShownWaiting| {
            let ShownWaiting { handler, awaits, seconds } = waiting;
            format!("{handler} awaits {awaits} ({seconds:.1} s)")
        };
        let shown: Vec<_> = self.waiting.iter().map(waits).collect();
        (!shown.is_empty())
            .then(|| format!("{}: {}", counted(shown.len() as u64, "handler", "handlers"), shown.join(", ")))
    }
}

impl ShownHandover {
    fn line(&self) -> String {
        match self.bytes {
            Some(bytes) => format!("handed over {} in {}", size(bytes), milliseconds(self.ms)),
            None => "its memory and its handlers stay".to_owned(),
        }
    }

    /// What it comes near to.
    fn warnings(&self, memory_limit: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let max = EFFECTS_BYTES_MAX as u64;
        if let Some(bytes) = self.bytes.filter(|bytes| *bytes > max / 2) {
            warnings.push(format!("  {} is near the limit of what is handed over, {}", size(bytes), size(max)));
        }
        if let Some(bytes) =
            self.old_memory_bytes.max(self.new_memory_bytes).filter(|bytes| *bytes > memory_limit / 4 * 3)
        {
            warnings.push(format!(
                "  it takes {} of memory, of {} that it may have: see --memory-mib",
                size(bytes),
                size(memory_limit)
            ));
        }
        warnings
    }
}

impl ShownDifference {
    fn line(&self) -> String {
        let changes: Vec<_> = self.changes.iter().map(ShownChange::line).collect();
        let message = self.message.as_ref().map_or_else(|| "a timer of the new code".to_owned(), ShownMessage::line);
        format!("  lsn {} {message}: {}", self.lsn, changes.join("; "))
    }
}

impl ShownTrap {
    fn place(&self) -> String {
        let message = self.message.as_ref().map_or_else(String::new, |message| format!(" {}", message.line()));
        format!("lsn {}{message}: ", self.lsn)
    }
}

impl ShownMessage {
    fn line(&self) -> String {
        let ShownMessage { index, source, kind, method, arguments } = self;
        let mut line = format!("#{index} {source} {kind}");
        if let Some(method) = method {
            line += &format!(" {method}");
        }
        if *arguments != Value::Null {
            line += &format!(" {}", shortened(arguments, VALUE_SHOWN));
        }
        line
    }
}

impl ShownChange {
    fn line(&self) -> String {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before.kind == after.kind => {
                format!("{} -> {}", before.line(), shortened(&after.value, VALUE_SHOWN))
            }
            (Some(before), Some(after)) => format!("{} -> {}", before.line(), after.line()),
            (Some(before), None) => format!("no more {}", before.line()),
            (None, Some(after)) => format!("also {}", after.line()),
            (None, None) => format!("what goes to {} comes in another order", self.to.as_deref().unwrap_or("a peer")),
        }
    }
}

impl ShownEffect {
    fn line(&self) -> String {
        let ShownEffect { kind, to, method, value } = self;
        let to = to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
        let method = method.as_ref().map_or_else(String::new, |method| format!(" {method}"));
        match value {
            Value::Null if *kind != "answer" => format!("{kind}{to}{method}"),
            value => format!("{kind}{to}{method} {}", shortened(value, VALUE_SHOWN)),
        }
    }
}

/// What follows is a backtrace.
fn first_line(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default()
}

fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Says on a terminal how far a trial is that takes long.
struct Progress {
    began: Instant,
    told: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    fn begin() -> Progress {
        Progress { began: Instant::now(), told: None, is_terminal: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, progress: TrialProgress<'_>) {
        if !self.is_terminal
            || self.began.elapsed() < SILENT_FOR
            || self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY)
        {
            return;
        }
        self.told = Some(Instant::now());
        let text = match progress {
            TrialProgress::Going(here, there) => {
                format!("the old code is at lsn {here}, and the trial begins at {there}")
            }
            TrialProgress::Delivering(done, all) => format!("{done} of {all} deliveries"),
            TrialProgress::Printed(..) => return,
        };
        // Nobody misses a line that tells how far it is.
        let _unseen = write!(std::io::stderr(), "\r\x1b[Ktrial: {text}");
    }

    fn end(&self) {
        if self.told.is_some() {
            let _unseen = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
