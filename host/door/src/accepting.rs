//! Connections, each with its bounds: who says nothing, or does not come to an end, is let go.
//!
//! The first three bytes tell which protocol a client speaks: those of a connection of HTTP/2 are its preface, which no
//! request of HTTP/1.1 begins with.

mod activity;
mod http1;
mod http2;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ambrosia_wire::{HttpSocket, Security};
use axum::Router;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, join, split},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::door::DoorOptions;

/// When no connection can be accepted, it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the preface of HTTP/2 begins (RFC 9113, 3.4).
const OF_HTTP2: [u8; 3] = *b"PRI";

/// How connections are served.
struct Protocols {
    header_wait: Duration,
    security: Security,
    http1: hyper::server::conn::http1::Builder,
    http2: http2::Protocol,
}

/// Accepts connections until the door closes, as many at once as `open` has permits.
pub(crate) async fn accept_all(
    listener: TcpListener,
    routes: Router,
    options: DoorOptions,
    open: Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
) {
    let (header_wait, security) = (options.header_wait, options.security.clone());
    let protocols = Arc::new(Protocols {
        header_wait,
        security,
        http1: http1::protocol(header_wait),
        http2: http2::protocol(header_wait),
    });
    let mut told = None;
    loop {
        let permit = Arc::clone(&open).acquire_owned().await.expect("it is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _closing = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((socket, _)) => {
                told = None;
                let (protocols, routes, closing) = (Arc::clone(&protocols), routes.clone(), closing.clone());
                tokio::spawn(async move {
                    // Its errors are those of its client, and end nothing else.
                    if let Err(error) = protocols.serve(socket, routes, closing).await {
                        tracing::debug!(%error, "an HTTP connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                if told.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(
                        %error,
                        "HTTP connections can't be accepted now, trying again; if too many files are open, raise the limit of this \
                         process (`ulimit -n`)"
                    );
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Protocols {
    async fn serve(
        &self,
        socket: TcpStream,
        routes: Router,
        mut closing: watch::Receiver<bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        socket.set_nodelay(true)?;
        let accepted = tokio::select! {
            accepted = self.security.accept_http(socket) => accepted?,
            _closing = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        match accepted {
            HttpSocket::Plain(socket) => {
                let (reading, writing) = socket.into_split();
                self.serve_halves(reading, writing, routes, closing).await
            }
            HttpSocket::Tls(stream) => {
                let (reading, writing) = split(stream);
                Box::pin(self.serve_halves(reading, writing, routes, closing)).await
            }
        }
    }

    async fn serve_halves(
        &self,
        mut reading: impl AsyncRead + Unpin + Send + 'static,
        writing: impl AsyncWrite + Unpin + Send + 'static,
        routes: Router,
        mut closing: watch::Receiver<bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let begun = tokio::select! {
            begun = timeout(self.header_wait, first_bytes(&mut reading)) => begun,
            _closing = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        let (first, length) = match begun {
            Ok(first) => first?,
            Err(_) => return Ok(()),
        };
        let stream = join(Again { first, length, taken: 0, reading }, writing);
        if first == OF_HTTP2 {
            // On the heap, so that the many that speak HTTP/1.1 need not have room for it.
            Box::pin(http2::serve(&self.http2, stream, routes, closing)).await?;
        } else {
            http1::serve(&self.http1, stream, routes, closing).await?;
        }
        Ok(())
    }
}

/// The first three bytes, and how many of them there are before the end.
async fn first_bytes(reading: &mut (impl AsyncRead + Unpin)) -> io::Result<([u8; 3], usize)> {
    let (mut first, mut length) = ([0; OF_HTTP2.len()], 0);
    while length < first.len() {
        match reading.read(&mut first[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    Ok((first, length))
}

/// The first bytes once more, and the rest behind them. Both come by one read where both are there: after a read of three bytes alone
/// hyper would have twice the buffer, for as long as the connection lasts.
struct Again<R> {
    first: [u8; OF_HTTP2.len()],
    length: usize,
    taken: usize,
    reading: R,
}

impl<R: AsyncRead + Unpin> AsyncRead for Again<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = (self.length - self.taken).min(buffer.remaining());
        buffer.put_slice(&self.first[self.taken..self.taken + count]);
        self.taken += count;
        match Pin::new(&mut self.reading).poll_read(context, buffer) {
            Poll::Pending if count > 0 => Poll::Ready(Ok(())),
            polled => polled,
        }
    }
}

/// A connection whose first bytes were read and are read again.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}
