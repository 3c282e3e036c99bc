//! The engine: how long a request may take, and what becomes of it.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use ambrosia_shared_log::{
    ANSWER_TIME, Answer, Answered, Answering, Depot, DepotError, Engine, EngineFacts, Fault, Lane, Request, Session,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::{
    channel::Method,
    error::{EtcdError, Failed},
    files::Files,
    groups::{self, GROUP_BYTES_MAX},
    heads, keys,
    layout::{FORMAT, Layout},
    line::{check_version, connect, found_store, look},
    lives,
    messages::{Compare, Found, Range, Step, Txn, linearizable, voters},
    office::{Office, Way},
    place::{EtcdPlace, Member},
    removal, upkeep,
};

/// Requests with groups that are on their way at a time; they go over one connection.
const LANES: u8 = 4;

/// A cluster that elects somebody lets nobody in for a moment, which whoever opens a store waits for.
const ELECTION_TIME: Duration = Duration::from_secs(3);

/// Between two tries of all members.
const PAUSE: Duration = Duration::from_millis(50);

/// Whoever opens a store hears within that time that nobody answers.
const OPENING_TIME: Duration = Duration::from_secs(10);

/// Threads of the connections.
const THREADS: usize = 2;

/// Logs under a prefix of an etcd cluster.
pub struct EtcdEngine {
    office: Arc<Office>,
    depot: Arc<dyn Depot>,
    store: Uuid,
    caution: Option<String>,
    threads: Threads,
}

impl EtcdEngine {
    /// Makes a store under the prefix, where there is none, and its directory for blobs. Blocks.
    ///
    /// # Errors
    /// If etcd can't be reached, or does not let its user do that; or if the directory can't be made.
    pub fn create(place: &EtcdPlace) -> Result<(), EtcdError> {
        let there = place.clone();
        let store = Threads::begin()?.wait_for(place, of_any(there, 0, make))?;
        Ok(place.blobs.depot(store)?.make()?)
    }

    /// Connects. Blocks.
    ///
    /// # Errors
    /// If etcd can't be reached, has no store of this version, or the directory for blobs is not that of the store.
    pub fn open(place: EtcdPlace) -> Result<EtcdEngine, EtcdError> {
        let threads = Threads::begin()?;
        // Hosts begin with different members.
        let first = usize::from(Uuid::new_v4().as_bytes()[0]);
        let there = place.clone();
        let (store, caution) = threads.wait_for(&place, of_any(there, first, first_look))?;
        let depot = place.blobs.depot(store)?;
        match depot.check() {
            // It has said so itself. What is not in it, or in the cache, can be had all the same.
            Err(DepotError::Away { .. }) => {}
            checked => checked?,
        }
        let office = Arc::new(Office::new(place.clone(), Files(Arc::clone(&depot)), first));
        let begun = Arc::clone(&office);
        let begin = async move {
            let until = Instant::now() + ELECTION_TIME;
            let read = begun.range(Way::Quick, &Range::of(begun.layout.store()), until).await;
            let unreachable = |reason: String| EtcdError::Unreachable { place: begun.place.to_string(), reason };
            read.map_err(|fault| unreachable(fault.to_string()))?;
            match begun.known() {
                Some(known) if known.store == store => {}
                _ => return Err(unreachable("its members have different stores".to_owned())),
            }
            upkeep::look(&begun).await;
            Ok(())
        };
        threads.wait_for(&place, begin)?;
        threads.runtime().spawn(upkeep::keep_up(Arc::clone(&office)));
        Ok(EtcdEngine { office, depot, store, caution, threads })
    }

    /// Names the store, whichever way it is reached.
    pub fn store(&self) -> Uuid {
        self.store
    }

    /// Where large contents of the store lie.
    pub fn depot(&self) -> Arc<dyn Depot> {
        Arc::clone(&self.depot)
    }
}

/// Asks one member after the other until one answers, or says that it can't be used.
async fn of_any<T, Asking: Future<Output = Result<T, EtcdError>>>(
    place: EtcdPlace,
    first: usize,
    ask: fn(EtcdPlace, Member) -> Asking,
) -> Result<T, EtcdError> {
    let until = Instant::now() + ELECTION_TIME;
    loop {
        let mut worst: Option<EtcdError> = None;
        for at in 0..place.members.len() {
            match ask(place.clone(), place.members[(first + at) % place.members.len()].clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error @ EtcdError::Unreachable { .. }) => worst = worst.or(Some(error)),
                // What is wrong with one that answers says more than that another one does not.
                Err(error) => worst = Some(error),
            }
        }
        match worst.expect("a place has members") {
            EtcdError::Unreachable { .. } if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            error => return Err(error),
        }
    }
}

/// Makes what names a store, unless it is there. What names it.
async fn make(place: EtcdPlace, member: Member) -> Result<Uuid, EtcdError> {
    let channel = connect(&place, &member).await?;
    check_version(&channel, &member).await?;
    let layout = Layout::new(&place.prefix);
    let store = Uuid::new_v4().to_string();
    let txn = Txn {
        compare: vec![Compare::Made(layout.format(), 0)],
        success: vec![Step::Put(layout.format(), FORMAT.into()), Step::Put(layout.store(), store.into())],
        failure: Vec::new(),
    };
    look(&channel, &member, Method::Txn, txn.encode()).await?;
    let answer = look(&channel, &member, Method::Range, Range::of(layout.store()).encode()).await?;
    let unusable = |reason: String| EtcdError::Unusable { place: member.to_string(), reason };
    let found = Found::decode(answer).map_err(|malformed| unusable(malformed.to_string()))?;
    let store = found.one().and_then(|entry| Uuid::parse_str(&String::from_utf8_lossy(&entry.value)).ok());
    store.ok_or_else(|| unusable(format!("what is under {} does not name its store", place.prefix)))
}

/// Which store there is, and what whoever begins to use it should know.
async fn first_look(place: EtcdPlace, member: Member) -> Result<(Uuid, Option<String>), EtcdError> {
    let channel = connect(&place, &member).await?;
    check_version(&channel, &member).await?;
    let known = found_store(&place, &channel, &member).await?;
    let members = look(&channel, &member, Method::Members, linearizable()).await?;
    let caution = (voters(members).unwrap_or_default() == 1).then(|| {
        format!("the etcd at {place} has one member: what it has confirmed is lost if its disk is; use three, on three machines")
    });
    Ok((known.store, caution))
}

/// The threads of the connections.
struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    fn begin() -> Result<Threads, EtcdError> {
        let building = Builder::new_multi_thread().worker_threads(THREADS).thread_name("etcd").enable_all().build();
        Ok(Threads { runtime: Some(building.map_err(EtcdError::Threads)?) })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it goes when this does")
    }

    /// Waits as any thread may, also one of a runtime, for what is asked of etcd there.
    fn wait_for<T: Send + 'static>(
        &self,
        place: &EtcdPlace,
        what: impl Future<Output = Result<T, EtcdError>> + Send + 'static,
    ) -> Result<T, EtcdError> {
        let (sender, receiver) = mpsc::channel();
        // Somebody waits for it.
        self.runtime().spawn(async move { drop(sender.send(timeout(OPENING_TIME, what).await)) });
        let ended = || Err(EtcdError::Threads(std::io::Error::other("they have ended")));
        let late = |_| EtcdError::Unreachable {
            place: place.to_string(),
            reason: format!("it has not answered within {OPENING_TIME:?}"),
        };
        receiver.recv().map_or_else(|_| ended(), |answer| answer.unwrap_or_else(|elapsed| Err(late(elapsed))))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped by a thread of a runtime, where nobody may wait. What is under way is answered by its dropped question.
            runtime.shutdown_background();
        }
    }
}

impl Engine for EtcdEngine {
    fn ask(&self, _: Lane, request: Request, answer: Answering) {
        let office = Arc::clone(&self.office);
        self.threads.runtime().spawn(async move { answer(perform(&office, request).await) });
    }

    fn facts(&self) -> EngineFacts {
        EngineFacts {
            group_bytes_max: GROUP_BYTES_MAX,
            lanes: LANES,
            place: format!("etcd at {}", self.office.place),
            caution: self.caution.clone(),
        }
    }
}

async fn perform(office: &Arc<Office>, request: Request) -> Answer {
    let until = Instant::now() + ANSWER_TIME;
    let is_reading = matches!(
        request,
        Request::Heads { .. } | Request::Read { .. } | Request::Barrier { .. } | Request::Logs | Request::Lives { .. }
    );
    // A little later than what is asked gives up, so that it says itself what is known of it. A directory for blobs may hang for ever.
    let late = until + Duration::from_millis(200);
    match tokio::time::timeout_at(late, carry_out(office, request, until)).await {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(Failed(fault))) => Err(fault),
        Err(_) => {
            let words = format!("it has not come to an end within {ANSWER_TIME:?}");
            Err(if is_reading { Fault::Unavailable(words) } else { Fault::Unknown(words) })
        }
    }
}

async fn carry_out(office: &Arc<Office>, request: Request, until: Instant) -> Result<Answered, Failed> {
    match request {
        Request::Append { groups } => Ok(groups::append(office, groups, until).await),
        Request::Heads { logs } => heads::heads(office, &logs, until).await,
        Request::Raise { wanted } => heads::raise(office, &wanted, until).await,
        Request::Barrier { session } => barrier(office, session, until).await,
        Request::Read { wanted, bytes } => groups::read(office, &wanted, bytes, until).await,
        Request::Release { log, epoch, claim } => heads::release(office, log, epoch, claim, until).await,
        Request::Tell { news } => heads::tell(office, &news, until).await,
        Request::Create { genesis } => heads::create(office, &genesis, until).await,
        Request::Remove { log } => removal::remove(office, log, until).await,
        Request::Logs => heads::logs(office, until).await,
        Request::Lives { of } => lives::perform(office, None, &of, until).await,
        Request::Keys(request) => keys::perform(office, request, until).await,
        Request::Beat { host, beats, of } => lives::perform(office, Some((host, beats)), &of, until).await,
        Request::Trim { log, before } => removal::trim(office, log, before, until).await,
    }
}

async fn barrier(office: &Office, session: Session, until: Instant) -> Result<Answered, Failed> {
    office.bar(session, until).await?;
    Ok(Answered::Barred)
}
