//! Records for a person or a script: what is in them, by the names that records before have told.
//!
//! **Architecture Invariant:** a record is shown as far as it can be read, whether or not anything tells the methods.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use ambrosia_core::{
    Bind, CheckpointState, Configuration, DeliverBody, DigestBody, EpochBody, Genesis, Limits, Lsn, Mend, Message,
    MessageKind, Messages, OpenSession, PeerIndex, Record, RecordKind, Remedy, Run, Runs, Seq, SessionPart, SessionRun,
    Upgrade,
};
use ambrosia_host::{Diagnostics, Methods, Modules, decode_value, show_raw, show_value, without_controls};
use ambrosia_storage::{BlobHash, Checkpoints, LogStore, Store};
use anyhow::bail;
use serde::Serialize;
use serde_json::Value;

use crate::{
    plan::shown as short,
    style::{Style, Tone},
};

/// One record for a person or a script.
#[derive(Serialize)]
pub(crate) struct Shown {
    pub(crate) lsn: u64,
    pub(crate) kind: &'static str,
    pub(crate) epoch: u64,
    pub(crate) time: String,
    pub(crate) bytes: usize,
    /// The record that delivers its messages in its place, since the guest could not handle them here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mended_by: Option<u64>,
    #[serde(flatten)]
    pub(crate) body: Body,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Body {
    Genesis {
        instance: String,
        uuid: String,
        module: String,
        seed: u64,
        fuel: u64,
        memory_bytes: u64,
    },
    Epoch {
        replica: u16,
        engine: String,
    },
    Bind {
        peer: String,
        uuid: String,
    },
    Deliver {
        messages: Vec<ShownMessage>,
        acknowledged: BTreeMap<String, u64>,
        /// What it says of sessions beside their messages, by tickets.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        sessions: BTreeMap<u64, ShownSession>,
    },
    Session {
        session: String,
    },
    Digest {
        state: String,
        memory: String,
        checkpoint_by: Option<u16>,
    },
    Upgrade {
        from: String,
        to: String,
        fuel: u64,
        memory_bytes: u64,
        attempt: u64,
    },
    Configuration {
        values: BTreeMap<String, Value>,
        has_promise_key: bool,
    },
    Mend {
        mends_lsn: u64,
        #[serde(flatten)]
        remedy: ShownRemedy,
        attempt: u64,
        /// What is left of the messages there, as far as it is told.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        messages: Vec<ShownMessage>,
    },
}

/// What a record says of a session, by its ticket: the number of the record that opened it last.
#[derive(Default, Serialize)]
pub(crate) struct ShownSession {
    /// All results up to this one have reached the client.
    pub(crate) confirmed: u64,
    /// Requests that can't be done, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) failed: BTreeMap<u64, String>,
}

/// How the messages of a record that is void are delivered.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ShownRemedy {
    Upgrade { from: String, to: String, fuel: u64, memory_bytes: u64 },
    Skip { skipped: Vec<u32> },
}

#[derive(Serialize)]
pub(crate) struct ShownMessage {
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    /// Ticket and number, if it was asked for in a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// The trace that its client says that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
    pub(crate) arguments: Value,
}

/// The methods of a module; none if nothing tells them any more, since a record can be read all the same.
fn described(modules: &Modules, module: [u8; 32]) -> Methods {
    modules.methods(module).unwrap_or_else(|error| {
        let module = BlobHash(module);
        Diagnostics::say(format_args!(
            "ambrosia-host: arguments are shown as bytes, since the methods of module {module} are not known: {error}"
        ));
        Methods::new(Vec::new())
    })
}

/// What records before `first` have told, as far as the oldest checkpoint knows it that can be read.
fn state_before(checkpoints: &dyn Checkpoints, first: Lsn) -> Option<CheckpointState> {
    if first == Lsn(1) {
        return None; // genesis tells all
    }
    let infos = checkpoints.list().unwrap_or_default();
    let decoded = |lsn| CheckpointState::decode(&checkpoints.load(lsn).ok()?.state).ok();
    infos.iter().filter(|info| info.lsn.next() >= first).find_map(|info| decoded(info.lsn))
}

/// Knows what the records before have told.
pub(crate) struct Reader {
    modules: Arc<Modules>,
    /// Those of the module that handles the records from here on.
    methods: Methods,
    peers: BTreeMap<PeerIndex, String>,
    me: String,
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, module: [u8; 32], me: String) -> Self {
        Reader::of(Arc::new(Modules::new(store)), module, me)
    }

    /// The same with modules that are at hand.
    pub(crate) fn of(modules: Arc<Modules>, module: [u8; 32], me: String) -> Self {
        Reader { methods: described(&modules, module), modules, peers: BTreeMap::new(), me }
    }

    /// Takes over what a replica knows that stands behind the record to be shown.
    pub(crate) fn stand_at(&mut self, module: [u8; 32], peers: impl Iterator<Item = (PeerIndex, String)>) {
        self.methods = described(&self.modules, module);
        self.peers = peers.collect();
    }

    /// The methods of the module that handles the records from here on.
    pub(crate) fn methods(&self) -> &Methods {
        &self.methods
    }

    /// The next record is `first`: takes over what those before have told.
    pub(crate) fn begin(&mut self, checkpoints: &dyn Checkpoints, first: Lsn) {
        let Some(before) = state_before(checkpoints, first) else { return };
        self.methods = described(&self.modules, before.module());
        self.peers.extend(before.peers().map(|(peer, name)| (peer, name.to_string())));
    }

    pub(crate) fn show(&mut self, record: &Record) -> anyhow::Result<Shown> {
        let header = record.header();
        let (kind, body) = match header.kind {
            RecordKind::Genesis => ("genesis", self.genesis(Genesis::decode(record.body())?)),
            RecordKind::Epoch => ("epoch", epoch(EpochBody::decode(record.body())?)),
            RecordKind::Bind => ("bind", self.bind(Bind::decode(record.body())?)),
            RecordKind::Deliver => ("deliver", self.deliver(&DeliverBody::decode(record.body())?)?),
            RecordKind::Digest => ("digest", digest(DigestBody::decode(record.body())?)),
            RecordKind::Upgrade => ("upgrade", self.upgrade(Upgrade::decode(record.body())?)),
            RecordKind::Configuration => ("configuration", configuration(&Configuration::decode(record.body())?)),
            RecordKind::Session => ("session", session(OpenSession::decode(record.body())?)),
            RecordKind::Mend => ("mend", self.mend(Mend::decode(record.body())?)),
            RecordKind::Mark => bail!("a mark is no record of its own"),
        };
        let time = jiff::Timestamp::from_nanosecond(i128::from(header.time.0))?;
        let time = format!("{time:.6}");
        Ok(Shown {
            lsn: header.lsn.0,
            kind,
            epoch: header.epoch.0,
            time,
            bytes: header.stored_bytes(),
            mended_by: None,
            body,
        })
    }

    fn genesis(&mut self, genesis: Genesis) -> Body {
        self.methods = described(&self.modules, genesis.module);
        Body::Genesis {
            instance: genesis.name.to_string(),
            uuid: genesis.uuid.to_string(),
            module: BlobHash(genesis.module).to_string(),
            seed: genesis.seed,
            fuel: genesis.limits.fuel,
            memory_bytes: genesis.limits.memory_bytes,
        }
    }

    fn upgrade(&mut self, upgrade: Upgrade) -> Body {
        self.methods = described(&self.modules, upgrade.to);
        Body::Upgrade {
            from: BlobHash(upgrade.from).to_string(),
            to: BlobHash(upgrade.to).to_string(),
            fuel: upgrade.limits.fuel,
            memory_bytes: upgrade.limits.memory_bytes,
            attempt: upgrade.attempt,
        }
    }

    fn mend(&mut self, mend: Mend) -> Body {
        let (attempt, mends_lsn) = (mend.attempt(), mend.lsn.0);
        let remedy = match mend.remedy {
            Remedy::Upgrade(upgrade) => {
                self.methods = described(&self.modules, upgrade.to);
                let [from, to] = [upgrade.from, upgrade.to].map(|module| BlobHash(module).to_string());
                let Limits { fuel, memory_bytes } = upgrade.limits;
                ShownRemedy::Upgrade { from, to, fuel, memory_bytes }
            }
            Remedy::Skip(skip) => ShownRemedy::Skip { skipped: skip.messages },
        };
        Body::Mend { mends_lsn, remedy, attempt, messages: Vec::new() }
    }

    fn bind(&mut self, bind: Bind) -> Body {
        self.peers.insert(bind.peer, bind.name.to_string());
        Body::Bind { peer: bind.name.to_string(), uuid: bind.uuid.to_string() }
    }

    /// The messages of runs, as the guest got them.
    pub(crate) fn runs(&self, runs: &[u8]) -> anyhow::Result<Vec<ShownMessage>> {
        self.messages(&DeliverBody { runs, ..DeliverBody::default() })
    }

    fn deliver(&self, body: &DeliverBody<'_>) -> anyhow::Result<Body> {
        let messages = self.messages(body)?;
        let acknowledged = body.acknowledged.iter();
        let acknowledged = acknowledged.map(|watermark| (self.peer(watermark.peer), watermark.seq.0)).collect();
        let mut sessions = BTreeMap::<u64, ShownSession>::new();
        for run in &body.sessions {
            let shown = sessions.entry(run.ticket.0).or_default();
            shown.confirmed = run.confirmed.0;
            if let SessionPart::Failed { seq, reason, .. } = &run.part {
                shown.failed.insert(seq.0, without_controls(reason));
            }
        }
        Ok(Body::Deliver { messages, acknowledged, sessions })
    }

    fn messages(&self, body: &DeliverBody<'_>) -> anyhow::Result<Vec<ShownMessage>> {
        let mut messages = Vec::new();
        for run in Runs::new(body.runs) {
            let run = run?;
            for (at, message) in Messages::new(run.messages).enumerate() {
                messages.push(self.message(body, &run, at as u64, message?));
            }
        }
        Ok(messages)
    }

    fn message(&self, body: &DeliverBody<'_>, run: &Run<'_>, at: u64, message: Message<'_>) -> ShownMessage {
        let named = message.kind.names_method();
        let method = self.methods.by_id(message.method).filter(|_| named);
        let name = named.then(|| method.map_or_else(|| message.method.to_string(), |method| method.name.clone()));
        let arguments = match method {
            Some(method) => show_value(method, message.arguments),
            None if named => show_raw(message.arguments),
            // The result of another instance's method, which may be raw: nothing here says so.
            None => decode_value(message.arguments),
        };
        let is_asked = run.peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse;
        let request = body.requests.iter().find(|entry| is_asked && entry.call_id == message.call_id);
        let trace = body.traces.iter().find(|entry| is_asked && entry.call_id == message.call_id);
        let from_peer = run.first_seq != Seq(0);
        ShownMessage {
            source: self.peer(run.peer),
            seq: from_peer.then(|| run.first_seq.0 + at),
            kind: format!("{:?}", message.kind).to_lowercase(),
            method: name,
            call_id: (message.call_id.0 != 0).then_some(message.call_id.0),
            request: request.map(|entry| request_id(entry.request.as_bytes())),
            session: if run.peer == PeerIndex::OUTSIDE { request_of_session(body, message) } else { None },
            traceparent: trace.map(|entry| entry.context.to_string()),
            arguments,
        }
    }

    /// Every peer that sends was bound before, but the instance itself never is.
    pub(crate) fn peer(&self, peer: PeerIndex) -> String {
        match self.peers.get(&peer) {
            Some(name) => name.clone(),
            None if peer == PeerIndex::OUTSIDE => "outside".to_owned(),
            None => self.me.clone(),
        }
    }
}

/// By which ticket and number of a session an impulse was asked for, if it was.
fn request_of_session(body: &DeliverBody<'_>, message: Message<'_>) -> Option<String> {
    let asked = |run: &SessionRun| match run.part {
        SessionPart::Delivered { first_seq, first_call, count } => {
            let at = message.call_id.0.checked_sub(first_call.0).filter(|at| *at < u64::from(count))?;
            Some(format!("{}/{}", run.ticket, first_seq.0 + at))
        }
        SessionPart::Confirmed | SessionPart::Failed { .. } => None,
    };
    let is_impulse = message.kind == MessageKind::Impulse;
    is_impulse.then(|| body.sessions.iter().find_map(asked)).flatten()
}

fn session(body: OpenSession) -> Body {
    Body::Session { session: body.session.to_string() }
}

/// Request ids are bytes; `send` makes them of text.
fn request_id(bytes: &[u8]) -> String {
    let shown = show_raw(bytes);
    shown.as_str().map_or_else(|| shown.to_string(), str::to_owned)
}

fn epoch(body: EpochBody) -> Body {
    Body::Epoch { replica: body.replica.0, engine: BlobHash(body.engine).to_string() }
}

fn configuration(body: &Configuration) -> Body {
    let values = body.values.iter().map(|(name, value)| (name.clone(), decode_value(value))).collect();
    Body::Configuration { values, has_promise_key: body.promise_key.is_some() }
}

fn digest(body: DigestBody) -> Body {
    let hex = |digest: u64| format!("{digest:016x}");
    let checkpoint_by = body.checkpoint_by.map(|replica| replica.0);
    Body::Digest { state: hex(body.state), memory: hex(body.memory), checkpoint_by }
}

pub(crate) fn print(out: &mut impl Write, shown: &Shown, style: Style) -> std::io::Result<()> {
    let Shown { lsn, kind, epoch, time, bytes, mended_by, body } = shown;
    let (lsn, kind) = (format!("{lsn:>8}"), format!("{kind:<8}"));
    let (lsn, kind) = (style.paint(Tone::Place, lsn), style.paint(Tone::Method, kind));
    let rest = style.paint(Tone::Aside, format!("epoch {epoch:<4} {time}  {bytes} bytes"));
    write!(out, "{lsn}  {kind} {rest}")?;
    if let Some(by) = mended_by {
        write!(out, "  {}", style.paint(Tone::Fault, format!("void, mended at lsn {by}")))?;
    }
    match body {
        Body::Genesis { instance, uuid, module, .. } => writeln!(out, "  instance {instance} {uuid} module {module}"),
        Body::Digest { state, memory, checkpoint_by } => {
            write!(out, "  state {state} memory {memory}")?;
            match checkpoint_by {
                Some(replica) => writeln!(out, ", checkpoint by replica {replica}"),
                None => writeln!(out),
            }
        }
        Body::Upgrade { from, to, fuel, memory_bytes, .. } if from == to => {
            writeln!(out, "  fuel {fuel}, memory {} MiB", memory_bytes >> 20)
        }
        Body::Upgrade { from, to, .. } => writeln!(out, "  module {from} became {to}"),
        Body::Mend { mends_lsn, remedy, .. } => writeln!(out, "  {}", mended(*mends_lsn, remedy)),
        Body::Configuration { values, .. } => {
            let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            writeln!(out, "  {}", without_controls(&values.join(", ")))
        }
        Body::Epoch { replica, .. } => writeln!(out, "  replica {replica} became primary"),
        Body::Bind { peer, uuid } => writeln!(out, "  peer {peer} is {uuid}"),
        Body::Session { session } => writeln!(out, "  session {session} is open"),
        Body::Deliver { messages, acknowledged, sessions } => {
            for (peer, seq) in acknowledged {
                write!(out, "  {peer} acknowledged {seq}")?;
            }
            writeln!(out)?;
            session_lines(sessions).iter().try_for_each(|line| writeln!(out, "          {line}"))?;
            messages.iter().try_for_each(|message| writeln!(out, "          {}", message_text(message)))
        }
    }
}

/// What a record says of sessions beside its messages.
pub(crate) fn session_lines(sessions: &BTreeMap<u64, ShownSession>) -> Vec<String> {
    let mut lines = Vec::new();
    for (ticket, ShownSession { confirmed, failed }) in sessions {
        if *confirmed > 0 {
            lines.push(format!("session {ticket} has results up to {confirmed}"));
        }
        lines.extend(failed.iter().map(|(seq, reason)| format!("session {ticket}/{seq} fails: {reason}")));
    }
    lines
}

/// A message in a line.
pub(crate) fn message_text(message: &ShownMessage) -> String {
    let mut line = message.source.clone();
    if let Some(seq) = message.seq {
        line += &format!("#{seq}");
    }
    line += &format!(" {}", message.kind);
    if let Some(method) = &message.method {
        line += &format!(" {method}");
    }
    if let Some(call_id) = message.call_id {
        line += &format!(" id {call_id}");
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

/// What a mend has done, as a sentence.
pub(crate) fn mended(lsn: u64, remedy: &ShownRemedy) -> String {
    match remedy {
        ShownRemedy::Upgrade { from, to, fuel, memory_bytes } if from == to => {
            format!("mend of lsn {lsn}: fuel {fuel}, memory {} MiB", memory_bytes >> 20)
        }
        ShownRemedy::Upgrade { from, to, .. } => format!("mend of lsn {lsn}: upgrade {} -> {}", short(from), short(to)),
        ShownRemedy::Skip { skipped } => {
            let positions: Vec<_> = skipped.iter().map(u32::to_string).collect();
            format!("mend of lsn {lsn}: skip {}", positions.join(", "))
        }
    }
}

/// A record by its number. What the log tells before it is taken over by `reader`; messages before it are not read.
pub(crate) fn read_at(
    reader: &mut Reader,
    log: &dyn LogStore,
    checkpoints: &dyn Checkpoints,
    lsn: Lsn,
) -> anyhow::Result<Record> {
    let first = log.first()?;
    reader.begin(checkpoints, first);
    let mut tail = log.tail(first)?;
    loop {
        let records = tail.read()?;
        if records.is_empty() {
            bail!("the log ends before record {lsn}");
        }
        for record in records {
            if record.lsn() == lsn {
                return Ok(record);
            }
            if matches!(record.header().kind, RecordKind::Bind | RecordKind::Upgrade | RecordKind::Mend) {
                reader.show(&record)?;
            }
        }
    }
}
