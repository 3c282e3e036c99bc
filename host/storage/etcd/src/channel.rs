//! One connection with one member, over which many requests may be on their way: gRPC, which is HTTP/2 with a frame around each
//! message.
//!
//! **Architecture Invariant:** what is not known to be undone counts as perhaps done: only a request that was never sent, and one that etcd
//! refuses in words that mean so, has not happened.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, StatusCode,
    client::conn::http2::{Builder, SendRequest},
    header::HeaderValue,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};

use crate::protobuf::Malformed;

/// Answers that are under way take no more room than that, in each and in all.
const WINDOW_BYTES: u32 = 16 << 20;

/// No answer is longer: what is read has limits.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What is asked of etcd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Range,
    Txn,
    Compact,
    Status,
    Members,
    Authenticate,
}

impl Method {
    fn path(self) -> &'static str {
        match self {
            Method::Range => "/etcdserverpb.KV/Range",
            Method::Txn => "/etcdserverpb.KV/Txn",
            Method::Compact => "/etcdserverpb.KV/Compact",
            Method::Status => "/etcdserverpb.Maintenance/Status",
            Method::Members => "/etcdserverpb.Cluster/MemberList",
            Method::Authenticate => "/etcdserverpb.Auth/Authenticate",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CallFault {
    /// It has not happened, and may be asked of another member.
    #[error("{0}")]
    Unsent(String),
    /// It has not happened, and another member would say the same.
    #[error("{0}")]
    Refused(String),
    /// What was to be read then is gone.
    #[error("{0}")]
    Compacted(String),
    /// It may have happened, or happen yet.
    #[error("{0}")]
    Lost(String),
}

impl From<Malformed> for CallFault {
    fn from(malformed: Malformed) -> CallFault {
        CallFault::Lost(format!("what has answered is no etcd: {malformed}"))
    }
}

/// What bytes go over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// A connection.
pub(crate) struct Channel {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    scheme: &'static str,
    token: Option<HeaderValue>,
    driver: AbortHandle,
}

impl Channel {
    /// Begins to speak HTTP/2 with whoever is at the other end.
    pub(crate) async fn begin(
        wire: Box<dyn Wire>,
        authority: String,
        scheme: &'static str,
    ) -> Result<Channel, CallFault> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let begun = builder.handshake(TokioIo::new(wire)).await;
        let (sender, connection) = begun.map_err(|error| CallFault::Unsent(said(&error)))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection with etcd ended: {}", said(&error));
            }
        });
        Ok(Channel { sender, authority, scheme, token: None, driver: driver.abort_handle() })
    }

    /// What is to be shown with each request from now on.
    pub(crate) fn show(&mut self, token: &str) -> Result<(), CallFault> {
        let token = HeaderValue::from_str(token).map_err(|_| CallFault::from(Malformed))?;
        self.token = Some(token);
        Ok(())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks, and tells the server for how long somebody waits. Who stops waiting before does not know what has become of it.
    pub(crate) async fn call(&self, method: Method, message: &Bytes, time: Duration) -> Result<Bytes, CallFault> {
        let request = self.request(method, message, time);
        let sent = self.sender.clone().try_send_request(request).await;
        let answer = sent.map_err(|mut fault| {
            let words = said(fault.error());
            // It comes back if it was never sent.
            if fault.take_message().is_some() { CallFault::Unsent(words) } else { CallFault::Lost(words) }
        })?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(CallFault::Lost(format!("what has answered is no etcd: it says {} to gRPC", head.status)));
        }
        let body = http_body_util::Limited::new(body, ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| CallFault::Lost(error.to_string()))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        // Without a message, the end stands at the begin.
        check(if trailers.contains_key("grpc-status") { &trailers } else { &head.headers })?;
        Ok(unframed(body.to_bytes())?)
    }

    fn request(&self, method: Method, message: &Bytes, time: Duration) -> Request<Full<Bytes>> {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).expect("requests have limits"));
        framed.put_slice(message);
        let uri = format!("{}://{}{}", self.scheme, self.authority, method.path());
        let mut request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", format!("{}m", time.as_millis().max(1)))
            // Whoever has lost the others says so at once.
            .header("hasleader", "true");
        if let Some(token) = &self.token {
            request = request.header("token", token.clone());
        }
        request.body(Full::new(framed.freeze())).expect("it is made of what may stand there")
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // What is under way there may still happen.
        self.driver.abort();
    }
}

/// The one message of an answer.
fn unframed(mut body: Bytes) -> Result<Bytes, Malformed> {
    if body.len() < 5 || body.get_u8() != 0 {
        return Err(Malformed);
    }
    let length = body.get_u32() as usize;
    if length == body.len() { Ok(body) } else { Err(Malformed) }
}

/// What a request has come to, by how its answer ends.
fn check(end: &HeaderMap) -> Result<(), CallFault> {
    let text = |name: &str| end.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse().ok()) else {
        return Err(CallFault::Lost("the answer does not say how it ends".to_owned()));
    };
    if code == 0 {
        return Ok(());
    }
    Err(fault_of(code, unescaped(text("grpc-message").unwrap_or_default())))
}

fn fault_of(code: u32, words: String) -> CallFault {
    const INVALID_ARGUMENT: u32 = 3;
    const NOT_FOUND: u32 = 5;
    const PERMISSION_DENIED: u32 = 7;
    const RESOURCE_EXHAUSTED: u32 = 8;
    const FAILED_PRECONDITION: u32 = 9;
    const OUT_OF_RANGE: u32 = 11;
    const UNIMPLEMENTED: u32 = 12;
    const UNAUTHENTICATED: u32 = 16;
    match code {
        // Said before anything is proposed, by a member that is alone.
        _ if words == "etcdserver: no leader" => CallFault::Unsent(words),
        OUT_OF_RANGE if words.contains("compacted") => CallFault::Compacted(words),
        RESOURCE_EXHAUSTED if words.contains("space exceeded") => CallFault::Refused(format!(
            "{words}: its alarm NOSPACE is raised, and nothing is written until there is room: `etcdctl defrag`, then `etcdctl alarm disarm`, \
             and a larger --quota-backend-bytes if it stays"
        )),
        // Tokens end by themselves; a new connection asks for a new one.
        UNAUTHENTICATED => CallFault::Unsent(words),
        // As a token that says itself what it is worth does whenever users or roles are changed (`--auth-token=jwt`).
        INVALID_ARGUMENT if words.contains("revision of auth store is old") => CallFault::Unsent(words),
        INVALID_ARGUMENT | NOT_FOUND | PERMISSION_DENIED | RESOURCE_EXHAUSTED | FAILED_PRECONDITION | OUT_OF_RANGE
        | UNIMPLEMENTED => CallFault::Refused(words),
        _ => CallFault::Lost(words),
    }
}

/// Of `%20` and the like what they stand for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error as one line: of the library's own only the outermost part would be shown.
pub(crate) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        said = format!("{said}: {inner}");
        source = inner.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_etcd_has_refused_in_words_that_mean_so_has_not_happened() {
        let is_lost = |code, words: &str| matches!(fault_of(code, words.to_owned()), CallFault::Lost(_));
        for (code, words) in [
            (14, "etcdserver: leader changed"),
            (14, "etcdserver: request timed out"),
            (14, "etcdserver: request timed out, possibly due to previous leader failure"),
            (14, "etcdserver: server stopped"),
            (4, "context deadline exceeded"),
            (2, "something new"),
            (13, "transport: closed"),
            (1, "canceled"),
            (15, "etcdserver: corrupt cluster"),
        ] {
            assert!(is_lost(code, words), "{code} {words}");
        }
        for (code, words) in [
            (14, "etcdserver: no leader"),
            (16, "etcdserver: invalid auth token"),
            (3, "etcdserver: revision of auth store is old"),
        ] {
            assert_eq!(fault_of(code, words.to_owned()), CallFault::Unsent(words.to_owned()), "{code} {words}");
        }
        for (code, words) in
            [(3, "etcdserver: request is too large"), (8, "etcdserver: too many requests"), (7, "permission denied")]
        {
            assert!(matches!(fault_of(code, words.to_owned()), CallFault::Refused(_)), "{code} {words}");
        }
        let full = fault_of(8, "etcdserver: mvcc: database space exceeded".to_owned()).to_string();
        assert!(full.contains("NOSPACE") && full.contains("defrag"), "{full}");
    }

    #[test]
    fn an_answer_is_one_message_that_is_not_compressed() {
        let framed = |bytes: &'static [u8]| unframed(Bytes::from_static(bytes));
        assert_eq!(framed(b"\0\0\0\0\x02ab"), Ok(Bytes::from_static(b"ab")));
        for wrong in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab"] {
            assert_eq!(framed(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn words_come_with_their_signs_escaped() {
        assert_eq!(unescaped("a%3A b%2"), "a: b%2");
    }
}
