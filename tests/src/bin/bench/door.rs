//! HTTP into an instance, beside the own protocol, a server that makes nothing durable, and the disk.

use std::{
    future::Future,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
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
use axum::{
    Router,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use crate::{at_most, line, many::of_status, note};

/// Requests that are measured, of one client and of many together.
const ALONE: u64 = 2000;
const TOGETHER: u64 = 100_000;
const CLIENTS: u64 = 64;

/// What POST may take longer than `send`.
const MARGIN: Duration = Duration::from_micros(100);

/// Memory that an idle connection may take.
const IDLE_BYTES_GOAL: f64 = 16384.0;

/// How requests went.
struct Went {
    /// Half of the requests of one client took no longer.
    alone: Duration,
    /// Requests a second, of all clients together.
    rate: f64,
    /// Processor time of all who served, in microseconds a request.
    cpu: f64,
}

/// What is asked for over HTTP, but for the id of the request.
type Wanted = &'static str;
const POST: Wanted =
    "POST /v1/counter/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 3\r\n";
const GET: Wanted = "GET /v1/counter/total HTTP/1.1\r\nHost: localhost\r\n";

/// What there is to be measured beside each other.
struct Street {
    runtime: Runtime,
    cluster: Cluster,
    /// Runs the primary, and has a door of its own.
    host: Host,
    /// Has a door, and is primary of something else: what comes in there goes over the wire.
    porter: Host,
    /// Answers at once, and makes nothing durable.
    plain: Plain,
}

/// A process that serves plain axum.
struct Plain {
    process: Child,
    address: SocketAddr,
}

impl Drop for Plain {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nothing to be done about it.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Measures all of it in one run.
pub(crate) fn door(connections: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cluster = Cluster::new();
    cluster.register("counter", "asked", 1);
    cluster.register("porter", "counter", 1);
    let host = cluster.start_with("counter", 0, &["--http", "127.0.0.1:0"], |_| {});
    let porter = cluster.start_with("porter", 0, &["--http", "127.0.0.1:0"], |_| {});
    host.wait_until_primary();
    porter.wait_until_primary();
    let street = Street { runtime, cluster, host, porter, plain: start_plain()? };
    let address = address_of(&street.host)?;
    let disk = disk_sync_times(&street.cluster.store(), 200)?.median();
    note("fdatasync p50 of this disk", format!("{:.3} ms", ms(disk)));
    street.requests(disk)?;
    street.queries()?;
    idle(&street.runtime, &street.host, address, connections)
}

impl Street {
    fn requests(&self, disk: Duration) -> anyhow::Result<()> {
        let (within, outside) = (address_of(&self.host)?, address_of(&self.porter)?);
        let hosts = [self.host.pid(), self.porter.pid()];
        let send = self.measure("send", &hosts, |name| sending(&self.cluster, name))?;
        let axum = self.measure("plain axum, nothing durable", &[self.plain.process.id()], |name| {
            posting(self.plain.address, POST, name)
        })?;
        let wire = self.measure("POST to another host", &hosts, |name| posting(outside, POST, name))?;
        let http = self.measure("POST to the host of the primary", &hosts, |name| posting(within, POST, name))?;
        at_most("POST round trip, 1 client, p50", http.alone, send.alone + MARGIN);
        let ratio = |a: f64, b: f64| format!("{:.2}", a / b);
        note("POST / send, 1 client, p50", ratio(ms(http.alone), ms(send.alone)));
        note("POST / fdatasync, 1 client, p50", ratio(ms(http.alone), ms(disk)));
        note("POST / plain axum, 1 client, p50", ratio(ms(http.alone), ms(axum.alone)));
        line("POST, 64 clients", http.rate, 50_000.0, "/s", http.rate / 50_000.0);
        note("POST / send, 64 clients", ratio(http.rate, send.rate));
        note("POST / plain axum, 64 clients", ratio(http.rate, axum.rate));
        note("POST / plain axum, CPU a request", ratio(http.cpu, axum.cpu));
        note("POST / to another host, CPU a request", ratio(http.cpu, wire.cpu));
        Ok(())
    }

    fn queries(&self) -> anyhow::Result<()> {
        let (within, outside) = (address_of(&self.host)?, address_of(&self.porter)?);
        let hosts = [self.host.pid(), self.porter.pid()];
        let axum = self
            .measure("GET of plain axum", &[self.plain.process.id()], |name| posting(self.plain.address, GET, name))?;
        let wire = self.measure("GET to another host", &hosts, |name| posting(outside, GET, name))?;
        let http = self.measure("GET to the host of the primary", &hosts, |name| posting(within, GET, name))?;
        line("GET, 64 clients", http.rate, 100_000.0, "/s", http.rate / 100_000.0);
        let ratio = |a: f64, b: f64| format!("{:.2}", a / b);
        note("GET / plain axum, 64 clients", ratio(http.rate, axum.rate));
        note("GET / plain axum, CPU a request", ratio(http.cpu, axum.cpu));
        note("GET / to another host, CPU a request", ratio(http.cpu, wire.cpu));
        Ok(())
    }

    /// One client alone, and then many.
    fn measure<F, C>(&self, what: &str, servers: &[u32], connect: impl Fn(String) -> F) -> anyhow::Result<Went>
    where
        F: Future<Output = anyhow::Result<C>>,
        C: Asking,
    {
        let (alone, _) = self.runtime.block_on(ask(&connect, 1, ALONE))?;
        let used = || servers.iter().map(|pid| processor_time(*pid)).sum::<std::io::Result<Duration>>();
        let before = used()?;
        let (_, rate) = self.runtime.block_on(ask(&connect, CLIENTS, TOGETHER))?;
        let cpu = (used()? - before).as_secs_f64() * 1e6 / TOGETHER as f64;
        let alone = alone.median();
        note(&format!("{what}: 1 client p50, 64 clients"), format!("{:.3} ms, {rate:.0}/s", ms(alone)));
        note(&format!("{what}: CPU a request"), format!("{cpu:.1} µs"));
        Ok(Went { alone, rate, cpu })
    }
}

pub(crate) fn address_of(host: &Host) -> anyhow::Result<SocketAddr> {
    let said = host.said();
    let rest = said.split("HTTP at http://").nth(1).context("the host takes HTTP")?;
    Ok(rest.split('/').next().unwrap_or_default().parse()?)
}

/// Somebody who asks one thing after the other.
trait Asking: Send + 'static {
    fn ask(&mut self, number: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How long each took, and how many there were a second.
async fn ask<F, C>(connect: &impl Fn(String) -> F, clients: u64, requests: u64) -> anyhow::Result<(Sample, f64)>
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
    Ok((Sample::new(times), rate))
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
    wanted: Wanted,
    name: String,
    received: Vec<u8>,
}

async fn posting(address: SocketAddr, wanted: Wanted, name: String) -> anyhow::Result<Posting> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(Posting { socket, wanted, name, received: Vec::new() })
}

impl Asking for Posting {
    async fn ask(&mut self, number: u64) -> anyhow::Result<()> {
        let request = match self.wanted {
            GET => format!("{GET}\r\n"),
            wanted => format!("{wanted}Idempotency-Key: post-{}-{number}\r\n\r\n[1]", self.name),
        };
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

/// Starts a process of its own that serves plain axum, so that its processor time is its own.
fn start_plain() -> anyhow::Result<Plain> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = command.arg("plain").stdout(Stdio::piped()).spawn()?;
    let stdout = process.stdout.take().context("it is piped")?;
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address)?;
    let address = address.trim().parse().context("it says where it answers")?;
    Ok(Plain { process, address })
}

/// Serves a counter that nothing is done for but HTTP, until the process is ended.
pub(crate) fn plain() -> anyhow::Result<()> {
    let total = Arc::new(AtomicU64::new(0));
    let known = Arc::clone(&total);
    let add = move |axum::Json((n,)): axum::Json<(u64,)>| async move {
        (total.fetch_add(n, Ordering::Relaxed) + n).to_string()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let total = get(move || async move { known.load(Ordering::Relaxed).to_string() });
        let routes = Router::new().route("/v1/counter/add", post(add)).route("/v1/counter/total", total);
        Ok(axum::serve(listener, routes).await?)
    })
}

/// What connections take that have asked once and are kept.
fn idle(runtime: &Runtime, host: &Host, address: SocketAddr, connections: u64) -> anyhow::Result<()> {
    let before = of_status(host, "VmRSS:")?;
    let kept = runtime.block_on(async {
        let mut kept = Vec::new();
        for number in 0..connections {
            let mut one = posting(address, POST, format!("idle-{number}")).await?;
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
