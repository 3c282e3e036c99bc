//! Events at very many listeners, beside the disk.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ambrosia_core::RequestId;
use ambrosia_host::encode_arguments;
use ambrosia_tests::{Cluster, Sample, client, disk_sync_times, ms, processor_time};
use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{at_most, door::address_of, note};

/// Events that are measured, one after the other.
const EVENTS: u64 = 50;

/// Within this the last listener is to have it.
const GOAL: Duration = Duration::from_millis(20);

/// From the moment at which an instance is asked to emit until the last listener has the event.
pub(crate) fn events(listeners: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cluster = Cluster::new();
    cluster.register("outside", "outside", 1);
    let host = cluster.start_with("outside", 0, &["--http", "127.0.0.1:0"], |_| {});
    host.wait_until_primary();
    let address = address_of(&host)?;
    let disk = disk_sync_times(&cluster.store(), 200)?;
    note("fdatasync p50 of this disk", format!("{:.3} ms", ms(disk.median())));
    runtime.block_on(async {
        let (told, mut heard) = mpsc::unbounded_channel();
        for number in 0..listeners {
            let listener = listen(address).await;
            let listener =
                listener.with_context(|| format!("listener {number}; raise the limit of open files (`ulimit -n`)"))?;
            tokio::spawn(hear(listener, told.clone()));
        }
        drop(told);
        let mut client = client(&cluster.store(), "outside");
        let (mut firsts, mut lasts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let cpu = processor_time(host.pid())?;
        for event in 0..EVENTS {
            let (id, arguments) = (RequestId::new(format!("event-{event}"))?, encode_arguments("[\"a\", 1]", true)?);
            let began = Instant::now();
            client.send(&id, "emit", &arguments, true, Duration::from_secs(60)).await?;
            answers.push(began.elapsed());
            let mut times = Vec::with_capacity(listeners);
            for _ in 0..listeners {
                times.push(heard.recv().await.context("a listener was cut")?.duration_since(began));
            }
            firsts.push(times.iter().min().copied().unwrap_or_default());
            lasts.push(times.iter().max().copied().unwrap_or_default());
        }
        let cpu = processor_time(host.pid())? - cpu;
        let each = cpu.as_secs_f64() * 1e6 / (EVENTS * listeners as u64) as f64;
        note("CPU of the host an event and listener", format!("{each:.1} µs"));
        let (answers, firsts, lasts) = (Sample::new(answers), Sample::new(firsts), Sample::new(lasts));
        note("answer to who had it emitted, p50", format!("{:.2} ms", ms(answers.median())));
        note("first listener, p50", format!("{:.2} ms", ms(firsts.median())));
        note("last listener, worst", format!("{:.2} ms", ms(lasts.worst())));
        at_most(&format!("an event at the last of {listeners} listeners, p50"), lasts.median(), GOAL);
        anyhow::Ok(())
    })
}

/// A connection on which events come.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET /v1/outside/events HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut received = Vec::new();
    while !received.windows(4).any(|bytes| bytes == b"\nid:") || !received.ends_with(b"\n\n") {
        ensure!(socket.read_buf(&mut received).await? > 0, "the host hung up: {}", String::from_utf8_lossy(&received));
    }
    Ok(socket)
}

/// Tells when each event has come.
async fn hear(mut socket: TcpStream, told: mpsc::UnboundedSender<Instant>) {
    let mut received = Vec::new();
    while matches!(socket.read_buf(&mut received).await, Ok(read) if read > 0) {
        let now = Instant::now();
        while let Some(end) = received.windows(2).position(|bytes| bytes == b"\n\n") {
            let is_event = received[..end].windows(6).any(|bytes| bytes == b"\ndata:");
            received.drain(..end + 2);
            if is_event && told.send(now).is_err() {
                return;
            }
        }
    }
}
