//! A server of HTTP that does to each request what the test says.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use crate::PATIENCE;

/// The server, until the test ends.
pub struct Stub {
    address: SocketAddr,
    asked: Receiver<Asked>,
}

/// A request that has come, and waits for what becomes of it. Dropped, its connection ends without an answer.
#[derive(Debug)]
pub struct Asked {
    /// Such as `POST /pay HTTP/1.1`.
    pub line: String,
    /// The header that is the same in each attempt.
    pub key: String,
    /// All headers, as they came.
    pub head: String,
    /// The body.
    pub body: String,
    connection: TcpStream,
}

impl Stub {
    /// A server at a free port.
    pub fn start() -> Stub {
        Stub::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A server at that address.
    ///
    /// # Panics
    /// If somebody else has it.
    pub fn at(address: SocketAddr) -> Stub {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let (tell, asked) = channel();
        // It ends with the process: nothing else ends the wait for a connection.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, tell) = (connection.expect("connections come"), tell.clone());
                thread::spawn(move || read(connection, &tell));
            }
        });
        Stub { address, asked }
    }

    /// An address at which nobody is.
    pub fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        listener.local_addr().expect("it is bound")
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A grant for all of it.
    pub fn grant(&self) -> String {
        self.url("/*")
    }

    /// The next request.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`].
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// The next request that comes within so long a time.
    pub fn next_within(&self, time: Duration) -> Option<Asked> {
        self.asked.recv_timeout(time).ok()
    }

    /// True if none has come that was not taken.
    pub fn is_quiet(&self) -> bool {
        self.asked.try_recv().is_err()
    }
}

/// Reads one request: each gets a connection of its own, for the answer says that it ends.
fn read(mut connection: TcpStream, tell: &Sender<Asked>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if let Some((head, rest)) = split(&bytes)
            && rest.len() >= header(&head, "content-length").parse().unwrap_or(0)
        {
            break (head, String::from_utf8_lossy(rest).into_owned());
        }
        let mut more = [0; 4096];
        match connection.read(&mut more) {
            Ok(0) => return,
            Ok(count) => bytes.extend_from_slice(&more[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return, // the process was killed
        }
    };
    let (line, key) = (head.lines().next().unwrap_or_default().to_owned(), header(&head, "idempotency-key"));
    // It fails only when the test is over.
    let _over = tell.send(Asked { line, key, head, body, connection });
}

fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 4..]))
}

fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

impl Asked {
    /// Answers with a status and a body.
    pub fn answer(self, status: u16, body: &str) {
        let length = body.len();
        self.say(&format!("HTTP/1.1 {status} Some\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"));
    }

    /// Sends these bytes and ends the connection.
    pub fn say(mut self, bytes: &str) {
        // Whoever has asked may be gone; what they have heard the test looks at.
        let _gone = self.connection.write_all(bytes.as_bytes());
        let _gone = self.connection.shutdown(Shutdown::Write);
    }

    /// Waits until whoever has asked ends the connection.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_for_end(mut self) {
        self.connection.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        match self.connection.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("more came behind the request"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection ends"),
        }
    }
}
