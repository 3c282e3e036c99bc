//! A TCP proxy between network namespaces, which delays what it passes on and resets connections as it is told.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

use super::{draw::Draw, namespace::NetworkNamespace};

/// Bytes passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What happens to connections.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Weather {
    /// Each chunk is held back for a drawn time up to this.
    pub(crate) delay_ms_max: u64,
    /// Each connection is reset after a drawn count of bytes up to this, one way; 0 for never.
    pub(crate) reset_after_max: u64,
}

/// The proxy, in a thread of its own. Dropped, it ends with all its connections.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    weather: Mutex<Weather>,
    /// Counts what ends all connections; the highest number ends the proxy.
    resets: watch::Sender<u64>,
    seed: AtomicU64,
}

/// Ends the proxy itself.
const END: u64 = u64::MAX;

impl Proxy {
    /// Listens at each route (in which namespace, for which one, port of both).
    pub(crate) fn start(
        namespaces: &[Arc<NetworkNamespace>; 3],
        routes: &[(usize, usize, u16)],
        seed: u64,
    ) -> anyhow::Result<Proxy> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared =
            Arc::new(Shared { weather: Mutex::default(), resets: watch::channel(0).0, seed: AtomicU64::new(seed) });
        for &(here, there, port) in routes {
            let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            let listener = namespaces[here].within(|| std::net::TcpListener::bind(address))?;
            let listener = listener.with_context(|| format!("listen on {address}"))?;
            listener.set_nonblocking(true)?;
            let _in_runtime = runtime.enter();
            let listener = TcpListener::from_std(listener)?;
            runtime.spawn(accept(listener, address, Arc::clone(&namespaces[there]), Arc::clone(&shared)));
        }
        let mut end = shared.resets.subscribe();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                // The sender lives in whoever would end it.
                let _ended = end.wait_for(|resets| *resets == END).await;
            });
        });
        Ok(Proxy { shared, thread: Some(thread) })
    }

    /// From now on, also for connections that are there.
    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Resets every connection.
    pub(crate) fn reset_all(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.resets.send_replace(END);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been said already.
            let _ended = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, there: Arc<NetworkNamespace>, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => tokio::spawn(pass(client, to, Arc::clone(&there), Arc::clone(&shared))),
            Err(error) => return eprintln!("the proxy can't accept connections for {to}: {error}"),
        };
    }
}

/// Passes everything on, both ways, until either side ends or the connection is to be reset.
async fn pass(mut client: TcpStream, to: SocketAddr, there: Arc<NetworkNamespace>, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    // A socket belongs to the namespace in which it was made, wherever it is used.
    let socket = there.within(TcpSocket::new_v4).expect("a thread may change its namespace").expect("a socket");
    let Ok(mut host) = socket.connect(to).await else {
        return reset(&client);
    };
    let now = *resets.borrow();
    let in_order = {
        let (from_client, to_client) = client.split();
        let (from_host, to_host) = host.split();
        let there = pump(from_client, to_host, shared.draw(), &shared);
        let back = pump(from_host, to_client, shared.draw(), &shared);
        tokio::select! {
            // It ends when both ways are closed, or either is to be reset.
            ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
            _reset = resets.wait_for(|resets| *resets != now) => false,
        }
    };
    if !in_order {
        reset(&client);
        reset(&host);
    }
}

impl Shared {
    fn draw(&self) -> Draw {
        Draw::new(self.seed.fetch_add(1, Ordering::Relaxed))
    }
}

/// The connection ends by a reset as soon as it is dropped.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("an open socket has options");
}

/// The connection is to be reset.
struct ToReset;

/// Passes bytes on one way.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut draw: Draw, shared: &Shared) -> Result<(), ToReset> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut passed = 0;
    // Drawn anew whenever the weather changes.
    let mut limit = (0, u64::MAX);
    loop {
        let Ok(count) = from.read(&mut chunk).await else { return Err(ToReset) };
        if count == 0 {
            return to.shutdown().await.map_err(|_| ToReset);
        }
        let weather = *shared.weather.lock().unwrap_or_else(PoisonError::into_inner);
        if weather.delay_ms_max > 0 {
            tokio::time::sleep(Duration::from_millis(draw.number(0..=weather.delay_ms_max))).await;
        }
        if limit.0 != weather.reset_after_max {
            let after = if weather.reset_after_max == 0 { u64::MAX } else { draw.number(0..=weather.reset_after_max) };
            limit = (weather.reset_after_max, after.saturating_add(passed));
        }
        let allowed = (limit.1 - passed).min(count as u64) as usize;
        if to.write_all(&chunk[..allowed]).await.is_err() || allowed < count {
            return Err(ToReset);
        }
        passed += allowed as u64;
    }
}
