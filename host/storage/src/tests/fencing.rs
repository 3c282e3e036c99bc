//! Real processes that are stopped and killed while they write.
//!
//! The child is this test program once more, with `AMBROSIA_TEST_STORE` set: it becomes primary, appends records as
//! fast as it can, prints the number of each record once it is durable, and says "fenced" when it is.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use ambrosia_core::{Lsn, Record, RecordKind, ReplicaIndex};

use super::support::{Fixture, SMALL, name};
use crate::{
    FileLogOptions, FileStore, Instances, LogStore, Role, StopCause, Vacancy,
    conformance::{Reign, wait_for_vacancy},
};

const STORE_VARIABLE: &str = "AMBROSIA_TEST_STORE";
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(STORE_VARIABLE) else { return };
    let store =
        FileStore::open(std::path::PathBuf::from(directory)).expect("the parent made it").with_log_options(SMALL);
    let presence = store.members_of(&name()).expect("works").enter(ReplicaIndex(0)).expect("not running");
    presence.beat(Role::Primary);
    presence.set_applied(Lsn(0));
    let log = store.file_log(&name()).expect("works");
    let durable = log.head().expect("works").durable;
    let mut reign = Reign::begin_with(&*log, 0, log.tail(durable.next()).expect("works"));
    let mut out = std::io::stdout();
    loop {
        let burst = 1 + reign.durable().0 % 7;
        let mut last = Lsn(0);
        for _ in 0..burst {
            match reign.append(&reign.durable().0.to_le_bytes()) {
                Ok(lsn) => last = lsn,
                Err(_) => break,
            }
        }
        if last == Lsn(0) || !reign.wait_durable_or_stopped(last) {
            break;
        }
        writeln!(out, "durable {last}").expect("the parent reads");
    }
    writeln!(out, "end: {}", reign.wait_stopped()).expect("the parent reads");
}

struct Writer {
    child: Child,
    lines: mpsc::Receiver<String>,
    shown: Lsn,
}

impl Writer {
    fn start(fixture: &Fixture) -> Writer {
        let mut child = Command::new(std::env::current_exe().expect("works"))
            .args(["tests::fencing::writer_process", "--exact", "--nocapture"])
            .env(STORE_VARIABLE, fixture.directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("works");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Writer { child, lines, shown: Lsn(0) }
    }

    /// Takes note of the next line; `false` at the end.
    fn read_line(&mut self) -> bool {
        let Ok(line) = self.lines.recv_timeout(LIMIT) else { return false };
        if let Some(number) = line.strip_prefix("durable ") {
            self.shown = Lsn(number.parse().expect("a number"));
        }
        true
    }

    fn wait_until_shown(&mut self, lines: u64) {
        let mut seen = 0;
        while seen < lines {
            let before = self.shown;
            assert!(self.read_line(), "the writer writes");
            seen += u64::from(self.shown > before);
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("works");
        assert!(sent.success());
    }

    fn finish(mut self) -> Lsn {
        while self.read_line() {}
        self.child.wait().expect("works");
        self.shown
    }
}

#[test]
fn a_primary_that_was_stopped_shows_nothing_behind_the_seal_when_it_wakes() {
    let fixture = Fixture::new(SMALL);
    let mut records = Vec::new();
    for round in 0..50_u64 {
        let log = fixture.log();
        let mut writer = Writer::start(&fixture);
        writer.wait_until_shown(1 + round % 9);
        writer.signal("-STOP");
        let position = log.head().expect("works").durable.next();
        let mut next = Reign::begin_with(&*log, 1, log.tail(position).expect("works"));
        next.append_durably(b"successor");
        let sealed = next.records.last().expect("the epoch record is there").lsn();
        writer.signal("-CONT");
        let shown = writer.finish();
        assert!(shown < sealed, "round {round}: {shown} was shown, the log was sealed at {sealed}");
        next.writer.close();
        let read = crate::conformance::read_all(&*log);
        assert!(read.starts_with(&records), "round {round}: what was in the log stays in it");
        records = read;
    }
    assert_chained(&records);
}

#[test]
fn the_death_of_the_primary_is_noticed_and_nothing_that_it_showed_is_lost() {
    let fixture = Fixture::new(SMALL);
    for round in 0..10 {
        let log = fixture.log();
        let mut writer = Writer::start(&fixture);
        writer.wait_until_shown(1 + round);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for_vacancy(&*log, LIMIT));
            writer.signal("-KILL");
            // The death of the process is known by its lock; a loaded machine may notice the silence first.
            let vacancy = waiter.join().expect("no panic");
            assert!(vacancy.is_some(), "{vacancy:?}");
        });
        let shown = writer.finish();
        let position = log.head().expect("works").durable.next();
        let next = Reign::begin_with(&*log, 1, log.tail(position).expect("works"));
        assert!(next.records.last().expect("the epoch record is there").lsn() > shown);
        next.writer.close();
    }
    assert_chained(&crate::conformance::read_all(&*fixture.log()));
}

#[test]
fn a_stopped_primary_is_found_silent() {
    let options = FileLogOptions { silence: Duration::from_millis(300), ..SMALL };
    let fixture = Fixture::new(options);
    let mut writer = Writer::start(&fixture);
    writer.wait_until_shown(1);
    writer.signal("-STOP");
    let vacancy = wait_for_vacancy(&*fixture.log(), LIMIT);
    assert!(matches!(vacancy, Some(Vacancy::Silent(_))), "{vacancy:?}");
    let next = Reign::begin(&*fixture.log(), 1);
    writer.signal("-CONT");
    writer.finish();
    drop(next);
}

#[test]
fn an_idle_primary_learns_that_it_was_deposed() {
    let fixture = Fixture::new(SMALL);
    let mut first = Reign::begin(&*fixture.log(), 0);
    let second = Reign::begin(&*fixture.log(), 1);
    assert_eq!(first.wait_stopped(), StopCause::Fenced { by: second.epoch });
}

#[test]
fn an_error_of_the_disk_ends_the_reign_and_acknowledges_nothing() {
    let fixture = Fixture::new(SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    let durable = reign.append_durably(b"durable");
    let moved = fixture.directory.path().join("moved");
    std::fs::rename(fixture.log_path(), &moved).expect("works");
    // The next segment can't be put in place.
    let cause = loop {
        if reign.append(&[0; 4000]).is_err() {
            break reign.wait_stopped();
        }
    };
    assert!(matches!(&cause, StopCause::Failed(reason) if reason.contains("logs/")), "{cause}");
    let acknowledged = reign.durable();
    assert!(acknowledged >= durable);
    std::fs::rename(moved, fixture.log_path()).expect("works");
    assert_eq!(fixture.log().head().expect("works").durable, acknowledged);
    Reign::begin(&*fixture.log(), 1).append_durably(b"goes on");
}

fn assert_chained(records: &[Record]) {
    for (before, record) in records.iter().zip(&records[1..]) {
        assert_eq!(record.header().previous, before.header().link());
        let begins = record.header().kind == RecordKind::Epoch;
        assert_eq!(record.header().epoch > before.header().epoch, begins, "record {}", record.lsn());
    }
}
