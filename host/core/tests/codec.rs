//! Properties of everything that is encoded: it reads back, any cut is noticed, and no bytes do harm.

use ambrosia_core::{
    Bind, CallId, DeliverBody, Effect, Effects, Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn,
    Message, MessageKind, Messages, MethodId, PeerIndex, Record, RecordError, RecordHeader, RecordKind, ReplicaIndex,
    RequestEntry, RequestId, Runs, Seq, Timestamp, Watermark, begin_run, check_travelling, finish_run, push_effect,
    push_message,
};
use ambrosia_test_allocations::counting;
use proptest::{collection::vec, prelude::*};

const KINDS: &[MessageKind] = MessageKind::ALL;

/// A message that owns its arguments.
type Parts = (usize, u32, u64, Vec<u8>);

fn parts() -> impl Strategy<Value = Parts> {
    (0..KINDS.len(), any::<u32>(), any::<u64>(), vec(any::<u8>(), 0..40))
}

fn message((kind, method, call, arguments): &Parts) -> Message<'_> {
    Message { kind: KINDS[*kind], method: MethodId(*method), call_id: CallId(*call), arguments }
}

fn encoded(parts: &[Parts]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|parts| push_message(&mut out, message(parts)));
    out
}

fn name() -> impl Strategy<Value = InstanceName> {
    let first = proptest::char::ranges(vec!['a'..='z', 'A'..='Z', '0'..='9'].into());
    let rest = proptest::char::ranges(vec!['a'..='z', '0'..='9', '-'..='.', '_'..='_'].into());
    (first, vec(rest, 0..63)).prop_map(|(first, rest)| {
        let text: String = std::iter::once(first).chain(rest).collect();
        InstanceName::new(text).expect("plain")
    })
}

fn sealed(kind: RecordKind, body: &[u8], seed: u64) -> Record {
    let mut header = RecordHeader::new(kind, Epoch(seed), Lsn(seed / 2 + 1), Timestamp(seed / 3));
    header.previous = seed ^ 0xff;
    header.durable = Lsn(seed / 5);
    Record::seal(header, body)
}

/// Every decoder there is, on bytes that may be anything.
fn decode_all(bytes: &[u8]) {
    let _ = RecordHeader::decode(bytes);
    let _ = Record::split_from(&mut bytes::Bytes::copy_from_slice(bytes));
    let _ = (Genesis::decode(bytes), EpochBody::decode(bytes), Bind::decode(bytes), DeliverBody::decode(bytes));
    let _ = Messages::new(bytes).count();
    let _ = check_travelling(bytes);
    for run in Runs::new(bytes).flatten() {
        let _ = run.check();
    }
    let _ = Effects::new(bytes).count();
    if let Ok(record) = Record::split_from(&mut bytes::Bytes::copy_from_slice(bytes)) {
        let _ = record.check_body();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn records_read_back_one_after_the_other(bodies in vec(vec(any::<u8>(), 0..100), 1..5), seed in any::<u64>()) {
        let kinds = [RecordKind::Genesis, RecordKind::Epoch, RecordKind::Bind, RecordKind::Deliver, RecordKind::Mark];
        let bodies_of_kinds = bodies.iter().zip(kinds.iter().cycle());
        let made: Vec<_> = bodies_of_kinds.map(|(body, kind)| sealed(*kind, body, seed)).collect();
        let mut stored: bytes::Bytes = made.iter().flat_map(|record| record.stored().to_vec()).collect();
        for (record, body) in made.iter().zip(&bodies) {
            let read = Record::split_from(&mut stored).expect("sealed above");
            prop_assert_eq!(&read, record);
            prop_assert_eq!(read.body(), &body[..]);
        }
        prop_assert!(stored.is_empty());
    }

    #[test]
    fn a_record_notices_every_cut_and_every_flipped_bit(
        body in vec(any::<u8>(), 0..60), seed in any::<u64>(), flip in any::<prop::sample::Index>(),
    ) {
        let record = sealed(RecordKind::Deliver, &body, seed);
        for length in 0..record.stored().len() {
            let mut cut = record.stored().slice(..length);
            prop_assert_eq!(Record::split_from(&mut cut), Err(RecordError::CutOff));
        }
        let mut damaged = record.stored().to_vec();
        let bit = flip.index((64 + body.len()) * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Record::split_from(&mut damaged.into()).is_err());
    }

    #[test]
    fn messages_read_back_and_notice_every_cut(all in vec(parts(), 1..6)) {
        let bytes = encoded(&all);
        let read: Vec<_> = Messages::new(&bytes).collect::<Result<_, _>>().expect("encoded above");
        prop_assert_eq!(read, all.iter().map(message).collect::<Vec<_>>());
        let last = 20 + all.last().expect("one at least").3.len();
        for length in bytes.len() - last + 1..bytes.len() {
            let read: Vec<_> = Messages::new(&bytes[..length]).collect();
            prop_assert_eq!(read.len(), all.len());
            prop_assert!(read[all.len() - 1].is_err());
        }
        let travels = all.iter().all(|parts| message(parts).kind.travels());
        prop_assert_eq!(check_travelling(&bytes).is_ok(), travels);
        prop_assert!(!travels || check_travelling(&bytes) == Ok(all.len() as u32));
    }

    #[test]
    fn runs_read_back_and_notice_every_cut(
        all in vec((any::<u32>(), any::<u64>(), vec(parts(), 1..4)), 1..4),
    ) {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (peer, first, messages) in &all {
            last = begin_run(&mut bytes, PeerIndex(*peer), Seq(*first));
            bytes.extend_from_slice(&encoded(messages));
            finish_run(&mut bytes, last, messages.len() as u32);
        }
        let read: Vec<_> = Runs::new(&bytes).collect::<Result<_, _>>().expect("encoded above");
        prop_assert_eq!(read.len(), all.len());
        for (run, (peer, first, messages)) in read.iter().zip(&all) {
            prop_assert_eq!((run.peer.0, run.first_seq.0, run.count), (*peer, *first, messages.len() as u32));
            prop_assert_eq!(run.messages, &encoded(messages)[..]);
            prop_assert_eq!(run.check(), Ok(()));
            let miscounted = ambrosia_core::Run { count: run.count + 1, ..*run };
            prop_assert!(miscounted.check().is_err());
        }
        for length in last + 1..bytes.len() {
            prop_assert!(Runs::new(&bytes[..length]).last().expect("one at least").is_err());
        }
    }

    #[test]
    fn effects_read_back_where_their_kind_may_go(all in vec((any::<u32>(), 0_u32..3, parts()), 1..6)) {
        let mut bytes = Vec::new();
        for (cause, target, parts) in &all {
            push_effect(&mut bytes, *cause, PeerIndex(*target), message(parts));
        }
        let allowed = |kind: MessageKind, target: u32| match kind {
            MessageKind::Fork | MessageKind::Call => target > 0,
            MessageKind::Reply | MessageKind::Error => true,
            MessageKind::Exit
            | MessageKind::SetTimer
            | MessageKind::CancelTimer
            | MessageKind::Waiting
            | MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => target == 0,
            MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron => false,
        };
        let fine = all.iter().take_while(|(_, target, parts)| allowed(message(parts).kind, *target)).count();
        let read: Vec<_> = Effects::new(&bytes).collect();
        prop_assert_eq!(read.len(), all.len().min(fine + 1));
        for (effect, (cause, target, parts)) in read.iter().zip(&all).take(fine) {
            let encoded = encoded(std::slice::from_ref(parts));
            let expected =
                Effect { cause: *cause, target: PeerIndex(*target), message: message(parts), encoded: &encoded };
            prop_assert_eq!(effect.as_ref().expect("allowed"), &expected);
        }
        prop_assert_eq!(read.last().expect("one at least").is_ok(), fine == all.len());
        for length in 1..28.min(bytes.len()) {
            prop_assert!(Effects::new(&bytes[..length]).next().expect("some bytes").is_err());
        }
    }

    #[test]
    fn deliver_bodies_read_back_and_notice_every_cut(
        runs in vec(any::<u8>(), 0..50),
        acknowledged in vec((any::<u32>(), any::<u64>()), 0..4),
        requests in vec((any::<u64>(), vec(any::<u8>(), 1..=128)), 0..4),
    ) {
        let acknowledged = acknowledged.iter().map(|(peer, seq)| Watermark { peer: PeerIndex(*peer), seq: Seq(*seq) });
        let entry = |(call, id): &(u64, Vec<u8>)| RequestEntry {
            call_id: CallId(*call),
            request: RequestId::new(id).expect("1 to 128 bytes"),
        };
        let body = DeliverBody {
            runs: &runs,
            acknowledged: acknowledged.collect(),
            requests: requests.iter().map(entry).collect(),
            sessions: Vec::new(),
            traces: Vec::new(),
        };
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        prop_assert_eq!(&DeliverBody::decode(&bytes).expect("encoded above"), &body);
        for length in 0..bytes.len() {
            prop_assert_eq!(DeliverBody::decode(&bytes[..length]), Err(RecordError::Shape));
        }
    }

    /// The name ends with the body, so that a cut within it is noticed by the checksum of the record alone.
    #[test]
    fn genesis_bind_and_epoch_bodies_read_back(
        life in any::<[u8; 16]>(), module in any::<[u8; 32]>(), numbers in any::<[u64; 4]>(), name in name(),
        peer in any::<u32>(), replica in any::<u16>(),
    ) {
        let [seed, fuel, memory_bytes, time] = numbers;
        let limits = Limits { fuel, memory_bytes };
        let genesis = Genesis { uuid: InstanceUuid(life), module, seed, limits, name: name.clone() };
        let record = genesis.record(Timestamp(time));
        prop_assert_eq!(Genesis::decode(record.body()), Ok(genesis));
        for length in 0..=72 {
            prop_assert_eq!(Genesis::decode(&record.body()[..length]), Err(RecordError::Shape));
        }
        let bind = Bind { peer: PeerIndex(peer), uuid: InstanceUuid(life), name };
        let mut bytes = Vec::new();
        bind.encode(&mut bytes);
        prop_assert_eq!(Bind::decode(&bytes), Ok(bind));
        for length in 0..=20 {
            prop_assert_eq!(Bind::decode(&bytes[..length]), Err(RecordError::Shape));
        }
        let epoch = EpochBody { replica: ReplicaIndex(replica), engine: module };
        let mut bytes = Vec::new();
        epoch.encode(&mut bytes);
        prop_assert_eq!(EpochBody::decode(&bytes), Ok(epoch));
        for length in 0..bytes.len() {
            prop_assert_eq!(EpochBody::decode(&bytes[..length]), Err(RecordError::Shape));
        }
        bytes.push(0);
        prop_assert_eq!(EpochBody::decode(&bytes), Err(RecordError::Shape));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm_and_take_no_more_memory_than_they_have(
        noise in vec(any::<u8>(), 0..300), counts in any::<[u32; 3]>(), at in any::<prop::sample::Index>(),
    ) {
        // Bytes that look right at the front: announced counts and lengths are believed by nobody.
        let mut body: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        body.extend_from_slice(&noise);
        let mut record = sealed(RecordKind::Deliver, &noise, 7).stored().to_vec();
        let place = at.index(record.len());
        record[place] ^= 0x55;
        let zero_runs = [&[0; 4], &body[4..]].concat();
        for bytes in [&noise, &body, &record, &zero_runs] {
            let used = memory_for(bytes);
            prop_assert!(used <= 16 * bytes.len() + 1024, "{used} bytes for {}", bytes.len());
        }
    }
}

fn memory_for(bytes: &[u8]) -> usize {
    counting(|| decode_all(bytes)).1
}

#[test]
fn announced_counts_take_no_memory() {
    let mut body = Vec::new();
    for count in [0, u32::MAX, u32::MAX, 0] {
        body.extend_from_slice(&count.to_le_bytes());
    }
    assert!(counting(|| DeliverBody::decode(&body)).1 < 1024);
    let mut message = Vec::new();
    push_message(
        &mut message,
        Message { kind: MessageKind::Fork, method: MethodId(0), call_id: CallId(0), arguments: b"" },
    );
    message[..4].copy_from_slice(&(80_u32 << 20).to_le_bytes());
    assert_eq!(counting(|| check_travelling(&message)).1, 0);
    assert!(counting(|| vec![0_u8; 5000]).1 >= 5000, "memory is counted");
}
