//! What every stream must look like, seen from outside: the bytes that left the sender and the records of the receiver.

use std::collections::BTreeMap;

use ambrosia_core::{Bind, Chunk, DeliverBody, InstanceUuid, Messages, PeerIndex, Record, RecordKind, Runs};

type Stream = (InstanceUuid, InstanceUuid);

/// What each log says of its peers.
#[derive(Default)]
struct Receiver {
    bound: BTreeMap<PeerIndex, InstanceUuid>,
    /// Messages delivered of the stream of that peer.
    delivered: BTreeMap<PeerIndex, u64>,
}

#[derive(Default)]
pub(crate) struct Streams {
    sent: BTreeMap<Stream, Vec<Vec<u8>>>,
    receivers: BTreeMap<InstanceUuid, Receiver>,
}

impl Streams {
    /// Messages have left the sender. Those that left before must be the same.
    pub(crate) fn on_sent(&mut self, from: InstanceUuid, to: InstanceUuid, chunk: &Chunk) {
        let stream = self.sent.entry((from, to)).or_default();
        assert!(chunk.first_seq.0 <= stream.len() as u64 + 1, "a stream is sent without a gap");
        let mut at = chunk.first_seq.0 as usize - 1;
        let mut offset = 0;
        for message in Messages::new(&chunk.messages) {
            let end = offset + message.expect("what is sent is whole").encoded_len();
            let bytes = &chunk.messages[offset..end];
            match stream.get(at) {
                Some(before) => assert_eq!(before, bytes, "what is sent again is the same"),
                None => stream.push(bytes.to_vec()),
            }
            at += 1;
            offset = end;
        }
        assert_eq!(at as u64, chunk.last_seq().0, "the count of a chunk is right");
    }

    /// A record became durable in the log of `to`.
    pub(crate) fn on_landed(&mut self, to: InstanceUuid, record: &Record) {
        match record.header().kind {
            RecordKind::Bind => {
                let bind = Bind::decode(record.body()).expect("sealed by the core");
                let receiver = self.receivers.entry(to).or_default();
                if receiver.bound.insert(bind.peer, bind.uuid) != Some(bind.uuid) {
                    receiver.delivered.remove(&bind.peer);
                }
            }
            RecordKind::Deliver => {
                let body = DeliverBody::decode(record.body()).expect("sealed by the core");
                let mut messages = 0;
                for run in Runs::new(body.runs) {
                    let run = run.expect("sealed by the core");
                    messages += run.count;
                    if run.peer != PeerIndex::OUTSIDE {
                        self.on_run(to, run.peer, run.first_seq.0, run.messages);
                    }
                }
                assert_eq!(messages, record.header().messages, "a header counts the messages of its record");
            }
            _ => {}
        }
    }

    fn on_run(&mut self, to: InstanceUuid, peer: PeerIndex, first_seq: u64, messages: &[u8]) {
        let receiver = self.receivers.entry(to).or_default();
        // Only the instance itself is never bound by a record, and what it tells itself is never sent.
        let from = receiver.bound.get(&peer).copied();
        let delivered = receiver.delivered.entry(peer).or_default();
        let mut offset = 0;
        assert_eq!(first_seq, *delivered + 1, "a stream is logged without a gap or a repetition");
        for message in Messages::new(messages) {
            let length = message.expect("what is logged is whole").encoded_len();
            *delivered += 1;
            if let Some(from) = from {
                let sent = self.sent.get(&(from, to)).and_then(|stream| stream.get(*delivered as usize - 1));
                let sent = sent.expect("what is delivered was sent");
                assert_eq!(sent[..], messages[offset..offset + length], "what is delivered is what was sent");
            }
            offset += length;
        }
    }

    /// `to` says that it has the stream of `from` up to `seq`: so does its log.
    pub(crate) fn on_promised(&self, from: InstanceUuid, to: InstanceUuid, seq: u64) {
        let Some(receiver) = self.receivers.get(&to) else { return assert_eq!(seq, 0) };
        if let Some((peer, _)) = receiver.bound.iter().find(|(_, uuid)| **uuid == from) {
            let delivered = receiver.delivered.get(peer).copied().unwrap_or(0);
            assert!(seq <= delivered, "what is promised is durable");
        }
    }

    /// At the end everything that left a sender has arrived.
    pub(crate) fn check_all_arrived(&self, living: &[InstanceUuid]) {
        for ((from, to), sent) in &self.sent {
            if !living.contains(from) || !living.contains(to) {
                continue;
            }
            let receiver = &self.receivers[to];
            let peer = receiver.bound.iter().find(|(_, uuid)| *uuid == from).map(|(peer, _)| *peer);
            let peer = peer.expect("who was sent to knows the sender");
            assert_eq!(
                receiver.delivered.get(&peer).copied().unwrap_or(0),
                sent.len() as u64,
                "all that was sent arrives"
            );
        }
    }
}
