//! Protocol Buffers as they go over the wire: numbered fields, each a number or bytes.
//!
//! Only what the messages of etcd that are used have. A field that is not known is passed over, as the format wants it, so that a newer etcd
//! is understood.
//!
//! **Architecture Invariant:** nothing here knows a message; and no length is believed before as many bytes are there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A number in seven bits a byte.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
/// Bytes behind their length.
const DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// A message that is written.
#[derive(Default)]
pub(crate) struct Writer(BytesMut);

impl Writer {
    /// A number; zero is what is not there.
    pub(crate) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.choice(field, number);
        }
    }

    /// A number whose field says which of several things is there, so that zero is another thing than nothing.
    pub(crate) fn choice(&mut self, field: u32, number: u64) {
        self.varint(u64::from(field) << 3 | u64::from(VARINT));
        self.varint(number);
    }

    /// Bytes; none of them is what is not there.
    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.message(field, bytes);
        }
    }

    /// A message, which is there even if it has no fields; or bytes whose field says which of several things is there.
    pub(crate) fn message(&mut self, field: u32, message: &[u8]) {
        self.varint(u64::from(field) << 3 | u64::from(DELIMITED));
        self.varint(message.len() as u64);
        self.0.put_slice(message);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.put_u8(number as u8);
    }
}

/// What stands in a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Number(u64),
    Bytes(Bytes),
}

/// It is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no message of Protocol Buffers")]
pub(crate) struct Malformed;

impl Value {
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) => Err(Malformed),
        }
    }

    pub(crate) fn bytes(self) -> Result<Bytes, Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) => Err(Malformed),
        }
    }
}

/// Reads the fields of a message in their order.
pub(crate) fn fields(message: Bytes) -> impl Iterator<Item = Result<(u32, Value), Malformed>> {
    let mut rest = message;
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over || rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        is_over = field.is_err();
        Some(field)
    })
}

fn field(rest: &mut Bytes) -> Result<(u32, Value), Malformed> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
    let value = match (tag & 7) as u8 {
        VARINT => Value::Number(varint(rest)?),
        FIXED_64 => Value::Number(take(rest, 8)?.get_u64_le()),
        FIXED_32 => Value::Number(u64::from(take(rest, 4)?.get_u32_le())),
        DELIMITED => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, length)?)
        }
        _ => return Err(Malformed),
    };
    Ok((number, value))
}

fn take(rest: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if length > rest.len() { Err(Malformed) } else { Ok(rest.split_to(length)) }
}

fn varint(rest: &mut Bytes) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(Malformed);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_there_takes_no_room() {
        let mut writer = Writer::default();
        writer.number(1, 0);
        writer.bytes(2, b"");
        writer.number(3, u64::MAX);
        writer.choice(4, 0);
        writer.bytes(5, b"abc");
        writer.message(600, b"");
        let message = writer.finish();
        let read: Result<Vec<_>, _> = fields(message).collect();
        let bytes = |text: &'static [u8]| Value::Bytes(Bytes::from_static(text));
        let expected = vec![(3, Value::Number(u64::MAX)), (4, Value::Number(0)), (5, bytes(b"abc")), (600, bytes(b""))];
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut writer = Writer::default();
        writer.number(1, 150);
        writer.bytes(2, b"testing");
        assert_eq!(writer.finish()[..], *b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_message() {
        for wrong in [
            &b"\x08"[..],
            b"\x08\x96",
            b"\x12\x07test",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x09\x01\x02",
        ] {
            let read: Result<Vec<_>, _> = fields(Bytes::from_static(wrong)).collect();
            assert_eq!(read, Err(Malformed), "{wrong:?}");
        }
    }
}
