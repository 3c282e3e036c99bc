//! Clients that know addresses of hosts and no store.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use ambrosia_core::{HostAddress, InstanceName, ReplicaIndex};
use ambrosia_storage::{FileStore, Instances, Store};
use ambrosia_tests::{Cluster, PATIENCE, Signal};
use serde_json::json;

use crate::{
    serving::{serve, wait_for_primaries},
    support::{Replicas, Session, cluster},
    wire::{CONTROL, check_unharmed, client_hello, frame, sends_and_is_cut_off, text},
};

/// `Control::ClientWelcome` and `Control::NextPrimary`.
const CLIENT_WELCOME: u8 = 3;
const NEXT_PRIMARY: u8 = 45;

/// Where each replica that runs answers, by its number.
fn address(cluster: &Cluster, instance: &str, replica: u16) -> SocketAddr {
    let store = FileStore::open(cluster.store()).expect("it is there");
    let name = InstanceName::new(instance).expect("a plain name");
    let log = store.instance(&name).expect("it is registered").log();
    let members = store.members(log).expect("its directory is there");
    let running = members.running().expect("its directory can be read");
    let member = running.iter().find(|member| member.replica == ReplicaIndex(replica)).expect("it was added");
    member.address.as_ref().and_then(HostAddress::socket).expect("it runs")
}

#[test]
fn a_client_finds_the_primary_through_any_host_of_the_instance() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let standbys = [address(&cluster, "counter", 1), address(&cluster, "counter", 2)];
    let mut session = Session::of_addresses("counter", &standbys);
    assert_eq!(session.call("add", json!([1])), 1);
    counter.kill_primary();
    assert_eq!(session.call("add", json!([1])), 2, "whoever took over was found");
    // Of the hosts that it knows one is left, and that is not the primary.
    let dead = counter.kill_primary();
    counter.start_standby(dead);
    assert_eq!(session.call("add", json!([1])), 3);
    let standby = address(&cluster, "counter", dead);
    let mut session = Session::of_addresses("counter", &[standbys[usize::from(dead) - 1], standby]);
    assert_eq!(session.call("add", json!([1])), 4, "an address at which nobody answers any more does no harm");
}

/// Runs `send` without any store.
fn send_at(cluster: &Cluster, at: &[SocketAddr], arguments: &[&str]) -> (Option<i32>, String, String) {
    let at = at.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
    let mut command = cluster.command(&[&["send", "--at", &at], arguments].concat());
    let output = command.env("AMBROSIA_STORE", "/nowhere/at/all").output().expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn send_needs_no_store_where_it_is_given_addresses_and_says_the_same() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let (primary, standby) = (address(&cluster, "counter", 0), address(&cluster, "counter", 1));
    let add = ["--instance", "counter", "--method", "add", "--args", "[2]"];
    assert_eq!(send_at(&cluster, &[primary], &add), (Some(0), "2".to_owned(), String::new()));
    assert_eq!(send_at(&cluster, &[standby], &add).1, "4", "the host of a standby knows the primary");
    // What is wrong is said in the same words as where there is a store.
    for arguments in [
        &["--instance", "counter", "--method", "add", "--args", "[\"two\"]"][..],
        &["--instance", "counter", "--method", "subtract"],
        &["--instance", "nobody", "--method", "add"],
    ] {
        let (code, printed, said) = send_at(&cluster, &[primary, standby], arguments);
        let here = cluster.run(&[&["send"], arguments].concat());
        // But for the store, which there is none of.
        let here_said = here.stderr.trim_end().split(" (in the store ").next().map(str::to_owned);
        assert_eq!((code, printed, Some(said)), (Some(here.code), here.stdout, here_said));
        assert_eq!(here.code, 1);
    }
    counter.kill(0);
    counter.next_reign();
    assert_eq!(send_at(&cluster, &[primary, standby], &add).1, "6", "at one of them nobody answers");
    let (code, _, said) = send_at(&cluster, &[primary], &[&add[..], &["--timeout", "0.5"]].concat());
    assert_eq!(code, Some(1));
    let why = format!("no host says where the primary of instance counter is: the host at {primary}: ");
    assert!(said.contains(&why), "{said}");
    let (code, _, said) = send_at(&cluster, &[], &add);
    assert_eq!(code, Some(1));
    assert!(said.contains("--at: the address \"\" is not found"), "{said}");
}

#[test]
fn whoever_has_ended_is_told_by_a_host_that_lives_on() {
    let cluster = cluster();
    cluster.register("ends", "faulty", 1);
    cluster.register("lives", "counter", 1);
    let host = serve(&cluster, &["--all"]);
    wait_for_primaries(&host, &["ends", "lives"]);
    let at = [address(&cluster, "lives", 0)];
    let ask = ["--instance", "ends", "--method", "ok"];
    assert_eq!(send_at(&cluster, &at, &ask).1, "42");
    cluster.send("ends", "exit_with", json!([3]));
    host.wait_for_word("instance ends finished with exit code 3");
    let (code, _, said) = send_at(&cluster, &at, &ask);
    assert_eq!(code, Some(1));
    assert!(said.contains("instance ends finished with exit code 3 at lsn"), "{said}");
}

#[test]
fn a_client_leaves_a_primary_that_was_stopped_for_the_one_that_took_over() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let both = [address(&cluster, "counter", 0), address(&cluster, "counter", 1)];
    let mut session = Session::of_addresses("counter", &both);
    assert_eq!(session.call("add", json!([1])), 1);
    counter.host(0).signal(Signal::Stop);
    assert_eq!(session.call("add", json!([1])), 2, "its connection stands, and nothing comes");
    assert_eq!(counter.next_reign().replica, 1);
    counter.host(0).signal(Signal::Continue);
}

/// Asks a host for a primary behind that epoch.
fn wait_for_next(host: SocketAddr, instance: &str, behind: u8) -> TcpStream {
    let mut socket = TcpStream::connect(host).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    socket.write_all(&next_primary(instance, behind)).expect("it listens");
    socket
}

fn next_primary(instance: &str, behind: u8) -> Vec<u8> {
    frame(CONTROL, &[vec![NEXT_PRIMARY], text(instance), vec![behind]].concat())
}

/// What a host says next.
fn hear(socket: &mut TcpStream) -> Vec<u8> {
    let mut said = vec![0; 4096];
    let read = socket.read(&mut said).expect("it answers in time");
    said.truncate(read);
    said
}

/// What a host says until it hangs up on somebody who says nothing more.
fn said(mut socket: TcpStream) -> String {
    let mut answer = hear(&mut socket);
    // Which may have come too late, if it has hung up by itself.
    let _hung_up = socket.shutdown(Shutdown::Write);
    socket.read_to_end(&mut answer).expect("it answers in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_was_told_of_a_primary_may_say_hello_on_the_same_connection_and_nothing_else() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let host = address(&cluster, "counter", 0);
    let told = || {
        let mut socket = wait_for_next(host, "counter", 0);
        let mut told = String::new();
        while !told.contains(&host.to_string()) {
            told += &String::from_utf8_lossy(&hear(&mut socket));
        }
        socket
    };
    let mut client = told();
    client.write_all(&client_hello(1, "counter")).expect("it listens");
    assert_eq!(hear(&mut client), frame(CONTROL, &[CLIENT_WELCOME, 1]));
    assert_eq!(sends_and_is_cut_off(&mut told(), &next_primary("counter", 0)), b"");
    check_unharmed(&cluster, &mut counter, 1);
}

#[test]
fn a_host_tells_whoever_waits_of_the_next_primary() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let (primary, standby) = (address(&cluster, "counter", 0), address(&cluster, "counter", 1));
    let now = said(wait_for_next(standby, "counter", 0));
    assert!(now.contains(&primary.to_string()), "{now:?}");
    let nobody = said(wait_for_next(standby, "nobody", 0));
    assert!(nobody.contains("nobody") && nobody.contains("register"), "{nobody:?}");
    let (waiting, gone) = (wait_for_next(standby, "counter", 1), wait_for_next(standby, "counter", 1));
    drop(gone);
    counter.kill_primary();
    let next = cluster.status("counter")["primary"]["address"].as_str().expect("it runs").to_owned();
    let told = said(waiting);
    assert!(told.contains(&next) && !told.contains(&primary.to_string()), "{told:?} and not {next}");
}
