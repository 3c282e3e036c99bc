//! The server: it does to each request what the next entry of its script says.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// What is done to a request.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// These bytes are the answer, and the connection is kept.
    Answer(String),
    /// The request with its head, as the body of an answer.
    Echo,
    /// The connection ends after these bytes.
    Drop(&'static str),
    /// There is never an answer.
    Hang,
}

impl Deed {
    pub(crate) fn status(status: u16) -> Deed {
        Deed::Answer(format!("HTTP/1.1 {status} Some\r\ncontent-length: 2\r\n\r\nok"))
    }
}

/// A server, until it is dropped.
pub(crate) struct Stub {
    pub(crate) port: u16,
    /// Each request that came, head and body, as text.
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    /// One that does these deeds, and the last of them again and again.
    pub(crate) async fn start(deeds: impl Into<VecDeque<Deed>>) -> Stub {
        Stub::serve(deeds.into(), None).await
    }

    pub(crate) async fn start_with_tls(deeds: impl Into<VecDeque<Deed>>, acceptor: TlsAcceptor) -> Stub {
        Stub::serve(deeds.into(), Some(acceptor)).await
    }

    async fn serve(deeds: VecDeque<Deed>, acceptor: Option<TlsAcceptor>) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let port = listener.local_addr().expect("it is bound").port();
        let deeds = Arc::new(Mutex::new(deeds));
        let (tell, requests) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("connections come");
                let (deeds, tell, acceptor) = (Arc::clone(&deeds), tell.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => talk(socket, &deeds, &tell).await,
                        // A client that does not believe it ends the handshake.
                        Some(acceptor) => {
                            if let Ok(socket) = acceptor.accept(socket).await {
                                talk(socket, &deeds, &tell).await;
                            }
                        }
                    }
                });
            }
        });
        Stub { port, requests, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A grant for all of it.
    pub(crate) fn grant(&self) -> [String; 1] {
        [self.url("/*")]
    }

    /// The requests that have come, and how many.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    deeds: &Mutex<VecDeque<Deed>>,
    tell: &mpsc::UnboundedSender<String>,
) {
    while let Some(request) = read_request(&mut socket).await {
        let deed = {
            let mut deeds = deeds.lock().expect("nobody panics");
            if deeds.len() > 1 { deeds.pop_front() } else { deeds.front().cloned() }.expect("there is a last one")
        };
        if tell.send(request.clone()).is_err() {
            return; // the test has ended
        }
        let written = match deed {
            Deed::Answer(answer) => socket.write_all(answer.as_bytes()).await,
            Deed::Echo => {
                let head = format!("HTTP/1.1 200 OK\r\nx-echo: {}\r\n", header(&request, "authorization"));
                let answer = format!("{head}content-length: {}\r\n\r\n{request}", request.len());
                socket.write_all(answer.as_bytes()).await
            }
            Deed::Drop(bytes) => {
                let _written = socket.write_all(bytes.as_bytes()).await;
                return;
            }
            Deed::Hang => std::future::pending().await,
        };
        if written.is_err() {
            return; // the client has gone
        }
    }
}

/// Head and body of the next request; `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(socket: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = header(&head, "content-length").parse().unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let mut more = [0; 4096];
        match socket.read(&mut more).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// The value of a header, or nothing.
pub(crate) fn header<'r>(request: &'r str, name: &str) -> &'r str {
    let lines = request.lines().take_while(|line| !line.is_empty());
    let found = lines.filter_map(|line| line.split_once(':')).find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.trim())
}
