//! Messages, runs and effects, as a guest or a peer may send them (`wit/LAYOUT.md`).

use ambrosia_core::{
    EFFECT_PREFIX_BYTES, Effects, MESSAGE_HEADER_BYTES, MessageKind, Messages, PeerIndex, Run, Runs, begin_run,
    check_travelling, finish_run, push_effect, push_message,
};
use ambrosia_test_allocations::within;

use crate::corpus::Seed;

/// The decoders borrow; only what is encoded again for the comparison takes memory, which may double as it grows.
const MEMORY_PER_BYTE: usize = 4;
/// Texts of a panic, a little of the harness.
const MEMORY_SLACK: usize = 4096;

/// Reads the bytes as each of the three.
pub fn target(bytes: &[u8]) {
    within(MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK, || {
        check_messages(bytes);
        check_runs(bytes);
        check_effects(bytes);
    });
}

/// Golden files of the layout.
pub fn seeds() -> Vec<Seed> {
    vec![
        ("seed-effects".to_owned(), include_bytes!("../../../wit/golden/effects.bin").to_vec()),
        ("seed-messages".to_owned(), include_bytes!("../../../wit/golden/messages.bin").to_vec()),
        ("seed-runs".to_owned(), include_bytes!("../../../wit/golden/runs.bin").to_vec()),
    ]
}

/// The messages at the front of `bytes` are written again as they stood, and an error is the end.
pub(crate) fn check_messages(bytes: &[u8]) {
    let (mut again, mut travelling, mut failed) = (Vec::new(), Some(0), None);
    let mut messages = Messages::new(bytes);
    while let Some(message) = messages.next() {
        assert!(failed.is_none(), "nothing follows an error");
        match message {
            Ok(message) => {
                assert_eq!(message.encoded_len(), MESSAGE_HEADER_BYTES + message.arguments.len());
                push_message(&mut again, message);
                assert_eq!(bytes.len() - messages.rest().len(), again.len(), "a message is as long as it says");
                travelling = travelling.filter(|_| message.kind.travels()).map(|count| count + 1);
            }
            Err(error) => failed = Some(error),
        }
    }
    assert_eq!(again, bytes[..again.len()], "a message is written as it was read");
    assert!(failed.is_some() || again.len() == bytes.len(), "all bytes are messages, or there is an error");
    assert_eq!(check_travelling(bytes).ok(), travelling.filter(|_| failed.is_none()));
}

/// The runs at the front of `bytes` are written again as they stood: what is reserved was zero.
pub(crate) fn check_runs(bytes: &[u8]) {
    let (mut again, mut failed) = (Vec::new(), false);
    for run in Runs::new(bytes) {
        assert!(!failed, "nothing follows an error");
        let Ok(run) = run else {
            failed = true;
            continue;
        };
        let at = begin_run(&mut again, run.peer, run.first_seq);
        again.extend_from_slice(run.messages);
        finish_run(&mut again, at, run.count);
        check_count(&run);
    }
    assert_eq!(again, bytes[..again.len()], "a run is written as it was read");
    assert!(failed || again.len() == bytes.len(), "all bytes are runs, or there is an error");
}

/// A run that passes holds as many messages as it says.
fn check_count(run: &Run<'_>) {
    let counted: Result<Vec<()>, _> = Messages::new(run.messages).map(|message| message.map(|_| ())).collect();
    let right = counted.is_ok_and(|messages| messages.len() == run.count as usize && run.count > 0);
    assert_eq!(run.check().is_ok(), right);
}

/// The effects at the front of `bytes` are written again as they stood, and go where their kind may go.
fn check_effects(bytes: &[u8]) {
    let (mut again, mut failed) = (Vec::new(), false);
    for effect in Effects::new(bytes) {
        assert!(!failed, "nothing follows an error");
        let Ok(effect) = effect else {
            failed = true;
            continue;
        };
        let at = again.len() + EFFECT_PREFIX_BYTES;
        push_effect(&mut again, effect.cause, effect.target, effect.message);
        assert_eq!(effect.encoded, &again[at..], "what is copied on is the message");
        let outside = effect.target == PeerIndex::OUTSIDE;
        match effect.message.kind {
            MessageKind::Fork | MessageKind::Call => assert!(!outside),
            MessageKind::Reply | MessageKind::Error => {}
            MessageKind::Exit | MessageKind::SetTimer | MessageKind::CancelTimer => assert!(outside),
            kind => panic!("no guest may bring about {kind:?}"),
        }
    }
    assert_eq!(again, bytes[..again.len()], "an effect is written as it was read");
    assert!(failed || again.len() == bytes.len(), "all bytes are effects, or there is an error");
}
