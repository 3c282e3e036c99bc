//! A PostgreSQL server of a test's own, where PostgreSQL is installed.

use std::{
    env, fs,
    io::Write,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

mod skipped;

pub use skipped::skip;

/// Where Debian has it.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A server that ends with the test.
pub struct Server {
    directory: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
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
        let server = Server { directory, programs, user };
        let data = server.data();
        server
            .must("initdb", &["-D", &data, "-U", "ambrosia", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        let mut file =
            fs::OpenOptions::new().append(true).open(format!("{data}/postgresql.conf")).expect("initdb made it");
        let socket = server.directory.path().display();
        writeln!(file, "listen_addresses = ''\nunix_socket_directories = '{socket}'\nshared_buffers = '16MB'")
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

    /// Changes a setting of the server while it runs.
    ///
    /// # Panics
    /// If that fails.
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("alter system set {name} = '{value}'"));
        self.sql("select pg_reload_conf()");
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
