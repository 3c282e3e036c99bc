//! Tests of streams: by rule, and of both ends together against what must hold.

mod both_ends;
mod table;
mod turns;
mod window;

use ambrosia_core::{CallId, Message, MessageKind, MethodId, Seq, push_message};

use super::*;
use crate::{control::Control, frame::Frame};

fn stream(number: u64) -> StreamNumber {
    StreamNumber(number)
}

fn hello() -> Frame {
    let (from, to) = ("client".to_owned(), "server".to_owned());
    Frame::Control(Control::Hello { version: 3, from, from_uuid: [1; 16], epoch: 7, to })
}

fn welcome() -> Frame {
    Frame::Control(Control::Welcome { uuid: [2; 16], received: 0 })
}

fn refused() -> Frame {
    Frame::Control(Control::Refused { elsewhere: true, reason: "not here".to_owned() })
}

/// So many messages with so many bytes of arguments each.
fn messages(first_seq: u64, count: u32, bytes: usize) -> Frame {
    let mut encoded = Vec::new();
    for _ in 0..count {
        let arguments = &vec![7; bytes];
        let message = Message { kind: MessageKind::Fork, method: MethodId(1), call_id: CallId(0), arguments };
        push_message(&mut encoded, message);
    }
    Frame::Messages { first_seq: Seq(first_seq), count, messages: encoded.into() }
}

fn cost_of(frame: &Frame) -> u64 {
    let Frame::Messages { messages, .. } = frame else { panic!("only messages cost something") };
    cost(messages.len())
}
