//! Effects: what a delivery brings about (`wit/LAYOUT.md`).

use crate::{Message, MessageError, MessageKind, Messages, PeerIndex, bytes_reader::BytesReader, push_message};

const CAUSE_AT: usize = 0;
const TARGET_AT: usize = CAUSE_AT + size_of::<u32>();
/// Bytes of an effect before its message.
pub const EFFECT_PREFIX_BYTES: usize = TARGET_AT + size_of::<u32>();

/// An effect, borrowed from the bytes that the guest returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effect<'a> {
    /// Index, in the delivery, of the message that brought it about.
    pub cause: u32,
    /// Where it goes.
    pub target: PeerIndex,
    /// The message, decoded.
    pub message: Message<'a>,
    /// The message as it stands, to be copied on.
    pub encoded: &'a [u8],
}

/// Why the bytes that a guest returned are not effects. The guest is to blame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EffectError {
    /// The bytes end inside an effect.
    #[error("an effect is cut off")]
    CutOff,
    /// The message inside is not one.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// That kind can't go to that target.
    #[error("an effect of kind {kind:?} can't go to peer {target}")]
    Target {
        /// What it is.
        kind: MessageKind,
        /// Where it was to go.
        target: PeerIndex,
    },
}

/// Appends an effect to `out`.
pub fn push_effect(out: &mut Vec<u8>, cause: u32, target: PeerIndex, message: Message<'_>) {
    out.extend_from_slice(&cause.to_le_bytes());
    out.extend_from_slice(&target.0.to_le_bytes());
    push_message(out, message);
}

/// Walks a sequence of effects, checking that each kind may go where it goes. Ends after the first error.
#[derive(Clone)]
pub struct Effects<'a> {
    rest: BytesReader<'a>,
}

impl<'a> Effects<'a> {
    /// The effects in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Effects { rest: BytesReader(bytes) }
    }

    #[inline]
    fn read(&mut self) -> Result<Effect<'a>, EffectError> {
        let cause = self.rest.u32().ok_or(EffectError::CutOff)?;
        let target = PeerIndex(self.rest.u32().ok_or(EffectError::CutOff)?);
        let start = self.rest.0;
        let mut messages = Messages::new(start);
        let message = messages.next().ok_or(EffectError::CutOff)??;
        self.rest = BytesReader(messages.rest());
        let encoded = &start[..message.encoded_len()];
        debug_assert_eq!(encoded.len() + self.rest.0.len(), start.len(), "a message is taken off as a whole");
        if !message.kind.may_go_to(target) {
            return Err(EffectError::Target { kind: message.kind, target });
        }
        Ok(Effect { cause, target, message, encoded })
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, EffectError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.0.is_empty() {
            return None;
        }
        let effect = self.read();
        if effect.is_err() {
            self.rest = BytesReader(&[]);
        }
        Some(effect)
    }
}
