//! etcd servers of a test's own, where etcd is to be had.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{fetched, skip};

/// Far more than a server takes to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of servers on this machine that ends with the test.
pub struct Etcd {
    directory: TempDir,
    program: PathBuf,
    settings: Vec<String>,
    /// How clients are spoken with.
    scheme: &'static str,
    members: Vec<Member>,
}

struct Member {
    /// Where it listens for clients.
    clients: String,
    /// Where it listens for those who ask in clear, on its own machine.
    gateway: String,
    /// Where it listens for other members.
    peers: String,
    /// Its own, beside those of all.
    settings: Vec<String>,
    process: Option<Child>,
}

/// A member on a machine of its own, whom clients ask by TLS.
pub struct Apart {
    /// IP address of the machine.
    pub address: String,
    /// File of the member's certificate.
    pub certificate: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

impl Etcd {
    /// Begins so many members with these settings; `None`, which is told, where there is no etcd.
    ///
    /// # Panics
    /// If they can't be begun.
    pub fn begin(members: usize, settings: &[&str]) -> Option<Etcd> {
        let mut etcd = Etcd::prepare(members, settings, "http")?;
        (0..members).for_each(|number| etcd.launch(number));
        (0..members).for_each(|number| etcd.wait(number));
        Some(etcd)
    }

    /// Begins one member that speaks TLS by these settings. It may take a while until it lets anybody in.
    ///
    /// # Panics
    /// If it can't be begun.
    pub fn begin_encrypted(settings: &[&str]) -> Option<Etcd> {
        let mut etcd = Etcd::prepare(1, settings, "https")?;
        etcd.launch(0);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(etcd.address(0)).is_err() {
            assert!(Instant::now() < until, "it does not listen");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Some(etcd)
    }

    fn prepare(members: usize, settings: &[&str], scheme: &'static str) -> Option<Etcd> {
        let Some(program) = fetched("etcd") else {
            skip("what is kept in etcd", "it is not there (`scripts/engines.sh` fetches it)");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("ambrosia-etcd").tempdir().expect("there is room");
        fs::create_dir(directory.path().join("blobs")).expect("there is room");
        let here = || format!("127.0.0.1:{}", free_port());
        let member = |clients: String| Member {
            gateway: clients.clone(),
            clients,
            peers: here(),
            settings: Vec::new(),
            process: None,
        };
        let members = (0..members).map(|_| member(here())).collect();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Some(Etcd { directory, program, settings, scheme, members })
    }

    /// Members on machines of their own, which do not run yet, and keep what they have in that directory; `None`, which is told, where there is no etcd. Whoever asks one by
    /// [`Etcd::gateway`], [`Etcd::leads`] or [`Etcd::wait`] has to be on its machine.
    ///
    /// # Panics
    /// If a path is no text.
    pub fn apart(within: &Path, members: &[Apart], settings: &[&str]) -> Option<Etcd> {
        let mut etcd = Etcd::prepare(0, settings, "https")?;
        // What they have and say is kept, or goes, with what is beside it.
        let directory = tempfile::Builder::new().prefix("etcd-").disable_cleanup(true).tempdir_in(within);
        etcd.directory = directory.expect("there is room");
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let member = |Apart { address, certificate, key }: &Apart| Member {
            clients: format!("{address}:2379"),
            gateway: "127.0.0.1:2378".to_owned(),
            peers: format!("{address}:2380"),
            settings: vec!["--cert-file".to_owned(), text(certificate), "--key-file".to_owned(), text(key)],
            process: None,
        };
        etcd.members = members.iter().map(member).collect();
        Some(etcd)
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Where a prefix of it is.
    pub fn url(&self, prefix: &str) -> String {
        self.url_with(prefix, &format!("file:{}", self.blobs().display()))
    }

    /// Where a prefix of it is, with that place for blobs.
    pub fn url_with(&self, prefix: &str, blobs: &str) -> String {
        let hosts: Vec<_> = self.members.iter().map(|member| member.clients.as_str()).collect();
        format!("etcd://{}/{prefix}?blobs={blobs}", hosts.join(","))
    }

    /// The directory for blobs.
    pub fn blobs(&self) -> PathBuf {
        self.directory.path().join("blobs")
    }

    /// Where one member listens for clients.
    pub fn address(&self, number: usize) -> String {
        self.members[number].clients.clone()
    }

    /// Where a member of [`Etcd::apart`] is to have its data, before it is begun: a disk may be mounted there.
    pub fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("m{number}"))
    }

    /// The process of a member that runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn pid(&self, number: usize) -> u32 {
        self.members[number].process.as_ref().expect("it runs").id()
    }

    /// As a crash would end a member.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            process.kill().expect("it is this test's own");
            process.wait().expect("it is this test's own");
        }
    }

    /// Starts a member that was killed, with what it had.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(&mut self, number: usize) {
        self.launch(number);
        self.wait(number);
    }

    /// The member that leads.
    ///
    /// # Panics
    /// If there is none for long.
    pub fn leader(&self) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(leader) = (0..self.members.len()).find(|number| self.leads(*number)) {
                return leader;
            }
            assert!(Instant::now() < until, "nobody leads");
        }
    }

    /// Whether a member says that it leads.
    pub fn leads(&self, number: usize) -> bool {
        let status = self.gateway(number, "/v3/maintenance/status", "{}");
        let field = |name: &str| {
            let text = status.as_deref()?.split_once(&format!("\"{name}\":\""))?.1;
            text.split_once('"').map(|(value, _)| value.to_owned())
        };
        field("leader").is_some() && field("leader") == field("member_id")
    }

    /// What a member says over its gateway of JSON; `None` if nothing.
    pub fn gateway(&self, number: usize, path: &str, body: &str) -> Option<String> {
        self.gateway_with(number, path, body, "")
    }

    /// The same for a user who has logged in.
    ///
    /// # Panics
    /// If the member lets nobody in by that password.
    pub fn gateway_as(&self, (user, password): (&str, &str), path: &str, body: &str) -> Option<String> {
        let credentials = format!(r#"{{"name":"{user}","password":"{password}"}}"#);
        let answer = self.gateway(0, "/v3/auth/authenticate", &credentials).expect("it lets the user in");
        let token = answer.split_once("\"token\":\"").and_then(|(_, rest)| rest.split_once('"')).expect("it says it").0;
        self.gateway_with(0, path, body, &format!("Authorization: {token}\r\n"))
    }

    fn gateway_with(&self, number: usize, path: &str, body: &str, header: &str) -> Option<String> {
        let host = &self.members[number].gateway;
        let mut socket = TcpStream::connect(host).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let length = body.len();
        write!(
            socket,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{header}Content-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    /// Puts a value past the engine.
    ///
    /// # Panics
    /// If that fails.
    pub fn put(&self, key: &str, value: &str) {
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key.as_bytes()), base64(value.as_bytes()));
        self.gateway(0, "/v3/kv/put", &body).expect("it answers");
    }

    /// How many keys begin so.
    ///
    /// # Panics
    /// If it does not say.
    pub fn count(&self, prefix: &str) -> u64 {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("it is not empty") += 1;
        let (key, end) = (base64(prefix.as_bytes()), base64(&end));
        let body = format!(r#"{{"key":"{key}","range_end":"{end}","count_only":true}}"#);
        let answer = self.gateway(0, "/v3/kv/range", &body).expect("it answers");
        let count = answer.split_once("\"count\":\"").and_then(|(_, rest)| rest.split_once('"'));
        count.map_or(0, |(count, _)| count.parse().expect("it is a number"))
    }

    /// Keeps what a member has, which does not run, as it is now.
    ///
    /// # Panics
    /// If it can't be copied.
    pub fn keep(&self, number: usize) {
        self.copy(&format!("m{number}"), "kept");
    }

    /// Sets a member, which does not run, back to what was kept.
    ///
    /// # Panics
    /// If it can't be copied.
    pub fn set_back(&self, number: usize) {
        fs::remove_dir_all(self.directory.path().join(format!("m{number}"))).expect("it was begun");
        self.copy("kept", &format!("m{number}"));
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.directory.path().join(name);
        let copied = Command::new("cp").arg("-a").arg(path(from)).arg(path(to)).status();
        assert!(copied.expect("every system has it").success());
    }

    /// Sends a signal to a member, such as `STOP`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, number: usize, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid(number).to_string()]).status();
        assert!(sent.expect("every system has it").success());
    }

    fn launch(&mut self, number: usize) {
        self.launch_by(number, Command::spawn);
    }

    /// Starts a member, where `spawn` starts processes.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn launch_by(&mut self, number: usize, spawn: impl FnOnce(&mut Command) -> io::Result<Child>) {
        let name = |number: usize| format!("m{number}");
        let peers = |member: &Member| format!("http://{}", member.peers);
        let cluster: Vec<_> = (0..self.members.len())
            .map(|number| format!("{}={}", name(number), peers(&self.members[number])))
            .collect();
        let member = &self.members[number];
        let (own, clients) = (peers(member), format!("{}://{}", self.scheme, member.clients));
        // By TLS alone, but for whoever is on its machine.
        let listen = match member.gateway == member.clients {
            true => clients.clone(),
            false => format!("{clients},http://{}", member.gateway),
        };
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.directory.path().join(format!("{}.log", name(number))))
            .expect("there is room");
        let mut command = Command::new(&self.program);
        command
            .args(["--name", &name(number), "--data-dir"])
            .arg(self.directory.path().join(name(number)))
            .args(["--listen-peer-urls", &own, "--initial-advertise-peer-urls", &own])
            .args(["--listen-client-urls", &listen, "--advertise-client-urls", &clients])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "warn", "--snapshot-count", "5000"])
            .args(&self.settings)
            .args(&member.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.members[number].process = Some(spawn(&mut command).expect("it was found"));
    }

    /// Whether a member that runs, as far as anybody knows, has ended by itself.
    ///
    /// # Panics
    /// If that can't be seen.
    pub fn has_ended(&mut self, number: usize) -> bool {
        let process = self.members[number].process.as_mut();
        process.is_some_and(|process| process.try_wait().expect("it is this test's own").is_some())
    }

    /// Waits until a member answers by what a majority has.
    ///
    /// # Panics
    /// If it ends, or does not for a minute.
    pub fn wait(&mut self, number: usize) {
        let until = Instant::now() + PATIENCE;
        // The key `a`.
        while self.gateway(number, "/v3/kv/range", r#"{"key":"YQ=="}"#).is_none() {
            let log = self.directory.path().join(format!("m{number}.log"));
            let ended = self.members[number].process.as_mut().expect("it was launched").try_wait();
            assert!(matches!(ended, Ok(None)), "it has ended: {}", fs::read_to_string(&log).unwrap_or_default());
            assert!(Instant::now() < until, "it does not answer: {}", fs::read_to_string(&log).unwrap_or_default());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let sign = |at: usize| match at <= three.len() {
            true => char::from(SIGNS[(bits >> (18 - 6 * at)) as usize & 63]),
            false => '=',
        };
        [0, 1, 2, 3].map(sign)
    };
    bytes.chunks(3).flat_map(four).collect()
}

/// One that nobody has at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    listener.local_addr().expect("it listens").port()
}
