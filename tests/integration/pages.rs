//! The journey of `debug` as a page in a browser.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use ambrosia_tests::{Cluster, LongMessage, write_long_log};
use serde_json::{Value, json};

use crate::support::{chromium, cluster};

/// `debug --serve` of a counter that has added 0 to 9.
struct Page {
    _cluster: Cluster,
    process: Child,
    address: SocketAddr,
}

impl Page {
    fn open() -> Page {
        let cluster = cluster();
        let message = |n| LongMessage { method: "add", arguments: json!([n]), request: Some(format!("request-{n}")) };
        let log = write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), (0..10).map(message));
        log.expect("it can be written");
        let mut command = cluster.command(&["debug", "--instance", "counter", "--serve"]);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program can be started");
        let mut said = String::new();
        let stderr = process.stderr.take().expect("it is piped");
        BufReader::new(stderr).read_line(&mut said).expect("it says where the page is");
        let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {said}"));
        Page { _cluster: cluster, process, address }
    }

    /// The status and the body of an answer.
    fn ask(&self, method: &str, path: &str, host: &str, body: &str) -> (u16, String) {
        self.ask_from(None, method, path, host, body)
    }

    /// The same by a page of `origin`.
    fn ask_from(&self, origin: Option<&str>, method: &str, path: &str, host: &str, body: &str) -> (u16, String) {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    fn command(&self, line: &str) -> Value {
        let (status, body) = self.ask("POST", "/command", &self.address.to_string(), line);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("it answers with JSON")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.process.kill().expect("it is this test's");
        self.process.wait().expect("it was killed");
    }
}

#[test]
fn a_page_is_served_whose_commands_are_those_of_the_journey() {
    let page = Page::open();
    let host = page.address.to_string();
    for (path, word) in [("/", "<title>ambrosia debug</title>"), ("/page.js", "fetch("), ("/page.css", "body {")] {
        let (status, body) = page.ask("GET", path, &host, "");
        assert_eq!(status, 200);
        assert!(body.contains(word), "{path}: {body}");
    }
    let journey = &page.command("journey")["answers"][0]["journey"];
    assert_eq!((journey["instance"].as_str(), journey["first"].as_u64()), (Some("counter"), Some(1)));
    let last = journey["last"].as_u64().expect("a number");
    let moment = &page.command("goto 4")["answers"][0]["moment"];
    assert_eq!((moment["lsn"].as_u64(), moment["effects"][0]["value"].as_u64()), (Some(4), Some(1)));
    assert_eq!(page.command("back")["answers"][0]["moment"]["lsn"], 3);
    assert_eq!(page.command("goto end")["answers"][0]["moment"]["lsn"], last);
    let wrong = page.command("nxt");
    assert!(wrong["error"].as_str().is_some_and(|error| error.contains("did you mean `next`?")), "{wrong}");
    let quit = page.command("quit");
    assert!(quit["error"].as_str().is_some_and(|error| error.contains("Ctrl-C")), "{quit}");
    assert_eq!(page.command("show")["answers"][0]["moment"]["lsn"], last, "it goes on");
}

/// A page of the web whose name leads to this machine is not to read what an instance was sent.
#[test]
fn what_is_asked_under_a_foreign_name_or_of_another_machine_is_refused() {
    let page = Page::open();
    let port = page.address.port();
    for host in ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1".to_owned()] {
        for (method, path) in [("GET", "/"), ("POST", "/command")] {
            let (status, body) = page.ask(method, path, &host, "show");
            assert_eq!(status, 403, "{host}: {body}");
            assert!(body.contains("this machine only") && !body.contains("moment"), "{body}");
        }
    }
    let ours = page.address.to_string();
    for origin in ["http://evil.example", "null", "http://localhost", &format!("https://{ours}")] {
        let (status, body) = page.ask_from(Some(origin), "POST", "/command", &ours, "goto 4");
        assert_eq!(status, 403, "{origin}: {body}");
        assert!(body.contains("and only that of"), "{body}");
    }
    assert_eq!(page.ask_from(Some(&format!("http://{ours}")), "POST", "/command", &ours, "show").0, 200);
    assert_eq!(page.ask("GET", "/", &format!("localhost:{port}"), "").0, 200);
    assert_eq!(page.ask("GET", "/nothing", &page.address.to_string(), "").0, 404);
    let (status, _) = page.ask("POST", "/command", &page.address.to_string(), &"x".repeat(100_000));
    assert_eq!(status, 413, "a command is short");
    let cluster = cluster();
    let message = |n| LongMessage { method: "add", arguments: json!([n]), request: None };
    let log = write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), (0..1).map(message));
    log.expect("it can be written");
    let ran = cluster.run(&["debug", "--instance", "counter", "--serve", "0.0.0.0:0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("give a loopback address"), "{}", ran.stderr);
}

/// What a browser makes of the page.
#[test]
fn a_browser_shows_a_record() {
    let Some(chromium) = chromium() else {
        return println!("SKIPPED: there is no Chromium on this machine, so the page was not seen in a browser");
    };
    let page = Page::open();
    let profile = tempfile::tempdir().expect("there is room");
    let shown = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=20000", "--window-size=1200,700", "--dump-dom"])
        .arg(format!("--screenshot={}", profile.path().join("page.png").display()))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/#4", page.address))
        .output()
        .expect("Chromium can be started");
    let dom = String::from_utf8_lossy(&shown.stdout);
    let said = String::from_utf8_lossy(&shown.stderr);
    for expected in ["record 4 · deliver · epoch 1", "outside impulse add", "→ reply", "request-1", "data-ready=\"4\""]
    {
        assert!(dom.contains(expected), "{expected} is not in the page: {dom}\n{said}");
    }
}
