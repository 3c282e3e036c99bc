//! HTTP into instances, with `curl` and with sockets that say what `curl` would not.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_tests::{Cluster, Host, PATIENCE, Signal};
use serde_json::{Value, json};

use crate::{
    serving::{serve, wait_for_primaries},
    support::{Replicas, Response, cluster, curl, fails, http_address, post},
};

/// A host that runs an instance of its own, and takes HTTP for all that are registered.
pub(crate) fn door(cluster: &Cluster) -> (Host, SocketAddr) {
    cluster.register("porter", "counter", 1);
    let host = serve(cluster, &["--instance", "porter", "--http", "127.0.0.1:0"]);
    let address = http_address(&host);
    (host, address)
}

/// A host with instances that it runs, and takes HTTP for.
pub(crate) fn house(cluster: &Cluster, instances: &[(&str, &str)]) -> (Host, SocketAddr) {
    instances.iter().for_each(|(instance, guest)| cluster.register(instance, guest, 1));
    let host = serve(cluster, &["--all", "--http", "127.0.0.1:0"]);
    wait_for_primaries(&host, &instances.iter().map(|(instance, _)| *instance).collect::<Vec<_>>());
    let address = http_address(&host);
    (host, address)
}

#[track_caller]
pub(crate) fn check_problem(response: &Response, status: u16, kind: &str) -> Value {
    let problem = response.json();
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    assert_eq!((response.status, &problem["status"]), (status, &status.into()), "{response:?}");
    assert_eq!(problem["type"], format!("urn:ambrosia:problem:{kind}"), "{response:?}");
    problem
}

#[test]
fn a_post_is_an_impulse_and_its_key_makes_it_one() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values")]);
    // As in the README: what curl says of a body by default.
    let first = curl(address, "/v1/counter/add", &["-X", "POST", "-H", "Idempotency-Key: order-1", "-d", "[2]"]);
    assert_eq!((first.status, first.body.as_str()), (200, "2"));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("idempotency-key"), Some("order-1"));
    assert_eq!(post(address, "/v1/counter/add", Some("order-1"), "[2]").body, "2");
    assert_eq!(post(address, "/v1/counter/add", Some("\"order-1\""), "{\"n\": 2}").body, "2");
    assert_eq!(
        cluster.must(&["send", "--instance", "counter", "--method", "add", "--request-id", "order-1", "--args", "[2]"]),
        "2\n"
    );
    let (second, third) =
        (post(address, "/v1/counter/add", None, "[3]"), post(address, "/v1/counter/add", None, "[3]"));
    assert_eq!((second.body.as_str(), third.body.as_str()), ("5", "8"));
    assert_ne!(second.header("idempotency-key"), third.header("idempotency-key"), "each is given an id of its own");
    let again = second.header("idempotency-key").map(str::to_owned);
    assert_eq!(post(address, "/v1/counter/add", again.as_deref(), "[3]").body, "5");
    assert_eq!(curl(address, "/v1/counter/total", &["-X", "POST"]).body, "8");
    let total = ["--http2-prior-knowledge", "--write-out", "%{http_version}", "-X", "POST"];
    assert_eq!(curl(address, "/v1/counter/total", &total).body, "82", "by HTTP/2");
    assert_eq!(post(address, "/v1/counter/see", None, "[1]").body, "null");
    let values = |method: &str, body: &str| post(address, &format!("/v1/values/{method}"), None, body).body;
    assert_eq!(
        values("wide", "{\"signed\": -1, \"unsigned\": \"340282366920938463463374607431768211455\"}"),
        values("wide", "[\"340282366920938463463374607431768211455\", -1]")
    );
    assert_eq!(values("bytes", "[\"0x00ff\"]"), "[0,255]");
    assert_eq!(values("raw", "[\"text\"]"), "\"text\"");
    assert_eq!(values("text", "[\"ä\\u0000\\n\"]"), "\"ä\\u0000\\n\"");
    // A value of type result is a value.
    assert_eq!(
        serde_json::from_str::<Value>(&values("place", "[\"Nothing\"]")).expect("JSON"),
        json!({ "Ok": "Nothing" })
    );
    // By the name that it had before.
    assert_eq!(
        serde_json::from_str::<Value>(&values("order", "[\"Nothing\"]")).expect("JSON"),
        json!({ "Ok": "Nothing" })
    );
}

#[test]
fn what_can_not_be_done_says_why_as_a_problem() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values"), ("faulty", "faulty")]);
    let counter = |body: &str| post(address, "/v1/counter/add", None, body);
    check_problem(&post(address, "/v1/nobody/add", None, "[1]"), 404, "unknown-instance");
    check_problem(&post(address, "/v1/..%2f/add", None, "[1]"), 404, "unknown-instance");
    check_problem(&post(address, "/v1/%ff/add", None, "[1]"), 404, "not-found");
    let problem = check_problem(&post(address, "/v1/counter/minus", None, "[1]"), 404, "unknown-method");
    assert!(problem["methods"].as_array().is_some_and(|methods| methods.contains(&json!("add"))), "{problem}");
    let problem = check_problem(&counter("[\"two\"]"), 400, "bad-arguments");
    assert_eq!((&problem["argument"], &problem["expected"]), (&json!("n"), &json!("u64")), "{problem}");
    let problem = check_problem(&counter("{\"m\": 2}"), 400, "bad-arguments");
    assert_eq!(problem["argument"], "m");
    check_problem(&counter("[1, 2]"), 400, "bad-arguments");
    check_problem(&counter("7"), 400, "bad-arguments");
    let problem = check_problem(&counter("[1"), 400, "not-json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(1), &json!(2)), "{problem}");
    check_problem(&post(address, "/v1/counter/add", Some(&"x".repeat(129)), "[1]"), 400, "bad-idempotency-key");
    check_problem(
        &curl(address, "/v1/counter/add", &["-H", "Content-Type: text/plain", "-d", "[1]"]),
        415,
        "unsupported-type",
    );
    let refused = curl(address, "/v1/counter/add", &["-X", "PUT", "-d", "[1]"]);
    check_problem(&refused, 405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, POST"));
    for path in ["/", "/v1", "/v1/counter", "/v1/counter/add/1", "/v2/counter/add"] {
        check_problem(&curl(address, path, &[]), 404, "not-found");
    }
    // What only the guest can know: a field that is missing.
    let problem = check_problem(&post(address, "/v1/values/place", Some("bad"), "[{\"Buy\": {}}]"), 422, "failed");
    assert_eq!(problem["request"], "bad");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("item")), "{problem}");
    check_problem(&curl(address, "/v1/counter/add", &["-H", "Host: example.com", "-d", "[1]"]), 421, "other-name");
    check_problem(
        &curl(address, "/v1/counter/add", &["-H", "Origin: http://example.com", "-d", "[1]"]),
        403,
        "foreign-origin",
    );
    assert_eq!(post(address, "/v1/counter/total", None, "").body, "0", "none of it was done");
    // One that halts, and is known to have halted.
    let halted = check_problem(&post(address, "/v1/faulty/trap", None, "[]"), 409, "halted");
    assert!(
        halted["lsn"].as_u64() > Some(1)
            && halted["reason"].as_str().is_some_and(|text| text.contains("it was asked to")),
        "{halted}"
    );
    let again = check_problem(&post(address, "/v1/faulty/ok", None, "[]"), 409, "halted");
    assert_eq!(halted["lsn"], again["lsn"]);
    fails(&cluster, &["run", "--instance", "counter", "--http", "0.0.0.0:0"], &["0.0.0.0:0 is not a loopback address"]);
    cluster.register("other", "counter", 1);
    let taken = ["run", "--instance", "other", "--http", &address.to_string()];
    fails(&cluster, &taken, &["can't listen on", "Give another address with --http"]);
}

#[test]
fn an_instance_that_has_finished_or_is_registered_later_is_known() {
    let cluster = cluster();
    let (_host, address) = door(&cluster);
    check_problem(&post(address, "/v1/printer/say", None, "[\"x\"]"), 404, "unknown-instance");
    cluster.register("counter", "counter", 1);
    let nobody = curl(address, "/v1/counter/add", &["-H", "Prefer: wait=1", "-d", "[1]"]);
    let problem = check_problem(&nobody, 503, "no-primary");
    assert_eq!(problem["request"].as_str(), nobody.header("idempotency-key"));
    assert_eq!(nobody.header("retry-after"), Some("1"));
    let mut run = cluster.start("counter", 0);
    run.wait_until_primary();
    assert_eq!(post(address, "/v1/counter/add", None, "[1]").body, "1");
    run.kill();
    cluster.must(&["deregister-instance", "--instance", "counter", "--yes"]);
    check_problem(&post(address, "/v1/counter/add", None, "[1]"), 404, "unknown-instance");
    cluster.register("counter", "values", 1);
    let _run = cluster.start("counter", 0);
    assert_eq!(post(address, "/v1/counter/text", None, "[\"anew\"]").body, "\"anew\"", "its methods are others now");
}

#[test]
fn no_answer_in_time_says_how_to_get_it() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("ticker", "ticker")]);
    let slow = ["-H", "Idempotency-Key: slow", "-d", "[2500, 1]"];
    let late = curl(address, "/v1/ticker/every", &[&slow[..], &["-H", "Prefer: wait=1"]].concat());
    let problem = check_problem(&late, 504, "timeout");
    assert_eq!((&problem["request"], late.header("idempotency-key")), (&json!("slow"), Some("slow")));
    assert_eq!(curl(address, "/v1/ticker/every", &slow).body, "1");
    assert_eq!(post(address, "/v1/ticker/report", None, "[]").json()[0], 1, "it was done once");
}

#[test]
fn a_query_is_asked_of_the_primary_and_of_a_standby() {
    let cluster = cluster();
    let (_host, address) = door(&cluster);
    let _values = Replicas::of(&cluster, "values", "values", 2);
    let get = |rest: &str| curl(address, &format!("/v1/values/{rest}"), &[]);
    let lsn = |response: &Response| {
        response.header("ambrosia-lsn").and_then(|lsn| lsn.parse::<u64>().ok()).expect("a number")
    };
    let done = post(address, "/v1/values/text", None, "[\"x\"]");
    assert!(lsn(&done) > 1, "{done:?}");
    let before = cluster.log("values").len();
    let bought = "place?order=%7B%22Buy%22:%7B%22item%22:%22tea%22,%22price%22:1.5%7D%7D";
    let asked = get(bought);
    assert_eq!((asked.status, asked.json()), (200, json!({ "Ok": { "Buy": { "item": "tea", "price": 1.5 } } })));
    assert!(lsn(&asked) >= lsn(&done), "{asked:?}");
    let of_standby = get(&format!("place?order=Nothing&replica=1&at_least={}", lsn(&done)));
    assert_eq!((of_standby.status, of_standby.json()), (200, json!({ "Ok": "Nothing" })), "{of_standby:?}");
    assert!(lsn(&of_standby) >= lsn(&done), "{of_standby:?}");
    assert_eq!(cluster.log("values").len(), before, "nothing was logged");
    let nobody = curl(address, "/v1/values/place?order=Nothing&replica=7", &["-H", "Prefer: wait=1"]);
    check_problem(&nobody, 503, "no-replica");
    let problem = check_problem(&get("place?order=Nothing&replica=one"), 400, "bad-arguments");
    assert_eq!(problem["argument"], "replica");
    check_problem(&get("place"), 400, "bad-arguments");
    check_problem(&get("place?order=Nothing&order=Nothing"), 400, "bad-arguments");
    let refused = get("text?text=x");
    check_problem(&refused, 405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
    check_problem(&get("nothing"), 404, "unknown-method");
    let late = curl(address, "/v1/values/place?order=Nothing&at_least=1000000", &["-H", "Prefer: wait=1"]);
    check_problem(&late, 504, "timeout");
}

/// Posts `add(1)` with `curl` again and again; returns the answers.
fn post_in_a_loop(address: SocketAddr, name: String, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut answers = Vec::new();
    for number in 1.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let response = post(address, "/v1/counter/add", Some(&format!("{name}-{number}")), "[1]");
        assert_eq!(response.status, 200, "{response:?}");
        answers.push(response.json().as_u64().expect("a number"));
        done.fetch_add(1, Ordering::AcqRel);
    }
    answers
}

#[test]
fn no_request_fails_while_primaries_are_killed_and_each_is_done_once() {
    const POSTERS: usize = 4;
    let cluster = cluster();
    let (_host, address) = door(&cluster);
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let (done, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let posters: Vec<_> = (0..POSTERS)
        .map(|poster| {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            thread::spawn(move || post_in_a_loop(address, format!("poster-{poster}"), done, stop))
        })
        .collect();
    let wait_for = |more: u64| {
        let (wanted, began) = (done.load(Ordering::Acquire) + more, Instant::now());
        while done.load(Ordering::Acquire) < wanted {
            assert!(began.elapsed() < PATIENCE, "{done:?} of {wanted} were answered");
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    for _ in 0..5 {
        wait_for(20);
        let dead = counter.kill_primary();
        counter.start_standby(dead);
    }
    wait_for(20);
    stop.store(true, Ordering::Release);
    let answers: Vec<u64> = posters.into_iter().flat_map(|poster| poster.join().expect("no request failed")).collect();
    let count = answers.len() as u64;
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>(), (1..=count).collect(), "each was done once");
    assert_eq!(post(address, "/v1/counter/total", None, "[]").json(), count);
}

/// Waits until a request of that id is in the log of the ticker.
fn wait_for_request(cluster: &Cluster, id: &str) {
    let began = Instant::now();
    while !cluster.log("ticker").iter().any(|record| record.to_string().contains(id)) {
        assert!(began.elapsed() < PATIENCE, "it has not come");
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn the_same_key_at_once_is_done_once_and_another_content_is_refused() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("ticker", "ticker")]);
    let slow = move || post(address, "/v1/ticker/every", Some("the-key"), "[1500, 1]");
    let first = thread::spawn(slow);
    wait_for_request(&cluster, "the-key");
    let others: Vec<_> = (0..6).map(|_| thread::spawn(slow)).collect();
    let problem = check_problem(&post(address, "/v1/ticker/every", Some("the-key"), "[1500, 2]"), 422, "key-reused");
    assert_eq!(problem["request"], "the-key");
    check_problem(&post(address, "/v1/ticker/cancelled", Some("the-key"), "[1]"), 422, "key-reused");
    for poster in others.into_iter().chain([first]) {
        let answer = poster.join().expect("it has an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
    }
    check_problem(&post(address, "/v1/ticker/every", Some("the-key"), "[1500, 2]"), 422, "key-reused");
    assert_eq!(post(address, "/v1/ticker/report", None, "[]").json()[0], 1, "it was done once");
}

/// Says something to a door, and reads until it hangs up.
fn say(address: SocketAddr, parts: &[&[u8]], then: impl FnOnce(&TcpStream)) -> String {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("there is such an option");
    for part in parts {
        if socket.write_all(part).is_err() {
            break; // it has heard enough
        }
    }
    then(&socket);
    let mut heard = Vec::new();
    // It may hang up on what it does not read.
    let _reset = socket.read_to_end(&mut heard).is_err();
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn nonsense_is_refused_and_harms_nobody_else() {
    let cluster = cluster();
    let (host, address) = house(&cluster, &[("counter", "counter")]);
    let nothing = |_: &TcpStream| {};
    let status = |heard: &str| heard.get(..12).unwrap_or(heard).to_owned();
    for nonsense in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0\0\0\0\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"]
    {
        assert_eq!(
            status(&say(address, &[nonsense], |socket| socket.shutdown(Shutdown::Write).expect("open"))),
            "HTTP/1.1 400",
            "{nonsense:?}"
        );
    }
    // Too many fields, and one too long.
    let fields = "a: b\r\n".repeat(1000);
    let flood = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    assert_eq!(status(&say(address, &[flood.as_bytes()], nothing)), "HTTP/1.1 431");
    let long = vec![b'x'; 1 << 20];
    assert_eq!(status(&say(address, &[b"GET / HTTP/1.1\r\nHost: localhost\r\na: ", &long], nothing)), "HTTP/1.1 431");
    // A body that says how long it is, one that does not, and one that lies.
    let head = "POST /v1/counter/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let announced = format!("{head}Content-Length: 2147483648\r\n\r\n");
    assert_eq!(status(&say(address, &[announced.as_bytes()], nothing)), "HTTP/1.1 413");
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    let parts: Vec<&[u8]> = [endless.as_bytes()].into_iter().chain(std::iter::repeat_n(&chunk[..], 40)).collect();
    assert_eq!(status(&say(address, &parts, nothing)), "HTTP/1.1 413");
    let short = format!("{head}Content-Length: 10\r\nConnection: close\r\n\r\n[1]");
    let heard = say(address, &[short.as_bytes()], |socket| socket.shutdown(Shutdown::Write).expect("open"));
    assert!(heard.is_empty() || status(&heard) == "HTTP/1.1 400", "{heard}");
    let doubled = format!("{head}Content-Type: application/json\r\nContent-Length: 3\r\nConnection: close\r\n\r\n[1]");
    assert_eq!(status(&say(address, &[doubled.as_bytes()], nothing)), "HTTP/1.1 415");
    let encoded = format!("{head}Content-Length: 6\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&say(address, &[encoded.as_bytes(), b"[\"\xc3\x28\"]"], nothing)), "HTTP/1.1 400");
    assert_eq!(post(address, "/v1/counter/total", None, "[]").body, "0", "nothing of all that was done");
    // Who has said all may close its half, and gets its answer.
    let whole = format!("{head}Content-Length: 3\r\n\r\n[1]");
    let heard = say(address, &[whole.as_bytes()], |socket| socket.shutdown(Shutdown::Write).expect("open"));
    assert!(status(&heard) == "HTTP/1.1 200" && heard.ends_with("\r\n\r\n1"), "{heard}");
    // Several at once on one connection.
    let last = whole.replacen("Host", "Connection: close\r\nHost", 1);
    let heard = say(address, &[whole.as_bytes(), whole.as_bytes(), last.as_bytes()], nothing);
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 3, "{heard}");
    assert_eq!(post(address, "/v1/counter/total", None, "[]").body, "4");
    assert!(!host.said().contains("panicked"), "{}", host.said());
}

#[test]
fn a_host_that_ends_lets_what_is_under_way_come_to_its_end() {
    let cluster = cluster();
    let (mut first, address) = {
        cluster.register("ticker", "ticker", 2);
        let host = serve(&cluster, &["--instance", "ticker", "--http", "127.0.0.1:0"]);
        wait_for_primaries(&host, &["ticker"]);
        let address = http_address(&host);
        (host, address)
    };
    let standby = cluster.start("ticker", 1);
    standby.wait_until_caught_up();
    let under_way = thread::spawn(move || post(address, "/v1/ticker/every", Some("slow"), "[1500, 1]"));
    let idle = TcpStream::connect(address).expect("it listens");
    wait_for_request(&cluster, "slow");
    first.signal(Signal::Terminate);
    let answer = under_way.join().expect("curl has an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"), "the next primary has answered");
    assert_eq!(first.exit_code(), 0, "{}", first.said());
    drop(idle);
    let gone = Command::new("curl").args(["--silent", &format!("http://{address}/")]).output().expect("curl is there");
    assert!(!gone.status.success(), "nobody listens there any more");
}
