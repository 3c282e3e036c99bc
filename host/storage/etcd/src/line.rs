//! One connection after the other, for requests that need not wait for those of other lines. Each next one is with the next member.
//!
//! The next one is made by nobody who asks for it: whoever waits for it has only the time of a request, of which some may be used up, and a password
//! alone may take a busy member as long. Made by them, it would be begun anew with each, and none would ever be done.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ambrosia_shared_log::ANSWER_TIME;
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    task::JoinError,
    time::{Instant, sleep, timeout, timeout_at},
};
use uuid::Uuid;

use crate::{
    channel::{CallFault, Channel, Method, said},
    error::EtcdError,
    layout::{FORMAT, Layout},
    messages::{Found, Range, Status, credentials, token},
    place::{EtcdPlace, Member},
    tls,
};

/// A member that lets nobody in for so long is passed over.
const CONNECT_TIME: Duration = Duration::from_millis(600);

/// What only reads is asked of another member after that time, once.
const READ_TIME: Duration = Duration::from_millis(900);

/// A small change is not waited for any longer: the member that leads has died with it, and what has become of it is to be read from the next
/// one, which is elected in about that time.
const CHANGE_TIME: Duration = Duration::from_millis(1000);

/// What is small.
const SMALL_BYTES: usize = 256 << 10;

/// Between two tries of all members.
const PAUSE: Duration = Duration::from_millis(20);

/// The oldest version that keeps what it has confirmed: those before could confirm what a sole member has not on its disk, and the first ones of 3.5 could
/// mix up what a member has.
const VERSION_MIN: [u32; 3] = [3, 5, 5];

/// Numbers of conversations of this process.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Whether a call may be made twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It changes nothing, or the same once more.
    Repeatable,
    /// It is not asked again before it is known what has become of it.
    Once,
}

/// What is known of the store from the first connection on, and has to be so of each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Names the store.
    pub(crate) store: Uuid,
    /// Names the cluster: another one has another history, though it may have begun with a copy of the same.
    pub(crate) cluster: u64,
}

/// Requests go over one connection, which is made anew when it is lost.
pub(crate) struct Line {
    there: Arc<Mutex<There>>,
    /// The member to be tried next.
    next: Arc<AtomicUsize>,
}

#[derive(Default)]
struct There {
    conversation: Option<Arc<Conversation>>,
    /// The next one, while it is being made.
    beginning: Option<Beginning>,
}

/// Whoever waits for a connection that a task makes.
type Beginning = Shared<BoxFuture<'static, Begun>>;

/// What has come of a connection that was begun; if there is none, why.
type Begun = Result<Arc<Conversation>, String>;

/// A connection with a member that has the store.
pub(crate) struct Conversation {
    number: u64,
    channel: Channel,
}

impl Line {
    pub(crate) fn from_member(first: usize) -> Line {
        Line { there: Arc::default(), next: Arc::new(AtomicUsize::new(first)) }
    }

    /// Asks whichever member answers, for no longer than that.
    pub(crate) async fn ask(
        &self,
        place: &EtcdPlace,
        known: &Arc<OnceLock<Known>>,
        method: Method,
        message: Bytes,
        effect: Effect,
        until: Instant,
    ) -> Result<Bytes, CallFault> {
        let mut fault = CallFault::Unsent(format!("no etcd at {place} has answered within {ANSWER_TIME:?}"));
        let mut is_first = true;
        while Instant::now() < until {
            let conversation = match timeout_at(until, self.conversation(place, known)).await {
                Ok(Ok(conversation)) => conversation,
                Ok(Err(reason)) => {
                    fault = CallFault::Unsent(reason);
                    sleep(PAUSE).await;
                    continue;
                }
                Err(_) => break,
            };
            let patience = match effect {
                Effect::Repeatable if is_first => Instant::now() + READ_TIME,
                Effect::Once if message.len() < SMALL_BYTES => Instant::now() + CHANGE_TIME,
                _ => until,
            };
            let patience = patience.min(until);
            is_first = false;
            let time = patience.saturating_duration_since(Instant::now());
            let answer = timeout_at(patience, conversation.channel.call(method, &message, time)).await;
            let answer = answer.unwrap_or_else(|_| {
                Err(CallFault::Lost(format!("the etcd at {place} has not answered within {time:?}")))
            });
            match answer {
                Err(CallFault::Unsent(words)) => fault = CallFault::Unsent(words),
                Err(CallFault::Lost(words)) => {
                    if effect == Effect::Once {
                        self.give_up(conversation.number);
                        return Err(CallFault::Lost(words));
                    }
                    fault = CallFault::Unsent(words);
                }
                settled => return settled,
            }
            self.give_up(conversation.number);
            sleep(PAUSE).await;
        }
        Err(fault)
    }

    /// The conversation that there is, or a new one. Whoever asks meanwhile waits for the same; and if nobody waits any more, it is there for the next.
    async fn conversation(&self, place: &EtcdPlace, known: &Arc<OnceLock<Known>>) -> Begun {
        let beginning = {
            let mut there = lock(&self.there);
            if let Some(conversation) = there.conversation.as_ref().filter(|there| !there.channel.is_over()) {
                return Ok(Arc::clone(conversation));
            }
            // One that is over and still there has panicked.
            let beginning = there.beginning.clone().filter(|beginning| beginning.peek().is_none());
            beginning.unwrap_or_else(|| self.make(&mut there, place, known))
        };
        beginning.await
    }

    /// Has a conversation be made.
    fn make(&self, there: &mut There, place: &EtcdPlace, known: &Arc<OnceLock<Known>>) -> Beginning {
        let (line, next) = (Arc::clone(&self.there), Arc::clone(&self.next));
        let (place, known) = (place.clone(), Arc::clone(known));
        let making = tokio::spawn(async move {
            let begun = begin_with_any(&place, &next, &known).await.map(Arc::new).map_err(|error| error.to_string());
            *lock(&line) = There { conversation: begun.as_ref().ok().map(Arc::clone), beginning: None };
            begun
        });
        let beginning = making.map(|made| made.unwrap_or_else(|ended| Err(not_made(&ended)))).boxed().shared();
        *there = There { conversation: None, beginning: Some(beginning.clone()) };
        beginning
    }

    /// Nothing more is asked over that one.
    fn give_up(&self, number: u64) {
        let mut there = lock(&self.there);
        if there.conversation.as_ref().is_some_and(|there| there.number == number) {
            there.conversation = None;
        }
    }
}

/// Nothing panics while it holds this, so what is in it is whole.
fn lock(there: &Mutex<There>) -> MutexGuard<'_, There> {
    there.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_made(ended: &JoinError) -> String {
    format!("the connection with etcd was not made: {ended}")
}

/// A conversation with the next member that can be used.
async fn begin_with_any(
    place: &EtcdPlace,
    next: &AtomicUsize,
    known: &OnceLock<Known>,
) -> Result<Conversation, EtcdError> {
    let mut worst = None;
    for _ in &place.members {
        let member = &place.members[next.fetch_add(1, Ordering::Relaxed) % place.members.len()];
        match Conversation::begin(place, member, known).await {
            Ok(begun) => return Ok(begun),
            // What is wrong with one that answers says more than that another one does not.
            Err(error) => match worst {
                Some(EtcdError::NoStore { .. } | EtcdError::Unusable { .. }) => {}
                _ => worst = Some(error),
            },
        }
    }
    Err(worst.expect("a place has members"))
}

/// Connects with a member and shows who asks, without a look at what is there.
pub(crate) async fn connect(place: &EtcdPlace, member: &Member) -> Result<Channel, EtcdError> {
    let unreachable = |reason: String| EtcdError::Unreachable { place: member.to_string(), reason };
    let late = |_| unreachable(format!("it has not let anybody in within {CONNECT_TIME:?}"));
    let connecting = async {
        let (wire, scheme) = tls::connect(place, member).await.map_err(unreachable)?;
        let begun = Channel::begin(wire, member.to_string(), scheme).await;
        begun.map_err(|fault| unreachable(fault.to_string()))
    };
    let mut channel = timeout(CONNECT_TIME, connecting).await.map_err(late)??;
    if let Some((user, password)) = &place.user {
        let shown = channel.call(Method::Authenticate, &credentials(user, password), ANSWER_TIME).await;
        let shown = shown.and_then(|answer| Ok(token(answer)?)).and_then(|token| channel.show(&token));
        let unusable = |fault: CallFault| EtcdError::Unusable { place: member.to_string(), reason: fault.to_string() };
        shown.map_err(unusable)?;
    }
    Ok(channel)
}

/// Asks something that every member answers.
pub(crate) async fn look(
    channel: &Channel,
    member: &Member,
    method: Method,
    message: Bytes,
) -> Result<Bytes, EtcdError> {
    let place = || member.to_string();
    match timeout(READ_TIME, channel.call(method, &message, READ_TIME)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(CallFault::Refused(reason))) => Err(EtcdError::Unusable { place: place(), reason }),
        Ok(Err(fault)) => Err(EtcdError::Unreachable { place: place(), reason: fault.to_string() }),
        Err(_) => {
            let reason = format!("it has not answered within {READ_TIME:?}: has it lost the others?");
            Err(EtcdError::Unreachable { place: place(), reason })
        }
    }
}

/// Sees that a member has a version that keeps what it confirms.
pub(crate) async fn check_version(channel: &Channel, member: &Member) -> Result<Status, EtcdError> {
    let unusable = |reason: String| EtcdError::Unusable { place: member.to_string(), reason };
    let status = Status::decode(look(channel, member, Method::Status, Bytes::new()).await?);
    let status = status.map_err(|malformed| unusable(malformed.to_string()))?;
    if is_too_old(&status.version) {
        return Err(unusable(format!("it is version {}: use etcd 3.5.5 or newer", status.version)));
    }
    Ok(status)
}

fn is_too_old(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = core.split('.').map(|number| number.parse().ok()).collect();
    numbers.is_none_or(|numbers| numbers[..] < VERSION_MIN[..])
}

impl Conversation {
    async fn begin(place: &EtcdPlace, member: &Member, known: &OnceLock<Known>) -> Result<Conversation, EtcdError> {
        let channel = connect(place, member).await?;
        check_version(&channel, member).await?;
        let found = found_store(place, &channel, member).await?;
        let expected = known.get_or_init(|| found.clone());
        if *expected != found {
            let reason = "it is another cluster, or has another store, than what this process has begun with: if it was restored from a snapshot, \
                 start the hosts anew, and else name members of one cluster only in the URL";
            return Err(EtcdError::Unusable { place: member.to_string(), reason: reason.to_owned() });
        }
        Ok(Conversation { number: LAST.fetch_add(1, Ordering::Relaxed), channel })
    }
}

/// Which store a member has.
pub(crate) async fn found_store(place: &EtcdPlace, channel: &Channel, member: &Member) -> Result<Known, EtcdError> {
    let unusable = |reason: String| EtcdError::Unusable { place: member.to_string(), reason };
    let layout = Layout::new(&place.prefix);
    let answer = look(channel, member, Method::Range, Range::under(&layout.meta()).encode()).await?;
    let found = Found::decode(answer).map_err(|malformed| unusable(said(&malformed)))?;
    let value = |key: Vec<u8>| {
        let entry = found.entries.iter().find(|entry| entry.key == key);
        entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    };
    let prefix = &place.prefix;
    let Some(format) = value(layout.format()) else {
        return Err(EtcdError::NoStore { place: member.to_string(), prefix: prefix.clone() });
    };
    if format != FORMAT {
        return Err(unusable(format!(
            "what is under {prefix} has format {format}, and this program reads {FORMAT}: use the version of ambrosia-host that made it"
        )));
    }
    let store = value(layout.store()).and_then(|store| Uuid::parse_str(&store).ok());
    let store = store.ok_or_else(|| unusable(format!("what is under {prefix} does not name its store")))?;
    Ok(Known { store, cluster: found.header.cluster })
}

#[cfg(test)]
mod tests {
    use ambrosia_test_database::Etcd;
    use tokio::{
        io::copy_bidirectional,
        net::{TcpListener, TcpStream},
        runtime::Runtime,
        sync::Semaphore,
    };

    use super::*;
    use crate::EtcdEngine;

    /// Stands between a line and a member: counts connections, and lets nothing pass before it is opened.
    struct Gate {
        address: String,
        connections: Arc<AtomicUsize>,
        open: Arc<Semaphore>,
    }

    impl Gate {
        async fn before(member: String) -> Gate {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
            let address = listener.local_addr().expect("it has an address").to_string();
            let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
            let gate = Gate { address, connections: Arc::clone(&connections), open: Arc::clone(&open) };
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (open, member) = (Arc::clone(&open), member.clone());
                    tokio::spawn(async move {
                        let _passes = open.acquire().await.expect("it is never closed");
                        let mut server = TcpStream::connect(member).await.expect("it is there");
                        // Whoever ends it has had what was wanted.
                        let _ended = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            });
            gate
        }
    }

    #[test]
    fn a_connection_that_nobody_has_waited_for_long_enough_is_there_for_the_next() {
        let Some(etcd) = Etcd::begin(1, &[]) else { return };
        let url = |address: &str| format!("etcd://{address}/shop?blobs=file:{}", etcd.blobs().display());
        EtcdEngine::create(&EtcdPlace::read(&url(&etcd.address(0))).expect("it is a URL")).expect("it can be made");
        Runtime::new().expect("there are threads").block_on(async {
            let gate = Gate::before(etcd.address(0)).await;
            let place = EtcdPlace::read(&url(&gate.address)).expect("it is a URL");
            let (line, known) = (Line::from_member(0), Arc::default());
            let ask = async |time| {
                let message = Range::of(Layout::new(&place.prefix).store()).encode();
                line.ask(&place, &known, Method::Range, message, Effect::Repeatable, Instant::now() + time).await
            };
            let asked = ask(Duration::from_millis(20)).await;
            assert!(matches!(asked, Err(CallFault::Unsent(_))), "{asked:?}");
            gate.open.add_permits(100);
            ask(ANSWER_TIME * 10).await.expect("it is reached");
            assert_eq!(gate.connections.load(Ordering::SeqCst), 1, "what was begun was of use");
        });
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for old in ["3.4.40", "3.5.4", "2.3.8", "3.5", "", "3.x.9"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["3.5.5", "3.5.16", "3.10.0", "3.6.0-rc.1", "4.0.0"] {
            assert!(!is_too_old(new), "{new}");
        }
    }
}
