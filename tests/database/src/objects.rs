//! An object store of a test's own that speaks S3: SeaweedFS, where `scripts/engines.sh` has fetched it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{fetched, skip};

/// Far more than a server takes to begin.
const PATIENCE: Duration = Duration::from_secs(60);

const PORTS: [&str; 6] =
    ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"];

/// Who may do everything in `shop`, who may only read, and their keys; and in `open`, whoever does not sign.
const IDENTITIES: &str = r#"{"identities": [
    {"name": "anonymous", "actions": ["Read:open", "Write:open", "List:open"]},
    {"name": "all", "credentials": [{"accessKey": "all", "secretKey": "s3cret-of-all"}], "actions": ["Admin", "Read", "Write", "List"]},
    {"name": "reader", "credentials": [{"accessKey": "reader", "secretKey": "s3cret-of-reader"}], "actions": ["Read", "List"]}
]}"#;

/// A server on this machine that ends with the test. It checks signatures.
pub struct Objects {
    directory: TempDir,
    program: PathBuf,
    s3: u16,
    filer: u16,
    /// Of its parts among each other, in the order of [`PORTS`].
    within: Vec<u16>,
    process: Option<Child>,
}

impl Objects {
    /// Begins one with the empty buckets `shop` and `open`; `None`, which is told, where there is none.
    ///
    /// # Panics
    /// If it can't be begun.
    pub fn begin() -> Option<Objects> {
        let Some(program) = fetched("weed") else {
            skip("what is kept in an object store", "SeaweedFS is not there (`scripts/engines.sh` fetches it)");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("ambrosia-objects").tempdir().expect("there is room");
        fs::write(directory.path().join("identities.json"), IDENTITIES).expect("there is room");
        let within = PORTS.iter().map(|_| free_port()).collect();
        let mut objects = Objects { directory, program, s3: free_port(), filer: free_port(), within, process: None };
        objects.start();
        Some(objects)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.s3))
    }

    /// Variables of the environment for whoever may do everything.
    pub fn variables(&self) -> Vec<(String, String)> {
        Objects::variables_of("all", self.address())
    }

    /// Those of an identity, with a server at that address.
    pub fn variables_of(identity: &str, address: SocketAddr) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", identity.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", format!("s3cret-of-{identity}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// How many objects there are in `shop`, at any depth, whoever put them there.
    ///
    /// # Panics
    /// If it does not say.
    pub fn count(&self) -> usize {
        self.count_in("/buckets/shop/")
    }

    /// How many there are in `open`.
    ///
    /// # Panics
    /// If it does not say.
    pub fn count_open(&self) -> usize {
        self.count_in("/buckets/open/")
    }

    fn count_in(&self, folder: &str) -> usize {
        let (status, listed) = self.filer("GET", &format!("{folder}?limit=100000"), true);
        if status == 404 {
            return 0;
        }
        let paths = listed.split("\"FullPath\":").skip(1).filter_map(|rest| rest.split('"').nth(1));
        let modes = listed.split("\"Mode\":").skip(1);
        let count = paths.zip(modes).map(|(path, mode)| {
            let digits: String = mode.trim_start().chars().take_while(char::is_ascii_digit).collect();
            // The bit of folders, as Go has it.
            let is_folder = digits.parse::<u64>().is_ok_and(|mode| mode & (1 << 31) != 0);
            // Where parts of uploads are that are not complete.
            if path.ends_with("/.uploads") {
                0
            } else if is_folder {
                self.count_in(&format!("{path}/"))
            } else {
                1
            }
        });
        count.sum()
    }

    /// As a crash would end it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is this test's own");
            process.wait().expect("it is this test's own");
        }
        // It has them there whatever is said, and leaves them.
        let within =
            PORTS.iter().zip(&self.within).filter_map(|(name, port)| Some((name.strip_suffix(".port.grpc")?, port)));
        let sockets = within.map(|(part, port)| format!("{part}-grpc-{port}"));
        for socket in sockets.chain([format!("filer-{}", self.filer), format!("s3-{}", self.s3)]) {
            // Some are not made.
            let _gone = fs::remove_file(format!("/tmp/seaweedfs-{socket}.sock"));
        }
    }

    /// Starts it, with what it had.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.directory.path().join("log"));
        let mut command = Command::new(&self.program);
        command
            .arg("server")
            .arg("-filer")
            .arg("-s3")
            .args(["-s3.iam=false", "-s3.autoCreateBucket=false", "-master.telemetry=false"])
            .arg("-master.volumeSizeLimitMB=64");
        command.arg(format!("-dir={}", self.directory.path().display()));
        command.arg(format!("-s3.config={}", self.directory.path().join("identities.json").display()));
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-volume.max=100",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        command.args([format!("-s3.port={}", self.s3), format!("-filer.port={}", self.filer)]);
        for (name, port) in PORTS.iter().zip(&self.within) {
            command.arg(format!("-{name}={port}"));
        }
        command
            .env("TMPDIR", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("there is room"));
        self.process = Some(command.spawn().expect("it was found"));
        let until = Instant::now() + PATIENCE;
        // A file goes in once all its parts have found each other.
        while !(self.answers()
            && ["shop", "open"].iter().all(|bucket| {
                // It is made, or was before.
                matches!(self.filer("POST", &format!("/buckets/{bucket}/"), false).0, 201 | 409)
            })
            && self.filer("PUT", "/ready", false).0 == 201)
        {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let ended = self.process.as_mut().expect("it was begun").try_wait();
            assert!(matches!(ended, Ok(None)), "it has ended: {log}");
            assert!(Instant::now() < until, "it does not answer: {log}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Whether the door for S3 is open.
    fn answers(&self) -> bool {
        TcpStream::connect(self.address()).is_ok()
    }

    /// What is asked past S3: status and text; 0 if it does not answer.
    fn filer(&self, method: &str, path: &str, as_json: bool) -> (u16, String) {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", self.filer)).and_then(|mut socket| {
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            let accept = if as_json { "Accept: application/json\r\n" } else { "" };
            let body = if method == "PUT" { "ready" } else { "" };
            let length = body.len();
            write!(
                socket,
                "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n{accept}Content-Length: {length}\r\n\r\n{body}"
            )?;
            socket.read_to_string(&mut answer)
        });
        let status = answer.split(' ').nth(1).filter(|_| asked.is_ok()).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), answer)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One that nobody has at the moment, and nobody is given for a connection: this takes a while until it listens.
fn free_port() -> u16 {
    const FIRST: u32 = 16_000;
    const COUNT: u32 = 16_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests that run side by side begin with different ones.
    let begin = std::process::id().wrapping_mul(131);
    loop {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + at).expect("it is small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
