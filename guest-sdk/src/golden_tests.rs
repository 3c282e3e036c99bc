//! The layout against `wit/golden/*.bin`, whose README.md has the same samples as tables.
//!
//! `AMBROSIA_BLESS=1 cargo test -p ambrosia-sdk golden` writes the files. They change only with the layout.

use std::path::PathBuf;

use crate::{
    layout::{
        Effect, Message, MessageKind, Run, begin_effect, finish_effect, push_effect, push_message, push_run,
        split_effect, split_message, split_run,
    },
    method_id,
};

/// One message of each kind, in the order of their numbers.
fn messages() -> Vec<Message<'static>> {
    let add = method_id("add");
    let message = |kind, method, call_id, arguments| Message { kind, method, call_id, arguments };
    vec![
        message(MessageKind::Fork, add, 0, &[0x91, 0x05]),
        message(MessageKind::Call, add, 1, &[0x92, 0x05, 0xa2, b'h', b'i']),
        message(MessageKind::Reply, 0, 0x0102_0304_0506_0708, &[0xcd, 0x01, 0x00]),
        message(MessageKind::Error, 0, u64::MAX, &[0xa6, b'n', b'o', b' ', b'a', b'd', b'd']),
        message(MessageKind::Impulse, method_id("receive"), 0, &[0, 1, 2, 3, 0xfe, 0xff]),
        message(MessageKind::Timer, 0, 77, &[]),
        message(MessageKind::Start, 0, 0, &[]),
        message(MessageKind::Primary, 0, 0, &[]),
        message(MessageKind::Exit, 0, 0, &[0xfe, 0xff, 0xff, 0xff]),
        message(MessageKind::SetTimer, 0, 77, &[0x00, 0x00, 0x64, 0xa7, 0xb3, 0xb6, 0xe0, 0x0d]),
        message(MessageKind::CancelTimer, 0, 77, &[]),
        message(MessageKind::Waiting, 0, 0, &[3, 0, 0, 0, 0, 0, 0, 0]),
        message(MessageKind::Request, 0, 78, &REQUEST),
        message(
            MessageKind::Outcome,
            0,
            78,
            &[0x82, 0xa6, b's', b't', b'a', b't', b'u', b's', 0xcc, 0xcc, 0xa5, b't', b'r', b'i', b'e', b's', 1],
        ),
        message(MessageKind::CancelRequest, 0, 78, &[]),
        message(MessageKind::Promise, 0, 79, &[]),
        message(MessageKind::Resolved, 0, 79, &[0xc3]),
        message(MessageKind::Emit, 0, 0, &[4, 0, b'p', b'a', b'i', b'd', 0x07]),
        message(MessageKind::Log, 0, 0, &[0x81, 0xa7, b'm', b'e', b's', b's', b'a', b'g', b'e', 0xa2, b'h', b'i']),
        message(MessageKind::Cron, add, 0, &[0x00, 0x00, 0x64, 0xa7, 0xb3, 0xb6, 0xe0, 0x0d]),
        message(MessageKind::CancelPromise, 0, 79, &[]),
    ]
}

/// `{"method": "GET", "url": "a"}`
const REQUEST: [u8; 18] =
    [0x82, 0xa6, b'm', b'e', b't', b'h', b'o', b'd', 0xa3, b'G', b'E', b'T', 0xa3, b'u', b'r', b'l', 0xa1, b'a'];

#[test]
fn every_byte_is_the_kind_of_that_number_or_none() {
    let all = messages();
    for byte in 0..=u8::MAX {
        let expected = all.iter().map(|message| message.kind).find(|kind| *kind as u8 == byte);
        assert_eq!(MessageKind::from_byte(byte), expected, "byte {byte}");
    }
    assert!(all.iter().map(|message| message.kind as u8).eq(1..=21), "one of each kind");
}

/// Peer, first seq and messages of each run.
fn runs() -> Vec<(u32, u64, Vec<Message<'static>>)> {
    let of = |kinds: &[MessageKind]| messages().into_iter().filter(|message| kinds.contains(&message.kind)).collect();
    vec![
        (
            0,
            0,
            of(&[
                MessageKind::Error,
                MessageKind::Impulse,
                MessageKind::Timer,
                MessageKind::Start,
                MessageKind::Primary,
            ]),
        ),
        (1, 1, of(&[MessageKind::Fork, MessageKind::Call])),
        (2, 0x0000_0002_0000_0001, of(&[MessageKind::Reply])),
    ]
}

/// Cause, target and message of each effect.
fn effects() -> Vec<(u32, u32, Message<'static>)> {
    let all = messages();
    let of = |kind| *all.iter().find(|message| message.kind == kind).expect("there is one of each kind");
    vec![
        (0, 1, of(MessageKind::Fork)),
        (0, 65_536, of(MessageKind::Call)),
        (1, 2, of(MessageKind::Reply)),
        (2, 0, of(MessageKind::Reply)),
        (3, 1, of(MessageKind::Error)),
        (3, 0, of(MessageKind::Error)),
        (4, 0, of(MessageKind::SetTimer)),
        (4, 0, of(MessageKind::CancelTimer)),
        (16_383, 0, of(MessageKind::Exit)),
    ]
}

fn check_golden(name: &str, encoded: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../wit/golden").join(name);
    if std::env::var_os("AMBROSIA_BLESS").is_some() {
        std::fs::write(&path, encoded).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).expect("the golden file is there: AMBROSIA_BLESS=1 makes it");
    assert_eq!(golden, encoded, "{name}");
}

fn encoded(messages: &[Message<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| push_message(&mut out, *message));
    out
}

/// Splits all off `bytes`.
fn all<'a, T>(mut bytes: &'a [u8], split: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>) -> Vec<T> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = split(bytes).expect("the bytes are whole");
        found.push(one);
        bytes = rest;
    }
    found
}

#[test]
fn golden_messages() {
    let mut messages = messages();
    // What came later is in files of its own.
    let outside = messages.split_off(12);
    let outside_encoded = encoded(&outside);
    check_golden("outside.bin", &outside_encoded);
    assert_eq!(all(&outside_encoded, split_message), outside);
    let waiting = messages.pop().expect("there are 12");
    let encoded = encoded(&messages);
    check_golden("messages.bin", &encoded);
    assert_eq!(all(&encoded, split_message), messages);
    let mut effect = Vec::new();
    push_effect(&mut effect, 2, 0, waiting);
    check_golden("waiting.bin", &effect);
    assert_eq!(all(&effect, split_effect), [Effect { cause: 2, target: 0, message: waiting }]);
}

#[test]
fn golden_runs() {
    let mut out = Vec::new();
    for (peer, first_seq, messages) in runs() {
        push_run(&mut out, Run { peer, count: messages.len() as u32, first_seq, messages: &encoded(&messages) });
    }
    check_golden("runs.bin", &out);
    for (run, (peer, first_seq, messages)) in all(&out, split_run).into_iter().zip(runs()) {
        assert_eq!((run.peer, run.first_seq, run.count as usize), (peer, first_seq, messages.len()));
        assert_eq!(all(run.messages, split_message), messages);
    }
}

#[test]
fn golden_effects() {
    let (mut out, mut in_place) = (Vec::new(), Vec::new());
    for (cause, target, message) in effects() {
        push_effect(&mut out, cause, target, message);
        let at = begin_effect(&mut in_place, cause, target, message.kind, message.method, message.call_id);
        in_place.extend_from_slice(message.arguments);
        finish_effect(&mut in_place, at);
    }
    check_golden("effects.bin", &out);
    assert_eq!(in_place, out);
    let expected: Vec<_> =
        effects().into_iter().map(|(cause, target, message)| Effect { cause, target, message }).collect();
    assert_eq!(all(&out, split_effect), expected);
}

#[test]
fn what_is_cut_off_is_not_taken() {
    let bytes = encoded(&messages()[..1]);
    for cut in 0..bytes.len() {
        assert_eq!(split_message(&bytes[..cut]), None, "{cut}");
    }
    let mut unknown = bytes.clone();
    unknown[16] = 22;
    assert_eq!(split_message(&unknown), None);
    let mut run = Vec::new();
    push_run(&mut run, Run { peer: 1, count: 1, first_seq: 1, messages: &bytes });
    for cut in 0..run.len() {
        assert_eq!(split_run(&run[..cut]), None, "{cut}");
    }
}
