use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use ambrosia_client::{Client, ClientError, Primary, SharedClient, Whereabouts};
use ambrosia_core::{InstanceName, RequestId};
use ambrosia_methods::{Method, Methods};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Version,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    access::{Access, Deed},
    instances::{Instance, NoInstance},
    limits::STREAMS_MAX,
};

/// Nobody is primary, and it may go on so.
struct Nobody(watch::Receiver<Option<Primary>>);

impl Whereabouts for Nobody {
    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.0.clone()
    }

    fn check_alive(&self) -> Result<(), ClientError> {
        Ok(())
    }
}

/// One instance, that nobody runs.
struct OnlyOne(Arc<Instance>, Arc<SharedClient>);

/// A store of which nothing was read, and that can't be read.
struct Away(OnlyOne);

impl Instances for Away {
    fn known(&self, _: &InstanceName) -> Option<Arc<Instance>> {
        None
    }

    fn look_up(&self, _: &InstanceName) -> Result<Arc<Instance>, NoInstance> {
        Err(unreadable())
    }

    fn client(&self, name: &InstanceName) -> Arc<SharedClient> {
        self.0.client(name)
    }

    fn client_of_replicas(&self, name: &InstanceName) -> Client {
        self.0.client_of_replicas(name)
    }

    fn access(&self, _: Option<&str>, _: Deed, _: Option<&InstanceName>) -> Option<Access> {
        None
    }

    fn access_as_read(&self, _: Option<&str>, _: Deed, _: Option<&InstanceName>) -> Option<Access> {
        None
    }

    fn read_tokens(&self) -> Result<(), NoInstance> {
        Err(unreadable())
    }

    fn fresh_request_id(&self) -> RequestId {
        self.0.fresh_request_id()
    }

    fn list(&self) -> Result<Vec<InstanceName>, NoInstance> {
        Err(unreadable())
    }
}

fn unreadable() -> NoInstance {
    NoInstance::Unreadable("no database answers at db.example".to_owned())
}

impl OnlyOne {
    fn new() -> OnlyOne {
        let (_, primaries) = watch::channel(None);
        let name = InstanceName::new("one").expect("plain");
        let methods = Methods::new(vec![Method::without_types("go".to_owned(), Vec::new(), true)]);
        let client = Arc::new(SharedClient::new(name, Nobody(primaries)));
        OnlyOne(Arc::new(Instance::new(methods, None).expect("it has no routes")), client)
    }
}

/// A store with a token, which is `secret` and allows everything.
struct Locked(OnlyOne);

impl Instances for Locked {
    fn known(&self, name: &InstanceName) -> Option<Arc<Instance>> {
        self.0.known(name)
    }

    fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, NoInstance> {
        self.0.look_up(name)
    }

    fn client(&self, name: &InstanceName) -> Arc<SharedClient> {
        self.0.client(name)
    }

    fn client_of_replicas(&self, name: &InstanceName) -> Client {
        self.0.client_of_replicas(name)
    }

    fn access(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        self.access_as_read(token, deed, name)
    }

    fn access_as_read(&self, token: Option<&str>, _: Deed, _: Option<&InstanceName>) -> Option<Access> {
        Some(if token == Some("secret") { Access::Granted } else { Access::Unknown })
    }

    fn read_tokens(&self) -> Result<(), NoInstance> {
        Ok(())
    }

    fn fresh_request_id(&self) -> RequestId {
        self.0.fresh_request_id()
    }

    fn list(&self) -> Result<Vec<InstanceName>, NoInstance> {
        self.0.list()
    }
}

impl Instances for OnlyOne {
    fn known(&self, name: &InstanceName) -> Option<Arc<Instance>> {
        (name.as_str() == "one").then(|| Arc::clone(&self.0))
    }

    fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, NoInstance> {
        self.known(name).ok_or(NoInstance::Unknown)
    }

    fn client(&self, _: &InstanceName) -> Arc<SharedClient> {
        Arc::clone(&self.1)
    }

    fn client_of_replicas(&self, name: &InstanceName) -> Client {
        let (_, primaries) = watch::channel(None);
        Client::new(name.clone(), Nobody(primaries))
    }

    fn access(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        self.access_as_read(token, deed, name)
    }

    fn access_as_read(&self, _: Option<&str>, _: Deed, _: Option<&InstanceName>) -> Option<Access> {
        Some(Access::Open)
    }

    fn read_tokens(&self) -> Result<(), NoInstance> {
        Ok(())
    }

    fn fresh_request_id(&self) -> RequestId {
        RequestId::new("fresh").expect("short")
    }

    fn list(&self) -> Result<Vec<InstanceName>, NoInstance> {
        Ok(vec![InstanceName::new("one").expect("plain")])
    }
}

const SOON: Duration = Duration::from_millis(200);
const PATIENT: Duration = Duration::from_secs(3600);

async fn door(options: DoorOptions) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    Door::serve(listener, Arc::new(OnlyOne::new()), options).expect("it listens")
}

/// Says that, and hears all until the door hangs up.
async fn say(door: &Door, text: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", door.address().port())).await.expect("it listens");
    socket.write_all(text.as_bytes()).await.expect("it hears");
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).await.expect("it hangs up in order");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn while_the_store_is_away_a_host_is_alive_and_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let door = Door::serve(listener, Arc::new(Away(OnlyOne::new())), DoorOptions::default()).expect("it listens");
    let ask = async |path: &str| {
        say(&door, &format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")).await
    };
    let alive = ask("/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let ready = ask("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("urn:ambrosia:problem:not-ready"), "{ready}");
    assert!(!ready.contains("db.example"), "a stranger is told where the store is: {ready}");
}

/// The last token may be revoked while the door is open.
#[tokio::test]
async fn where_others_can_come_a_store_without_tokens_is_closed() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("there is a port");
    let door = Door::serve(listener, Arc::new(OnlyOne::new()), DoorOptions::default()).expect("it listens");
    for (path, status) in
        [("/v1/one/go", 401), ("/openapi.json", 401), ("/metrics", 401), ("/", 401), ("/healthz", 200), ("/docs", 200)]
    {
        // Whoever asks says under which name.
        let heard = say(&door, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {heard}");
    }
}

#[tokio::test]
async fn who_does_not_come_to_an_end_with_a_header_is_let_go() {
    let door =
        door(DoorOptions { header_wait: SOON, body_wait: PATIENT, closing_wait: PATIENT, ..DoorOptions::default() })
            .await;
    for slow in [
        "",
        "P",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /v1/one/go HTTP/1.1\r\nHost: localhost\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    ] {
        let began = Instant::now();
        let heard = say(&door, slow).await;
        assert!(slow.starts_with("PRI") || heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
        assert!(began.elapsed() >= SOON, "it had its time");
    }
    // So is who is idle behind a request.
    let heard = say(&door, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(heard.matches("HTTP/1.1 404").count(), 1, "{heard}");
}

#[tokio::test]
async fn who_takes_nothing_of_its_answers_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let options = DoorOptions { header_wait: PATIENT, reading_wait: SOON, ..DoorOptions::default() };
    let door = Door::serve(listener, Arc::new(OnlyOne::new()), options).expect("it listens");
    let mut socket = TcpStream::connect(door.address()).await.expect("it listens");
    let request = b"GET /docs/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // Until it is not read any more, since it does not read.
    while timeout(SOON, socket.write_all(request)).await.is_ok_and(|written| written.is_ok()) {}
    // One is for whoever comes next.
    let all = u32::try_from(CONNECTIONS_MAX - 1).expect("they are few");
    let let_go = timeout(SOON * 100, door.open.acquire_many(all)).await;
    let_go.expect("it was let go").expect("it is open").forget();
}

/// A body that never comes.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = &'static [u8];
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn strangers_take_nothing_from_those_who_are_known() {
    const PROMISE: &str = "/v1/one/promises/7.000102030405060708090a0b0c0d0e0f";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let options =
        DoorOptions { header_wait: PATIENT, body_wait: PATIENT, closing_wait: SOON, ..DoorOptions::default() };
    let door = Door::serve(listener, Arc::new(Locked(OnlyOne::new())), options).expect("it listens");
    let mut streams = Vec::new();
    for _ in 0..STRANGERS_MAX / STREAMS_MAX as usize {
        let socket = TcpStream::connect(door.address()).await.expect("it listens");
        let (mut requests, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        for _ in 0..STREAMS_MAX {
            let request = Request::post(format!("http://localhost{PROMISE}")).body(Endless).expect("plain");
            streams.push(Box::pin(requests.send_request(request)));
            requests.ready().await.expect("it has room for so many");
        }
    }
    let (mut requests, _connection) = http2(&door).await;
    let mut ask = async |path: &str, token: Option<&str>| {
        let mut asked = asked("POST", path, "[]");
        let headers = asked.headers_mut();
        headers.insert("prefer", "wait=1".parse().expect("plain"));
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().expect("plain"));
        }
        let answer = requests.send_request(asked).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    };
    // It is refused before anything is looked at, once all of the others are under way.
    let began = Instant::now();
    loop {
        let said = ask("/v1/one/promises/none", None).await;
        if said.contains("urn:ambrosia:problem:busy") {
            break;
        }
        assert!(said.contains("urn:ambrosia:problem:not-found"), "{said}");
        assert!(began.elapsed() < SOON * 100, "strangers are as many as may be, and there is room for another one");
    }
    let known = ask("/v1/one/promises/none", Some("secret")).await;
    assert!(known.contains("urn:ambrosia:problem:not-found"), "{known}");
    let known = ask("/v1/one/go", Some("secret")).await;
    assert!(known.contains("urn:ambrosia:problem:no-primary"), "{known}");
    drop(streams);
}

/// Whoever has no token learns by no answer which instances there are.
#[tokio::test]
async fn of_an_instance_that_is_there_a_stranger_hears_no_more_than_of_one_that_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let door = Door::serve(listener, Arc::new(Locked(OnlyOne::new())), DoorOptions::default()).expect("it listens");
    for (promise, body, problem) in [
        ("none", "1", "not-found"),
        ("7.000102030405060708090a0b0c0d0e0f", "{", "not-json"),
        ("7.000102030405060708090a0b0c0d0e0f", &"[".repeat(100_000), "not-json"),
    ] {
        let ask = async |instance: &str| {
            let length = body.len();
            let head = format!("POST /v1/{instance}/promises/{promise} HTTP/1.1\r\nHost: localhost\r\n");
            say(&door, &format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")).await
        };
        for instance in ["one", "two"] {
            let said = ask(instance).await;
            assert!(said.contains(&format!("urn:ambrosia:problem:{problem}")), "{instance}: {said}");
        }
    }
}

/// A connection of HTTP/2.
async fn http2(door: &Door) -> (SendRequest<String>, JoinHandle<hyper::Result<()>>) {
    let socket = TcpStream::connect(door.address()).await.expect("it listens");
    let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("it speaks HTTP/2");
    (requests, tokio::spawn(connection))
}

fn asked(method: &str, path: &str, body: &str) -> Request<String> {
    let uri = format!("http://localhost{path}");
    Request::builder().method(method).uri(uri).body(body.to_owned()).expect("plain")
}

#[tokio::test]
async fn over_one_connection_of_http_2_many_ask_at_once() {
    let door =
        door(DoorOptions { header_wait: PATIENT, body_wait: PATIENT, closing_wait: SOON, ..DoorOptions::default() })
            .await;
    let (mut requests, connection) = http2(&door).await;
    // Those that wait for a primary do not hold up who asks behind them.
    let waiting: Vec<_> = (0..3).map(|_| requests.send_request(asked("POST", "/v1/one/go", "[]"))).collect();
    let alive = requests.send_request(asked("GET", "/healthz", "")).await.expect("an answer");
    assert_eq!((alive.status().as_u16(), alive.version()), (200, Version::HTTP_2));
    let other = Request::get("http://elsewhere.example/healthz").body(String::new()).expect("plain");
    assert_eq!(requests.send_request(other).await.expect("an answer").status(), 421, "the name is looked at, too");
    let closing = tokio::spawn(door.close());
    for answer in waiting {
        let answer = answer.await.expect("whoever waits is answered when the door closes");
        assert_eq!(answer.status(), 503);
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("urn:ambrosia:problem:closing"));
    }
    closing.await.expect("it closes");
    connection.await.expect("no panic").expect("it hangs up in order");
}

#[tokio::test]
async fn a_connection_of_http_2_is_let_go_when_it_is_idle_and_not_before() {
    let door =
        door(DoorOptions { header_wait: SOON, body_wait: PATIENT, closing_wait: PATIENT, ..DoorOptions::default() })
            .await;
    let (mut requests, connection) = http2(&door).await;
    let began = Instant::now();
    let mut waiting = asked("POST", "/v1/one/go", "[]");
    waiting.headers_mut().insert("prefer", "wait=1".parse().expect("plain"));
    let answer = requests.send_request(waiting).await.expect("it is not let go while it waits");
    assert_eq!(answer.status(), 503, "nobody is primary");
    assert!(began.elapsed() >= 2 * SOON, "it waited longer than who is idle may");
    drop(answer);
    connection.await.expect("no panic").expect("it hangs up in order");
    assert!(requests.send_request(asked("GET", "/healthz", "")).await.is_err());
}

#[tokio::test]
async fn who_does_not_come_to_an_end_with_a_body_is_told_so() {
    let door =
        door(DoorOptions { header_wait: PATIENT, body_wait: SOON, closing_wait: PATIENT, ..DoorOptions::default() })
            .await;
    let head = "POST /v1/one/go HTTP/1.1\r\nHost: localhost\r\n";
    for slow in [format!("{head}Content-Length: 9\r\n\r\n["), format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\n[")]
    {
        let heard = say(&door, &slow).await;
        assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("urn:ambrosia:problem:body-too-slow"), "{heard}");
    }
}

#[tokio::test]
async fn a_door_that_closes_answers_who_waits_and_lets_go_who_does_not() {
    let door =
        door(DoorOptions { header_wait: PATIENT, body_wait: PATIENT, closing_wait: SOON, ..DoorOptions::default() })
            .await;
    let address = door.address();
    let mut idle = TcpStream::connect(address).await.expect("it listens");
    let mut waiting = TcpStream::connect(address).await.expect("it listens");
    let post = "POST /v1/one/go HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]";
    waiting.write_all(post.as_bytes()).await.expect("it hears");
    // On one thread it is under way when somebody who came after it was answered.
    let mut other = TcpStream::connect(address).await.expect("it listens");
    other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it hears");
    other.read_u8().await.expect("it answers");
    let began = Instant::now();
    door.close().await;
    let mut heard = String::new();
    waiting.read_to_string(&mut heard).await.expect("it hangs up in order");
    assert!(began.elapsed() >= SOON, "it had its time");
    assert!(heard.starts_with("HTTP/1.1 503") && heard.contains("urn:ambrosia:problem:closing"), "{heard}");
    assert!(heard.contains("idempotency-key: fresh"), "{heard}");
    assert_eq!(idle.read(&mut [0]).await.expect("it hangs up in order"), 0);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
