//! Finds the primary by asking hosts at known addresses: each knows who it is, if it does not host it itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambrosia_core::{Epoch, HostAddress, HostAddressError, InstanceName};
use ambrosia_wire::{CLIENT_VERSION, ConnectionError, Security};
use tokio::{
    net::lookup_host,
    sync::{Notify, watch},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{
    ClientError,
    greeting::{ANSWER_WAIT_MAX, Greeting, Opened, ask_host, next_primary},
    whereabouts::{Primary, Whereabouts},
};

/// The hosts are not asked more often than this.
const ASK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// A host that is to tell of the next primary is asked no more often than this.
const FOLLOWED_ASK_INTERVAL: Duration = Duration::from_secs(3);

/// A host that has not told of it, such as one of an earlier version, is not to do so again for that long.
const FOLLOW_PAUSE: Duration = Duration::from_secs(10);

/// A host that is well ends that sooner by itself.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(60);

/// Hosts that are asked who is primary of an instance. They are asked when it is not known, or does not answer, and not
/// otherwise. Those that know of none but the one that does not answer tell of the next one once there is one.
pub struct Addresses {
    primaries: watch::Receiver<Option<Primary>>,
    look: Arc<Notify>,
    heard: Arc<Heard>,
    kept: Arc<Kept>,
    asking: JoinHandle<()>,
    security: Security,
}

/// The connection on which the host of the primary has told of it.
#[derive(Default)]
struct Kept(Mutex<Option<(Primary, Opened)>>);

/// What the hosts that know no primary said when they were asked last, of each of them.
#[derive(Default)]
struct Heard(Mutex<BTreeMap<HostAddress, Answer>>);

/// What one host says.
#[derive(Clone)]
enum Answer {
    /// Where the primary is.
    Primary(Primary),
    /// It knows of none.
    None,
    /// Nobody ever answers for the instance.
    Ended(String),
    /// It was not to be asked, or refuses.
    No(String),
}

impl Addresses {
    /// Asks the hosts at `addresses` for the primary of `name`. Must be called within a tokio runtime.
    pub fn new(name: InstanceName, addresses: Vec<HostAddress>) -> Addresses {
        Addresses::secured(name, addresses, Security::Plain)
    }

    /// The same, where hosts are connected to like this.
    pub fn secured(name: InstanceName, addresses: Vec<HostAddress>, security: Security) -> Addresses {
        let (look, heard, kept) = (Arc::new(Notify::new()), Arc::<Heard>::default(), Arc::<Kept>::default());
        let (news, primaries) = watch::channel(None);
        let telling = Telling { news, kept: Arc::clone(&kept) };
        let keep_asking =
            keep_asking(name, addresses, Arc::clone(&look), Arc::clone(&heard), telling, security.clone());
        Addresses { primaries, look, heard, kept, asking: tokio::spawn(keep_asking), security }
    }

    /// The addresses that hosts are called by, each as `HOST:PORT`. Where they have TLS a name stays one, since it stands in the
    /// certificate; without, each of the IP addresses that it has is asked.
    ///
    /// # Errors
    /// [`ClientError::Whereabouts`] if one of them is none, or the name is not known.
    pub async fn resolve(hosts: &[String], security: &Security) -> Result<Vec<HostAddress>, ClientError> {
        let mut addresses = Vec::new();
        for host in hosts {
            let failed = |error: &dyn std::fmt::Display| {
                ClientError::Whereabouts(format!("the address {host:?} is not found: {error}").into())
            };
            if security.is_tls() {
                addresses.push(host.parse().map_err(|error: HostAddressError| failed(&error))?);
            } else {
                let found = lookup_host(host).await.map_err(|error| failed(&error))?;
                addresses.extend(found.map(HostAddress::from));
            }
        }
        Ok(addresses)
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Whereabouts for Addresses {
    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.primaries.clone()
    }

    fn security(&self) -> Security {
        self.security.clone()
    }

    fn look_again(&self) {
        self.look.notify_one();
    }

    fn opened(&self, primary: &Primary) -> Option<Opened> {
        let kept = self.kept.lock().take();
        kept.filter(|(of, opened)| of == primary && opened.is_fresh()).map(|(_, opened)| opened)
    }

    fn why_unknown(&self) -> Option<String> {
        let heard = self.heard.lock();
        let reasons = heard.iter().filter_map(|(address, answer)| match answer {
            Answer::Primary(_) | Answer::None => None,
            Answer::Ended(reason) | Answer::No(reason) => Some(format!("the host at {address}: {reason}")),
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// A host says of its own store only that nobody answers any more, and another may have another store, so all of them have
    /// to agree.
    fn check_alive(&self) -> Result<(), ClientError> {
        let heard = self.heard.lock();
        let mut reasons = heard.values().map(|answer| match answer {
            Answer::Ended(reason) => Some(reason),
            Answer::Primary(_) | Answer::None | Answer::No(_) => None,
        });
        match reasons.next() {
            Some(Some(reason)) if reasons.all(|other| other.is_some()) => Err(ClientError::Ended(reason.clone())),
            _ => Ok(()),
        }
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Option<(Primary, Opened)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells who is primary.
struct Telling {
    news: watch::Sender<Option<Primary>>,
    kept: Arc<Kept>,
}

impl Telling {
    /// The epoch of the newest that was told.
    fn epoch(&self) -> Option<Epoch> {
        self.news.borrow().as_ref().map(|known| known.epoch)
    }

    /// Tells of one, if that is news: who is behind may still name the one before. Whoever goes there may go on with the connection on which
    /// its host has said so.
    fn tell(&self, primary: &Primary, opened: Option<Opened>) -> bool {
        let is_news = self.epoch().is_none_or(|known| known < primary.epoch);
        if is_news {
            // Before anybody looks for it.
            *self.kept.lock() = opened.map(|opened| (primary.clone(), opened));
            self.news.send_replace(Some(primary.clone()));
        }
        is_news
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostAddress, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_asking(
    name: InstanceName,
    addresses: Vec<HostAddress>,
    look: Arc<Notify>,
    heard: Arc<Heard>,
    telling: Telling,
    security: Security,
) {
    let addresses: BTreeSet<HostAddress> = addresses.into_iter().collect();
    let (mut asked, mut under_way) = (JoinSet::new(), BTreeSet::new());
    let mut follows = Follows::new(name.clone(), security.clone());
    // Those that have not told of the next primary when they were to: when they are asked for it again.
    let mut followed_again: BTreeMap<HostAddress, Instant> = BTreeMap::new();
    let mut answers: BTreeMap<HostAddress, Answer> = BTreeMap::new();
    loop {
        // All at once; a host that is gone never answers, and the others are asked again meanwhile.
        for address in &addresses {
            if under_way.contains(address) || follows.is_new(address) {
                continue;
            }
            // Whoever looks again waits for a later one, of which a host tells at once if it knows it. Another connection to ask
            // it first would cost more than all else that is done where very many have lost their primary.
            if let Some(behind) = telling.epoch().filter(|_| may_tell(&followed_again, address)) {
                follows.begin(address, behind);
                continue;
            }
            let (name, address, security) = (name.clone(), address.clone(), security.clone());
            under_way.insert(address.clone());
            asked.spawn(async move {
                let silent = || Answer::No(format!("it does not answer within {ANSWER_WAIT_MAX:?}"));
                let answer = timeout(ANSWER_WAIT_MAX, ask(&name, &address, &security)).await;
                let (answer, opened) = answer.unwrap_or_else(|_| (silent(), None));
                (address, answer, opened)
            });
        }
        let again = async {
            sleep(ASK_INTERVAL_MIN).await;
            look.notified().await;
        };
        let mut again = pin!(again);
        loop {
            tokio::select! {
                biased;
                Some(Ok((address, answer, opened))) = asked.join_next() => {
                    under_way.remove(&address);
                    let is_news = matches!(&answer, Answer::Primary(primary) if telling.tell(primary, opened));
                    if is_news {
                        answers.clear();
                        heard.lock().clear();
                    }
                    // Whoever looks again waits for another one: the host tells of it once it knows.
                    let knows_no_later = !is_news && matches!(answer, Answer::Primary(_) | Answer::None);
                    if knows_no_later && may_tell(&followed_again, &address) {
                        follows.begin(&address, telling.epoch().unwrap_or(Epoch(0)));
                    }
                    answers.insert(address, answer);
                    if answers.len() == addresses.len() {
                        heard.lock().clone_from(&answers);
                    }
                }
                Some(Ok((address, number, next))) = follows.tasks.join_next() => {
                    if follows.end(&address, number) && next.is_none() {
                        // It may say why if it is asked.
                        followed_again.insert(address.clone(), Instant::now() + FOLLOW_PAUSE);
                        look.notify_one();
                    }
                    if next.is_some_and(|next| telling.tell(&next.primary, next.opened)) {
                        answers.clear();
                        heard.lock().clear();
                    }
                }
                () = &mut again => break,
            }
        }
    }
}

/// Whether that host may be asked to tell of the next primary.
fn may_tell(followed_again: &BTreeMap<HostAddress, Instant>, address: &HostAddress) -> bool {
    followed_again.get(address).is_none_or(|at| *at <= Instant::now())
}

/// Hosts that are to tell of the next primary.
struct Follows {
    name: InstanceName,
    security: Security,
    tasks: JoinSet<(HostAddress, u64, Option<Next>)>,
    ever: u64,
    of: BTreeMap<HostAddress, Follow>,
}

/// The next primary, and the connection if it is there that was told of it.
struct Next {
    primary: Primary,
    opened: Option<Opened>,
}

struct Follow {
    number: u64,
    began: Instant,
    task: AbortHandle,
}

impl Follows {
    fn new(name: InstanceName, security: Security) -> Follows {
        Follows { name, security, tasks: JoinSet::new(), ever: 0, of: BTreeMap::new() }
    }

    /// Whether that host was asked for it a moment ago.
    fn is_new(&self, address: &HostAddress) -> bool {
        self.of.get(address).is_some_and(|follow| follow.began.elapsed() < FOLLOWED_ASK_INTERVAL)
    }

    /// Has it tell of the one behind that epoch. A connection of before, on which it was to tell, may have ended without a word, as when its
    /// machine had no power.
    fn begin(&mut self, address: &HostAddress, behind: Epoch) {
        self.ever += 1;
        let (number, name, security) = (self.ever, self.name.clone(), self.security.clone());
        let there = address.clone();
        let task = self.tasks.spawn(async move {
            let next = timeout(FOLLOW_TIME_MAX, follow(&name, &there, behind, &security)).await;
            (there, number, next.ok().flatten())
        });
        if let Some(before) = self.of.insert(address.clone(), Follow { number, began: Instant::now(), task }) {
            before.task.abort();
        }
    }

    /// It has ended; false if another one has begun in its place.
    fn end(&mut self, address: &HostAddress, number: u64) -> bool {
        let is_it = self.of.get(address).is_some_and(|follow| follow.number == number);
        is_it && self.of.remove(address).is_some()
    }
}

/// The primary behind that epoch of which the host tells; `None` if it tells of none.
async fn follow(name: &InstanceName, address: &HostAddress, behind: Epoch, security: &Security) -> Option<Next> {
    match next_primary(name, address, behind, security).await {
        Ok((Greeting::Elsewhere(next), opened)) => {
            next.map(|primary| Next { opened: (primary.address == *address).then_some(opened), primary })
        }
        Ok((Greeting::Welcome(_) | Greeting::Ended(_), _)) => None,
        Err(error) => {
            // Also one of before, which does not know the question.
            tracing::debug!(%address, "a host does not say who the next primary is: {error}");
            None
        }
    }
}

/// What that host says of the primary, and the connection if that is there.
async fn ask(name: &InstanceName, address: &HostAddress, security: &Security) -> (Answer, Option<Opened>) {
    let answer = match ask_host(name, address, CLIENT_VERSION, security).await {
        Ok((Greeting::Welcome(epoch), opened)) => {
            return (Answer::Primary(Primary { epoch, address: address.clone() }), Some(opened));
        }
        Ok((Greeting::Elsewhere(Some(primary)), _)) => Answer::Primary(primary),
        Ok((Greeting::Elsewhere(None), _)) => Answer::None,
        Ok((Greeting::Ended(reason), _)) => Answer::Ended(reason),
        Err(ConnectionError::Refused(reason)) => Answer::No(reason),
        Err(error) => Answer::No(error.to_string()),
    };
    if let Answer::No(reason) = &answer {
        tracing::debug!(%address, "a host does not say who is primary: {reason}");
    }
    (answer, None)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ambrosia_wire::{Connection, Control, Frame};
    use tokio::net::TcpListener;

    use super::*;
    use crate::greeting::greet_primary;

    fn known(answers: &[(u16, Answer)]) -> Addresses {
        let heard = Heard::default();
        heard.lock().extend(
            answers.iter().map(|(port, answer)| (SocketAddr::from(([127, 0, 0, 1], *port)).into(), answer.clone())),
        );
        let (_, primaries) = watch::channel(None);
        Addresses {
            primaries,
            look: Arc::default(),
            heard: Arc::new(heard),
            kept: Arc::default(),
            asking: tokio::spawn(async {}),
            security: Security::Plain,
        }
    }

    #[tokio::test]
    async fn an_instance_has_ended_if_all_hosts_say_so() {
        let (ended, no) = (Answer::Ended("it is over".to_owned()), Answer::No("who?".to_owned()));
        let is_over = |answers: &[(u16, Answer)]| known(answers).check_alive().is_err();
        assert!(is_over(&[(1, ended.clone())]) && is_over(&[(1, ended.clone()), (2, ended.clone())]));
        for others in [&[(2, no.clone())][..], &[(2, Answer::None)], &[]] {
            let all = [others, &[(1, ended.clone())]].concat();
            assert_eq!(is_over(&all), others.is_empty());
        }
        assert!(!is_over(&[]));
        let reason = known(&[(1, ended), (2, no), (3, Answer::None)]).why_unknown().expect("two say why");
        assert_eq!(reason, "the host at 127.0.0.1:1: it is over; the host at 127.0.0.1:2: who?");
        assert_eq!(known(&[(3, Answer::None)]).why_unknown(), None, "there is none, that is all");
    }

    /// Takes a connection of somebody who asks, and says that this is the host of the primary of that epoch.
    async fn answer(host: &TcpListener, epoch: u64) -> Connection {
        let (socket, _) = host.accept().await.expect("somebody asks");
        let (_, mut connection) = Connection::new(socket).expect("it is set up");
        connection.read_frame().await.expect("a hello");
        let welcome = Frame::Control(Control::ClientWelcome { epoch });
        connection.write_frame(&welcome).await.expect("it is there");
        connection
    }

    #[tokio::test]
    async fn hosts_that_answer_are_asked_again_while_one_that_is_gone_is_waited_for() {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (gone, host) = (listen().await.expect("a port"), listen().await.expect("a port"));
        let addresses = [&gone, &host].map(|host| HostAddress::from(host.local_addr().expect("it listens"))).to_vec();
        let asked = Addresses::new(name(), addresses);
        let mut primaries = asked.primaries();
        let (_held, _) = gone.accept().await.expect("it is asked");
        let mut answered = Vec::new();
        for epoch in [1, 1, 1, 2] {
            answered.push(answer(&host, epoch).await);
            asked.look_again();
        }
        let next = primaries.wait_for(|known| known.as_ref().is_some_and(|known| known.epoch == Epoch(2)));
        next.await.expect("it is asked for");
        let again = timeout(Duration::ZERO, gone.accept()).await;
        assert!(again.is_err(), "who does not answer was given up before that");
    }

    /// Takes a connection of somebody who asks, and what that is.
    async fn asked(host: &TcpListener) -> (Connection, Control) {
        let (socket, _) = host.accept().await.expect("somebody asks");
        let (_, mut connection) = Connection::new(socket).expect("it is set up");
        match connection.read_frame().await.expect("a hello") {
            Frame::Control(hello) => (connection, hello),
            other => panic!("{other:?}"),
        }
    }

    async fn refer(mut connection: Connection, epoch: u64) {
        refer_to(&mut connection, epoch, "127.0.0.1:9").await;
    }

    async fn refer_to(connection: &mut Connection, epoch: u64, address: &str) {
        let refused = Control::Refused { elsewhere: true, reason: String::new() };
        let there = Control::Elsewhere { epoch, address: address.to_owned() };
        connection.write_frames(&[refused, there].map(Frame::Control)).await.expect("it is there");
    }

    fn name() -> InstanceName {
        InstanceName::new("counter").expect("a plain name")
    }

    /// A host, and a client that asks it alone.
    async fn one_host() -> (TcpListener, Addresses) {
        let host = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = host.local_addr().expect("it listens").into();
        (host, Addresses::new(name(), vec![address]))
    }

    /// The same, after it has told of the primary of epoch 1.
    async fn referred_once() -> (TcpListener, Addresses) {
        let (host, addresses) = one_host().await;
        let (connection, _) = asked(&host).await;
        refer(connection, 1).await;
        addresses.primaries().wait_for(Option::is_some).await.expect("it is asked for");
        (host, addresses)
    }

    #[tokio::test]
    async fn a_host_that_knows_no_later_primary_tells_of_the_next_one() {
        let (host, addresses) = referred_once().await;
        let mut primaries = addresses.primaries();
        // Whoever waits for an answer looks again.
        addresses.look_again();
        let (waiting, hello) = asked(&host).await;
        assert_eq!(hello, Control::NextPrimary { to: "counter".to_owned(), behind: 1 });
        // However often it looks, that host is not asked again at once: it will tell.
        addresses.look_again();
        refer(waiting, 2).await;
        let next = primaries.wait_for(|known| known.as_ref().is_some_and(|known| known.epoch == Epoch(2)));
        next.await.expect("it is told");
    }

    #[tokio::test]
    async fn a_host_is_asked_anew_for_the_next_primary_when_it_was_asked_long_ago() {
        let host = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = HostAddress::from(host.local_addr().expect("it listens"));
        let mut follows = Follows::new(name(), Security::Plain);
        follows.begin(&address, Epoch(1));
        // Nothing is heard of this connection any more, not even that it has ended.
        let (mut silent, _) = asked(&host).await;
        assert!(follows.is_new(&address));
        follows.of.get_mut(&address).expect("it is asked").began -= FOLLOWED_ASK_INTERVAL;
        assert!(!follows.is_new(&address));
        follows.begin(&address, Epoch(1));
        let (waiting, hello) = asked(&host).await;
        assert_eq!(hello, Control::NextPrimary { to: "counter".to_owned(), behind: 1 });
        refer(waiting, 2).await;
        let (of, number, next) = loop {
            if let Ok(told) = follows.tasks.join_next().await.expect("it is told") {
                break told;
            }
        };
        assert_eq!((of, next.map(|next| next.primary.epoch)), (address.clone(), Some(Epoch(2))));
        assert!(follows.end(&address, number) && !follows.end(&address, number));
        silent.read_frame().await.expect_err("it was given up");
    }

    /// A host that has said that it is that of the primary of epoch 2, the connection on which it has, and what a client does who hears that.
    async fn told_of_itself() -> (TcpListener, Connection, JoinHandle<Result<(), ConnectionError>>) {
        let (host, addresses) = referred_once().await;
        addresses.look_again();
        let (mut connection, hello) = asked(&host).await;
        assert_eq!(hello, Control::NextPrimary { to: "counter".to_owned(), behind: 1 });
        refer_to(&mut connection, 2, &host.local_addr().expect("it listens").to_string()).await;
        let client = tokio::spawn(async move {
            let mut primaries = addresses.primaries();
            let next = primaries.wait_for(|known| known.as_ref().is_some_and(|known| known.epoch == Epoch(2)));
            let primary = next.await.expect("it is told").clone().expect("it is one");
            greet_primary(&name(), &primary, CLIENT_VERSION, &addresses).await.map(drop)
        });
        (host, connection, client)
    }

    fn client_hello() -> Frame {
        Frame::Control(Control::ClientHello { version: CLIENT_VERSION, to: "counter".to_owned() })
    }

    #[tokio::test]
    async fn a_client_goes_on_with_the_connection_on_which_a_host_has_said_that_it_is_that_of_the_primary() {
        let (host, mut connection, client) = told_of_itself().await;
        assert_eq!(connection.read_frame().await.expect("it goes on"), client_hello());
        connection.write_frame(&Frame::Control(Control::ClientWelcome { epoch: 2 })).await.expect("it is there");
        client.await.expect("no panic").expect("it is welcome");
        timeout(Duration::ZERO, host.accept()).await.expect_err("there is no other connection");
    }

    #[tokio::test]
    async fn a_host_that_hangs_up_behind_its_answer_is_connected_to_anew() {
        let (host, connection, client) = told_of_itself().await;
        drop(connection);
        let (mut connection, hello) = asked(&host).await;
        assert_eq!(Frame::Control(hello), client_hello());
        connection.write_frame(&Frame::Control(Control::ClientWelcome { epoch: 2 })).await.expect("it is there");
        client.await.expect("no panic").expect("it is welcome");
    }

    #[tokio::test]
    async fn the_host_that_was_welcoming_when_it_was_asked_is_not_connected_to_again() {
        let (host, addresses) = one_host().await;
        let _connection = answer(&host, 1).await;
        let mut primaries = addresses.primaries();
        let primary = primaries.wait_for(Option::is_some).await.expect("it is told").clone().expect("it is one");
        greet_primary(&name(), &primary, CLIENT_VERSION, &addresses).await.map(drop).expect("it was welcome");
        timeout(Duration::ZERO, host.accept()).await.expect_err("there is no other connection");
        assert!(addresses.opened(&primary).is_none(), "it is given away once");
    }

    #[tokio::test]
    async fn a_host_that_does_not_tell_of_the_next_primary_is_asked_who_is() {
        let (host, addresses) = referred_once().await;
        let mut primaries = addresses.primaries();
        addresses.look_again();
        let (waiting, hello) = asked(&host).await;
        assert!(matches!(hello, Control::NextPrimary { .. }), "{hello:?}");
        // As one of an earlier version, or whose member has ended.
        drop(waiting);
        for epoch in [1, 2] {
            let (connection, hello) = asked(&host).await;
            assert!(matches!(hello, Control::ClientHello { .. }), "{hello:?}");
            refer(connection, epoch).await;
            addresses.look_again();
        }
        let next = primaries.wait_for(|known| known.as_ref().is_some_and(|known| known.epoch == Epoch(2)));
        next.await.expect("it says so");
    }

    #[tokio::test]
    async fn addresses_are_names_and_ports() {
        let hosts = ["127.0.0.1:7".to_owned(), "[::1]:8".to_owned()];
        let found = Addresses::resolve(&hosts, &Security::Plain).await.expect("they are addresses").into_iter();
        assert_eq!(found.map(|address| address.to_string()).collect::<Vec<_>>(), hosts);
        let error = Addresses::resolve(&["127.0.0.1".to_owned()], &Security::Plain)
            .await
            .expect_err("there is no port")
            .to_string();
        assert!(error.contains("the address \"127.0.0.1\" is not found"), "{error}");
    }
}
