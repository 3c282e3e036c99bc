//! One fork, call or impulse on its way to a handler, and the way back of its answer.

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    codec::{self, ArgumentReader},
    executor::Role,
    host,
    layout::{MessageKind, OUTSIDE, SMALL_ARGUMENTS_BYTES},
    runtime::{self, Runtime},
};

/// What a handler is run for. Generated code takes it apart.
#[doc(hidden)]
pub struct Request<'a> {
    runtime: &'a Runtime,
    method: u32,
    bytes: &'a [u8],
    answer: AnswerTo,
}

/// Where an answer goes, if one is wanted.
#[derive(Clone, Copy)]
pub(crate) struct AnswerTo {
    pub(crate) peer: u32,
    /// 0 when no answer is wanted.
    pub(crate) call_id: u64,
}

impl<'a> Request<'a> {
    #[inline]
    pub(crate) fn new(runtime: &'a Runtime, method: u32, bytes: &'a [u8], answer: AnswerTo) -> Self {
        Request { runtime, method, bytes, answer }
    }

    /// The id of the method to run.
    #[inline]
    pub fn method(&self) -> u32 {
        self.method
    }

    /// The arguments of a raw method.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Decodes `count` arguments by `read`. If that fails, the sender is told and there is nothing to run.
    #[inline]
    pub fn arguments<A>(
        &self,
        count: u32,
        read: impl FnOnce(&mut ArgumentReader<'a>) -> Result<A, String>,
    ) -> Option<A> {
        let decoded = ArgumentReader::new(self.bytes, count).and_then(|mut reader| {
            let arguments = read(&mut reader)?;
            reader.finish()?;
            Ok(arguments)
        });
        decoded.map_err(|reason| self.refuse(&reason)).ok()
    }

    /// Answers, if an answer is wanted.
    #[inline]
    pub fn reply<T: Serialize>(&self, value: &T) {
        if self.answer.call_id != 0 {
            self.answer.send(self.runtime, value);
        }
    }

    /// Answers with bytes, if an answer is wanted.
    #[inline]
    pub fn reply_raw(&self, value: &impl RawAnswer) {
        if self.answer.call_id != 0 {
            self.answer.send_raw(self.runtime, value);
        }
    }

    /// Runs an async handler and answers when it ends. If it `restarts`, an upgrade begins it again.
    pub fn spawn<T: Serialize + 'static>(
        &self,
        name: &'static str,
        restarts: bool,
        handler: impl Future<Output = T> + 'static,
    ) {
        let answer = self.answer;
        let work = async move {
            let value = handler.await;
            if answer.call_id != 0 {
                runtime::with(|runtime| answer.send(runtime, &value));
            }
        };
        self.runtime.executor.spawn(name, Role::Handler { restarts }, Box::pin(work));
    }

    /// The same for a raw method.
    pub fn spawn_raw<T: RawAnswer + 'static>(
        &self,
        name: &'static str,
        restarts: bool,
        handler: impl Future<Output = T> + 'static,
    ) {
        let answer = self.answer;
        let work = async move {
            let value = handler.await;
            if answer.call_id != 0 {
                runtime::with(|runtime| answer.send_raw(runtime, &value));
            }
        };
        self.runtime.executor.spawn(name, Role::Handler { restarts }, Box::pin(work));
    }

    /// There is no method of that id.
    #[cold]
    pub fn unknown(&self) {
        let names = self.runtime.method_names();
        self.fail(&format!("there is no method with the id {:#010x}; the methods are: {names}", self.method));
    }

    #[cold]
    fn refuse(&self, reason: &str) {
        let name = self.runtime.method_name(self.method).unwrap_or_default();
        self.fail(&format!("method `{name}`: {reason}"));
    }

    fn fail(&self, text: &str) {
        if self.answer.call_id != 0 {
            self.answer.send_error(self.runtime, text);
            return;
        }
        let text = cut(text);
        let current = self.runtime.current.get();
        let from = match current.peer {
            OUTSIDE => "outside".to_string(),
            peer => format!("{:?}", host::peer_name(peer)),
        };
        let kind = a(current.kind);
        match current.upgrading {
            true => eprintln!("ambrosia: {kind} from {from}, which the upgrade begins again, is not handled: {text}"),
            false => {
                eprintln!(
                    "ambrosia: message {} of the delivery, {kind} from {from}, is not handled: {text}",
                    current.index
                );
            }
        }
    }
}

/// Bytes of an error's text, at most. With what is around them they are few enough never to be refused.
const ERROR_BYTES_MAX: usize = 960;
const _: () = assert!(ERROR_BYTES_MAX + 2 * ELLIPSIS.len() < SMALL_ARGUMENTS_BYTES);
const ELLIPSIS: &str = " …";

/// The beginning of a text that may repeat what a caller has sent.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= ERROR_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text[..text.floor_char_boundary(ERROR_BYTES_MAX)].to_owned() + ELLIPSIS)
}

/// A kind of message with its article.
pub(crate) fn a(kind: MessageKind) -> String {
    let article = if kind.word().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {}", kind.word())
}

impl AnswerTo {
    fn send<T: Serialize>(self, runtime: &Runtime, value: &T) {
        let encoded =
            runtime.push_encoded(self.peer, MessageKind::Reply, 0, self.call_id, |out| codec::encode_value(out, value));
        if let Err(reason) = encoded {
            self.send_error(runtime, &format!("the answer can't be sent: {reason}"));
        }
    }

    fn send_raw(self, runtime: &Runtime, value: &impl RawAnswer) {
        if let Err(reason) = runtime.push_bytes(self.peer, MessageKind::Reply, 0, self.call_id, value.bytes()) {
            self.send_error(runtime, &format!("the answer can't be sent: {reason}"));
        }
    }

    pub(crate) fn send_error(self, runtime: &Runtime, text: &str) {
        runtime
            .push_encoded(self.peer, MessageKind::Error, 0, self.call_id, |out| codec::encode_value(out, &cut(text)))
            .expect("a short text can be encoded, and is never refused");
    }
}

/// What a raw method may return: bytes, or nothing.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a raw method returns bytes: `Vec<u8>`, `&'static [u8]`, or nothing",
    label = "not bytes"
)]
pub trait RawAnswer {
    /// The bytes of the answer.
    fn bytes(&self) -> &[u8];
}

impl RawAnswer for () {
    fn bytes(&self) -> &[u8] {
        &[]
    }
}

impl RawAnswer for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl RawAnswer for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Runs an async lifecycle hook. If it `restarts`, an upgrade begins it again.
#[doc(hidden)]
pub fn spawn_hook(name: &'static str, restarts: bool, hook: impl Future<Output = ()> + 'static) {
    runtime::with(|runtime| runtime.executor.spawn(name, Role::Hook { restarts }, Box::pin(hook)));
}
