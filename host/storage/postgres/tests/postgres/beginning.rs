//! How a connection comes to be on a slow way, or with a server that has little time.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{Answer, Fault, Lane, Request};
use ambrosia_test_database::Server;
use tempfile::TempDir;

use crate::support::{ask, engine, place};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands between an engine and its server: counts how often the server is spoken to, and lets pass whom the test lets pass.
struct Between {
    directory: TempDir,
    passage: Arc<Passage>,
}

struct Passage {
    server: PathBuf,
    /// Whose turn it is changes twice with each of them.
    round_trips: AtomicUsize,
    /// Connections so far.
    connections: AtomicUsize,
    /// So many of them may pass.
    admitted: Mutex<usize>,
    changed: Condvar,
}

impl Between {
    fn begin(server: &Server) -> Between {
        let directory = tempfile::tempdir().expect("there is room");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("nobody has it");
        let passage = Arc::new(Passage {
            server: server.socket().join(".s.PGSQL.5432"),
            round_trips: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            admitted: Mutex::new(usize::MAX),
            changed: Condvar::new(),
        });
        let there = Arc::clone(&passage);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (there, client) = (Arc::clone(&there), client.expect("it can be taken"));
                let number = there.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || there.pass(number, client));
            }
        });
        Between { directory, passage }
    }

    fn place(&self) -> PostgresPlace {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        PostgresPlace::read(&format!("postgres://ambrosia@{socket}/postgres?schema=shop")).expect("it is a URL")
    }

    /// From now on only the first so many pass, and the others wait without a word.
    fn admit(&self, connections: usize) {
        *self.passage.admitted.lock().expect("no panic") = connections;
        self.passage.changed.notify_all();
    }
}

impl Passage {
    fn pass(&self, number: usize, mut client: UnixStream) {
        let mut admitted = self.admitted.lock().expect("no panic");
        while number >= *admitted {
            admitted = self.changed.wait(admitted).expect("no panic");
        }
        drop(admitted);
        let mut server = UnixStream::connect(&self.server).expect("it is there");
        let is_asked = AtomicBool::new(false);
        thread::scope(|scope| {
            let (mut from, mut to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            scope.spawn(|| {
                carry(&mut server, &mut client, || is_asked.store(false, Ordering::SeqCst));
            });
            carry(&mut from, &mut to, || {
                let is_first = !is_asked.swap(true, Ordering::SeqCst);
                self.round_trips.fetch_add(usize::from(is_first), Ordering::SeqCst);
            });
        });
    }
}

/// Until one of them has gone, and then for the other, too.
fn carry(from: &mut UnixStream, to: &mut UnixStream, mut on_bytes: impl FnMut()) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        on_bytes();
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // It may be gone already.
    let _gone = to.shutdown(std::net::Shutdown::Both);
    let _gone = from.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_connection_takes_few_round_trips() {
    let Some(server) = Server::begin(&[]) else { return };
    PostgresEngine::create(&place(&server)).expect("tables can be made");
    let between = Between::begin(&server);
    let _engine = PostgresEngine::open(between.place()).expect("it answers");
    let round_trips = between.passage.round_trips.load(Ordering::SeqCst);
    assert!((3..=10).contains(&round_trips), "{round_trips} round trips");
}

#[test]
fn a_connection_that_nobody_has_waited_for_long_enough_is_there_for_the_next() {
    let Some(server) = Server::begin(&[]) else { return };
    PostgresEngine::create(&place(&server)).expect("tables can be made");
    let between = Between::begin(&server);
    let engine = PostgresEngine::open(between.place()).expect("it answers");
    let before = between.passage.connections.load(Ordering::SeqCst);
    between.admit(before);
    let logs = || -> Answer { ask(&engine, Lane::Other, Request::Logs) };
    let late = logs();
    assert!(matches!(late, Err(Fault::Unavailable(_))), "it is answered all the same: {late:?}");
    // That one is let in now, and no other one.
    between.admit(before + 1);
    let until = Instant::now() + PATIENCE;
    while let Err(fault) = logs() {
        assert!(Instant::now() < until, "what was begun has come to nothing: {fault}");
    }
}

#[test]
fn another_store_that_comes_in_the_place_of_one_is_refused_until_that_is_back() {
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let rename = |to: &str| {
        server.sql(&format!("update shop.meta set value = '{to}' where key = 'store'"));
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name <> 'psql' and backend_type = 'client backend'");
    };
    let own = engine.store().to_string();
    rename("00000000-0000-4000-8000-000000000001");
    let until = Instant::now() + PATIENCE;
    loop {
        match ask(&engine, Lane::Other, Request::Logs) {
            Err(Fault::Unavailable(reason)) if reason.contains("it has another store") => break,
            // Of a connection that was just ended.
            Err(_) => assert!(Instant::now() < until),
            Ok(answered) => panic!("{answered:?}"),
        }
    }
    rename(&own);
    while ask(&engine, Lane::Other, Request::Logs).is_err() {
        assert!(Instant::now() < until);
    }
}
