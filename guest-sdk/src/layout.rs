//! The bytes at the border of the guest: runs come in, effects go out (`wit/LAYOUT.md`).
//!
//! **Architecture Invariant:** this module shares no code with the host. Both are held to `wit/golden/*.bin`.

const LENGTH_AT: usize = 0;
const METHOD_AT: usize = LENGTH_AT + size_of::<u32>();
const CALL_ID_AT: usize = METHOD_AT + size_of::<u32>();
const KIND_AT: usize = CALL_ID_AT + size_of::<u64>();
const MESSAGE_RESERVED_AT: usize = KIND_AT + size_of::<u8>();
/// Bytes of a message before its arguments.
pub(crate) const MESSAGE_HEADER_BYTES: usize = MESSAGE_RESERVED_AT + 3;
const _: () = assert!(MESSAGE_HEADER_BYTES == 20);

const PEER_AT: usize = 0;
const COUNT_AT: usize = PEER_AT + size_of::<u32>();
const FIRST_SEQ_AT: usize = COUNT_AT + size_of::<u32>();
const BYTES_AT: usize = FIRST_SEQ_AT + size_of::<u64>();
/// Number of the instance in its log: the host has looked at it, and a guest has no use for it.
const RUN_INSTANCE_AT: usize = BYTES_AT + size_of::<u32>();
/// Bytes of a run before its messages.
pub(crate) const RUN_HEADER_BYTES: usize = RUN_INSTANCE_AT + size_of::<u32>();
const _: () = assert!(RUN_HEADER_BYTES == 24);

const CAUSE_AT: usize = 0;
const TARGET_AT: usize = CAUSE_AT + size_of::<u32>();
/// Bytes of an effect before its message.
pub(crate) const EFFECT_PREFIX_BYTES: usize = TARGET_AT + size_of::<u32>();
const EFFECT_HEADER_BYTES: usize = EFFECT_PREFIX_BYTES + MESSAGE_HEADER_BYTES;

/// The peer that stands for the outside world.
pub(crate) const OUTSIDE: u32 = 0;

/// Largest arguments of one message, and the largest answer.
pub(crate) const ARGUMENTS_BYTES_MAX: usize = 80 << 20;

/// What messages with more than a few bytes may have in all in one delivery: the host takes 512 MiB of effects.
pub(crate) const LARGE_EFFECTS_BYTES_MAX: usize = 448 << 20;

/// Arguments up to this size are never refused.
pub(crate) const SMALL_ARGUMENTS_BYTES: usize = 1 << 10;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum MessageKind {
    Fork = 1,
    Call = 2,
    Reply = 3,
    Error = 4,
    Impulse = 5,
    Timer = 6,
    Start = 7,
    Primary = 8,
    Exit = 9,
    SetTimer = 10,
    CancelTimer = 11,
    Waiting = 12,
    Request = 13,
    Outcome = 14,
    CancelRequest = 15,
    Promise = 16,
    Resolved = 17,
    Emit = 18,
    Log = 19,
    Cron = 20,
    CancelPromise = 21,
}

impl MessageKind {
    /// The kind with that number, if there is one; held to the numbers of the variants by a test over all bytes.
    #[inline]
    pub(crate) const fn from_byte(byte: u8) -> Option<MessageKind> {
        Some(match byte {
            1 => MessageKind::Fork,
            2 => MessageKind::Call,
            3 => MessageKind::Reply,
            4 => MessageKind::Error,
            5 => MessageKind::Impulse,
            6 => MessageKind::Timer,
            7 => MessageKind::Start,
            8 => MessageKind::Primary,
            9 => MessageKind::Exit,
            10 => MessageKind::SetTimer,
            11 => MessageKind::CancelTimer,
            12 => MessageKind::Waiting,
            13 => MessageKind::Request,
            14 => MessageKind::Outcome,
            15 => MessageKind::CancelRequest,
            16 => MessageKind::Promise,
            17 => MessageKind::Resolved,
            18 => MessageKind::Emit,
            19 => MessageKind::Log,
            20 => MessageKind::Cron,
            21 => MessageKind::CancelPromise,
            _ => return None,
        })
    }

    /// The word for it in messages to a person.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            MessageKind::Fork => "fork",
            MessageKind::Call => "call",
            MessageKind::Reply => "reply",
            MessageKind::Error => "error",
            MessageKind::Impulse => "impulse",
            MessageKind::Timer => "timer",
            MessageKind::Start => "start",
            MessageKind::Primary => "primary",
            MessageKind::Exit => "exit",
            MessageKind::SetTimer => "set-timer",
            MessageKind::CancelTimer => "cancel-timer",
            MessageKind::Waiting => "waiting",
            MessageKind::Request => "request",
            MessageKind::Outcome => "outcome",
            MessageKind::CancelRequest => "cancel-request",
            MessageKind::Promise => "promise",
            MessageKind::Resolved => "resolved",
            MessageKind::Emit => "emit",
            MessageKind::Log => "log",
            MessageKind::Cron => "cron",
            MessageKind::CancelPromise => "cancel-promise",
        }
    }
}

/// A message, borrowed from the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) method: u32,
    pub(crate) call_id: u64,
    pub(crate) arguments: &'a [u8],
}

/// A run, borrowed from the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) peer: u32,
    pub(crate) count: u32,
    pub(crate) first_seq: u64,
    pub(crate) messages: &'a [u8],
}

/// An effect, borrowed from the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "only the test harness reads effects"))]
pub(crate) struct Effect<'a> {
    pub(crate) cause: u32,
    pub(crate) target: u32,
    pub(crate) message: Message<'a>,
}

/// Splits the first run off `bytes`. `None` when they end inside it.
#[inline]
pub(crate) fn split_run(bytes: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RUN_HEADER_BYTES>()?;
    let (messages, rest) = rest.split_at_checked(u32_at(header, BYTES_AT) as usize)?;
    let run = Run {
        peer: u32_at(header, PEER_AT),
        count: u32_at(header, COUNT_AT),
        first_seq: u64_at(header, FIRST_SEQ_AT),
        messages,
    };
    Some((run, rest))
}

/// Splits the first message off `bytes`. `None` when they end inside it or its kind has no meaning.
#[inline]
pub(crate) fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<MESSAGE_HEADER_BYTES>()?;
    let (arguments, rest) = rest.split_at_checked(u32_at(header, LENGTH_AT) as usize)?;
    let message = Message {
        kind: MessageKind::from_byte(header[KIND_AT])?,
        method: u32_at(header, METHOD_AT),
        call_id: u64_at(header, CALL_ID_AT),
        arguments,
    };
    Some((message, rest))
}

/// Splits the first effect off `bytes`. `None` when they end inside it or its kind has no meaning.
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "only the test harness reads effects"))]
pub(crate) fn split_effect(bytes: &[u8]) -> Option<(Effect<'_>, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<EFFECT_PREFIX_BYTES>()?;
    let (message, rest) = split_message(rest)?;
    let effect = Effect { cause: u32_at(prefix, CAUSE_AT), target: u32_at(prefix, TARGET_AT), message };
    Some((effect, rest))
}

/// Appends a message.
pub(crate) fn push_message(out: &mut Vec<u8>, message: Message<'_>) {
    out.extend_from_slice(&message_header(message.kind, message.method, message.call_id, message.arguments.len()));
    out.extend_from_slice(message.arguments);
}

/// Appends a run of `count` messages that are encoded already.
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "only the test harness writes runs"))]
pub(crate) fn push_run(out: &mut Vec<u8>, run: Run<'_>) {
    let mut header = [0; RUN_HEADER_BYTES];
    header[PEER_AT..COUNT_AT].copy_from_slice(&run.peer.to_le_bytes());
    header[COUNT_AT..FIRST_SEQ_AT].copy_from_slice(&run.count.to_le_bytes());
    header[FIRST_SEQ_AT..BYTES_AT].copy_from_slice(&run.first_seq.to_le_bytes());
    header[BYTES_AT..RUN_INSTANCE_AT].copy_from_slice(&(run.messages.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(run.messages);
}

/// Appends an effect.
#[inline]
pub(crate) fn push_effect(out: &mut Vec<u8>, cause: u32, target: u32, message: Message<'_>) {
    out.extend_from_slice(&effect_header(
        cause,
        target,
        message.kind,
        message.method,
        message.call_id,
        message.arguments.len(),
    ));
    out.extend_from_slice(message.arguments);
}

/// Appends an effect whose arguments are not encoded yet: append them, then call [`finish_effect`].
pub(crate) fn begin_effect(
    out: &mut Vec<u8>,
    cause: u32,
    target: u32,
    kind: MessageKind,
    method: u32,
    call_id: u64,
) -> usize {
    let at = out.len();
    out.extend_from_slice(&effect_header(cause, target, kind, method, call_id, 0));
    at
}

/// Fills in the length of the effect at `at`, whose arguments have been appended since [`begin_effect`].
pub(crate) fn finish_effect(out: &mut [u8], at: usize) {
    let length = out.len() - at - EFFECT_HEADER_BYTES;
    let field = at + EFFECT_PREFIX_BYTES + LENGTH_AT;
    out[field..field + size_of::<u32>()].copy_from_slice(&length_field(length));
}

#[inline]
fn effect_header(
    cause: u32,
    target: u32,
    kind: MessageKind,
    method: u32,
    call_id: u64,
    length: usize,
) -> [u8; EFFECT_HEADER_BYTES] {
    let mut header = [0; EFFECT_HEADER_BYTES];
    header[CAUSE_AT..TARGET_AT].copy_from_slice(&cause.to_le_bytes());
    header[TARGET_AT..EFFECT_PREFIX_BYTES].copy_from_slice(&target.to_le_bytes());
    header[EFFECT_PREFIX_BYTES..].copy_from_slice(&message_header(kind, method, call_id, length));
    header
}

#[inline]
fn message_header(kind: MessageKind, method: u32, call_id: u64, length: usize) -> [u8; MESSAGE_HEADER_BYTES] {
    let mut header = [0; MESSAGE_HEADER_BYTES];
    header[LENGTH_AT..METHOD_AT].copy_from_slice(&length_field(length));
    header[METHOD_AT..CALL_ID_AT].copy_from_slice(&method.to_le_bytes());
    header[CALL_ID_AT..KIND_AT].copy_from_slice(&call_id.to_le_bytes());
    header[KIND_AT] = kind as u8;
    header
}

#[inline]
fn length_field(length: usize) -> [u8; size_of::<u32>()] {
    assert!(length <= ARGUMENTS_BYTES_MAX, "a message of {length} bytes exceeds the limit of {ARGUMENTS_BYTES_MAX}");
    (length as u32).to_le_bytes()
}

#[inline]
fn u32_at<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    let mut field = [0; size_of::<u32>()];
    field.copy_from_slice(&header[at..at + size_of::<u32>()]);
    u32::from_le_bytes(field)
}

#[inline]
fn u64_at<const N: usize>(header: &[u8; N], at: usize) -> u64 {
    let mut field = [0; size_of::<u64>()];
    field.copy_from_slice(&header[at..at + size_of::<u64>()]);
    u64::from_le_bytes(field)
}
