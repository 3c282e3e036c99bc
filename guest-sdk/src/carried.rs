//! What an upgrade carries over besides the state of the application: the `runtime` of `interface upgrade`.
//!
//! ```text
//! u8   version, 1; 2 if requests or promises are waited for
//! u64  the last call id, 0 if there was none
//! u32  timers that are set, then of each its u64 id
//! u32  tasks that are pending, then of each
//!      u64 since · u32 length and name · u8 form
//!      form 1, a handler: u32 peer, and the message as in `wit/LAYOUT.md`
//!      form 2, a hook
//!      form 3, a future beside the handlers
//! u32  in version 2: requests and promises that are waited for, then of each the kind of what cancels it, u8, and its u64 id
//! ```
//! Numbers are little-endian.
//!
//! **Architecture Invariant:** any later build reads it: what changes here gets a version of its own, whatever version the
//! state of the application has.

use crate::layout::{self, Message, MessageKind};

const VERSION: u8 = 1;
const VERSION_WITH_OUTSIDE: u8 = 2;

const HANDLER: u8 = 1;
const HOOK: u8 = 2;
const FUTURE: u8 = 3;

/// See the head of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) last_id: u64,
    /// To be cancelled: nobody waits for them any more.
    pub(crate) timers: Vec<u64>,
    pub(crate) pending: Vec<Pending>,
    /// What cancels requests and promises, and their ids: nobody waits for them any more.
    pub(crate) outside: Vec<(MessageKind, u64)>,
}

/// A task that has begun and not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) since: u64,
    pub(crate) origin: Origin,
}

/// What a task was begun by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Handler(Kept),
    Hook,
    Future,
}

/// The message that a handler was begun by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    pub(crate) peer: u32,
    pub(crate) kind: MessageKind,
    pub(crate) method: u32,
    pub(crate) call_id: u64,
    pub(crate) arguments: Vec<u8>,
}

impl Kept {
    pub(crate) fn of(peer: u32, message: Message<'_>) -> Kept {
        let Message { kind, method, call_id, arguments } = message;
        Kept { peer, kind, method, call_id, arguments: arguments.to_vec() }
    }

    fn message(&self) -> Message<'_> {
        Message { kind: self.kind, method: self.method, call_id: self.call_id, arguments: &self.arguments }
    }
}

impl Carried {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Code that was built before there were any of these reads what has none.
        let mut out = vec![if self.outside.is_empty() { VERSION } else { VERSION_WITH_OUTSIDE }];
        out.extend(self.last_id.to_le_bytes());
        push_count(&mut out, self.timers.len());
        out.extend(self.timers.iter().flat_map(|id| id.to_le_bytes()));
        push_count(&mut out, self.pending.len());
        for Pending { name, since, origin } in &self.pending {
            out.extend(since.to_le_bytes());
            push_count(&mut out, name.len());
            out.extend(name.as_bytes());
            match origin {
                Origin::Hook => out.push(HOOK),
                Origin::Future => out.push(FUTURE),
                Origin::Handler(kept) => {
                    out.push(HANDLER);
                    out.extend(kept.peer.to_le_bytes());
                    layout::push_message(&mut out, kept.message());
                }
            }
        }
        if !self.outside.is_empty() {
            push_count(&mut out, self.outside.len());
            for (cancel, id) in &self.outside {
                out.push(*cancel as u8);
                out.extend(id.to_le_bytes());
            }
        }
        out
    }

    /// # Errors
    /// What is wrong with the bytes, for a person.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Carried, String> {
        match bytes.split_first() {
            Some((&version @ (VERSION | VERSION_WITH_OUTSIDE), rest)) => {
                Reader(rest).carried(version).ok_or_else(|| "what the old code carries over is damaged".to_string())
            }
            Some((version, _)) => Err(format!(
                "the old code was built with a newer SDK, which carries over what this one can't read (version {version}, \
                 not {VERSION_WITH_OUTSIDE}): build the new code with that SDK, or a newer one"
            )),
            None => Err("what the old code carries over is missing".to_string()),
        }
    }
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u32).to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn carried(mut self, version: u8) -> Option<Carried> {
        let last_id = self.u64()?;
        let timers = self.list(Reader::u64)?;
        let pending = self.list(Reader::pending)?;
        let outside = if version == VERSION { Vec::new() } else { self.list(Reader::outside)? };
        self.0.is_empty().then_some(Carried { last_id, timers, pending, outside })
    }

    fn outside(&mut self) -> Option<(MessageKind, u64)> {
        let [kind] = self.array()?;
        let kind = MessageKind::from_byte(kind)?;
        let cancels = matches!(kind, MessageKind::CancelRequest | MessageKind::CancelPromise);
        Some((cancels.then_some(kind)?, self.u64()?))
    }

    fn pending(&mut self) -> Option<Pending> {
        let since = self.u64()?;
        let length = self.u32()? as usize;
        let (name, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let name = str::from_utf8(name).ok()?.to_string();
        let origin = match self.array()? {
            [HOOK] => Origin::Hook,
            [FUTURE] => Origin::Future,
            [HANDLER] => {
                let peer = self.u32()?;
                let (message, rest) = layout::split_message(self.0)?;
                self.0 = rest;
                let is_handled = matches!(message.kind, MessageKind::Fork | MessageKind::Call | MessageKind::Impulse);
                Origin::Handler(is_handled.then(|| Kept::of(peer, message))?)
            }
            _ => return None,
        };
        Some(Pending { name, since, origin })
    }

    /// A count, and as many of what `take_one` reads: nothing is reserved for what is not there.
    fn list<T>(&mut self, take_one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.u32()?).map(|_| take_one(self)).collect()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Carried {
        let kept = Kept { peer: 3, kind: MessageKind::Call, method: 7, call_id: 9, arguments: vec![0x91, 5] };
        let pending = |name: &str, origin| Pending { name: name.to_string(), since: 1 << 40, origin };
        Carried {
            last_id: u64::MAX >> 1,
            timers: vec![1, 2],
            pending: vec![
                pending("transfer", Origin::Handler(kept)),
                pending("on_first_start", Origin::Hook),
                pending("spawned future", Origin::Future),
            ],
            outside: Vec::new(),
        }
    }

    fn outside() -> Vec<(MessageKind, u64)> {
        vec![(MessageKind::CancelRequest, 7), (MessageKind::CancelPromise, u64::MAX)]
    }

    #[test]
    fn what_is_carried_comes_back() {
        for carried in [sample(), Carried::default(), Carried { outside: outside(), ..sample() }] {
            assert_eq!(Carried::decode(&carried.encode()), Ok(carried));
        }
    }

    /// A module that was deployed stays readable for ever: `AMBROSIA_BLESS=1` writes the file anew.
    #[test]
    fn the_first_version_stays_readable() {
        check_golden("carried-1.bin", &sample());
    }

    /// The same of the one with requests and promises.
    #[test]
    fn the_second_version_stays_readable() {
        check_golden("carried-2.bin", &Carried { outside: outside(), ..sample() });
    }

    fn check_golden(name: &str, carried: &Carried) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("AMBROSIA_BLESS").is_some() {
            std::fs::write(&path, carried.encode()).expect("the file can be written");
        }
        let golden = std::fs::read(path).expect("the file is there");
        assert_eq!(Carried::decode(&golden).as_ref(), Ok(carried));
    }

    #[test]
    fn damage_is_an_error_or_something_else_and_no_panic() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            Carried::decode(&bytes[..end]).expect_err("it is cut");
        }
        let mut unnoticed = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                unnoticed += u32::from(Carried::decode(&bytes) == Ok(sample()));
            }
        }
        assert_eq!(unnoticed, 3 * 8, "the reserved bytes of the one message");
        let newer = Carried::decode(&[3]).expect_err("it is newer");
        assert!(newer.contains("newer SDK"), "{newer}");
    }
}
