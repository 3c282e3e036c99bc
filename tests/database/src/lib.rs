//! Servers of a test's own: PostgreSQL, where it is installed, and etcd and an object store, where `scripts/engines.sh` has fetched them.

use std::{
    env, fs,
    io::Write,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

mod authority;
mod etcd;
mod fetched;
mod node;
mod objects;
mod skipped;

pub use authority::{Authority, Certified, Lasting};
pub use etcd::{Apart, Etcd};
use fetched::fetched;
pub use node::Node;
pub use objects::Objects;
pub use skipped::skip;

/// Whether there is etcd.
pub fn has_etcd() -> bool {
    fetched("etcd").is_some()
}

/// The library of libfaketime, which a process is started with that is to have another clock.
pub fn clock_library() -> Option<PathBuf> {
    fetched("libfaketime.so.1")
}

/// Where Debian has it.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A server that ends with the test.
pub struct Server {
    directory: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    reloads: AtomicU32,
}

impl Server {
    /// Begins one with these settings; `None`, which is told, where there is no PostgreSQL.
    ///
    /// # Panics
    /// If it can't be begun.
    pub fn begin(settings: &[&str]) -> Option<Server> {
        let Some(programs) = programs() else {
            skip("what is kept in PostgreSQL", "it is not installed (Debian's package postgresql)");
            return None;
        };
        let user = unprivileged();
        let directory = tempfile::Builder::new().prefix("ambrosia-pg").tempdir().expect("there is room");
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).expect("this process may give directories away");
        }
        let server = Server { directory, programs, user, reloads: AtomicU32::new(0) };
        let data = server.data();
        server
            .must("initdb", &["-D", &data, "-U", "ambrosia", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        let mut file =
            fs::OpenOptions::new().append(true).open(format!("{data}/postgresql.conf")).expect("initdb made it");
        let socket = server.directory.path().display();
        writeln!(file, "listen_addresses = ''\nunix_socket_directories = '{socket}'\nshared_buffers = '16MB'\nmax_connections = '300'\nambrosia_test.reloads = '0'")
            .expect("there is room");
        settings.iter().for_each(|setting| writeln!(file, "{setting}").expect("there is room"));
        server.start();
        Some(server)
    }

    /// Starts it, which was crashed.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(&self) {
        let log = format!("{}/log", self.directory.path().display());
        self.must("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", &log, "start"]);
    }

    /// As a crash of all its processes would end it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn crash(&self) {
        self.must("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&self) {
        self.must("pg_ctl", &["-D", &self.data(), "-w", "-m", "fast", "stop"]);
    }

    /// Keeps what it has now, while it is stopped, for [`Server::restore`].
    ///
    /// # Panics
    /// If there is no room.
    pub fn back_up(&self) {
        let backup = self.backup();
        self.must("/bin/rm", &["-rf", &backup]);
        self.must("/bin/cp", &["-a", &self.data(), &backup]);
    }

    /// Brings back what it had when it was backed up, while it is stopped.
    ///
    /// # Panics
    /// If it never was.
    pub fn restore(&self) {
        self.must("/bin/rm", &["-rf", &self.data()]);
        self.must("/bin/cp", &["-a", &self.backup(), &self.data()]);
    }

    fn backup(&self) -> String {
        format!("{}/backup", self.directory.path().display())
    }

    fn data(&self) -> String {
        format!("{}/data", self.directory.path().display())
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.directory.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.output().unwrap_or_else(|error| panic!("{program} can't be started: {error}"))
    }

    #[track_caller]
    fn must(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
        out.into_owned()
    }

    /// What a statement of an administrator gives, a row a line.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let socket = self.directory.path().display().to_string();
        self.must("psql", &["-h", &socket, "-U", "ambrosia", "-d", "postgres", "-XAtq", "-c", statement])
    }

    /// Changes a setting of the server while it runs; those who connect find it so in a while.
    ///
    /// # Panics
    /// If that fails.
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("alter system set {name} = '{value}'"));
        self.sql("select pg_reload_conf()");
    }

    /// Has it read its files anew, and waits until whoever connects from now on finds it so.
    fn reload(&self) {
        let number = (self.reloads.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        self.set("ambrosia_test.reloads", &number);
        // It reads all files before it lets anybody in again.
        while self.sql("select current_setting('ambrosia_test.reloads', true)").trim() != number {}
    }

    /// Has it listen there, from its next start on.
    ///
    /// # Panics
    /// If that fails.
    pub fn listen_at(&self, address: &str, port: u16) {
        self.sql(&format!("alter system set listen_addresses = '{address}'"));
        self.sql(&format!("alter system set port = {port}"));
    }

    /// Has it speak TLS with that certificate, and believe certificates of clients that the authority has signed.
    ///
    /// # Panics
    /// If that fails.
    pub fn encrypt(&self, own: &Certified, of_clients: &Authority) {
        self.write("server.crt", &own.certificate);
        self.write("server.key", &own.key);
        self.write("clients.crt", of_clients.certificate());
        self.sql("alter system set ssl_ca_file = 'clients.crt'");
        self.set("ssl", "on");
        self.reload();
    }

    /// Has it speak in clear text alone.
    ///
    /// # Panics
    /// If that fails.
    pub fn decrypt(&self) {
        self.set("ssl", "off");
        self.reload();
    }

    /// Lets others in than those on its socket: lines of `pg_hba.conf`.
    ///
    /// # Panics
    /// If that fails.
    pub fn admit(&self, lines: &[&str]) {
        self.write("pg_hba.conf", &format!("local all all trust\n{}\n", lines.join("\n")));
        self.reload();
    }

    /// Writes a file of the server that nobody else reads.
    fn write(&self, name: &str, text: &str) {
        let path = PathBuf::from(self.data()).join(name);
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).expect("there is room");
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600)).expect("it is the test's own");
        if let Some((uid, gid)) = self.user {
            chown(&fresh, Some(uid), Some(gid)).expect("this process may give files away");
        }
        fs::rename(&fresh, &path).expect("it is there");
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// Where a schema of it is.
    pub fn url(&self, schema: &str) -> String {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://ambrosia@{socket}/postgres?schema={schema}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been ended by the test.
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }
}

/// Whether there is PostgreSQL on this machine.
pub fn is_installed() -> bool {
    programs().is_some()
}

fn programs() -> Option<PathBuf> {
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let has_all = |path: &PathBuf| ["initdb", "pg_ctl", "psql", "postgres"].iter().all(|name| path.join(name).exists());
    let mut found: Vec<_> = versions.chain(in_path).filter(has_all).collect();
    found.sort();
    found.pop()
}

/// PostgreSQL refuses to run as root; the user `postgres`, or else nobody, does it for it.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("every system has it");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}
