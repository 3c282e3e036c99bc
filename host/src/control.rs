//! Handshakes, requests and answers: rare or small, so bincode encodes them. The only use of bincode in this crate.

use serde::{Deserialize, Serialize};

/// The contents of a control frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Control {
    /// A peer's first frame: it will send its stream.
    Hello {
        /// Version of the protocol.
        version: u16,
        /// Name of the instance that sends.
        from: String,
        /// Its uuid.
        from_uuid: [u8; 16],
        /// Epoch of its primary.
        epoch: u64,
        /// Name of the instance that it means to reach.
        to: String,
    },
    /// Answer to a hello: the stream may begin.
    Welcome {
        /// Uuid of the instance that receives.
        uuid: [u8; 16],
        /// Last message of the stream that it has durable.
        received: u64,
    },
    /// A client's first frame.
    ClientHello {
        /// Version of the protocol.
        version: u16,
        /// Name of the instance that it means to reach.
        to: String,
    },
    /// Answer to a client's hello.
    ClientWelcome {
        /// Epoch of the primary.
        epoch: u64,
    },
    /// The handshake or the connection ends.
    Refused {
        /// True if another replica may accept it.
        elsewhere: bool,
        /// Why, for a person to read.
        reason: String,
    },
    /// A client wants a method run.
    Request {
        /// Chosen by the client.
        request: Vec<u8>,
        /// Name of the method.
        method: String,
        /// Encoded arguments.
        arguments: Vec<u8>,
        /// False if the client is content with the request being durable.
        wait: bool,
    },
    /// The request can't be taken; it was not logged.
    Rejected {
        /// Which.
        request: Vec<u8>,
        /// Why, for a person to read.
        reason: String,
    },
    /// The request is durable.
    Accepted {
        /// Which.
        request: Vec<u8>,
    },
    /// The result of a request is durable.
    Answer {
        /// Which.
        request: Vec<u8>,
        /// False if the value is the text of a failure.
        success: bool,
        /// Encoded result.
        value: Vec<u8>,
    },
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard()
}

pub(crate) fn encode(control: &Control, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(control, out, configuration()).expect("a Vec takes everything");
}

/// `None` if the bytes are no control frame, or more than one.
pub(crate) fn decode(body: &[u8]) -> Option<Control> {
    let (control, length) = bincode::serde::decode_from_slice(body, configuration()).ok()?;
    (length == body.len()).then_some(control)
}
