use ambrosia_core::Epoch;
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);
const TICKET: Ticket = Ticket(40);
const ID: SessionId = SessionId([7; 16]);

/// A primary that is where it says, as long as it is told.
struct There(watch::Receiver<Option<Primary>>);

impl Whereabouts for There {
    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.0.clone()
    }

    fn check_alive(&self) -> Result<(), ClientError> {
        Ok(())
    }
}

/// A host that a test plays.
struct Host {
    listener: TcpListener,
    _news: watch::Sender<Option<Primary>>,
    /// Of all connections: the test writes by itself.
    handles: Mutex<Vec<ConnectionHandle>>,
}

impl Host {
    /// The host, and the session that somebody opens there.
    async fn new() -> (Host, JoinHandle<Result<Session, SessionError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        let (news, primaries) = watch::channel(Some(Primary { epoch: Epoch(1), address: address.into() }));
        let name = InstanceName::new("bank").expect("a plain name");
        let session = tokio::spawn(Session::open(name, There(primaries), ID, LIMIT));
        (Host { listener, _news: news, handles: Mutex::default() }, session)
    }

    /// The same with the session open.
    async fn opened(accepted: u64, confirmed: u64, window: u32) -> (Host, Connection, Session) {
        let (host, session) = Host::new().await;
        let mut connection = host.accept().await;
        let opening = opening(&mut connection).await;
        tell(&mut connection, opened(opening, accepted, confirmed, window)).await;
        let session = session.await.expect("no panic").expect("it is open");
        (host, connection, session)
    }

    async fn accept(&self) -> Connection {
        let (socket, _) = self.listener.accept().await.expect("it connects");
        let (handle, mut connection) = Connection::new(socket).expect("a socket");
        self.handles.lock().expect("no test panics with it").push(handle);
        let hello = connection.read_frame().await.expect("it says hello");
        assert!(matches!(hello, Frame::Control(Control::ClientHello { version: SESSIONS_VERSION, .. })), "{hello:?}");
        tell(&mut connection, Control::ClientWelcome { epoch: 1 }).await;
        connection.welcome(SESSIONS_VERSION);
        connection
    }
}

async fn tell(connection: &mut Connection, control: Control) {
    connection.write_frame(&Frame::Control(control)).await.expect("it listens");
}

async fn opening(connection: &mut Connection) -> [u8; 16] {
    match connection.read_frame().await.expect("it opens") {
        Frame::Control(Control::OpenSession { session, opening }) if session == ID.0 => opening,
        frame => panic!("{frame:?} opens no session"),
    }
}

fn opened(opening: [u8; 16], accepted: u64, confirmed: u64, window: u32) -> Control {
    Control::SessionOpened { session: ID.0, opening, ticket: TICKET.0, accepted, confirmed, window }
}

fn refused(seq: u64, refusal: SessionRefusal) -> Control {
    let (refusal, reason) = (refusal.number(), refusal.to_string());
    Control::SessionRefused { session: ID.0, ticket: TICKET.0, seq, refusal, reason }
}

async fn answer(connection: &mut Connection, seq: u64, value: &[u8]) {
    let (value, lsn) = (Bytes::copy_from_slice(value), Lsn(50 + seq));
    let answer = Frame::SessionAnswer { ticket: TICKET, seq: Seq(seq), success: true, value, lsn };
    connection.write_frame(&answer).await.expect("it listens");
}

/// Number and confirmed of the next request.
async fn asked(connection: &mut Connection) -> (u64, u64) {
    match connection.read_frame().await.expect("it asks") {
        Frame::SessionRequest { session: ID, ticket: TICKET, seq, confirmed, .. } => (seq.0, confirmed.0),
        frame => panic!("{frame:?} is no request of the session"),
    }
}

async fn begin(session: &Session) -> PendingRequest {
    session.begin("add", Bytes::from_static(b"\x90")).await.expect("it is open")
}

#[tokio::test]
async fn what_has_no_answer_goes_over_the_next_connection_in_order_and_with_its_numbers() {
    let (host, mut connection, session) = Host::opened(0, 0, 100).await;
    let mut pending = Vec::new();
    for expected in 1..=3 {
        pending.push(begin(&session).await);
        assert_eq!(asked(&mut connection).await, (expected, 0));
    }
    answer(&mut connection, 1, b"\x01").await;
    let first = pending.remove(0).answer().await.expect("answered");
    assert_eq!(first, SessionAnswer { value: Bytes::from_static(b"\x01"), lsn: Lsn(51) });
    drop(connection);
    let mut connection = host.accept().await;
    assert_eq!(asked(&mut connection).await, (2, 1));
    assert_eq!(asked(&mut connection).await, (3, 1));
    // What comes out of order is confirmed once nothing is missing before it.
    answer(&mut connection, 3, b"\x03").await;
    pending.remove(1).answer().await.expect("answered");
    begin(&session).await;
    assert_eq!(asked(&mut connection).await, (4, 1));
    answer(&mut connection, 2, b"\x02").await;
    pending.remove(0).answer().await.expect("answered");
    let last = begin(&session).await;
    assert_eq!((last.seq(), asked(&mut connection).await), (Seq(5), (5, 3)));
}

#[tokio::test]
async fn an_opening_that_is_not_answered_is_repeated_as_the_same() {
    let (host, session) = Host::new().await;
    let mut connection = host.accept().await;
    let first = opening(&mut connection).await;
    drop(connection);
    let mut connection = host.accept().await;
    assert_eq!(opening(&mut connection).await, first);
    tell(&mut connection, opened([1; 16], 9, 9, 100)).await;
    tell(&mut connection, opened(first, 5, 3, 100)).await;
    let session = session.await.expect("no panic").expect("it is open");
    assert_eq!((session.accepted(), session.confirmed()), (Seq(5), Seq(3)));
    begin(&session).await;
    assert_eq!(asked(&mut connection).await, (6, 5), "what nobody asked for is given up");
}

#[tokio::test]
async fn no_more_is_sent_than_may_be_unconfirmed_and_dropped_answers_make_room_too() {
    let (_host, mut connection, session) = Host::opened(0, 0, 2).await;
    drop(begin(&session).await);
    drop(begin(&session).await);
    assert_eq!([asked(&mut connection).await, asked(&mut connection).await], [(1, 0), (2, 0)]);
    {
        let third = begin(&session);
        tokio::pin!(third);
        assert!(timeout(Duration::from_millis(50), &mut third).await.is_err(), "it waits");
        answer(&mut connection, 2, b"\x02").await;
        assert!(timeout(Duration::from_millis(50), &mut third).await.is_err(), "the first is missing");
        answer(&mut connection, 1, b"\x01").await;
        assert_eq!(third.await.seq(), Seq(3));
    }
    assert_eq!(asked(&mut connection).await, (3, 2));
}

#[tokio::test]
async fn results_of_before_are_asked_for_once_and_as_they_were() {
    let (_host, mut connection, session) = Host::opened(3, 1, 100).await;
    let forgotten = session.repeat(Seq(1), "add", Bytes::from_static(b"\x90")).await;
    assert_eq!(forgotten, Err(SessionError::Forgotten(Seq(1))));
    let other = session.repeat(Seq(2), "add", Bytes::from_static(b"\x91\x01"));
    let told = async {
        assert_eq!(asked(&mut connection).await, (2, 1));
        tell(&mut connection, refused(2, SessionRefusal::Reused)).await;
    };
    assert_eq!(tokio::join!(other, told).0, Err(SessionError::Reused(Seq(2))));
    let again = session.repeat(Seq(2), "add", Bytes::from_static(b"\x90"));
    let told = async {
        assert_eq!(asked(&mut connection).await, (2, 1));
        answer(&mut connection, 2, b"\x02").await;
    };
    assert!(tokio::join!(again, told).0.is_ok(), "the session goes on");
    begin(&session).await;
    assert_eq!(asked(&mut connection).await, (4, 3));
}

#[tokio::test]
async fn large_results_are_confirmed_although_nothing_is_asked() {
    let (_host, mut connection, session) = Host::opened(0, 0, 100).await;
    let (first, second) = (begin(&session).await, begin(&session).await);
    asked(&mut connection).await;
    asked(&mut connection).await;
    answer(&mut connection, 2, &vec![0; UNTOLD_BYTES_MAX]).await;
    second.answer().await.expect("answered");
    answer(&mut connection, 1, b"\x01").await;
    first.answer().await.expect("answered");
    let confirmed = Control::SessionConfirmed { session: ID.0, ticket: TICKET.0, confirmed: 2 };
    assert_eq!(connection.read_frame().await.expect("it says so"), Frame::Control(confirmed));
}

#[tokio::test]
async fn a_session_that_is_over_says_so_to_all_who_wait_and_to_whoever_asks() {
    for (refusal, is_it) in [
        (SessionRefusal::Ended, (|error| matches!(error, SessionError::Ended(_))) as fn(&SessionError) -> bool),
        (SessionRefusal::Superseded, |error| matches!(error, SessionError::Superseded(_))),
        (SessionRefusal::InstanceEnded, |error| matches!(error, SessionError::Refused(_))),
    ] {
        let (_host, mut connection, session) = Host::opened(0, 0, 2).await;
        let (first, second) = (begin(&session).await, begin(&session).await);
        tell(&mut connection, refused(1, refusal)).await;
        for pending in [first, second] {
            assert!(is_it(&pending.answer().await.expect_err("it is over")), "{refusal:?}");
        }
        let later = session.begin("add", Bytes::from_static(b"\x90")).await.expect_err("it is over");
        assert!(is_it(&later), "{refusal:?}");
    }
}

#[tokio::test]
async fn an_opening_that_is_refused_says_why() {
    let (host, session) = Host::new().await;
    let mut connection = host.accept().await;
    opening(&mut connection).await;
    let (refusal, reason) = (SessionRefusal::TooMany.number(), "the instance has 10000 sessions".to_owned());
    tell(&mut connection, Control::SessionRefused { session: ID.0, ticket: 0, seq: 0, refusal, reason }).await;
    let error = session.await.expect("no panic").err().expect("it is refused");
    assert_eq!(error, SessionError::Refused("the instance has 10000 sessions".to_owned()));
}
