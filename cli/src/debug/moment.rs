//! What is shown at a record: the messages, what each brought about, and what the instance waits for behind it.
//!
//! **Architecture Invariant:** text and JSON show the same; nothing of the guest reaches a terminal as a control character.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use ambrosia_core::{Effect, Effects, InstanceName, MessageKind, PeerIndex, PrintStream, SKIPPED, Timestamp};
use ambrosia_host::{
    Methods, Modules, decode_value, show_raw, show_value,
    travel::{Execution, Traveller},
    without_controls,
};
use ambrosia_storage::{BlobHash, Instances, Store};
use serde::Serialize;
use serde_json::Value;

use super::{
    changes::{self, Change},
    place::shown as shown_time,
    state::State,
};
use crate::{
    records::{Body, Reader, Shown, ShownMessage, ShownRemedy, mended, session_lines},
    style::{Style, Tone},
};

/// Calls and timers named one by one; of the others only the count is told.
const NAMED_MAX: usize = 8;

/// What it is called that a timer is set.
const TIMER: &str = "timer";

/// A record, what the guest did with it, and what it left. The JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct ShownMoment {
    pub(crate) lsn: u64,
    /// Whether the guest could not handle it, so that a mend behind it delivers its messages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_void: bool,
    /// Null at a checkpoint that the journey begins at.
    pub(crate) record: Option<Shown>,
    #[serde(flatten)]
    pub(crate) execution: Option<ShownExecution>,
    now: Now,
}

#[derive(Serialize)]
pub(crate) struct ShownExecution {
    pub(crate) fuel: u64,
    pub(crate) effects: Vec<ShownEffect>,
    prints: Vec<ShownPrint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<ShownFault>,
}

/// Something that a message brought about.
#[derive(Serialize)]
pub(crate) struct ShownEffect {
    /// Index of that message in the record.
    pub(crate) cause: u32,
    /// Whether that message was skipped, so that it is not among those of the mend: its index is that in the void record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_of_skipped: bool,
    pub(crate) kind: String,
    pub(crate) to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    /// Arguments, a result, the time of a timer, an exit code, a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
}

#[derive(Serialize)]
struct ShownPrint {
    stream: &'static str,
    text: String,
}

#[derive(Serialize)]
pub(crate) struct ShownFault {
    pub(crate) reason: String,
    pub(crate) backtrace: String,
}

/// What the instance is behind the record.
#[derive(Serialize)]
struct Now {
    module: String,
    memory_bytes: u64,
    open_calls: Vec<OpenCall>,
    timers: Vec<Timer>,
    outboxes: Vec<Outbox>,
}

#[derive(Serialize)]
struct OpenCall {
    id: u64,
    peer: String,
}

#[derive(Serialize)]
struct Timer {
    id: u64,
    due: String,
}

#[derive(Serialize)]
struct Outbox {
    peer: String,
    messages: u64,
    bytes: usize,
    oldest_lsn: Option<u64>,
}

/// Shows where a traveller stands.
pub(crate) struct Viewer {
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    reader: Reader,
    me: String,
    /// Those of other instances, as far as the store has them.
    methods: BTreeMap<String, Option<Methods>>,
}

impl Viewer {
    pub(crate) fn new(store: Arc<dyn Store>, traveller: &Traveller) -> Viewer {
        let modules = Arc::clone(traveller.modules());
        let (module, me) = (traveller.replica().module(), traveller.replica().genesis().name.to_string());
        let reader = Reader::of(Arc::clone(&modules), module, me.clone());
        Viewer { store, modules, reader, me, methods: BTreeMap::new() }
    }

    /// The name of a peer, of the outside world, or of the instance itself.
    pub(crate) fn peer(traveller: &Traveller, peer: PeerIndex) -> String {
        match traveller.replica().peer_name(peer) {
            Some(name) => name.to_string(),
            None if peer == PeerIndex::OUTSIDE => "outside".to_owned(),
            None => peer.to_string(),
        }
    }

    /// The methods of the module at hand.
    pub(crate) fn own_methods(&self) -> &Methods {
        self.reader.methods()
    }

    /// What was read last is forgotten: the traveller stands there now.
    pub(crate) fn stand_at(&mut self, traveller: &Traveller) {
        let replica = traveller.replica();
        let peers = (1..).map(PeerIndex).map_while(|peer| Some((peer, replica.peer_name(peer)?.to_string())));
        self.reader.stand_at(replica.module(), peers);
    }

    pub(crate) fn record(&mut self, record: &ambrosia_core::Record) -> anyhow::Result<Shown> {
        self.reader.show(record)
    }

    pub(crate) fn moment(&mut self, traveller: &Traveller) -> anyhow::Result<ShownMoment> {
        self.stand_at(traveller);
        let moment = traveller.moment();
        let mut record = moment.record.as_ref().map(|record| self.reader.show(record)).transpose()?;
        if let Some(Body::Mend { messages, .. }) = record.as_mut().map(|record| &mut record.body)
            && let Some(execution) = &moment.execution
        {
            *messages = self.reader.runs(&execution.runs)?;
        }
        let messages = match record.as_ref().map(|record| &record.body) {
            Some(Body::Deliver { messages, .. } | Body::Mend { messages, .. }) => messages.as_slice(),
            _ => &[],
        };
        let mut execution = moment.execution.as_ref().map(|execution| self.execution(execution, messages));
        if let Some(Body::Mend { remedy: ShownRemedy::Skip { skipped }, .. }) =
            record.as_ref().map(|record| &record.body)
        {
            execution.iter_mut().for_each(|execution| mark_skipped(&mut execution.effects, skipped));
        }
        let is_void = traveller.replica().void() == Some(traveller.lsn());
        Ok(ShownMoment { lsn: traveller.lsn().0, is_void, record, execution, now: now(traveller) })
    }

    fn execution(&mut self, execution: &Execution, messages: &[ShownMessage]) -> ShownExecution {
        // Those of a delivery that failed may be any bytes.
        let effects = Effects::new(&execution.effects).map_while(Result::ok);
        ShownExecution {
            fuel: execution.fuel,
            effects: effects.map(|effect| self.effect(&effect, messages)).collect(),
            prints: prints(execution),
            fault: execution
                .fault
                .as_ref()
                .map(|fault| ShownFault { reason: fault.reason.clone(), backtrace: fault.backtrace.clone() }),
        }
    }

    fn effect(&mut self, effect: &Effect<'_>, messages: &[ShownMessage]) -> ShownEffect {
        let (message, to) = (effect.message, self.reader.peer(effect.target));
        let mut shown = ShownEffect {
            cause: effect.cause,
            is_of_skipped: false,
            kind: format!("{:?}", message.kind).to_lowercase(),
            method: None,
            id: (message.call_id.0 != 0).then_some(message.call_id.0),
            value: None,
            to,
        };
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        match message.kind {
            MessageKind::Fork | MessageKind::Call => {
                let methods = self.methods_of(&shown.to);
                let method = methods.as_ref().and_then(|methods| methods.by_id(message.method));
                shown.method = Some(method.map_or_else(|| message.method.to_string(), |method| method.name.clone()));
                let arguments = message.arguments;
                shown.value = Some(method.map_or_else(|| show_raw(arguments), |method| show_value(method, arguments)));
            }
            MessageKind::Reply => {
                let cause = messages.get(effect.cause as usize).filter(|cause| cause.call_id == shown.id);
                let method = cause.and_then(|cause| self.reader.methods().find(cause.method.as_deref()?).ok());
                let result = message.arguments;
                shown.value = Some(method.map_or_else(|| decode_value(result), |method| show_value(method, result)));
            }
            MessageKind::Exit => {
                shown.value = message.arguments.try_into().ok().map(|code| i32::from_le_bytes(code).into());
            }
            MessageKind::SetTimer => {
                shown.kind = TIMER.to_owned();
                shown.value = number(message.arguments).map(|due| shown_time(Timestamp(due)).into());
            }
            MessageKind::CancelTimer => shown.kind = "cancel timer".to_owned(),
            MessageKind::Waiting => shown.value = number(message.arguments).map(Value::from),
            MessageKind::Request => shown.value = Some(request_line(message.arguments)),
            MessageKind::CancelRequest => shown.kind = "cancel request".to_owned(),
            MessageKind::CancelPromise => shown.kind = "cancel promise".to_owned(),
            MessageKind::Emit | MessageKind::Promise => {}
            MessageKind::Log
            | MessageKind::Error
            | MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron => shown.value = Some(decode_value(message.arguments)),
        }
        shown
    }

    /// The methods of another instance of the store, or of this one.
    fn methods_of(&mut self, name: &str) -> Option<Methods> {
        if name == self.me {
            return Some(self.reader.methods().clone());
        }
        let (store, modules) = (&self.store, &self.modules);
        let look = || {
            let entry = store.instance(&InstanceName::new(name).ok()?).ok()?;
            modules.methods(entry.upgrades.current).ok()
        };
        self.methods.entry(name.to_owned()).or_insert_with(look).clone()
    }
}

/// The answers to messages that were skipped come before all that the guest brings about: at most one for each, in order.
fn mark_skipped(effects: &mut [ShownEffect], skipped: &[u32]) {
    let mut skipped = skipped.iter();
    for effect in effects {
        let is_answer = effect.kind == "error" && effect.value == Some(SKIPPED.into());
        if !is_answer || !skipped.by_ref().any(|position| *position == effect.cause) {
            break;
        }
        effect.is_of_skipped = true;
    }
}

/// Pieces of a stream that follow each other are one text.
/// What is asked of the world outside: neither its headers nor its body, which may be large.
fn request_line(arguments: &[u8]) -> Value {
    let Value::Object(mut request) = decode_value(arguments) else { return Value::Null };
    request.retain(|name, _| ["method", "url"].contains(&name.as_str()));
    request.into()
}

fn prints(execution: &Execution) -> Vec<ShownPrint> {
    let mut texts: Vec<(PrintStream, Vec<u8>)> = Vec::new();
    for print in &execution.prints {
        match texts.last_mut() {
            Some((stream, text)) if *stream == print.stream => text.extend_from_slice(&print.bytes),
            _ => texts.push((print.stream, print.bytes.clone())),
        }
    }
    let shown = |(stream, text): (PrintStream, Vec<u8>)| ShownPrint {
        stream: if stream == PrintStream::Stdout { "stdout" } else { "stderr" },
        text: String::from_utf8_lossy(&text).into_owned(),
    };
    texts.into_iter().map(shown).collect()
}

fn now(traveller: &Traveller) -> Now {
    let replica = traveller.replica();
    let outbox = |waits: ambrosia_core::PeerWaits| Outbox {
        peer: waits.name.to_string(),
        messages: waits.messages,
        bytes: waits.bytes,
        oldest_lsn: waits.oldest.map(|lsn| lsn.0),
    };
    Now {
        module: BlobHash(replica.module()).to_string(),
        memory_bytes: traveller.memory_bytes(),
        open_calls: replica
            .open_calls()
            .map(|(call, peer)| OpenCall { id: call.0, peer: Viewer::peer(traveller, peer) })
            .collect(),
        timers: replica.timers().map(|(due, id)| Timer { id: id.0, due: shown_time(due) }).collect(),
        outboxes: replica.waits().into_iter().filter(|waits| waits.messages > 0).map(outbox).collect(),
    }
}

/// As text.
pub(crate) fn print(out: &mut dyn Write, moment: &ShownMoment, style: Style) -> std::io::Result<()> {
    print_head(out, moment, style)?;
    let execution = moment.execution.as_ref();
    let effects = execution.map_or(&[][..], |execution| &execution.effects);
    for effect in effects.iter().filter(|effect| effect.is_of_skipped) {
        writeln!(out, "  skipped {} {}", effect.cause, effect_line(effect, style))?;
    }
    let effects: Vec<_> = effects.iter().filter(|effect| !effect.is_of_skipped).collect();
    let mut messages = 0;
    let body = moment.record.as_ref().map(|record| &record.body);
    if let Some(Body::Deliver { acknowledged, sessions, .. }) = body {
        for (peer, seq) in acknowledged {
            writeln!(out, "  {peer} acknowledged {seq}")?;
        }
        session_lines(sessions).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    if let Some(Body::Deliver { messages: shown, .. } | Body::Mend { messages: shown, .. }) = body {
        for (number, message) in shown.iter().enumerate() {
            writeln!(out, "  {number:>3} {}", message_line(message, style))?;
            effects
                .iter()
                .filter(|effect| effect.cause as usize == number)
                .try_for_each(|effect| writeln!(out, "        {}", effect_line(effect, style)))?;
        }
        messages = shown.len();
    }
    for effect in effects.iter().filter(|effect| effect.cause as usize >= messages) {
        writeln!(out, "        {}", effect_line(effect, style))?;
    }
    if let Some(execution) = execution {
        print_rest(out, execution, style)?;
    }
    print_now(out, &moment.now, style)
}

fn print_head(out: &mut dyn Write, moment: &ShownMoment, style: Style) -> std::io::Result<()> {
    let lsn = style.paint(Tone::Place, format!("lsn {}", moment.lsn));
    let Some(Shown { kind, epoch, time, bytes, mended_by: _, body, lsn: _ }) = &moment.record else {
        return writeln!(out, "{lsn}  a checkpoint: the log goes back no further");
    };
    write!(out, "{lsn}  {kind}  epoch {epoch}  {time}  {bytes} bytes")?;
    if let Some(execution) = &moment.execution {
        write!(out, "  fuel {}", execution.fuel)?;
    }
    match body {
        Body::Genesis { instance, uuid, module, .. } => writeln!(out, "\n  instance {instance} {uuid} module {module}"),
        Body::Epoch { replica, .. } => writeln!(out, "\n  replica {replica} became primary"),
        Body::Bind { peer, uuid } => writeln!(out, "\n  peer {peer} is {uuid}"),
        Body::Session { session } => writeln!(out, "\n  session {session} is open"),
        Body::Configuration { .. } => writeln!(out, "\n  the operator has set values for the guest"),
        Body::Digest { state, memory, .. } => writeln!(out, "\n  state {state} memory {memory}"),
        Body::Upgrade { from, to, .. } => writeln!(out, "\n  module {from} hands over to {to}"),
        Body::Mend { mends_lsn, remedy, .. } => writeln!(out, "\n  {}", mended(*mends_lsn, remedy)),
        Body::Deliver { .. } if moment.is_void => {
            writeln!(out, "\n  void: the guest could not handle it, and a mend behind it delivers its messages")
        }
        Body::Deliver { .. } => writeln!(out),
    }
}

/// A message in a line.
pub(crate) fn message_line(message: &ShownMessage, style: Style) -> String {
    let mut line = message.source.clone();
    if let Some(seq) = message.seq {
        line += &format!("#{seq}");
    }
    line += &format!(" {}", message.kind);
    if let Some(method) = &message.method {
        line += &format!(" {}", style.paint(Tone::Method, without_controls(method)));
    }
    if let Some(id) = message.call_id {
        line += &format!(" id {id}");
    }
    if let Some(request) = &message.request {
        line += &format!(" request {}", without_controls(request));
    }
    if let Some(session) = &message.session {
        line += &format!(" session {session}");
    }
    if message.arguments != Value::Null {
        line += &format!(" {}", without_controls(&message.arguments.to_string()));
    }
    line
}

/// What a message brought about, in a line.
pub(crate) fn effect_line(effect: &ShownEffect, style: Style) -> String {
    let mut line = format!("-> {}", effect.kind);
    if effect.to != "outside" {
        line += &format!(" to {}", effect.to);
    }
    if let Some(method) = &effect.method {
        line += &format!(" {}", style.paint(Tone::Method, without_controls(method)));
    }
    if let Some(id) = effect.id {
        line += &format!(" id {id}");
    }
    match &effect.value {
        Some(Value::String(due)) if effect.kind == TIMER => line += &format!(" at {due}"),
        Some(value) if *value != Value::Null => line += &format!(" {}", without_controls(&value.to_string())),
        _ => {}
    }
    line
}

fn print_rest(out: &mut dyn Write, execution: &ShownExecution, style: Style) -> std::io::Result<()> {
    for ShownPrint { stream, text } in &execution.prints {
        for line in text.lines() {
            writeln!(out, "  {stream}: {}", style.paint(Tone::Print, without_controls(line)))?;
        }
    }
    let Some(fault) = &execution.fault else { return Ok(()) };
    writeln!(out, "  {}", style.paint(Tone::Fault, format!("halted: {}", without_controls(&fault.reason))))
}

fn print_now(out: &mut dyn Write, now: &Now, style: Style) -> std::io::Result<()> {
    let mut parts = Vec::new();
    let named = |count: usize, what: &str, names: Vec<String>| {
        let more = if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() };
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {what}{s}: {}{more}", names.join(", "))
    };
    if !now.open_calls.is_empty() {
        let names = now.open_calls.iter().take(NAMED_MAX).map(|call| format!("{} to {}", call.id, call.peer));
        parts.push(named(now.open_calls.len(), "open call", names.collect()));
    }
    if !now.timers.is_empty() {
        let names = now.timers.iter().take(NAMED_MAX).map(|timer| format!("{} at {}", timer.id, timer.due));
        parts.push(named(now.timers.len(), "timer", names.collect()));
    }
    for Outbox { peer, messages, bytes, .. } in &now.outboxes {
        let s = if *messages == 1 { "" } else { "s" };
        parts.push(format!("{messages} message{s} of {bytes} bytes for {peer}"));
    }
    if parts.is_empty() {
        Ok(())
    } else {
        writeln!(out, "{}", style.paint(Tone::Aside, format!("  behind it: {}", parts.join("; "))))
    }
}

/// In what an instance differs at two records. The JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct Difference {
    from: u64,
    to: u64,
    /// What only the first has of calls, timers and messages that wait.
    gone: Vec<String>,
    /// What only the second has.
    new: Vec<String>,
    memory_bytes: i64,
    /// Pages of 4096 bytes that differ, in all memories.
    pages: usize,
    /// Null if there is no state at one of them.
    state: Option<Vec<Change>>,
}

/// What is compared of an instance.
pub(crate) struct Compared {
    lsn: u64,
    now: Now,
    pages: Vec<Vec<u64>>,
    state: Option<Value>,
}

impl Compared {
    pub(crate) fn of(traveller: &mut Traveller) -> anyhow::Result<Compared> {
        let state = State::of_record(traveller)?.map(|state| state.value);
        Ok(Compared { lsn: traveller.lsn().0, pages: traveller.page_hashes(), now: now(traveller), state })
    }

    fn facts(&self) -> Vec<String> {
        let Now { module, memory_bytes: _, open_calls, timers, outboxes } = &self.now;
        let calls = open_calls.iter().map(|call| format!("call {} to {}", call.id, call.peer));
        let timers = timers.iter().map(|timer| format!("timer {} at {}", timer.id, timer.due));
        let outbox = |outbox: &Outbox| {
            let s = if outbox.messages == 1 { "" } else { "s" };
            format!("{} message{s} for {}", outbox.messages, outbox.peer)
        };
        [format!("module {module}")].into_iter().chain(calls).chain(timers).chain(outboxes.iter().map(outbox)).collect()
    }

    pub(crate) fn difference(&self, other: &Compared) -> Difference {
        let (mine, theirs) = (self.facts(), other.facts());
        let without = |of: &[String], other: &[String]| -> Vec<String> {
            of.iter().filter(|fact| !other.contains(fact)).cloned().collect()
        };
        let memories = self.pages.len().max(other.pages.len());
        let hash = |pages: &[Vec<u64>], memory: usize, page: usize| {
            pages.get(memory).and_then(|pages| pages.get(page)).copied().unwrap_or(0)
        };
        let differing = |memory: usize| {
            let pages = |all: &[Vec<u64>]| all.get(memory).map_or(0, Vec::len);
            let count = pages(&self.pages).max(pages(&other.pages));
            (0..count).filter(|page| hash(&self.pages, memory, *page) != hash(&other.pages, memory, *page)).count()
        };
        Difference {
            from: self.lsn,
            to: other.lsn,
            gone: without(&mine, &theirs),
            new: without(&theirs, &mine),
            memory_bytes: other.now.memory_bytes.cast_signed() - self.now.memory_bytes.cast_signed(),
            pages: (0..memories).map(differing).sum(),
            state: self.state.as_ref().zip(other.state.as_ref()).map(|(was, is)| changes::changes(was, is)),
        }
    }
}

impl Difference {
    pub(crate) fn print(&self, out: &mut dyn Write, style: Style) -> std::io::Result<()> {
        let Difference { from, to, gone, new, memory_bytes, pages, state } = self;
        let places = style.paint(Tone::Place, format!("lsn {from} -> {to}"));
        writeln!(out, "{places}  {pages} pages of 4096 bytes differ, memory {memory_bytes:+} bytes")?;
        gone.iter().try_for_each(|fact| writeln!(out, "  - {fact}"))?;
        new.iter().try_for_each(|fact| writeln!(out, "  + {fact}"))?;
        changes::print(out, state.as_deref().unwrap_or_default(), style)
    }
}
