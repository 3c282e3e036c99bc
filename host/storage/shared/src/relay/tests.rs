//! Golden files of what is relayed: they are never changed, only added to. `AMBROSIA_BLESS=1` writes those that are missing.

use std::{env, fmt::Debug, fs, path::PathBuf};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_storage::{LogId, Revision};
use bytes::Bytes;

use super::{
    Asked, DepotFault, RELAY_VERSION, RelayFacts, RelayedPlace, Told, Unreadable, decode, encode, octets::Octets,
};
use crate::{
    engine::{
        Answered, AppendFault, Claim, EngineHead, Fault, Group, HostId, Lane, LogRead, News, Position, Raise,
        RaiseFault, ReadFrom, Request, Seen, Session,
    },
    keys::{KeyEntry, KeysAnswer, KeysRequest, Put, PutRefused, Space},
};

const _: () =
    assert!(RELAY_VERSION == 3, "a new version has golden files of its own, in the place of those of the old one");

/// All values of a golden file, each behind its length.
fn check<T: Octets + PartialEq + Debug>(name: &str, values: &[T]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("relay-v3-{name}.bin"));
    let mut made = Vec::new();
    for value in values {
        let bytes = encode(value);
        made.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        made.extend_from_slice(&bytes);
    }
    if env::var_os("AMBROSIA_BLESS").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, &made).expect("writable");
    }
    let golden = fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: bless it with AMBROSIA_BLESS=1"));
    assert_eq!(golden, made, "{name}: what is relayed changed; raise its version");
    let mut rest = Bytes::from(golden);
    for value in values {
        let length = u32::take(&mut rest).expect("a length") as usize;
        assert_eq!(decode::<T>(rest.split_to(length)).as_ref(), Ok(value));
    }
    assert!(rest.is_empty());
}

const LOG: LogId = LogId(InstanceUuid([0xa1; 16]));
const HOST: HostId = HostId([0xb2; 16]);
const CLAIM: Claim = Claim { host: HOST, attempt: 0x0102 };
const SESSION: Session = Session(0x0304);

fn position(lsn: u64) -> Position {
    Position { lsn: Lsn(lsn), link: 0x1122_3344_5566_7788 }
}

fn head() -> EngineHead {
    EngineHead {
        log: LOG,
        epoch: Epoch(7),
        claim: CLAIM,
        replica: ReplicaIndex(2),
        is_reigned: true,
        is_announced: false,
        checkpoint: Lsn(5),
        first: Lsn(3),
        last: position(9),
        bytes: 70_000,
    }
}

fn group() -> Group {
    let bytes = Bytes::from_static(b"records");
    Group { log: LOG, epoch: Epoch(7), after: position(8), last: position(9), bytes }
}

fn requests() -> Vec<Request> {
    let (space, key) = (Space::Store, || "part/«a»".to_owned());
    let value = Bytes::from_static(b"value");
    let keys = [
        KeysRequest::Get { space: Space::Registry, key: key() },
        KeysRequest::List { space, prefix: key(), after: Some("b".to_owned()), values: true },
        KeysRequest::List { space, prefix: String::new(), after: None, values: false },
        KeysRequest::Put(Put {
            space,
            key: key(),
            expected: Some(Revision(6)),
            value: value.clone(),
            claim: CLAIM,
            beside: Some(LOG),
        }),
        KeysRequest::Delete { space, key: key(), expected: Revision(6) },
        KeysRequest::Changes,
        KeysRequest::Note { notes: vec![(key(), Some(value)), (key(), None)] },
        KeysRequest::Notes { prefix: key() },
    ];
    let mut requests = vec![
        Request::Append { groups: vec![group(), group()] },
        Request::Heads { logs: vec![Seen { log: LOG, known: Some(head().known()) }, Seen { log: LOG, known: None }] },
        Request::Raise { wanted: vec![Raise { log: LOG, over: Epoch(6), claim: CLAIM, replica: ReplicaIndex(2) }] },
        Request::Barrier { session: SESSION },
        Request::Read { wanted: vec![ReadFrom { log: LOG, from: Lsn(4), bytes: 1 << 20 }], bytes: 4 << 20 },
        Request::Release { log: LOG, epoch: Epoch(7), claim: CLAIM },
        Request::Tell {
            news: vec![
                News::Announced { log: LOG, epoch: Epoch(7), host: HOST },
                News::Checkpoint { log: LOG, lsn: Lsn(5) },
            ],
        },
        Request::Create { genesis: group() },
        Request::Remove { log: LOG },
        Request::Logs,
        Request::Lives { of: vec![HOST] },
        Request::Beat { host: HOST, beats: 4, of: Vec::new() },
        Request::Trim { log: LOG, before: Lsn(5) },
    ];
    requests.extend(keys.map(Request::Keys));
    requests
}

fn asked() -> Vec<Asked> {
    let name = || "checkpoint/x-1".to_owned();
    let mut asked: Vec<_> =
        requests().into_iter().map(|request| Asked::Engine { lane: Lane::Other, request }).collect();
    asked.push(Asked::Engine { lane: Lane::Groups(1), request: Request::Logs });
    asked.extend([
        Asked::Check,
        Asked::List { folder: "blob".to_owned() },
        Asked::Remove { name: name() },
        Asked::Take { name: name() },
        Asked::More,
        Asked::Give { name: name() },
        Asked::Piece { bytes: Bytes::from_static(b"piece") },
        Asked::Given,
    ]);
    asked
}

fn answers() -> Vec<Result<Answered, Fault>> {
    let (session, key, reason) = (SESSION, || "part/«a»".to_owned(), || "«cut»".to_owned());
    let entry = || KeyEntry { key: key(), revision: Revision(6), value: Bytes::from_static(b"value") };
    let keys = [
        KeysAnswer::Got { session, entry: Some(entry()) },
        KeysAnswer::Got { session, entry: None },
        KeysAnswer::Listed { session, entries: vec![entry()], is_all: false },
        KeysAnswer::Put(Ok(Revision(6))),
        KeysAnswer::Put(Err(PutRefused::Stands(Some(Revision(6))))),
        KeysAnswer::Put(Err(PutRefused::Stands(None))),
        KeysAnswer::Put(Err(PutRefused::NoLog)),
        KeysAnswer::Deleted(Ok(())),
        KeysAnswer::Deleted(Err(None)),
        KeysAnswer::Changes(9),
        KeysAnswer::Noted,
        KeysAnswer::Notes(vec![(key(), Bytes::from_static(b"note"))]),
    ];
    let mut answers = vec![
        Ok(Answered::Appended(vec![
            Ok(()),
            Err(AppendFault::Refused(Some(head()))),
            Err(AppendFault::Refused(None)),
            Err(AppendFault::Failed(Fault::Unknown(reason()))),
            Err(AppendFault::TooLarge { max: 1 << 20 }),
        ])),
        Ok(Answered::Heads { session, heads: vec![head()], gone: vec![LOG] }),
        Ok(Answered::Raised(vec![Ok(head()), Err(RaiseFault::Contended(head())), Err(RaiseFault::Gone)])),
        Ok(Answered::Barred),
        Ok(Answered::Read {
            session,
            logs: vec![
                LogRead { head: Some(head()), groups: vec![group()] },
                LogRead { head: None, groups: Vec::new() },
            ],
        }),
        Ok(Answered::Released),
        Ok(Answered::Beats { session, beats: vec![(HOST, 4)] }),
        Ok(Answered::Trimmed),
        Ok(Answered::Told),
        Ok(Answered::Created(true)),
        Ok(Answered::Removed(false)),
        Ok(Answered::Logs { session, logs: vec![LOG] }),
        Err(Fault::Unknown(reason())),
        Err(Fault::Unavailable(reason())),
        Err(Fault::Refused(reason())),
    ];
    answers.extend(keys.map(|keys| Ok(Answered::Keys(keys))));
    answers
}

fn told() -> Vec<Told> {
    let place = || RelayedPlace { name: "blob/x".to_owned(), place: "s3://b".to_owned(), words: "«why»".to_owned() };
    let mut told: Vec<_> = answers().into_iter().map(Told::Engine).collect();
    told.extend([
        Told::Done,
        Told::Listed { files: vec!["x-1".to_owned()], folders: vec!["y".to_owned()] },
        Told::Piece { bytes: Bytes::from_static(b"piece"), is_last: true },
        Told::Failed(DepotFault::Away(place())),
        Told::Failed(DepotFault::Unusable(place())),
        Told::Failed(DepotFault::Missing(place())),
        Told::Failed(DepotFault::Damaged(place())),
        Told::Refused { reason: "«no»".to_owned() },
    ]);
    told
}

fn facts() -> RelayFacts {
    RelayFacts {
        group_bytes_max: 128 << 20,
        lanes: 2,
        place: "db1:5432/app".to_owned(),
        caution: Some("«one disk»".to_owned()),
        store: "5f0e".to_owned(),
        depot: Some("s3://b".to_owned()),
        may_change: true,
    }
}

#[test]
fn what_is_relayed_in_this_version_stays_readable() {
    check("asked", &asked());
    check("told", &told());
    check("facts", &[facts()]);
}

#[test]
fn what_is_cut_short_or_goes_on_is_told() {
    fn cut<T: Octets + Debug>(values: &[T]) {
        for bytes in values.iter().map(encode) {
            for length in 0..bytes.len() {
                let short = decode::<T>(Bytes::copy_from_slice(&bytes[..length]));
                assert!(matches!(short, Err(Unreadable::Short)), "{length} of {bytes:?}: {short:?}");
            }
            let long = decode::<T>([&bytes[..], b"x"].concat().into());
            assert_eq!(long.err(), Some(Unreadable::Long(1)));
        }
    }
    cut(&asked());
    cut(&told());
    cut(&[facts()]);
    let unknown = decode::<Asked>(Bytes::from_static(&[200])).expect_err("there is none");
    assert!(unknown.to_string().contains("Asked of the unknown kind 200"), "{unknown}");
}

#[test]
fn a_long_text_does_not_keep_the_facts_from_being_told() {
    let engine = crate::engine::EngineFacts {
        group_bytes_max: usize::MAX,
        lanes: 2,
        place: "é".repeat(5000),
        caution: Some("x".repeat(5000)),
    };
    let facts = encode(&RelayFacts::of(engine, "store", Some("y".repeat(5000)), false));
    assert!(facts.len() < 3500, "they have {} bytes, and a handshake has 4096", facts.len());
}
