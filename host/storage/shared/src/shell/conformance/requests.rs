//! What each request does.

use ambrosia_core::{Epoch, Lsn, ReplicaIndex};
use ambrosia_storage::Revision;
use bytes::Bytes;

use super::{append, ask, create, genesis, group, log, position, remove};
use crate::{
    engine::{
        Answered, AppendFault, Claim, Engine, EngineHead, Group, HostId, Lane, News, Position, Raise, ReadFrom,
        Request, Seen, Session,
    },
    keys::{KeyEntry, KeysAnswer, KeysRequest, Put, PutRefused, Space},
    rows::Rows,
};

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// One below that.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn flips(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What differs between two engines though they do the same.
fn plain(answer: Answered) -> Answered {
    let session = Session(0);
    match answer {
        Answered::Heads { mut heads, mut gone, .. } => {
            heads.sort_by_key(|head| head.log);
            gone.sort();
            Answered::Heads { session, heads, gone }
        }
        Answered::Read { logs, .. } => Answered::Read { session, logs },
        Answered::Beats { mut beats, .. } => {
            beats.sort();
            Answered::Beats { session, beats }
        }
        Answered::Logs { mut logs, .. } => {
            logs.sort();
            Answered::Logs { session, logs }
        }
        Answered::Keys(answer) => Answered::Keys(match answer {
            KeysAnswer::Got { entry, .. } => KeysAnswer::Got { session, entry },
            KeysAnswer::Listed { entries, is_all, .. } => KeysAnswer::Listed { session, entries, is_all },
            answer => answer,
        }),
        answer => answer,
    }
}

/// The same revisions on both sides: by the order in which they were given, for each engine gives its own.
#[derive(Default)]
struct Revisions(Vec<(Revision, Revision)>);

impl Revisions {
    fn learn(&mut self, of_rows: &Answered, of_server: &Answered) {
        if let (Answered::Keys(KeysAnswer::Put(Ok(of_rows))), Answered::Keys(KeysAnswer::Put(Ok(of_server)))) =
            (of_rows, of_server)
        {
            self.0.push((*of_rows, *of_server));
        }
    }

    fn to_server(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let to = |revision: &mut Revision| {
            // One that was never given is none of the server's either.
            *revision =
                self.0.iter().find(|(rows, _)| rows == revision).map_or(Revision(1 << 60), |(_, server)| *server);
        };
        match &mut request {
            Request::Keys(KeysRequest::Put(put)) => put.expected.iter_mut().for_each(to),
            Request::Keys(KeysRequest::Delete { expected, .. }) => to(expected),
            _ => {}
        }
        request
    }

    fn of_server(&self, answer: Answered) -> Answered {
        let of = |revision: Revision| {
            self.0.iter().find(|(_, server)| *server == revision).map_or(revision, |(rows, _)| *rows)
        };
        let entry = |entry: KeyEntry| KeyEntry { revision: of(entry.revision), ..entry };
        let Answered::Keys(answer) = answer else { return answer };
        Answered::Keys(match answer {
            KeysAnswer::Got { session, entry: got } => KeysAnswer::Got { session, entry: got.map(entry) },
            KeysAnswer::Listed { session, entries, is_all } => {
                KeysAnswer::Listed { session, entries: entries.into_iter().map(entry).collect(), is_all }
            }
            KeysAnswer::Put(put) => KeysAnswer::Put(put.map(of).map_err(|refused| match refused {
                PutRefused::Stands(stands) => PutRefused::Stands(stands.map(of)),
                PutRefused::NoLog => PutRefused::NoLog,
            })),
            KeysAnswer::Deleted(deleted) => KeysAnswer::Deleted(deleted.map_err(|stands| stands.map(of))),
            answer => answer,
        })
    }
}

fn about_keys(dice: &mut Dice, rows: &mut Rows) -> KeysRequest {
    let space = if dice.flips() { Space::Registry } else { Space::Store };
    let key = ["a", "a/b", "a/c", "a/\u{7f}", "a0", "b"][dice.below(6) as usize].to_owned();
    let stands = match rows.execute(&Request::Keys(KeysRequest::Get { space, key: key.clone() }), Session(0)) {
        Answered::Keys(KeysAnswer::Got { entry, .. }) => entry.map(|entry| entry.revision),
        other => panic!("{other:?}"),
    };
    let wrong = Revision(dice.below(100));
    let prefix = ["", "a", "a/", "c"][dice.below(4) as usize].to_owned();
    let value = |dice: &mut Dice| Bytes::from(vec![dice.below(256) as u8; dice.below(2000) as usize]);
    match dice.below(12) {
        0 | 1 => KeysRequest::Get { space, key },
        2 | 3 => {
            let after = dice.flips().then_some(key);
            KeysRequest::List { space, prefix, after, values: dice.flips() }
        }
        4..8 => KeysRequest::Put(Put {
            space,
            key,
            expected: if dice.below(4) > 0 { stands } else { dice.flips().then_some(wrong) },
            value: value(dice),
            claim: Claim { host: HostId([1; 16]), attempt: dice.below(1 << 30) },
            beside: dice.flips().then(|| log(dice.below(5) as u8)),
        }),
        8 => KeysRequest::Delete { space, key, expected: stands.filter(|_| dice.below(4) > 0).unwrap_or(wrong) },
        9 => KeysRequest::Changes,
        10 => {
            let notes = ["m/1", "m/2", "n"].into_iter().filter(|_| dice.below(3) > 0).collect::<Vec<_>>();
            let note = |name: &str| (name.to_owned(), (dice.below(3) > 0).then(|| value(dice)));
            KeysRequest::Note { notes: notes.into_iter().map(note).collect() }
        }
        _ => KeysRequest::Notes { prefix: ["", "m/"][dice.below(2) as usize].to_owned() },
    }
}

/// A request that may be sound or not, about logs as they are in `rows`.
fn request(dice: &mut Dice, rows: &mut Rows) -> Request {
    let any_log = |dice: &mut Dice| log(dice.below(5) as u8);
    let head = |of| {
        rows.head(of).unwrap_or(EngineHead {
            log: of,
            epoch: Epoch(1),
            claim: Claim::default(),
            replica: ReplicaIndex(0),
            is_reigned: true,
            is_announced: false,
            checkpoint: Lsn(0),
            first: Lsn(1),
            last: Position::default(),
            bytes: 0,
        })
    };
    let claim = |dice: &mut Dice| Claim { host: HostId([dice.below(2) as u8; 16]), attempt: dice.below(3) };
    match dice.below(20) {
        0..4 => {
            let mut logs: Vec<_> = (0..5).filter(|_| dice.flips()).map(log).collect();
            logs.sort_by_cached_key(|_| dice.below(100));
            let groups = logs.into_iter().map(|of| {
                let EngineHead { mut epoch, mut last, .. } = head(of);
                match dice.below(8) {
                    0 => epoch = Epoch(epoch.0.saturating_sub(1)),
                    1 => epoch = Epoch(epoch.0 + 1),
                    2 => last.lsn = Lsn(last.lsn.0 + 1),
                    3 => last.lsn = Lsn(last.lsn.0.saturating_sub(1)),
                    4 => last.link ^= 1 << 63,
                    _ => {}
                }
                let body = vec![dice.below(256) as u8; dice.below(3000) as usize];
                Group { bytes: Bytes::from(body), ..group(of, epoch.0, last, b"") }
            });
            Request::Append { groups: groups.collect() }
        }
        4..6 => {
            let mut wanted = Vec::new();
            for of in (0..5).rev().map(log) {
                if dice.flips() {
                    let over = Epoch(head(of).epoch.0.saturating_sub(dice.below(2)));
                    let replica = ReplicaIndex(dice.below(4) as u16);
                    wanted.push(Raise { log: of, over, claim: claim(dice), replica });
                }
            }
            Request::Raise { wanted }
        }
        6 => {
            let seen = |of| Seen {
                log: of,
                known: dice.flips().then(|| {
                    let mut known = head(of).known();
                    match dice.below(10) {
                        0 => known.last.lsn.0 += 1,
                        1 => known.last.link ^= 1 << 63,
                        2 => known.is_reigned ^= true,
                        3 => known.claim.attempt += 1,
                        4 => known.claim.host.0[3] ^= 1,
                        5 => known.epoch.0 += 1,
                        6 => known.is_announced ^= true,
                        7 => known.checkpoint.0 += 1,
                        _ => {}
                    }
                    known
                }),
            };
            Request::Heads { logs: (0..5).map(log).map(seen).collect() }
        }
        7 | 8 => {
            let count = 1 + dice.below(3);
            let mut read = |_| {
                let of = any_log(dice);
                let from = Lsn(head(of).first.0 + dice.below(head(of).last.lsn.0 + 2));
                ReadFrom { log: of, from, bytes: 1 + dice.below(3000) as usize }
            };
            let wanted = (0..count).map(&mut read).collect();
            Request::Read { wanted, bytes: 1 + dice.below(10_000) as usize }
        }
        9 => {
            let of = any_log(dice);
            Request::Release { log: of, epoch: head(of).epoch, claim: claim(dice) }
        }
        10 => {
            let host = |number| HostId([number; 16]);
            let of = (0..3).filter(|_| dice.flips()).map(host).collect();
            Request::Beat { host: host(dice.below(3) as u8), beats: dice.below(100), of }
        }
        11 => {
            let host = |number| HostId([number; 16]);
            Request::Lives { of: (0..3).filter(|_| dice.flips()).map(host).collect() }
        }
        12 => Request::Logs,
        13 => {
            let news = (0..dice.below(4)).map(|_| {
                let log = any_log(dice);
                match dice.flips() {
                    true => News::Announced {
                        log,
                        epoch: Epoch(head(log).epoch.0.saturating_sub(dice.below(2))),
                        host: if dice.flips() { head(log).claim.host } else { HostId([1; 16]) },
                    },
                    false => News::Checkpoint { log, lsn: Lsn(dice.below(50)) },
                }
            });
            Request::Tell { news: news.collect() }
        }
        14..19 => Request::Keys(about_keys(dice, rows)),
        _ => {
            let of = any_log(dice);
            Request::Trim { log: of, before: Lsn(dice.below(head(of).last.lsn.0 + 3)) }
        }
    }
}

/// Thousands of random requests; of a new store.
pub fn each_request_does_what_it_does_to_rows_in_memory(engine: &dyn Engine) {
    let (mut rows, mut dice) = (Rows::default(), Dice(7));
    for of in (0..4).map(log) {
        assert!(rows.create(of, &genesis(of)));
        assert!(create(engine, of, &genesis(of)));
        assert!(!create(engine, of, &genesis(of)), "it is made once");
    }
    let (mut appended, mut refused) = (0, 0);
    let mut revisions = Revisions::default();
    let (mut put, mut not_put) = (0, 0);
    // As a put is whose answer was lost: another one has another claim.
    let mut again = None;
    for number in 0..4000 {
        let request = again.take().unwrap_or_else(|| request(&mut dice, &mut rows));
        let lane =
            if matches!(request, Request::Append { .. }) { Lane::Groups((number % 2) as u8) } else { Lane::Other };
        let expected = rows.execute(&request, Session(0));
        let answered = ask(engine, lane, revisions.to_server(&request)).expect("the server is there");
        revisions.learn(&expected, &answered);
        if let Answered::Keys(KeysAnswer::Put(result)) = &expected {
            *if result.is_ok() { &mut put } else { &mut not_put } += 1;
        }
        assert_eq!(plain(revisions.of_server(answered)), plain(expected.clone()), "request {number}: {request:?}");
        if matches!(request, Request::Keys(KeysRequest::Put(_))) && dice.below(4) == 0 {
            again = Some(request);
        }
        if let Answered::Appended(answers) = expected {
            appended += answers.iter().filter(|answer| answer.is_ok()).count();
            refused += answers.iter().filter(|answer| answer.is_err()).count();
        }
    }
    assert!(appended > 300 && refused > 300, "{appended} and {refused} are no test");
    assert!(put > 50 && not_put > 50, "{put} and {not_put} are no test");
    assert_eq!((remove(engine, log(0)), remove(engine, log(0))), (true, false));
}

/// Of a new store.
pub fn who_was_deposed_appends_nothing_even_where_the_log_was_trimmed(engine: &dyn Engine) {
    let (of, first) = (log(1), genesis(log(1)));
    assert!(create(engine, of, &first));
    let claim = Claim { host: HostId([1; 16]), attempt: 1 };
    let raise = |over| {
        ask(
            engine,
            Lane::Other,
            Request::Raise { wanted: vec![Raise { log: of, over: Epoch(over), claim, replica: ReplicaIndex(0) }] },
        )
    };
    raise(0).expect("the server is there");
    raise(1).expect("the server is there");
    let mut last = position(&first);
    let mut places = vec![last];
    for _ in 0..5 {
        let next = group(of, 2, last, b"");
        last = next.last;
        places.push(last);
        assert_eq!(append(engine, vec![next]), Ok(Answered::Appended(vec![Ok(())])));
    }
    ask(engine, Lane::Other, Request::Trim { log: of, before: Lsn(5) }).expect("the server is there");
    for after in places {
        let late = append(engine, vec![group(of, 1, after, b"late")]);
        let Ok(Answered::Appended(answers)) = late else { panic!("{late:?}") };
        assert!(matches!(answers[..], [Err(AppendFault::Refused(Some(head)))] if head.last == last), "{answers:?}");
    }
}
