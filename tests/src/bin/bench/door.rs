//! HTTP into an instance, beside the own protocol, a server that makes nothing durable, and the disk.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::RequestId;
use ambrosia_host::{Answered, encode_arguments};
use ambrosia_tests::{Cluster, Host, Sample, client, disk_sync_times, ms, processor_time};
use anyhow::{Context, bail, ensure};
use axum::{Router, routing::post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use crate::{at_most, line, many::of_status, note};

/// Requests that are measured, of one client and of many together.
const ALONE: u64 = 2000;
const TOGETHER: u64 = 200_000;
const CLIENTS: u64 = 64;

/// What POST may take longer than `send`.
const MARGIN: Duration = Duration::from_micros(100);

/// Memory that an idle connection may take.
const IDLE_BYTES_GOAL: f64 = 16384.0;

/// How requests went.
struct Went {
    times: Sample,
    /// Requests a second, of all clients together.
    rate: f64,
}

/// Measures all of it in one run.
pub(crate) fn door(connections: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cluster = Cluster::new();
    cluster.register("counter", "counter", 1);
    let host = cluster.start_with("counter", 0, &["--http", "127.0.0.1:0"], |_| {});
    host.wait_until_primary();
    let address = address_of(&host)?;
    let disk = disk_sync_times(&cluster.store(), 200)?.median();
    note("fdatasync p50 of this disk", format!("{:.3} ms", ms(disk)));
    let plain = runtime.block_on(plain())?;
    let (send, many_send) = measure(&runtime, "send", Some(&host), |name| sending(&cluster, name))?;
    let (axum, many_axum) = measure(&runtime, "plain axum, nothing durable", None, |name| posting(plain, name))?;
    let (http, many_http) = measure(&runtime, "POST", Some(&host), |name| posting(address, name))?;
    at_most("POST round trip, 1 client, p50", http.times.median(), send.times.median() + MARGIN);
    let ratio = |a: f64, b: f64| format!("{:.2}", a / b);
    note("POST / send, 1 client, p50", ratio(ms(http.times.median()), ms(send.times.median())));
    note("POST / fdatasync, 1 client, p50", ratio(ms(http.times.median()), ms(disk)));
    note("POST / plain axum, 1 client, p50", ratio(ms(http.times.median()), ms(axum.times.median())));
    line("POST, 64 clients", many_http.rate, 50_000.0, "/s", many_http.rate / 50_000.0);
    note("POST / send, 64 clients", ratio(many_http.rate, many_send.rate));
    note("POST / plain axum, 64 clients", ratio(many_http.rate, many_axum.rate));
    idle(&runtime, &host, address, connections)
}

pub(crate) fn address_of(host: &Host) -> anyhow::Result<SocketAddr> {
    let said = host.said();
    let rest = said.split("HTTP at http://").nth(1).context("the host takes HTTP")?;
    Ok(rest.split('/').next().unwrap_or_default().parse()?)
}

/// One client alone, and then many.
fn measure<F, C>(
    runtime: &Runtime,
    what: &str,
    host: Option<&Host>,
    connect: impl Fn(String) -> F,
) -> anyhow::Result<(Went, Went)>
where
    F: Future<Output = anyhow::Result<C>>,
    C: Asking,
{
    let alone = runtime.block_on(ask(&connect, 1, ALONE))?;
    let cpu = host.map(|host| processor_time(host.pid())).transpose()?;
    let together = runtime.block_on(ask(&connect, CLIENTS, TOGETHER))?;
    let (median, rate) = (ms(alone.times.median()), together.rate);
    note(&format!("{what}: 1 client p50, 64 clients"), format!("{median:.3} ms, {rate:.0}/s"));
    if let (Some(host), Some(before)) = (host, cpu) {
        let used = processor_time(host.pid())? - before;
        note(
            &format!("{what}: CPU of the host a request"),
            format!("{:.1} µs", used.as_secs_f64() * 1e6 / TOGETHER as f64),
        );
    }
    Ok((alone, together))
}

/// Somebody who asks one thing after the other.
trait Asking: Send + 'static {
    fn ask(&mut self, number: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

async fn ask<F, C>(connect: &impl Fn(String) -> F, clients: u64, requests: u64) -> anyhow::Result<Went>
where
    F: Future<Output = anyhow::Result<C>>,
    C: Asking,
{
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let next = Arc::new(AtomicU64::new(0));
    let mut ready = Vec::new();
    for client in 0..clients {
        let mut one = connect(format!("{run}-{client}")).await?;
        one.ask(u64::MAX).await?; // it is connected
        ready.push(one);
    }
    let began = Instant::now();
    let asking = ready.into_iter().map(|mut one| {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(times);
                }
                let began = Instant::now();
                one.ask(number).await?;
                times.push(began.elapsed());
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut times = Vec::new();
    for one in asking {
        times.extend(one.await??);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    Ok(Went { times: Sample::new(times), rate })
}

/// The own protocol.
struct Sending {
    client: ambrosia_host::Client,
    name: String,
    arguments: Vec<u8>,
}

async fn sending(cluster: &Cluster, name: String) -> anyhow::Result<Sending> {
    Ok(Sending { client: client(&cluster.store(), "counter"), name, arguments: encode_arguments("[1]", true)? })
}

impl Asking for Sending {
    async fn ask(&mut self, number: u64) -> anyhow::Result<()> {
        let id = RequestId::new(format!("send-{}-{number}", self.name))?;
        match self.client.send(&id, "add", &self.arguments, true, Duration::from_secs(60)).await? {
            Answered::Value(_) => Ok(()),
            Answered::Accepted => bail!("it was asked to wait"),
        }
    }
}

/// A connection of HTTP that is kept.
struct Posting {
    socket: TcpStream,
    name: String,
    received: Vec<u8>,
}

async fn posting(address: SocketAddr, name: String) -> anyhow::Result<Posting> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(Posting { socket, name, received: Vec::new() })
}

impl Asking for Posting {
    async fn ask(&mut self, number: u64) -> anyhow::Result<()> {
        let name = &self.name;
        let request = format!(
            "POST /v1/counter/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Idempotency-Key: post-{name}-{number}\r\nContent-Length: 3\r\n\r\n[1]"
        );
        self.socket.write_all(request.as_bytes()).await?;
        self.received.clear();
        loop {
            ensure!(self.socket.read_buf(&mut self.received).await? > 0, "the server hung up");
            if let Some(whole) = is_whole(&self.received)? {
                ensure!(whole == self.received.len(), "more came than was asked for");
                return Ok(());
            }
        }
    }
}

/// How many bytes a response has, once its header is there and all of it has come.
fn is_whole(received: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&received[..head])?.to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(received));
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.context("a response says how long it is")?.parse()?;
    let whole = head + 4 + length;
    Ok((received.len() >= whole).then_some(whole))
}

/// A counter that nothing is done for but HTTP.
async fn plain() -> anyhow::Result<SocketAddr> {
    let total = Arc::new(AtomicU64::new(0));
    let add = move |axum::Json((n,)): axum::Json<(u64,)>| async move {
        (total.fetch_add(n, Ordering::Relaxed) + n).to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/counter/add", post(add))).await });
    Ok(address)
}

/// What connections take that have asked once and are kept.
fn idle(runtime: &Runtime, host: &Host, address: SocketAddr, connections: u64) -> anyhow::Result<()> {
    let before = of_status(host, "VmRSS:")?;
    let kept = runtime.block_on(async {
        let mut kept = Vec::new();
        for number in 0..connections {
            let mut one = posting(address, format!("idle-{number}")).await?;
            one.ask(0)
                .await
                .with_context(|| format!("connection {number}; raise the limit of open files (`ulimit -n`)"))?;
            kept.push(one);
        }
        anyhow::Ok(kept)
    })?;
    let each = of_status(host, "VmRSS:")?.saturating_sub(before) as f64 * 1024.0 / connections as f64;
    line(&format!("{} idle connections, each", kept.len()), each, IDLE_BYTES_GOAL, "bytes", IDLE_BYTES_GOAL / each);
    Ok(())
}
