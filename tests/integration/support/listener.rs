//! Somebody who listens to server-sent events.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use ambrosia_tests::PATIENCE;
use serde_json::Value;

/// One connection. It says HTTP/1.0, so that the body is what comes, without pieces of HTTP in between.
pub(crate) struct Listener {
    lines: BufReader<TcpStream>,
    /// The last id that was told.
    pub(crate) last: String,
}

/// An event as it came.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Listener {
    /// Asks for a path with these further lines in the header, and waits until it is begun.
    pub(crate) fn open(address: SocketAddr, path: &str, headers: &[&str]) -> Listener {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").expect("it is taken");
        let mut listener = Listener { lines: BufReader::new(socket), last: String::new() };
        let status = listener.line().expect("it answers");
        let mut head = vec![status.clone()];
        while let Some(line) = listener.line().filter(|line| !line.is_empty()) {
            head.push(line);
        }
        assert!(status.contains(" 200 "), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        assert_eq!(listener.block(), Some((String::new(), String::new())), "it says where it begins");
        assert!(!listener.last.is_empty());
        listener
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("something comes in time");
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next block: event and data. `None` if the stream has ended.
    fn block(&mut self) -> Option<(String, String)> {
        let (mut event, mut data) = (String::new(), String::new());
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                None if line.is_empty() => return Some((event, data)),
                Some(("id", id)) => self.last = id.to_owned(),
                Some(("event", name)) => event = name.to_owned(),
                Some(("data", text)) => data.push_str(text),
                Some(("retry", _)) => {}
                _ => assert!(line.starts_with(':'), "{line:?}"),
            }
        }
    }

    /// The next event, whenever it comes; `None` if the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Heard> {
        loop {
            let (event, data) = self.block()?;
            if !data.is_empty() {
                let data = serde_json::from_str(&data).expect("data is JSON");
                return Some(Heard { id: self.last.clone(), event, data });
            }
        }
    }

    /// The next events, so many.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Heard> {
        (0..count).map(|_| self.next().expect("the stream goes on")).collect()
    }
}

/// The lines of JSON that `events --json` prints.
pub(crate) fn shown(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("the program can be started");
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{said}");
    out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
