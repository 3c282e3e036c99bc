//! Clients that ask two banks for all that they can do, and keep a book of every answer.
//!
//! Each client asks again only when it has its answer, and numbers its requests; the banks notice a number that is
//! missing or comes twice. A request whose connection breaks is repeated under its id by [`ambrosia_host::Client`].

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::{Random, RequestId};
use ambrosia_host::{Answered, Client, decode_value, encode_arguments};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    draw::Draw,
    namespace::NetworkNamespace,
    world::{EACH, INSTANCES},
};
use crate::{PATIENCE, client, integer};

/// Messages and arguments are between these; a few are large.
const BYTES_MIN: u64 = 16;
const BYTES_SMALL: u64 = 16 << 10;
const BYTES_MAX: u64 = 1 << 20;
const LARGE_PERCENT: u64 = 10;

/// What a client does.
#[derive(Clone, Copy, Debug)]
enum Trade {
    /// Counts, as often as it can: it sees every gap.
    Counter,
    /// Moves money both ways.
    Teller,
    /// Sends bytes, as arguments and from bank to bank.
    Carrier,
}

const TRADES: [Trade; 3] = [Trade::Counter, Trade::Teller, Trade::Carrier];

/// Whose answers are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    /// Of all clients of an instance.
    All(usize),
    /// Of the clients of an instance that need nobody but it.
    Alone(usize),
}

impl Whose {
    /// The instance that is asked.
    pub(crate) fn instance(self) -> usize {
        let (Whose::All(instance) | Whose::Alone(instance)) = self;
        instance
    }

    fn means(self, book: &Book) -> bool {
        book.instance == self.instance() && (self == Whose::All(book.instance) || !matches!(book.trade, Trade::Teller))
    }
}

/// Arguments of more bytes than these are not kept to be asked again.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// One answered request.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Under this id it can be asked again.
    pub(crate) id: RequestId,
    /// What was asked for; `None` if that is too much to be kept.
    pub(crate) request: Option<(&'static str, Vec<u8>)>,
    pub(crate) called: Instant,
    pub(crate) answered: Instant,
    /// As the bank encoded it.
    pub(crate) result: Vec<u8>,
    /// Which request of the bank it was.
    pub(crate) serial: u64,
}

/// All that one client was told.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    /// The instance that it asks, as index of [`INSTANCES`].
    pub(crate) instance: usize,
    /// Its number.
    pub(crate) client: u64,
    trade: Trade,
    /// In order.
    pub(crate) acknowledged: Vec<Acknowledged>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Run,
    /// End after the request under way.
    Finish,
    /// End at once.
    Abort,
}

/// All clients. Dropped, they end at once.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    phase: watch::Sender<Phase>,
    state: Mutex<WorkloadState>,
    news: Condvar,
}

struct WorkloadState {
    books: Vec<Book>,
    running: usize,
    failure: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WorkloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workload {
    /// Starts the clients of the store at `store`, in a network of their own if there is one.
    pub(crate) fn start(store: PathBuf, seed: u64, network: Option<Arc<NetworkNamespace>>) -> Workload {
        let mut plans = Vec::new();
        for instance in EACH {
            for trade in TRADES {
                plans.push((instance, plans.len() as u64 + 1, trade));
            }
        }
        let book = |&(instance, client, trade): &(usize, u64, Trade)| Book {
            instance,
            client,
            trade,
            acknowledged: Vec::new(),
        };
        let books = plans.iter().map(book).collect();
        let state = Mutex::new(WorkloadState { books, running: plans.len(), failure: None });
        let shared = Arc::new(Shared { phase: watch::channel(Phase::Run).0, state, news: Condvar::new() });
        let start = |(at, (instance, client, trade)): (usize, (usize, u64, Trade))| {
            let draw = Draw::new(seed ^ client);
            let asking =
                Asking { at, instance, client, trade, draw, shared: Arc::clone(&shared), store: store.clone() };
            let network = network.clone();
            std::thread::spawn(move || {
                let shared = Arc::clone(&asking.shared);
                let ended = network.map_or(Ok(()), |network| network.enter()).and_then(|()| asking.run());
                let mut state = shared.lock();
                state.running -= 1;
                if let Err(error) = ended {
                    state.failure.get_or_insert(format!("client {client} of {}: {error:#}", INSTANCES[instance]));
                }
                shared.news.notify_all();
            })
        };
        let threads = plans.into_iter().enumerate().map(start).collect();
        Workload { shared, threads }
    }

    /// Waits until each of these clients has an answer to a request that it made after `since`; returns when the last
    /// of them had.
    pub(crate) fn wait_for_answers(&self, of: Whose, since: Instant) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            check(&state)?;
            let books = state.books.iter().filter(|book| of.means(book));
            let answered: Option<Vec<Instant>> = books.map(|book| book.first_since(since)).collect();
            if let Some(answered) = answered {
                return answered.into_iter().max().context("an instance has clients");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waits = |book: &&Book| of.means(book) && book.first_since(since).is_none();
                let waiting: Vec<u64> = state.books.iter().filter(waits).map(|book| book.client).collect();
                bail!("clients {waiting:?} of {of:?} had no answer for {PATIENCE:?}");
            }
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What was told so far.
    pub(crate) fn books(&self) -> Vec<Book> {
        self.shared.lock().books.clone()
    }

    /// Ends all clients after the requests under way; returns their books.
    pub(crate) fn finish(mut self) -> anyhow::Result<Vec<Book>> {
        self.shared.phase.send_replace(Phase::Finish);
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.running > 0 {
            check(&state)?;
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} requests had no answer for {PATIENCE:?}", state.running);
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        check(&state)?;
        drop(state);
        self.join();
        Ok(self.books())
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic of it has been said already, and counts as a missing answer.
            let _ended = thread.join();
        }
    }
}

fn check(state: &WorkloadState) -> anyhow::Result<()> {
    match &state.failure {
        None => Ok(()),
        Some(failure) => bail!("{failure}"),
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.phase.send_replace(Phase::Abort);
        self.join();
    }
}

impl Book {
    /// When the first request made after `since` was answered.
    fn first_since(&self, since: Instant) -> Option<Instant> {
        let first = self.acknowledged.partition_point(|one| one.called < since);
        self.acknowledged.get(first).map(|one| one.answered)
    }
}

/// One client at work.
struct Asking {
    at: usize,
    instance: usize,
    client: u64,
    trade: Trade,
    draw: Draw,
    shared: Arc<Shared>,
    store: PathBuf,
}

/// A request to be made.
struct Request {
    method: &'static str,
    arguments: Vec<u8>,
    /// What the answer must hold beside the serial.
    expected: Option<u64>,
}

impl Asking {
    fn run(mut self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut phase = self.shared.phase.subscribe();
            let mut client = client(&self.store, INSTANCES[self.instance]);
            for number in 1.. {
                if *phase.borrow() != Phase::Run {
                    break;
                }
                let request = self.request(number)?;
                let id = RequestId::new(format!("{}-{number}", self.client)).context("a short id")?;
                let called = Instant::now();
                let mut aborted = self.shared.phase.subscribe();
                let answer = tokio::select! {
                    answer = ask(&mut client, &id, &request) => answer?,
                    _aborted = aborted.wait_for(|phase| *phase == Phase::Abort) => return Ok(()),
                };
                let (result, serial) = answer;
                let answered = Instant::now();
                let is_small = request.arguments.len() <= KEPT_BYTES_MAX;
                let request = is_small.then_some((request.method, request.arguments));
                let acknowledged = Acknowledged { id, request, called, answered, result, serial };
                self.shared.lock().books[self.at].acknowledged.push(acknowledged);
                self.shared.news.notify_all();
                let pause = self.pause();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _changed = phase.changed() => {}
                }
            }
            Ok(())
        })
    }

    /// So that a round of any length has fewer requests than an instance remembers.
    fn pause(&mut self) -> Duration {
        match self.trade {
            Trade::Counter => self.draw.millis(1..=5),
            Trade::Teller => self.draw.millis(1..=12),
            Trade::Carrier => self.draw.millis(10..=80),
        }
    }

    fn size(&mut self) -> u64 {
        let large = self.draw.percent(LARGE_PERCENT);
        self.draw.magnitude(if large { BYTES_SMALL..=BYTES_MAX } else { BYTES_MIN..=BYTES_SMALL })
    }

    fn request(&mut self, number: u64) -> anyhow::Result<Request> {
        let other = INSTANCES[1 - self.instance];
        let me = self.client;
        let named = |method, arguments: Value, expected| -> anyhow::Result<Request> {
            Ok(Request { method, arguments: encode_arguments(&arguments.to_string(), true)?, expected })
        };
        match self.trade {
            Trade::Counter => named("add", json!([me, number]), None),
            Trade::Teller => {
                let (amount, depth) = (self.draw.number(1..=1000), self.draw.number(0..=4));
                named("transfer", json!([me, number, other, amount, depth]), Some(depth + 1))
            }
            Trade::Carrier if self.draw.percent(40) => {
                let mut bytes = [me.to_le_bytes(), number.to_le_bytes()].concat();
                let (size, mut pattern) = (self.size() as usize, Random::new(number));
                while bytes.len() < size {
                    bytes.extend(pattern.next_u64().to_le_bytes());
                }
                bytes.truncate(size);
                Ok(Request { method: "put", arguments: bytes, expected: Some(size as u64) })
            }
            Trade::Carrier => {
                let count = self.draw.number(1..=5);
                let sizes: Vec<u64> = (0..count).map(|_| self.size()).collect();
                named("post", json!([me, number, other, sizes]), None)
            }
        }
    }
}

/// Asks, and checks the answer by itself. Returns it, and which request of the bank it was.
async fn ask(client: &mut Client, id: &RequestId, request: &Request) -> anyhow::Result<(Vec<u8>, u64)> {
    let answered = client.send(id, request.method, &request.arguments, true, PATIENCE).await;
    let Answered::Value(result) = answered.with_context(|| format!("request {id:?}, {}", request.method))? else {
        bail!("request {id:?} was accepted only");
    };
    let (serial, more) = if request.method == "put" {
        let word = |at: usize| Some(u64::from_le_bytes(result.get(at..at + 8)?.try_into().ok()?));
        (word(0), word(8))
    } else {
        let value = decode_value(&result);
        (integer(&value).or_else(|| integer(&value[0])), integer(&value[1]))
    };
    let serial = serial.with_context(|| format!("the answer to request {id:?} has no serial: {result:?}"))?;
    ensure!(more == request.expected, "the answer to request {id:?} is {more:?} and not {:?}", request.expected);
    Ok((result.to_vec(), serial))
}
