//! What stands before a server and lets nothing through when it is told so.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// What becomes of connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// They go to the server.
    Open,
    /// They are ended at once.
    Closed,
    /// They are taken, and nobody answers.
    Silent,
    /// Each request is answered so.
    Answers(&'static str),
    /// They go to the server, and end behind so many bytes to it.
    EndsBehind(usize),
    /// Requests that show this token go to the server, which knows no tokens, without it.
    Takes(&'static str),
}

/// The gate before a server.
pub(crate) struct Gate {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    mode: Mode,
    connections: Vec<TcpStream>,
    requests: usize,
}

impl Gate {
    pub(crate) fn before(server: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Mutex::new(Shared { mode: Mode::Open, connections: Vec::new(), requests: 0 }));
        let here = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.expect("it listens");
                let shared = Arc::clone(&here);
                // It ends with either side.
                thread::spawn(move || drop(serve(socket, server, &shared)));
            }
        });
        Gate { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on. Connections of before are over.
    pub(crate) fn set(&self, mode: Mode) {
        let mut shared = lock(&self.shared);
        shared.mode = mode;
        for socket in shared.connections.drain(..) {
            // It may be over already.
            let _over = socket.shutdown(Shutdown::Both);
        }
    }

    /// Connections that were taken or ended while it was not open.
    pub(crate) fn refused(&self) -> usize {
        lock(&self.shared).requests
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut socket: TcpStream, server: SocketAddr, shared: &Mutex<Shared>) -> io::Result<()> {
    let mode = {
        let mut shared = lock(shared);
        shared.connections.push(socket.try_clone()?);
        shared.requests += usize::from(shared.mode != Mode::Open);
        shared.mode.clone()
    };
    let most = match mode {
        Mode::Closed => return Ok(()),
        Mode::Silent => {
            // Until the other side has enough of it.
            return io::copy(&mut socket, &mut io::sink()).map(drop);
        }
        Mode::Answers(answer) => return answer_with(socket, answer),
        Mode::Open | Mode::Takes(_) => u64::MAX,
        Mode::EndsBehind(bytes) => bytes as u64,
    };
    let upstream = TcpStream::connect(server)?;
    lock(shared).connections.push(upstream.try_clone()?);
    let (mut from, mut back) = (upstream.try_clone()?, socket.try_clone()?);
    thread::spawn(move || {
        let _copied = io::copy(&mut from, &mut back);
        let _over = back.shutdown(Shutdown::Both);
    });
    let copied = match mode {
        Mode::Takes(token) => copy_without(token, &socket, &upstream),
        _ => io::copy(&mut (&socket).take(most), &mut (&upstream)).map(drop),
    };
    let _over = upstream.shutdown(Shutdown::Both);
    let _over = socket.shutdown(Shutdown::Both);
    copied
}

/// The head of the next request, and how many bytes of body are behind it; `None` at the end.
fn next_head(requests: &mut BufReader<&TcpStream>) -> io::Result<Option<(String, u64)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if requests.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let lower = head.to_ascii_lowercase();
    let length =
        lower.split_once("content-length:").and_then(|(_, rest)| rest.split("\r\n").next()?.trim().parse().ok());
    Ok(Some((head, length.unwrap_or(0))))
}

fn copy_without(token: &str, from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let (shown, mut requests) = (format!("authorization: Bearer {token}\r\n"), BufReader::new(from));
    while let Some((head, length)) = next_head(&mut requests)? {
        to.write_all(head.replacen(&shown, "", 1).as_bytes())?;
        io::copy(&mut (&mut requests).take(length), &mut to)?;
    }
    Ok(())
}

fn answer_with(mut socket: TcpStream, answer: &str) -> io::Result<()> {
    let mut requests = BufReader::new(&socket);
    let Some((_, length)) = next_head(&mut requests)? else { return Ok(()) };
    io::copy(&mut requests.take(length), &mut io::sink())?;
    let (status, body) = answer.split_once('\n').unwrap_or((answer, ""));
    let length = body.len();
    write!(socket, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}
