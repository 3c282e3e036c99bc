//! A client of each instance, all in a few threads on a machine of their own.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_host::{Answered, decode_value, encode_arguments, fresh_request_id};
use ambrosia_tests::{
    integer,
    torture::{CLIENTS, Interrupt, Site, client_apart},
};
use anyhow::{Context, bail, ensure};
use tokio::{runtime::Runtime, sync::watch};

/// Longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing.
    Rest,
    /// One call for each number.
    Once(u64),
    /// Calls, one after the other.
    Busy,
}

pub(crate) struct Clients {
    runtime: Option<Runtime>,
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
    count: usize,
    rounds: u64,
}

struct Shared {
    began: Instant,
    answers: AtomicU64,
    /// Clients that have nothing under way, of the phase in which they are.
    resting: AtomicUsize,
    /// Of each client the time of its last answer, in microseconds.
    last: Vec<AtomicU64>,
    failure: Mutex<Option<String>>,
}

impl Clients {
    /// One of each of these, which have not called yet.
    pub(crate) fn begin(site: &Site, names: &[String]) -> anyhow::Result<Clients> {
        let security = site.security_of_clients()?;
        let last = names.iter().map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            began: Instant::now(),
            answers: AtomicU64::new(0),
            resting: AtomicUsize::new(0),
            last,
            failure: Mutex::new(None),
        });
        let (phase, _) = watch::channel(Phase::Rest);
        // Whoever is started on a machine stays there.
        let runtime = site
            .machines
            .on(CLIENTS, || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build())?;
        for (number, name) in names.iter().enumerate() {
            let (shared, phases) = (Arc::clone(&shared), phase.subscribe());
            let (name, security) = (name.clone(), security.clone());
            runtime.spawn(async move {
                let called = async { call(number, client_apart(&name, security)?, phases, &shared).await };
                if let Err(error) = called.await {
                    let mut failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(format!("the client of {name}: {error:#}"));
                }
            });
        }
        Ok(Clients { runtime: Some(runtime), phase, shared, count: names.len(), rounds: 0 })
    }

    /// Each calls once; returns when each of them had its answer, from now on.
    pub(crate) fn once(&mut self, interrupt: &Interrupt) -> anyhow::Result<Vec<Duration>> {
        self.rounds += 1;
        let since = self.shared.began.elapsed();
        self.say(Phase::Once(self.rounds));
        self.wait_until_they_rest(interrupt)?;
        let micros = |last: &AtomicU64| Duration::from_micros(last.load(Ordering::Acquire));
        Ok(self.shared.last.iter().map(|last| micros(last).saturating_sub(since)).collect())
    }

    /// All call for so long; returns answers a second. `meanwhile` hears when it begins to count, and ceases.
    pub(crate) fn busy(
        &mut self,
        time: Duration,
        interrupt: &Interrupt,
        mut meanwhile: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        self.say(Phase::Busy);
        meanwhile()?;
        let (began, before) = (Instant::now(), self.shared.answers.load(Ordering::Acquire));
        if interrupt.wait(time) {
            bail!("interrupted");
        }
        let answers = self.shared.answers.load(Ordering::Acquire) - before;
        let rate = answers as f64 / began.elapsed().as_secs_f64();
        meanwhile()?;
        self.say(Phase::Rest);
        self.wait_until_they_rest(interrupt)?;
        Ok(rate)
    }

    /// How many answers there were.
    pub(crate) fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Acquire)
    }

    fn say(&self, phase: Phase) {
        self.shared.resting.store(0, Ordering::Release);
        self.phase.send_replace(phase);
    }

    fn wait_until_they_rest(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(failure) = &*self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) {
                bail!("{failure}");
            }
            let resting = self.shared.resting.load(Ordering::Acquire);
            if resting == self.count {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} clients had no answer for {PATIENCE:?}", self.count - resting);
            if interrupt.wait(LOOK_INTERVAL) {
                bail!("interrupted");
            }
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn call(
    number: usize,
    mut client: ambrosia_host::Client,
    mut phases: watch::Receiver<Phase>,
    shared: &Shared,
) -> anyhow::Result<()> {
    let arguments = encode_arguments("[1]", true)?;
    let mut calls: u64 = 0;
    loop {
        if phases.changed().await.is_err() {
            return Ok(());
        }
        loop {
            let phase = *phases.borrow_and_update();
            if phase == Phase::Rest {
                break;
            }
            let answered = client.send(&fresh_request_id(), "add", &arguments, true, PATIENCE).await?;
            let Answered::Value(value) = answered else { bail!("it was asked to wait") };
            calls += 1;
            let total: u64 = integer(&decode_value(&value)).context("a total is a number")?;
            ensure!(total == calls, "after {calls} calls the total is {total}");
            shared.last[number].store(shared.began.elapsed().as_micros() as u64, Ordering::Release);
            shared.answers.fetch_add(1, Ordering::AcqRel);
            if let Phase::Once(_) = phase {
                break;
            }
        }
        shared.resting.fetch_add(1, Ordering::AcqRel);
    }
}
