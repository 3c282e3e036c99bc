//! By which a request is found in the trace of whoever made it.

use std::{fmt, str::FromStr};

use crate::bytes_reader::BytesReader;

/// What a caller says of the trace that its request belongs to: the header `traceparent` of the W3C's Trace Context. It is written
/// down with the request and changes nothing that becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceContext {
    /// The trace; not 0.
    trace_id: u128,
    /// What in it made the request; not 0.
    span_id: u64,
    /// Bit 0: the caller keeps its part of the trace. The others mean nothing yet and are passed on.
    flags: u8,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a traceparent is 00-TRACE-SPAN-FLAGS, in 32, 16 and 2 lower-case hexadecimal digits, and neither trace nor span is 0"
)]
pub struct NoTraceContext;

/// Characters of version 00: later ones begin with the same.
const TEXT_BYTES: usize = "00-".len() + 32 + "-".len() + 16 + "-".len() + 2;

impl TraceContext {
    /// Bytes of its encoding.
    pub const BYTES: usize = 16 + 8 + 1;

    /// `None` if an id is 0.
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<TraceContext> {
        (trace_id != 0 && span_id != 0).then_some(TraceContext { trace_id, span_id, flags })
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// What in it made the request.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Its encoding: trace, span and flags, little-endian.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.span_id.to_le_bytes());
        bytes[24] = self.flags;
        bytes
    }

    /// `None` if an id is 0.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<TraceContext> {
        let mut fields = BytesReader(&bytes);
        let trace_id = u128::from_le_bytes(fields.array()?);
        TraceContext::new(trace_id, fields.u64()?, fields.u8()?)
    }
}

/// As the header has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    /// Of a later version what version 00 has is read, as the standard says.
    fn from_str(text: &str) -> Result<TraceContext, NoTraceContext> {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let mut parts = text.splitn(5, '-');
        let mut part =
            |digits| parts.next().filter(|part| part.len() == digits && is_plain(part)).ok_or(NoTraceContext);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || version == "00" && text.len() != TEXT_BYTES {
            return Err(NoTraceContext);
        }
        let trace_id = u128::from_str_radix(trace, 16).map_err(|_| NoTraceContext)?;
        let span_id = u64::from_str_radix(span, 16).map_err(|_| NoTraceContext)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceContext)?;
        TraceContext::new(trace_id, span_id, flags).ok_or(NoTraceContext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_read_as_the_standard_has_it() {
        let context: TraceContext = TEXT.parse().expect("the standard's own example");
        assert_eq!((context.trace_id() >> 64, context.span_id()), (0x4bf9_2f35_77b3_4da6, 0x00f0_67aa_0ba9_02b7));
        assert_eq!(context.to_string(), TEXT);
        assert_eq!(TraceContext::from_bytes(context.to_bytes()), Some(context));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = |rest: &str| format!("cc{}{rest}", &TEXT[2..]).parse::<TraceContext>().map(|read| read.to_string());
        assert_eq!(later(""), Ok(TEXT.to_owned()));
        assert_eq!(later("-what-is-this"), Ok(TEXT.to_owned()));
        assert_eq!(later("x"), Err(NoTraceContext));
    }

    #[test]
    fn what_is_none_is_refused() {
        let (upper, zeros) = (TEXT.to_uppercase(), "0".repeat(32));
        for text in [
            "",
            "00",
            &upper,
            &TEXT[1..],
            &TEXT[..54],
            &format!("{TEXT}-"),
            &format!("{TEXT}0"),
            &TEXT.replacen("00", "ff", 1),
            &TEXT.replace("00f067aa0ba902b7", &zeros[..16]),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &TEXT.replace("4bf", "4b+"),
            &TEXT.replace("4bf9", "4bé"),
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTraceContext), "{text:?}");
        }
        assert_eq!(TraceContext::from_bytes([0; TraceContext::BYTES]), None);
    }
}
