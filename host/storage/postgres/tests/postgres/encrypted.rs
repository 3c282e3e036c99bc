//! TLS with a server. It listens at a loopback address, under a name that only its certificate says is its own; that name is of another
//! machine, as far as anybody can see.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use ambrosia_core::Lsn;
use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{Answered, Fault};
use ambrosia_test_database::{Authority, Certified, Lasting, Server};
use tempfile::TempDir;

use crate::support::{append, create, genesis, group, log, position};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "db.example";
const PORT: u16 = 5432;

/// What the server asks of whoever comes: TLS and a password, or a certificate.
const BY_PASSWORD: &str = "hostssl all all all scram-sha-256";
const BY_CERTIFICATE: &str = "hostssl all all all trust clientcert=verify-full";

/// A server with TLS, and files of its client.
struct Stage {
    server: Server,
    address: Ipv4Addr,
    authority: Authority,
    of_clients: Authority,
    files: TempDir,
}

impl Stage {
    /// `None` where there is no PostgreSQL.
    fn begin(authority: Authority) -> Option<Stage> {
        /// Each test has an address of its own, so that none takes the port of another.
        static ADDRESSES: AtomicU8 = AtomicU8::new(1);
        let server = Server::begin(&["password_encryption = 'scram-sha-256'"])?;
        let id = process::id();
        let address = Ipv4Addr::new(127, (id >> 8) as u8 | 1, id as u8, ADDRESSES.fetch_add(1, Ordering::Relaxed));
        server.listen_at(&address.to_string(), PORT);
        server.crash();
        server.start();
        server.sql("alter role ambrosia password 'hush'");
        let files = tempfile::tempdir().expect("there is room");
        let stage = Stage { server, address, authority, of_clients: Authority::new(), files };
        stage.server.admit(&[BY_PASSWORD]);
        stage.certify(&stage.authority.certify_server(NAME, Lasting::Now));
        stage.write("ca.crt", stage.authority.certificate(), 0o644);
        Some(stage)
    }

    fn certify(&self, own: &Certified) {
        self.server.encrypt(own, &self.of_clients);
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.files.path().join(name);
        fs::write(&path, text).expect("there is room");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is the test's own");
    }

    fn give_client(&self, own: &Certified) {
        self.write("me.crt", &own.certificate, 0o644);
        self.write("me.key", &own.key, 0o600);
    }

    /// Parameters that name files.
    fn file(&self, parameter: &str, name: &str) -> String {
        let path = self.files.path().join(name).display().to_string().replace('/', "%2F");
        format!("{parameter}={path}&")
    }

    fn root(&self) -> String {
        self.file("sslrootcert", "ca.crt")
    }

    fn own(&self) -> String {
        self.file("sslcert", "me.crt") + &self.file("sslkey", "me.key")
    }

    fn url(&self, name: &str, parameters: &str) -> String {
        let address = self.address;
        format!("postgres://ambrosia:hush@{name}:{PORT}/postgres?schema=shop&hostaddr={address}&{parameters}")
    }

    fn place(&self, name: &str, parameters: &str) -> PostgresPlace {
        PostgresPlace::read(&self.url(name, parameters)).expect("it is a URL")
    }

    /// Makes the tables over that connection, if it comes about.
    fn create(&self, name: &str, parameters: &str) -> Result<(), String> {
        PostgresEngine::create(&self.place(name, parameters)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn takes(&self, parameters: &str) {
        self.create(NAME, parameters).unwrap_or_else(|error| panic!("{parameters}: {error}"));
    }

    #[track_caller]
    fn refuses(&self, name: &str, parameters: &str, words: &[&str]) {
        let said = self.create(name, parameters).expect_err("it is not to be believed");
        for words in words {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
        assert!(!said.contains("hush"), "{said}");
    }

    /// Connections that go on, and whether they are encrypted.
    fn connections(&self) -> String {
        let asked = "select distinct ssl, version from pg_stat_ssl join pg_stat_activity using (pid) \
                     where application_name = 'ambrosia-host'";
        self.server.sql(asked)
    }
}

#[test]
fn a_server_elsewhere_is_spoken_with_by_tls_once_it_has_shown_who_it_is() {
    for authority in [Authority::new(), Authority::with_long_signatures()] {
        let Some(stage) = Stage::begin(authority) else { return };
        // Both sides see by the certificate that nobody stands between, where a password is asked for.
        let parameters = stage.root() + "channel_binding=require";
        stage.takes(&parameters);
        let engine = PostgresEngine::open(stage.place(NAME, &parameters)).expect("there is a store");
        assert!(create(&engine, log(1), &genesis(log(1))));
        assert_eq!(stage.connections(), "t|TLSv1.3\n");
        stage.takes(&(stage.root() + "sslmode=verify-full"));
    }
}

#[test]
fn a_server_is_refused_that_is_not_seen_to_be_the_one() {
    let Some(stage) = Stage::begin(Authority::new()) else { return };
    let root = stage.root();
    let by_name = ["is not for other.example, but for db.example", "hostaddr="];
    stage.refuses("other.example", &root, &by_name);
    stage.refuses("127.0.0.1", &root, &["is not for 127.0.0.1, but for db.example"]);
    stage.write("other.crt", Authority::new().certificate(), 0o644);
    let unknown = ["is not signed by a CA of sslrootcert", "sslrootcert=PATH"];
    stage.refuses(NAME, &stage.file("sslrootcert", "other.crt"), &unknown);
    stage.refuses(NAME, &stage.file("sslrootcert", "none.crt"), &["can't be read", "none.crt", "No such file"]);
    stage.write("empty.crt", "nothing", 0o644);
    stage.refuses(NAME, &stage.file("sslrootcert", "empty.crt"), &["empty.crt", "has none in PEM"]);
    stage.certify(&stage.authority.certify_server(NAME, Lasting::Past));
    stage.refuses(NAME, &root, &["the certificate of the server has expired", "new one"]);
    stage.certify(&stage.authority.certify_server(NAME, Lasting::Future));
    stage.refuses(NAME, &root, &["is not valid yet", "clocks"]);
    stage.server.decrypt();
    stage.refuses(NAME, &root, &["the server has no TLS", "switch it on"]);
    assert_eq!(stage.server.sql("select count(*) from pg_namespace where nspname = 'shop'"), "0\n", "nobody came in");
}

#[test]
fn a_server_whose_ca_the_system_does_not_know_is_refused_where_none_is_named() {
    // Of those that this machine has, none has signed it.
    let Some(stage) = Stage::begin(Authority::new()) else { return };
    let said = stage.create(NAME, "").expect_err("it is nobody that the system knows");
    assert!(said.contains("without that, by one that this system believes") || said.contains("no certificates of CAs"));
    assert_eq!(stage.create(NAME, "sslrootcert=system"), Err(said));
}

#[test]
fn a_client_shows_a_certificate_where_the_server_wants_one() {
    let Some(stage) = Stage::begin(Authority::new()) else { return };
    stage.server.admit(&[BY_CERTIFICATE]);
    let root = stage.root();
    stage.refuses(NAME, &root, &["requires a valid client certificate"]);
    stage.give_client(&stage.of_clients.certify_client("ambrosia"));
    stage.takes(&(root.clone() + &stage.own()));
    stage.give_client(&stage.of_clients.certify_client("somebody"));
    stage.refuses(NAME, &(root.clone() + &stage.own()), &["authentication failed"]);
    stage.give_client(&Authority::new().certify_client("ambrosia"));
    stage.refuses(NAME, &(root.clone() + &stage.own()), &["the server does not believe the certificate of sslcert"]);
    stage.write("me.key", &stage.of_clients.certify_client("ambrosia").key, 0o600);
    stage.refuses(NAME, &(root + &stage.own()), &["me.crt can't be used with the key of sslkey", "me.key"]);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let Some(stage) = Stage::begin(Authority::new()) else { return };
    let own = stage.of_clients.certify_client("ambrosia");
    stage.give_client(&own);
    let parameters = stage.root() + &stage.own();
    stage.takes(&parameters);
    // A group may read what belongs to root, as for libpq.
    for mode in [0o644, 0o604, 0o660, 0o601] {
        stage.write("me.key", &own.key, mode);
        stage.refuses(NAME, &parameters, &["others than its owner can read the key", "me.key", "chmod 600"]);
    }
}

#[test]
fn files_that_change_count_from_the_next_connection_on() {
    let Some(stage) = Stage::begin(Authority::new()) else { return };
    stage.server.admit(&[BY_CERTIFICATE]);
    stage.give_client(&stage.of_clients.certify_client("ambrosia"));
    let parameters = stage.root() + &stage.own();
    stage.takes(&parameters);
    let engine = PostgresEngine::open(stage.place(NAME, &parameters)).expect("there is a store");
    assert!(create(&engine, log(1), &genesis(log(1))));
    let mut last = position(&genesis(log(1)));
    let mut go_on = |is_new: bool| {
        let wanted = group(log(1), 0, last, b"");
        let answer = append(&engine, vec![wanted.clone()]);
        if is_new {
            // What was on its way is not known, when the server crashes; the next try is a new connection.
            assert_eq!(answer, Ok(Answered::Appended(vec![Ok(())])));
            last = wanted.last;
        }
        answer
    };
    assert!(go_on(true).is_ok());
    // Another authority than all those before signs for both sides, and the engine has not been told.
    let (of_server, of_clients) = (Authority::new(), Authority::new());
    stage.server.encrypt(&of_server.certify_server(NAME, Lasting::Now), &of_clients);
    assert!(go_on(true).is_ok(), "what stands goes on");
    stage.server.crash();
    stage.server.start();
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it is never told");
        match go_on(false) {
            Err(Fault::Unavailable(said)) if said.contains("is not signed by a CA of sslrootcert") => break,
            Err(_) => {}
            Ok(answer) => panic!("{answer:?}"),
        }
    }
    stage.write("ca.crt", of_server.certificate(), 0o644);
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it is never told");
        match go_on(false) {
            Err(Fault::Unavailable(said)) if said.contains("does not believe the certificate of sslcert") => break,
            Err(_) => {}
            Ok(answer) => panic!("{answer:?}"),
        }
    }
    stage.give_client(&of_clients.certify_client("ambrosia"));
    assert!(go_on(true).is_ok());
    assert_eq!(last.lsn, Lsn(genesis(log(1)).header().lsn.0 + 3));
}
