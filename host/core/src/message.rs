//! One message: the same bytes on the wire, in the log and at the border of the guest (`wit/LAYOUT.md`).

use crate::{CallId, MethodId, PeerIndex, bytes_reader::BytesReader, limits::ARGUMENTS_BYTES_MAX, numbered::numbered};

const LENGTH_AT: usize = 0;
const METHOD_AT: usize = LENGTH_AT + size_of::<u32>();
const CALL_ID_AT: usize = METHOD_AT + size_of::<u32>();
const KIND_AT: usize = CALL_ID_AT + size_of::<u64>();
const RESERVED_AT: usize = KIND_AT + size_of::<u8>();
/// Written as zeros, and refused if they are not: a later version means something by them.
const RESERVED_BYTES: usize = 3;
/// Bytes of a message before its arguments.
pub const MESSAGE_HEADER_BYTES: usize = RESERVED_AT + RESERVED_BYTES;
const _: () = assert!(MESSAGE_HEADER_BYTES == 20);

numbered! {
    /// What a message is. See `wit/LAYOUT.md` for who may send which.
    pub enum MessageKind {
        /// Run a method, no answer.
        Fork = 1,
        /// Run a method and answer.
        Call = 2,
        /// The result of a call.
        Reply = 3,
        /// The failure of a call.
        Error = 4,
        /// Run a method for the outside world.
        Impulse = 5,
        /// A timer is due.
        Timer = 6,
        /// First message of an instance's life.
        Start = 7,
        /// A replica became primary.
        Primary = 8,
        /// Effect: finish the instance.
        Exit = 9,
        /// Effect: set a timer.
        SetTimer = 10,
        /// Effect: cancel a timer.
        CancelTimer = 11,
        /// Effect: say how many handlers wait.
        Waiting = 12,
        /// Effect: have something done outside.
        Request = 13,
        /// What came of it.
        Outcome = 14,
        /// Effect: nobody waits for that request any more.
        CancelRequest = 15,
        /// Effect: make a promise.
        Promise = 16,
        /// Somebody outside has fulfilled a promise.
        Resolved = 17,
        /// Effect: tell an event to whoever listens.
        Emit = 18,
        /// Effect: a line for the log of the application.
        Log = 19,
        /// Run a method whose time has come.
        Cron = 20,
        /// Effect: nobody waits for that promise any more.
        CancelPromise = 21,
    }
}

/// Who may bring about a message of some kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// An instance, for another one or itself.
    Instance,
    /// The outside world, for an instance.
    Outside,
    /// An instance that sends to its caller, or the outside world.
    Anyone,
    /// An instance, for the outside world.
    Guest,
    /// An instance, for its caller: another one, or the outside world.
    Answerer,
}

impl MessageKind {
    /// Each kind is named here, so that a new one has to be decided upon.
    const fn origin(self) -> Origin {
        match self {
            MessageKind::Fork | MessageKind::Call => Origin::Instance,
            MessageKind::Reply => Origin::Answerer,
            MessageKind::Error => Origin::Anyone,
            MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron => Origin::Outside,
            MessageKind::Exit
            | MessageKind::SetTimer
            | MessageKind::CancelTimer
            | MessageKind::Waiting
            | MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => Origin::Guest,
        }
    }

    /// True for the kinds that one instance may send to another.
    pub const fn travels(self) -> bool {
        matches!(self.origin(), Origin::Instance | Origin::Answerer | Origin::Anyone)
    }

    /// True for the kinds that the outside world may deliver.
    pub const fn comes_from_outside(self) -> bool {
        matches!(self.origin(), Origin::Outside | Origin::Anyone)
    }

    /// True for the kinds that a guest may bring about for `target`.
    pub const fn may_go_to(self, target: PeerIndex) -> bool {
        let is_outside = target.0 == PeerIndex::OUTSIDE.0;
        match self.origin() {
            Origin::Instance => !is_outside,
            Origin::Answerer | Origin::Anyone => true,
            Origin::Guest => is_outside,
            Origin::Outside => false,
        }
    }

    /// True for the kinds that name a method.
    pub const fn names_method(self) -> bool {
        matches!(self, MessageKind::Fork | MessageKind::Call | MessageKind::Impulse | MessageKind::Cron)
    }

    /// True for the kinds that answer a call.
    pub const fn answers(self) -> bool {
        matches!(self, MessageKind::Reply | MessageKind::Error)
    }
}

/// A message, borrowed from the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: MessageKind,
    /// The method it names, or zero.
    pub method: MethodId,
    /// The call, timer or impulse it belongs to, or zero.
    pub call_id: CallId,
    /// Encoded arguments or result.
    pub arguments: &'a [u8],
}

/// Why some bytes are not a sequence of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The bytes end inside a message.
    #[error("a message is cut off")]
    CutOff,
    /// The kind has no meaning.
    #[error("unknown message kind {0}")]
    UnknownKind(u8),
    /// A reserved byte is not zero.
    #[error("a reserved byte of a message header is not zero")]
    Reserved,
    /// A peer sent what only the host may deliver.
    #[error("a message of kind {0:?} does not travel between instances")]
    NotTravelling(MessageKind),
    /// The arguments exceed [`ARGUMENTS_BYTES_MAX`].
    #[error("arguments of {0} bytes exceed the limit of {ARGUMENTS_BYTES_MAX}")]
    TooLarge(usize),
}

impl<'a> Message<'a> {
    /// Bytes that the message takes.
    pub fn encoded_len(&self) -> usize {
        MESSAGE_HEADER_BYTES + self.arguments.len()
    }
}

/// Appends a message to `out`.
pub fn push_message(out: &mut Vec<u8>, message: Message<'_>) {
    assert!(message.arguments.len() <= ARGUMENTS_BYTES_MAX, "the limit is checked where a message enters");
    let mut header = [0; MESSAGE_HEADER_BYTES];
    header[LENGTH_AT..METHOD_AT].copy_from_slice(&(message.arguments.len() as u32).to_le_bytes());
    header[METHOD_AT..CALL_ID_AT].copy_from_slice(&message.method.0.to_le_bytes());
    header[CALL_ID_AT..KIND_AT].copy_from_slice(&message.call_id.0.to_le_bytes());
    header[KIND_AT] = message.kind as u8;
    debug_assert_eq!(header[RESERVED_AT..], [0; RESERVED_BYTES], "what is reserved is zero");
    out.extend_from_slice(&header);
    out.extend_from_slice(message.arguments);
}

/// Walks a sequence of messages, checking each. Ends after the first error.
#[derive(Clone)]
pub struct Messages<'a> {
    rest: BytesReader<'a>,
}

impl<'a> Messages<'a> {
    /// The messages in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Messages { rest: BytesReader(bytes) }
    }

    /// Bytes not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.0
    }

    // Each message of a delivery comes through here: not inlined, it takes a tenth of the throughput (`bench throughput`).
    #[inline]
    fn read(&mut self) -> Result<Message<'a>, MessageError> {
        let header: [u8; MESSAGE_HEADER_BYTES] = self.rest.array().ok_or(MessageError::CutOff)?;
        let mut fields = BytesReader(&header);
        let cut = MessageError::CutOff;
        let length = fields.u32().ok_or(cut)? as usize;
        let method = MethodId(fields.u32().ok_or(cut)?);
        let call_id = CallId(fields.u64().ok_or(cut)?);
        let kind = fields.u8().ok_or(cut)?;
        let kind = MessageKind::from_byte(kind).ok_or(MessageError::UnknownKind(kind))?;
        if fields.0 != [0; RESERVED_BYTES] {
            return Err(MessageError::Reserved);
        }
        if length > ARGUMENTS_BYTES_MAX {
            return Err(MessageError::TooLarge(length));
        }
        let arguments = self.rest.take(length).ok_or(MessageError::CutOff)?;
        Ok(Message { kind, method, call_id, arguments })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, MessageError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.0.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.rest = BytesReader(&[]);
        }
        Some(message)
    }
}

/// Checks messages that came from another instance and counts them. None of a kind that only the outside or a guest
/// may use gets through.
pub fn check_travelling(messages: &[u8]) -> Result<u32, MessageError> {
    let mut count = 0;
    for message in Messages::new(messages) {
        let message = message?;
        if !message.kind.travels() {
            return Err(MessageError::NotTravelling(message.kind));
        }
        count += 1;
    }
    Ok(count)
}
