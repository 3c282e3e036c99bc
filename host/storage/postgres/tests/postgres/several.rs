//! A URL that names several servers.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Command,
    thread,
};

use ambrosia_core::Lsn;
use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{Answered, Lane, Request, Session, conformance};
use ambrosia_test_database::{Authority, Lasting, Node, Server};

use crate::support::{append, ask, create, genesis, group, log, position};

/// A place on these sockets, in this order.
fn place_at(sockets: &[&Path]) -> PostgresPlace {
    let names = sockets.iter().map(|socket| socket.display().to_string().replace('/', "%2F"));
    let names: Vec<_> = names.collect();
    PostgresPlace::read(&format!("postgres://ambrosia@{}/postgres?schema=shop", names.join(","))).expect("it is a URL")
}

#[test]
fn a_server_that_takes_connections_and_answers_nothing_holds_nobody_up() {
    let Some(server) = Server::begin(&[]) else { return };
    let silent = tempfile::tempdir().expect("there is room");
    let _takes_connections = UnixListener::bind(silent.path().join(".s.PGSQL.5432")).expect("nobody has it");
    let place = place_at(&[silent.path(), server.socket()]);
    PostgresEngine::create(&place).expect("the other one answers");
    let engine = PostgresEngine::open(place).expect("the other one answers");
    assert!(create(&engine, log(1), &genesis(log(1))));
    assert_eq!(
        append(&engine, vec![group(log(1), 0, position(&genesis(log(1))), b"")]),
        Ok(Answered::Appended(vec![Ok(())]))
    );
}

/// A server and its standby, which can be reached, on a loopback network that no other test has.
fn twins(directory: &Path, network: u8) -> Option<[Node; 2]> {
    fs::set_permissions(directory, PermissionsExt::from_mode(0o711)).expect("it is the test's own");
    let authority = Authority::new();
    let node = |number: usize| {
        let address = format!("127.0.{network}.{}", number + 1);
        let certified = authority.certify_server(&address, Lasting::Now);
        let (certificate, key) = (directory.join("crt"), directory.join("key"));
        fs::write(&certificate, &certified.certificate).expect("there is room");
        fs::write(&key, &certified.key).expect("there is room");
        Node::new(&directory.join(number.to_string()), &address, &certificate, &key).expect("it can be made")
    };
    let mut nodes = [node(0)?, node(1)?];
    nodes[0].make("hush").expect("there is room");
    nodes[0].start(Command::spawn).expect("it starts");
    nodes[1].copy(&nodes[0]).expect("there is room");
    nodes[1].start(Command::spawn).expect("it starts");
    nodes[0].wait_for_standby(true);
    nodes[0].wait_until_followed();
    Some(nodes)
}

fn session(engine: &PostgresEngine) -> Session {
    conformance::read(engine, log(1), Lsn(1), 1 << 20).expect("it answers").0
}

#[test]
fn a_server_that_does_not_know_that_another_one_has_its_office_is_not_taken_for_the_one() {
    let directory = tempfile::tempdir().expect("there is room");
    let Some(mut nodes) = twins(directory.path(), 9) else { return };
    let sockets = [directory.path().join("0"), directory.path().join("1")];
    // Whichever is named first.
    for order in [[0, 1], [1, 0]] {
        let place = place_at(&order.map(|number| &*sockets[number]));
        PostgresEngine::create(&place).expect("tables can be made");
        let engine = PostgresEngine::open(place).expect("they are there");
        if order == [0, 1] {
            assert!(create(&engine, log(1), &genesis(log(1))));
            // What was read of the old one is found out at the barrier, and that is given up.
            let session = session(&engine);
            nodes[1].promote();
            let barrier = ask(&engine, Lane::Other, Request::Barrier { session });
            assert!(barrier.is_err(), "nothing is durable there any more: {barrier:?}");
        }
        let session = session(&engine);
        assert_eq!(ask(&engine, Lane::Other, Request::Barrier { session }), Ok(Answered::Barred));
    }
    nodes.iter_mut().for_each(|node| node.kill().expect("it is ours"));
}

/// The same, with a store of which each of them may have the office.
fn store_of_twins(directory: &Path, network: u8) -> Option<([Node; 2], PostgresPlace)> {
    let nodes = twins(directory, network)?;
    let place = place_at(&[&directory.join("0"), &directory.join("1")]);
    PostgresEngine::create(&place).expect("tables can be made");
    Some((nodes, place))
}

#[test]
fn a_server_that_comes_into_office_while_another_one_is_silent_is_found() {
    let directory = tempfile::tempdir().expect("there is room");
    let Some((mut nodes, place)) = store_of_twins(directory.path(), 10) else { return };
    nodes[0].freeze(true).expect("it is ours");
    let asked = nodes[1].connections("ambrosia-host");
    let engine = thread::scope(|scope| {
        let opening = scope.spawn(|| PostgresEngine::open(place.clone()));
        // It is no primary then.
        nodes[1].wait_for_connections("ambrosia-host", asked + 1);
        nodes[1].promote();
        opening.join().expect("no panic").expect("it is found")
    });
    assert!(create(&engine, log(1), &genesis(log(1))));
    nodes.iter_mut().for_each(|node| node.kill().expect("it is ours"));
}

#[test]
fn a_request_of_a_server_that_is_silent_ends_when_another_one_has_its_office() {
    let directory = tempfile::tempdir().expect("there is room");
    let Some((mut nodes, place)) = store_of_twins(directory.path(), 11) else { return };
    let engine = PostgresEngine::open(place).expect("they are there");
    assert!(create(&engine, log(1), &genesis(log(1))));
    session(&engine);
    // As if it were cut off just before.
    nodes[0].freeze(true).expect("it is ours");
    nodes[1].promote();
    let read = conformance::read(&engine, log(1), Lsn(1), 1 << 20).expect_err("nobody answers");
    assert!(read.to_string().contains("another server has the office"), "{read}");
    session(&engine);
    nodes.iter_mut().for_each(|node| node.kill().expect("it is ours"));
}
