//! What the log of an instance must do.

use std::{
    sync::{Arc, Barrier, mpsc::channel},
    thread,
    time::Duration,
};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, ReplicaIndex, Timestamp};

use super::reign::{Follower, Handles, LIMIT, Reign, drain, genesis, read_all, wait_for_vacancy};
use crate::{AcquireError, AppendError, LogError, LogStore, StopCause, Vacancy};

/// Makes a log with the given genesis record.
pub type NewLog<'a> = &'a dyn Fn(Record) -> Handles;

fn bodies(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(Record::body).collect()
}

pub fn appends_are_read_back_in_order(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    assert_eq!(read_all(&*open()), [genesis()]);
    let log = open();
    let mut reign = Reign::begin(&*log, 0);
    for n in 0..500_u32 {
        reign.append(&vec![n as u8; n as usize]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(502));
    let records = read_all(&*open());
    assert_eq!(records.len(), 502);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.lsn(), Lsn(i as u64 + 1));
        assert!(i < 2 || record.body() == vec![(i - 2) as u8; i - 2]);
    }
    assert_eq!(log.head().expect("works").durable, Lsn(502));
    assert_eq!(log.head().expect("works").epoch, reign.epoch);
    assert_eq!(reign.writer.stats().records, 500);
}

pub fn what_is_read_later_is_what_is_read_at_once(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let log = open();
    let mut reign = Reign::begin(&*log, 0);
    for n in 0..20_u8 {
        reign.append(&[n]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(22));
    let mut expected = read_all(&*log);
    let mut tail = log.tail(Lsn(1)).expect("it has its first record");
    while !expected.is_empty() {
        let (sender, told) = channel();
        tail.begin_read(Box::new(move |tail, records| sender.send((tail, records)).expect("somebody waits")));
        let records;
        (tail, records) = told.recv().expect("it is told once");
        let records = records.expect("it reads");
        assert!(!records.is_empty(), "there are more");
        assert_eq!(records, expected.drain(..records.len()).collect::<Vec<_>>());
    }
    assert_eq!(tail.position(), Lsn(23));
    // A store that ends may have told nothing yet.
    let (sender, told) = channel();
    tail.begin_read(Box::new(move |_, records| sender.send(records).expect("somebody waits")));
    drop((reign, log));
    assert!(told.recv().expect("it is told").expect("it reads").is_empty());
}

pub fn durable_events_only_rise_and_reach_the_last_record(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    for _ in 0..200 {
        let lsn = reign.append(b"some").expect("the reign goes on");
        if lsn.0.is_multiple_of(7) {
            reign.wait_durable(lsn);
        }
    }
    reign.wait_durable(Lsn(202));
    assert_eq!(reign.durable(), Lsn(202));
    assert_eq!(reign.writer.queued_bytes(), 0);
}

pub fn a_second_acquire_fences_the_first_writer(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut first = Reign::begin(&*open(), 0);
    first.append_durably(b"kept");
    let mut second = Reign::begin(&*open(), 1);
    assert!(second.epoch > first.epoch);
    // The writer may not know yet: then it takes the record and never makes it durable.
    match first.append(b"lost") {
        Ok(_) | Err(AppendError::Fenced { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let StopCause::Fenced { by } = first.wait_stopped() else { panic!("it did not fail, it was fenced") };
    assert!(by >= second.epoch);
    assert_eq!(first.durable(), Lsn(3));
    // Whatever the caller goes on to append, the answer is that it was deposed.
    for _ in 0..2 {
        assert!(matches!(first.append(b"lost"), Err(AppendError::Fenced { .. })));
    }
    second.append_durably(b"after");
    let records = read_all(&*open());
    assert_eq!(bodies(&[records[2].clone(), records[4].clone()]), [b"kept".as_slice(), b"after"]);
    assert_eq!(records.len(), 5);
}

pub fn a_tail_follows_across_a_change_of_the_primary(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut follower = Follower::new(&*open(), Lsn(1));
    let follower = thread::spawn(move || {
        let mut records = Vec::new();
        while records.len() < 64 {
            records.extend(follower.follow());
        }
        records
    });
    let mut reigns = Vec::new();
    for replica in 0..21 {
        let mut reign = Reign::begin(&*open(), replica);
        reign.append_durably(b"first");
        reign.append_durably(b"second");
        // Nobody waits for this one. It may be in the log or not, but no reader may see it come and go.
        reign.append(b"third").expect("the reign goes on");
        reigns.push(reign);
    }
    let followed = follower.join().expect("the follower met no error");
    let records = read_all(&*open());
    assert_eq!(followed[..64], records[..64]);
}

pub fn a_tail_returns_nothing_that_is_not_durable(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    let mut follower = Follower::new(&*open(), Lsn(3));
    assert!(follower.tail.read().expect("works").is_empty());
    for n in 0..100_u64 {
        let lsn = reign.append(&n.to_le_bytes()).expect("the reign goes on");
        let seen = follower.follow();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].lsn(), lsn);
        reign.wait_durable(lsn);
        assert_eq!(follower.tail.position(), lsn.next());
        assert_eq!(follower.tail.link(), seen[0].header().link());
    }
}

pub fn a_forked_tail_reads_on_from_where_the_other_one_stood(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let log = open();
    let mut reign = Reign::begin(&*log, 0);
    for n in 0..300_u32 {
        reign.append(&vec![n as u8; 4000]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(302));
    let all = read_all(&*open());
    let mut tail = log.tail(Lsn(100)).expect("works");
    let forked = tail.fork();
    let read = drain(&mut *tail);
    assert_eq!((forked.position(), forked.link()), (Lsn(100), all[98].header().link()));
    // Each fork is a reader of its own, wherever the one stands that it was forked from.
    for mut fork in [forked.fork(), forked] {
        assert_eq!(drain(&mut *fork), all[99..]);
        assert_eq!((fork.position(), fork.link()), (tail.position(), tail.link()));
    }
    assert_eq!(read, all[99..]);
    assert_eq!(tail.fork().read().expect("works"), []);
}

pub fn acquire_returns_what_the_tail_had_not_read(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let log = open();
    let mut first = Reign::begin(&*log, 0);
    for n in 0..10_u8 {
        first.append_durably(&[n]);
    }
    for from in [Lsn(1), Lsn(2), Lsn(7)] {
        let candidate = open();
        let tail = candidate.tail(from).expect("works");
        let before = read_all(&*candidate);
        let reign = Reign::begin_with(&*candidate, 1, tail);
        let (newest, others) = reign.records.split_last().expect("the epoch record is there");
        assert_eq!(others, &before[from.0 as usize - 1..]);
        assert_eq!(newest.lsn(), Lsn(before.len() as u64 + 1));
        assert_eq!(newest.header().previous, before.last().expect("not empty").header().link());
    }
}

pub fn of_many_candidates_each_gets_an_epoch_of_its_own(new_log: NewLog<'_>) {
    const CANDIDATES: u16 = 4;
    const ROUNDS: usize = 10;
    let open: Arc<Handles> = Arc::new(new_log(genesis()));
    let barrier = Arc::new(Barrier::new(CANDIDATES.into()));
    let candidate = |replica| {
        let (open, barrier) = (open.clone(), barrier.clone());
        thread::spawn(move || {
            let log = open();
            let mut epochs = Vec::new();
            for _ in 0..ROUNDS {
                barrier.wait();
                epochs.extend(try_once(&*log, replica));
            }
            epochs
        })
    };
    let candidates: Vec<_> = (0..CANDIDATES).map(candidate).collect();
    let mut won: Vec<Epoch> = candidates.into_iter().flat_map(|c| c.join().expect("no panic")).collect();
    assert!(!won.is_empty());
    won.sort_unstable();
    assert!(won.is_sorted_by(|a, b| a < b), "no epoch twice: {won:?}");
    let records = read_all(&*open());
    let in_log: Vec<Epoch> = records.iter().skip(1).map(|record| record.header().epoch).collect();
    // A candidate that was deposed before it knew that it had won leaves its record all the same.
    assert!(won.iter().all(|epoch| in_log.contains(epoch)), "{won:?} {in_log:?}");
}

/// Becomes primary and ends the reign at once, unless another candidate is at it.
fn try_once(log: &dyn LogStore, replica: u16) -> Option<Epoch> {
    let me = EpochBody { replica: ReplicaIndex(replica), engine: [0; 32] };
    let mut tail = log.tail(Lsn(1)).expect("works");
    drain(tail.as_mut());
    match tail.acquire(log.head().expect("works").epoch, me, Timestamp(0), Box::new(|_, _| ())) {
        Ok(acquired) => Some(acquired.epoch),
        Err(AcquireError::Contended { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

pub fn a_misplaced_record_is_refused_and_changes_nothing(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    let good = reign.next_record(b"good");
    for wrong in 0..3 {
        let mut header = *good.header();
        match wrong {
            0 => header.lsn = Lsn(9),
            1 => header.epoch = Epoch(77),
            _ => header.previous ^= 1,
        }
        let refused = reign.writer.append(Record::seal(header, b"bad"));
        assert!(matches!(refused, Err(AppendError::Misplaced { .. })), "{refused:?}");
    }
    reign.append_durably(b"good");
    assert_eq!(read_all(&*open()).last(), Some(&good));
}

pub fn a_closed_writer_leaves_a_vacancy_and_all_its_records(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    let log = open();
    assert_eq!(wait_for_vacancy(&*log, Duration::from_millis(20)), None);
    let waiter = thread::spawn(move || wait_for_vacancy(&*log, LIMIT));
    reign.append(b"queued").expect("the reign goes on");
    reign.writer.close();
    assert_eq!(waiter.join().expect("no panic"), Some(Vacancy::Released(Epoch(1))));
    assert_eq!(read_all(&*open()).last().expect("not empty").body(), b"queued");
}

pub fn a_dropped_writer_leaves_a_vacancy(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    assert_eq!(wait_for_vacancy(&*open(), LIMIT), Some(Vacancy::Released(Epoch(0))));
    drop(Reign::begin(&*open(), 0));
    assert_eq!(wait_for_vacancy(&*open(), LIMIT), Some(Vacancy::Released(Epoch(1))));
}

pub fn of_two_candidates_for_one_vacancy_the_second_deposes_nobody(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let vacancy = wait_for_vacancy(&*open(), LIMIT).expect("nobody reigns yet");
    let mut first = Reign::begin(&*open(), 0);
    let log = open();
    let me = EpochBody { replica: ReplicaIndex(1), engine: [0; 32] };
    let tail = log.tail(Lsn(1)).expect("works");
    let second = tail.acquire(vacancy.epoch(), me, Timestamp(0), Box::new(|_, _| ()));
    assert!(matches!(second, Err(AcquireError::Contended { epoch: Epoch(1) })), "{second:?}");
    first.append_durably(b"the first reigns on");
}

pub fn a_watch_that_was_given_up_tells_nothing(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let reign = Reign::begin(&*open(), 0);
    let (log, (sender, told)) = (open(), channel());
    let given_up = sender.clone();
    let watch = log.watch(Box::new(move |_| given_up.send("given up").expect("the check waits for it")));
    drop(watch.expect("there are threads"));
    let _watch = log.watch(Box::new(move |_| sender.send("watches").expect("the check waits for it")));
    reign.writer.close();
    // Nothing is left that could tell more.
    assert_eq!(told.iter().collect::<Vec<_>>(), ["watches"]);
}

pub fn a_vacancy_is_told_to_all_who_watch_and_once_to_each(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let (sender, told) = channel();
    let watch = |(number, log): (usize, &Arc<dyn LogStore>)| {
        let sender = sender.clone();
        let call = move |found: Result<Vacancy, LogError>| {
            sender.send((number, found.expect("works").epoch())).expect("the check waits for it");
        };
        log.watch(Box::new(call)).expect("there are threads")
    };
    let logs = [open(), open(), open()];
    for epoch in [Epoch(0), Epoch(1)] {
        let watches: Vec<_> = logs.iter().enumerate().map(watch).collect();
        let mut seen: Vec<_> = (0..3).map(|_| told.recv_timeout(LIMIT).expect("each is told")).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(0, epoch), (1, epoch), (2, epoch)]);
        drop(watches);
        drop(Reign::begin(&*open(), 0));
    }
    drop(sender);
    assert!(told.iter().next().is_none(), "each was told once");
}

pub fn the_end_of_a_primary_is_told_to_those_who_follow(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    reign.append_durably(b"the last");
    let (log, (sender, told)) = (open(), channel());
    let _subscription = log.subscribe(Box::new(move || sender.send(()).expect("the check waits for it")));
    reign.writer.close();
    told.recv_timeout(LIMIT).expect("nothing was written, and it is told");
}

pub fn more_to_read_is_told_until_that_is_not_wanted_any_more(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let log = open();
    let (sender, told) = channel();
    let subscription = log.subscribe(Box::new(move || sender.send(()).expect("the check waits for it")));
    let mut reign = Reign::begin(&*open(), 0);
    for body in [b"one", b"two"] {
        reign.append_durably(body);
        told.recv_timeout(LIMIT).expect("it is told");
    }
    drop(subscription);
    reign.append_durably(b"three");
    while told.try_recv().is_ok() {}
    assert!(told.recv().is_err(), "nothing is left that could tell more");
}

pub fn events_of_a_reign_come_with_its_epoch(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut first = Reign::begin(&*open(), 0);
    first.append_durably(b"first");
    let mut second = Reign::begin(&*open(), 1);
    second.append_durably(b"second");
    assert!(first.epoch < second.epoch);
    // Both are compared with each event; the end of the first comes after the second has begun.
    assert!(matches!(first.wait_stopped(), StopCause::Fenced { .. }));
}

pub fn a_tail_can_begin_anywhere_in_the_log_and_nowhere_else(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    for n in 0..20_u8 {
        reign.append_durably(&[n]);
    }
    let all = read_all(&*open());
    for from in 1..=all.len() + 1 {
        let mut tail = open().tail(Lsn(from as u64)).expect("works");
        assert_eq!(tail.position(), Lsn(from as u64));
        assert_eq!(tail.link(), from.checked_sub(2).map_or(0, |before| all[before].header().link()));
        assert_eq!(drain(tail.as_mut()), all[from - 1..]);
    }
    for from in [0, all.len() as u64 + 2] {
        let missing = open().tail(Lsn(from)).err().expect("no such record");
        assert!(matches!(missing, LogError::Missing { .. }), "{missing}");
    }
}

pub fn a_large_record_is_read_back(new_log: NewLog<'_>) {
    let open = new_log(genesis());
    let mut reign = Reign::begin(&*open(), 0);
    let large = vec![b'x'; 5 << 20];
    reign.append(b"small").expect("the reign goes on");
    reign.append(&large).expect("the reign goes on");
    reign.append_durably(b"small again");
    let records = read_all(&*open());
    assert!(records[3].body() == large);
    assert_eq!(records[4].body(), b"small again");
}
