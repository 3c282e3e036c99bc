use ambrosia_core::{Epoch, TraceContext};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A primary that is where it says, as long as it is told.
struct There(watch::Receiver<Option<Primary>>);

impl Whereabouts for There {
    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.0.clone()
    }

    fn check_alive(&self) -> Result<(), ClientError> {
        match *self.0.borrow() {
            Some(Primary { epoch: Epoch(9), .. }) => Err(ClientError::Ended("it is over".to_owned())),
            _ => Ok(()),
        }
    }
}

struct Bench {
    listener: TcpListener,
    news: watch::Sender<Option<Primary>>,
    client: Arc<SharedClient>,
}

impl Bench {
    async fn new() -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        let (news, primaries) = watch::channel(Some(Primary { epoch: Epoch(1), address: address.into() }));
        let name = InstanceName::new("bank").expect("a plain name");
        let client = Arc::new(SharedClient::new(name, There(primaries)));
        Bench { listener, news, client }
    }

    /// Asks as a task of its own.
    fn ask(&self, id: &str, arguments: &'static [u8], wait: bool) -> JoinHandle<Told> {
        let (client, id) = (Arc::clone(&self.client), RequestId::new(id).expect("short"));
        tokio::spawn(async move { client.send(&id, "add", Bytes::from_static(arguments), None, wait, LIMIT).await })
    }

    /// The next connection of the client, greeted.
    async fn accept(&self) -> (ConnectionHandle, Connection) {
        let (socket, _): (TcpStream, _) = self.listener.accept().await.expect("it connects");
        let (handle, mut connection) = Connection::new(socket).expect("a socket");
        let hello = connection.read_frame().await.expect("it says hello");
        assert!(matches!(hello, Frame::Control(Control::ClientHello { .. })), "{hello:?}");
        connection.write_frame(&Frame::Control(Control::ClientWelcome { epoch: 1 })).await.expect("it listens");
        connection.welcome(QUERIES_VERSION);
        (handle, connection)
    }
}

#[tokio::test]
async fn a_host_that_does_not_know_of_traces_has_requests_without_them() {
    let bench = Bench::new().await;
    let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("a trace");
    let client = Arc::clone(&bench.client);
    let asked = tokio::spawn(async move {
        let id = RequestId::new("a").expect("short");
        client.send(&id, "add", Bytes::from_static(b"\x90"), Some(trace), true, LIMIT).await
    });
    let (socket, _) = bench.listener.accept().await.expect("it connects");
    let (_refused, mut connection) = Connection::new(socket).expect("a socket");
    let hello = connection.read_frame().await.expect("it says hello");
    assert!(matches!(hello, Frame::Control(Control::ClientHello { version: TRACES_VERSION, .. })), "{hello:?}");
    let reason = "this host speaks versions 1 to 5".to_owned();
    let refused = Frame::Control(Control::Refused { reason, elsewhere: false });
    connection.write_frame(&refused).await.expect("it listens");
    drop(connection);
    let (socket, _) = bench.listener.accept().await.expect("it connects once more");
    let (_handle, mut connection) = Connection::new(socket).expect("a socket");
    let hello = connection.read_frame().await.expect("it says hello");
    assert!(matches!(hello, Frame::Control(Control::ClientHello { version: QUERIES_VERSION, .. })), "{hello:?}");
    connection.write_frame(&Frame::Control(Control::ClientWelcome { epoch: 1 })).await.expect("it listens");
    connection.welcome(QUERIES_VERSION);
    let request = connection.read_frame().await.expect("it asks");
    assert!(matches!(request, Frame::Request { trace: None, .. }), "{request:?}");
    let answer =
        Frame::Answer { request: id(&request), success: true, value: Bytes::from_static(b"\x01"), lsn: Lsn(1) };
    connection.write_frame(&answer).await.expect("it listens");
    assert_eq!(asked.await.expect("no panic").expect("answered").0, value(b"\x01"));
}

fn id(of: &Frame) -> RequestId {
    match of {
        Frame::Request { request, .. } => request.clone(),
        frame => panic!("{frame:?} is no request"),
    }
}

fn value(bytes: &'static [u8]) -> Answered {
    Answered::Value(Bytes::from_static(bytes))
}

#[tokio::test]
async fn what_was_not_answered_goes_over_the_next_connection_and_what_was_does_not() {
    let bench = Bench::new().await;
    let asked = [bench.ask("a", b"\x90", true), bench.ask("b", b"\x90", true)];
    let (_handle, mut connection) = bench.accept().await;
    let first = id(&connection.read_frame().await.expect("it asks"));
    let second = id(&connection.read_frame().await.expect("it asks"));
    assert_ne!(first, second);
    let answer =
        Frame::Answer { request: first.clone(), success: true, value: Bytes::from_static(b"\x01"), lsn: Lsn(1) };
    connection.write_frame(&answer).await.expect("it listens");
    let [a, b] = asked;
    let (done, left) = if first.as_bytes() == b"a" { (a, b) } else { (b, a) };
    assert_eq!(done.await.expect("no panic").expect("answered").0, value(b"\x01"));
    drop(connection);
    let (_handle, mut connection) = bench.accept().await;
    assert_eq!(id(&connection.read_frame().await.expect("it asks again")), second);
    let answer = Frame::Answer { request: second, success: true, value: Bytes::from_static(b"\x02"), lsn: Lsn(1) };
    connection.write_frame(&answer).await.expect("it listens");
    assert_eq!(left.await.expect("no panic").expect("answered").0, value(b"\x02"));
}

#[tokio::test]
async fn an_id_under_way_is_sent_once_and_belongs_to_what_it_was_given_for() {
    let bench = Bench::new().await;
    let first = bench.ask("a", b"\x90", true);
    let (_handle, mut connection) = bench.accept().await;
    let request = id(&connection.read_frame().await.expect("it asks"));
    let second = bench.ask("a", b"\x90", true);
    let other = bench.ask("a", b"\x91\x01", true).await.expect("no panic").expect_err("it is another one");
    assert!(matches!(&other, ClientError::KeyReused(id) if id == "a"), "{other}");
    let third = bench.ask("a", b"\x90", false);
    let accepted = connection.read_frame().await.expect("who waits for less asks");
    assert!(matches!(accepted, Frame::Request { wait: false, .. }), "{accepted:?} is that of the second");
    connection.write_frame(&Frame::Control(Control::Accepted { request: b"a".to_vec() })).await.expect("it listens");
    assert_eq!(third.await.expect("no panic").expect("accepted").0, Answered::Accepted);
    let answer = Frame::Answer { request, success: true, value: Bytes::from_static(b"\x01"), lsn: Lsn(1) };
    connection.write_frame(&answer).await.expect("it listens");
    for asked in [first, second] {
        assert_eq!(asked.await.expect("no panic").expect("answered").0, value(b"\x01"));
    }
}

#[tokio::test]
async fn who_gives_up_is_forgotten_and_the_end_is_told_to_all() {
    let bench = Bench::new().await;
    let given_up = bench.ask("a", b"\x90", true);
    let (_handle, mut connection) = bench.accept().await;
    connection.read_frame().await.expect("it asks");
    given_up.abort();
    assert!(given_up.await.expect_err("it was ended").is_cancelled());
    assert!(bench.client.desk.lock().under_way.is_empty(), "nobody waits for it");
    let asked = [bench.ask("b", b"\x90", true), bench.ask("c", b"\x90", false)];
    connection.read_frame().await.expect("it asks");
    connection.read_frame().await.expect("it asks");
    let address = bench.listener.local_addr().expect("it has an address");
    bench.news.send_replace(Some(Primary { epoch: Epoch(9), address: address.into() }));
    for asked in asked {
        let error = asked.await.expect("no panic").expect_err("it has ended");
        assert!(matches!(&error, ClientError::Ended(reason) if reason == "it is over"), "{error}");
    }
}

#[tokio::test]
async fn the_time_runs_out_with_the_reason() {
    let bench = Bench::new().await;
    bench.news.send_replace(None);
    let (client, id) = (Arc::clone(&bench.client), RequestId::new("a").expect("short"));
    let soon = Duration::from_millis(30);
    let error = client.send(&id, "add", Bytes::new(), None, true, soon).await.expect_err("nobody is there");
    assert!(matches!(error, ClientError::NoPrimary { .. }), "{error}");
    let address = bench.listener.local_addr().expect("it has an address");
    bench.news.send_replace(Some(Primary { epoch: Epoch(1), address: address.into() }));
    let asked = bench.ask("b", b"\x90", true);
    let (_handle, mut connection) = bench.accept().await;
    connection.read_frame().await.expect("it asks");
    let error = client.send(&id, "add", Bytes::new(), None, true, soon).await.expect_err("it says nothing");
    assert!(matches!(&error, ClientError::Timeout(_, id) if id == "a"), "{error}");
    asked.abort();
}

#[tokio::test]
async fn an_inquiry_goes_on_over_the_next_connection_and_takes_no_other_answer() {
    let bench = Bench::new().await;
    let (client, id) = (Arc::clone(&bench.client), RequestId::new("a").expect("short"));
    let asked = tokio::spawn(async move { client.inquire(&id, LIMIT, LIMIT).await });
    let (_handle, mut connection) = bench.accept().await;
    let first = connection.read_frame().await.expect("it asks");
    let Frame::Inquiry { number, .. } = &first else { panic!("{first:?} is no inquiry") };
    let other = Frame::InquiryAnswer { number: number + 1, status: RequestStatus::Unknown };
    connection.write_frame(&other).await.expect("it listens");
    drop(connection);
    let (_handle, mut connection) = bench.accept().await;
    let again = connection.read_frame().await.expect("it asks again");
    assert_eq!(again, first);
    // It has waited for less than it may, so it is asked on.
    let under_way = RequestStatus::UnderWay { accepted: Lsn(3) };
    let answer = Frame::InquiryAnswer { number: *number, status: under_way };
    connection.write_frame(&answer).await.expect("it listens");
    let Frame::Inquiry { number, .. } = connection.read_frame().await.expect("it asks on") else {
        panic!("it asks for the same")
    };
    let answer = ambrosia_core::Answer { success: true, value: Bytes::from_static(b"\x01") };
    let status = RequestStatus::Answered { accepted: Lsn(3), lsn: Lsn(4), answer };
    connection.write_frame(&Frame::InquiryAnswer { number, status: status.clone() }).await.expect("it listens");
    assert_eq!(asked.await.expect("no panic").expect("answered"), status);
}
