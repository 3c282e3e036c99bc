//! Clients on a machine of their own that call all instances all the time, and keep what they were told, and when.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Lsn, RequestId};
use ambrosia_host::{
    Addresses, Answered, Client, OwnFiles, Security, Tls, TlsFiles, decode_value, encode_arguments, fresh_request_id,
};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::draw::Draw;
use super::history::{Act, Call, Remains, Span, sum_of};
use super::network::Machines;
use super::site::{CLIENTS, HOSTS, INSTANCES, Papers, at};
use crate::{PATIENCE, integer};

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trade {
    /// Adds, and reads the total now and then.
    Adder,
    /// Appends, and reads the list now and then.
    Appender,
}

/// By what it is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    Certificate,
    Token,
}

/// Of each instance. Two of a kind see each other.
const TRADES: [(Trade, Pass); 3] =
    [(Trade::Adder, Pass::Certificate), (Trade::Adder, Pass::Token), (Trade::Appender, Pass::Certificate)];

/// Between an answer and the next call.
const PAUSE_MILLIS: std::ops::RangeInclusive<u64> = 1..=20;

/// A stranger tries for so long to be heard.
const STRANGER_PATIENCE: Duration = Duration::from_secs(1);

/// Who is refused is told one of these.
const REFUSALS: [&str; 2] = ["certificate", "token"];

/// So many of a hundred calls of an adder read, and of a thousand of an appender.
const READS_PERCENT: u64 = 10;
const LISTS_PER_THOUSAND: u64 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Run,
    /// End after the call under way.
    Finish,
    /// End at once.
    Abort,
}

/// All clients. Dropped, they end at once.
pub(crate) struct Callers {
    began: Instant,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    phase: watch::Sender<Phase>,
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    /// Of each client the calls in their order.
    books: Vec<Vec<Call>>,
    running: usize,
    /// How often each stranger was.
    refused: [u64; 2],
    failure: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instance that a client asks.
fn instance_of(client: usize) -> usize {
    client / TRADES.len()
}

impl Callers {
    /// Starts them, with a certificate or a token each, and two strangers who have none that counts.
    pub(crate) fn begin(machines: &Machines, papers: &Papers, seed: u64) -> anyhow::Result<Callers> {
        let began = Instant::now();
        let count = INSTANCES.len() * TRADES.len();
        let state = State { books: vec![Vec::new(); count], running: count, refused: [0; 2], failure: None };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { phase: watch::channel(Phase::Run).0, state, news: Condvar::new() });
        let by = |pass: Pass| match pass {
            Pass::Certificate => security(papers, Some(papers.of("caller")), None),
            Pass::Token => security(papers, None, Some(papers.token())),
        };
        let (by_certificate, by_token) = (by(Pass::Certificate)?, by(Pass::Token)?);
        let strangers =
            [security(papers, Some(papers.of_stranger()), None)?, security(papers, None, Some(papers.wrong_token()))?];
        let start = |number: usize| {
            let (shared, draw) = (Arc::clone(&shared), Draw::new(seed ^ (number as u64 + 1)));
            let (trade, pass) = TRADES[number % TRADES.len()];
            let caller = Caller { number, trade, draw, began, shared };
            let security = match pass {
                Pass::Certificate => by_certificate.clone(),
                Pass::Token => by_token.clone(),
            };
            // Whoever is started on a machine stays there.
            std::thread::spawn(move || {
                let shared = Arc::clone(&caller.shared);
                let ended = caller.run(security);
                let mut state = shared.lock();
                state.running -= 1;
                if let Err(error) = ended {
                    let instance = INSTANCES[instance_of(number)].0;
                    state.failure.get_or_insert(format!("client {number} of {instance}: {error:#}"));
                }
                shared.news.notify_all();
            })
        };
        let intrude = |(number, security): (usize, Security)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                if let Err(error) = intrude(number, security, &shared) {
                    shared.lock().failure.get_or_insert(format!("stranger {number}: {error:#}"));
                    shared.news.notify_all();
                }
            })
        };
        let threads = machines
            .on(CLIENTS, || (0..count).map(start).chain(strangers.into_iter().enumerate().map(intrude)).collect());
        Ok(Callers { began, shared, threads })
    }

    /// Waits until each client of these instances has an answer to a call that it made after `since`; returns when the last of them had.
    pub(crate) fn wait_for_answers(&self, of: impl Fn(usize) -> bool, since: Instant) -> anyhow::Result<Instant> {
        let since = since - self.began;
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            check(&state)?;
            let first = |book: &Vec<Call>| {
                let first = book.partition_point(|call| call.span.called < since);
                book.get(first).map(|call| call.span.answered)
            };
            let books = state.books.iter().enumerate().filter(|(client, _)| of(instance_of(*client)));
            let firsts: Vec<_> = books.map(|(client, book)| (client, first(book))).collect();
            if firsts.iter().all(|(_, first)| first.is_some()) {
                let last = firsts.iter().filter_map(|(_, first)| *first).max();
                return Ok(self.began + last.context("somebody is meant")?);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waiting = firsts.iter().filter(|(_, first)| first.is_none());
                let waiting: Vec<_> = waiting.map(|(client, _)| (client, INSTANCES[instance_of(*client)].0)).collect();
                bail!("clients {waiting:?} had no answer for {PATIENCE:?}");
            }
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The longest time in this window in which a client of an instance had no answer, and when it began.
    pub(crate) fn gap(&self, instance: usize, from: Instant, to: Instant) -> (Instant, Duration) {
        let (from, to) = (from - self.began, to - self.began);
        let state = self.shared.lock();
        let books = state.books.iter().enumerate().filter(|(client, _)| instance_of(*client) == instance);
        let gaps = books.map(|(_, book)| longest_gap(book, from, to));
        let (began, gap) = gaps.max_by_key(|(_, gap)| *gap).unwrap_or((from, Duration::ZERO));
        (self.began + began, gap)
    }

    /// How many calls were answered.
    pub(crate) fn count(&self) -> u64 {
        self.shared.lock().books.iter().map(|book| book.len() as u64).sum()
    }

    /// Ends all after the calls under way; returns all calls of each instance, and how often strangers were refused.
    pub(crate) fn finish(mut self) -> anyhow::Result<(Vec<Vec<Call>>, u64)> {
        self.shared.phase.send_replace(Phase::Finish);
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.running > 0 {
            check(&state)?;
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} calls had no answer for {PATIENCE:?}", state.running);
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        check(&state)?;
        let (books, refused) = (std::mem::take(&mut state.books), state.refused);
        drop(state);
        self.join();
        ensure!(
            refused.iter().all(|times| *times > 0),
            "strangers were refused {refused:?} times: did they reach a host?"
        );
        Ok((books.chunks(TRADES.len()).map(<[_]>::concat).collect(), refused.iter().sum()))
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic of it has been said already, and counts as a missing answer.
            let _ended = thread.join();
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.shared.phase.send_replace(Phase::Abort);
        self.join();
    }
}

fn check(state: &State) -> anyhow::Result<()> {
    state.failure.as_ref().map_or(Ok(()), |failure| bail!("{failure}"))
}

/// Between answers one after the other, of which the later one came within the window or just behind it.
fn longest_gap(book: &[Call], from: Duration, to: Duration) -> (Duration, Duration) {
    let first = book.partition_point(|call| call.span.answered <= from);
    let mut last = from;
    let mut longest = (from, Duration::ZERO);
    for call in &book[first..] {
        let gap = call.span.answered - last;
        if gap > longest.1 {
            longest = (last, gap);
        }
        last = call.span.answered;
        if last >= to {
            break;
        }
    }
    longest
}

/// What the instances have when nobody calls any more.
pub(crate) fn remains(machines: &Machines, papers: &Papers) -> anyhow::Result<Vec<Remains>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let security = security(papers, Some(papers.of("caller")), None)?;
    machines.on(CLIENTS, || {
        runtime.block_on(async {
            let mut all = Vec::new();
            for instance in 0..INSTANCES.len() {
                let mut client = client(instance, security.clone())?;
                let total = integer(&query(&mut client, "total").await?).context("a total is a number")?;
                let list = numbers(&query(&mut client, "list").await?)?;
                all.push(Remains { total, list });
            }
            Ok(all)
        })
    })
}

pub(super) fn security(
    papers: &Papers,
    own: Option<(PathBuf, PathBuf)>,
    token: Option<PathBuf>,
) -> anyhow::Result<Security> {
    let own = own.map(|(certificate, key)| OwnFiles { certificate, key });
    Ok(Security::Tls(Arc::new(Tls::of(TlsFiles { ca: papers.ca(), own, token })?)))
}

/// Calls all instances in turn with what lets nobody in. A call of it that is done makes the history none.
fn intrude(number: usize, security: Security, shared: &Shared) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut phase = shared.phase.subscribe();
        let arguments = encode_arguments("[1]", true)?;
        for instance in (0..INSTANCES.len()).cycle() {
            if *phase.borrow() != Phase::Run {
                break;
            }
            let mut client = client(instance, security.clone())?;
            let id = fresh_request_id();
            let called = client.send(&id, "add", &arguments, true, STRANGER_PATIENCE);
            match tokio::select! { called = called => called, _changed = phase.changed() => break } {
                Ok(answer) => bail!("{} has answered it: {answer:?}", INSTANCES[instance].0),
                // Others can't be reached now and then, which is no refusal.
                Err(error) => {
                    let said = format!("{error:#}");
                    shared.lock().refused[number] += u64::from(REFUSALS.iter().any(|refusal| said.contains(refusal)));
                }
            }
        }
        Ok(())
    })
}

fn client(instance: usize, security: Security) -> anyhow::Result<Client> {
    client_apart(INSTANCES[instance].0, security)
}

/// A client of the instance of that name that knows where hosts are, and nothing of a store. Must be called within a tokio runtime.
///
/// # Errors
/// If there can be no such instance.
pub fn client_apart(instance: &str, security: Security) -> anyhow::Result<Client> {
    let name = InstanceName::new(instance)?;
    let addresses = HOSTS.iter().map(|machine| at(*machine).parse()).collect::<Result<_, _>>()?;
    Ok(Client::new(name.clone(), Addresses::secured(name, addresses, security)))
}

async fn query(client: &mut Client, method: &str) -> anyhow::Result<Value> {
    let nothing = encode_arguments("[]", true)?;
    let queried = client.query(method, &nothing, Lsn(0), None, PATIENCE).await.with_context(|| method.to_owned())?;
    Ok(decode_value(&queried.value))
}

fn numbers(list: &Value) -> anyhow::Result<Vec<u64>> {
    let list = list.as_array().with_context(|| format!("{list} is no list"))?;
    list.iter().map(|number| integer(number).with_context(|| format!("{number} is no number"))).collect()
}

struct Caller {
    number: usize,
    trade: Trade,
    draw: Draw,
    began: Instant,
    shared: Arc<Shared>,
}

impl Caller {
    fn run(mut self, security: Security) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = client(instance_of(self.number), security)?;
            let (mut phase, mut aborted) = (self.shared.phase.subscribe(), self.shared.phase.subscribe());
            for count in 1.. {
                if *phase.borrow() != Phase::Run {
                    break;
                }
                let called = self.began.elapsed();
                let act = tokio::select! {
                    act = self.call(&mut client, count) => act.with_context(|| format!("call {count}"))?,
                    _aborted = aborted.wait_for(|phase| *phase == Phase::Abort) => return Ok(()),
                };
                let span = Span { called, answered: self.began.elapsed() };
                self.shared.lock().books[self.number].push(Call { span, act });
                self.shared.news.notify_all();
                let pause = self.draw.millis(PAUSE_MILLIS);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _changed = phase.changed() => {}
                }
            }
            Ok(())
        })
    }

    async fn call(&mut self, client: &mut Client, count: u64) -> anyhow::Result<Act> {
        match self.trade {
            Trade::Adder if self.draw.percent(READS_PERCENT) => {
                Ok(Act::Total(integer(&query(client, "total").await?).context("a total is a number")?))
            }
            Trade::Adder => {
                let added = self.draw.number(1..=1000);
                Ok(Act::Add { added, total: change(client, "add", added).await? })
            }
            Trade::Appender if self.draw.number(1..=1000) <= LISTS_PER_THOUSAND => {
                let list = numbers(&query(client, "list").await?)?;
                Ok(Act::List { length: list.len() as u64, sum: sum_of(&list) })
            }
            Trade::Appender => {
                // No two are the same, of all instances.
                let value = count * 100 + self.number as u64;
                Ok(Act::Append { value, length: change(client, "append", value).await? })
            }
        }
    }
}

async fn change(client: &mut Client, method: &str, value: u64) -> anyhow::Result<u64> {
    let id: RequestId = fresh_request_id();
    let arguments = encode_arguments(&json!([value]).to_string(), true)?;
    match client.send(&id, method, &arguments, true, PATIENCE).await? {
        Answered::Value(value) => integer(&decode_value(&value)).context("the answer is a number"),
        Answered::Accepted => bail!("{method} was accepted only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_that_within_the_window_and_just_behind_it() {
        let answered = |times: &[u64]| -> Vec<Call> {
            let call = |ms: &u64| {
                let at = Duration::from_millis(*ms);
                Call { span: Span { called: at, answered: at }, act: Act::Total(0) }
            };
            times.iter().map(call).collect()
        };
        let gap = |times: &[u64], from, to| {
            let (began, gap) = longest_gap(&answered(times), Duration::from_millis(from), Duration::from_millis(to));
            (began.as_millis(), gap.as_millis())
        };
        assert_eq!(gap(&[0, 500, 510, 600], 505, 1000), (510, 90));
        assert_eq!(gap(&[0, 500, 510], 100, 200), (100, 400), "what ends it counts");
        assert_eq!(gap(&[0, 10, 500, 510], 0, 505), (10, 490));
        assert_eq!(gap(&[0, 10], 20, 500), (20, 0), "nothing has ended it");
    }
}
