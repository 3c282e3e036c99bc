//! A PostgreSQL server that may be primary or standby, whose processes are the test's own: they can be killed and made to stand still.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{programs, skip, unprivileged};

/// All that is waited for comes within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What servers that stand by for each other have in common: they notice within two seconds that the other one is gone, and look for it often.
const SETTINGS: &str = "shared_buffers = '16MB'\n\
    password_encryption = 'scram-sha-256'\n\
    wal_sender_timeout = '2s'\n\
    wal_receiver_timeout = '2s'\n\
    wal_retrieve_retry_interval = '100ms'\n\
    checkpoint_timeout = '30s'\n\
    max_wal_size = '128MB'\n\
    min_wal_size = '32MB'\n\
    log_connections = on\n\
    ssl = on\n";

/// Who is let in: administrators on the socket, the other server, and all others by TLS and with a password.
const ADMITTED: &str = "local all all trust\nhost replication ambrosia all trust\nhostssl all all all scram-sha-256\n";

/// One of several servers of the same database. Dropped, all its processes are killed.
pub struct Node {
    directory: PathBuf,
    /// Where the data lie, beside the log and the certificate or elsewhere.
    data: PathBuf,
    address: String,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    postmaster: Option<Child>,
}

impl Node {
    /// One in this directory, which is made, for the others at that address. There is nothing in it yet. `None`, which is told, where there is no
    /// PostgreSQL. Its user has to be let through the directories above.
    ///
    /// # Errors
    /// If the directory can't be made, or the files of the certificate can't be read.
    pub fn new(directory: &Path, address: &str, certificate: &Path, key: &Path) -> io::Result<Option<Node>> {
        let Some(programs) = programs() else {
            skip("what needs a database with a standby", "PostgreSQL is not installed (Debian's package postgresql)");
            return Ok(None);
        };
        let node = Node {
            directory: directory.to_owned(),
            data: directory.join("data"),
            address: address.to_owned(),
            programs,
            user: unprivileged(),
            postmaster: None,
        };
        fs::create_dir(directory)?;
        node.own(directory, 0o700)?;
        for (name, from) in [("server.crt", certificate), ("server.key", key)] {
            fs::write(node.file(name), fs::read(from)?)?;
            node.own(&node.file(name), 0o600)?;
        }
        Ok(Some(node))
    }

    /// The same, whose data lie on a disk that is mounted there.
    ///
    /// # Errors
    /// If that can't be given to its user.
    pub fn on_disk(mut self, mounted: &Path) -> io::Result<Node> {
        self.own(mounted, 0o700)?;
        self.data = mounted.join("data");
        Ok(self)
    }

    /// Makes a new database with the user `ambrosia`, who is an administrator and has this password. The server does not run yet.
    ///
    /// # Errors
    /// If a file can't be written.
    ///
    /// # Panics
    /// If there can be no database.
    pub fn make(&self, password: &str) -> io::Result<()> {
        let file = self.file("password");
        fs::write(&file, password)?;
        self.own(&file, 0o600)?;
        let (data, file) = (self.data(), self.file("password").display().to_string());
        self.must(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "ambrosia",
                "-A",
                "scram-sha-256",
                "--pwfile",
                &file,
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
                "--wal-segsize",
                "4",
            ],
        );
        let mut settings = fs::OpenOptions::new().append(true).open(format!("{data}/postgresql.conf"))?;
        settings.write_all(SETTINGS.as_bytes())?;
        fs::write(format!("{data}/pg_hba.conf"), ADMITTED)
    }

    /// Makes a copy of the database of a primary that runs, which it is to follow. What it had is removed. The server does not run yet.
    ///
    /// # Errors
    /// If what it had can't be removed.
    ///
    /// # Panics
    /// If there can be no copy.
    pub fn copy(&self, primary: &Node) -> io::Result<()> {
        assert!(self.postmaster.is_none(), "what runs is not replaced");
        let data = self.data();
        if fs::exists(&data)? {
            fs::remove_dir_all(&data)?;
        }
        self.must(
            "pg_basebackup",
            &["-D", &data, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-h", &primary.address, "-U", "ambrosia"],
        );
        Ok(())
    }

    /// Starts it, where `spawn` starts processes, and waits until it takes connections.
    ///
    /// # Errors
    /// If it can't be started.
    ///
    /// # Panics
    /// If it ends, or takes none for a minute.
    pub fn start(&mut self, spawn: impl FnOnce(&mut Command) -> io::Result<Child>) -> io::Result<()> {
        assert!(self.postmaster.is_none(), "it is started when it does not run");
        let log = File::options().append(true).create(true).open(self.file("log"))?;
        let mut command = self.command("postgres");
        command.args(["-D", &self.data(), "-k", &self.directory.display().to_string()]);
        for (name, value) in [
            ("listen_addresses", self.address.clone()),
            ("ssl_cert_file", self.file("server.crt").display().to_string()),
            ("ssl_key_file", self.file("server.key").display().to_string()),
        ] {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.postmaster = Some(spawn(&mut command)?);
        self.wait_until("takes connections", |node| node.try_sql("select 1").is_some_and(|one| one == "1\n"));
        Ok(())
    }

    /// Has a standby become primary; it is one when this returns.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn promote(&self) {
        // What is replayed meanwhile may cancel the statement.
        let promote = "select case when pg_is_in_recovery() then pg_promote(true, 60) else true end";
        self.wait_until("becomes primary", |node| node.try_sql(promote).is_some_and(|done| done == "t\n"));
    }

    /// Whether commits wait until a standby has them, from now on for whoever commits.
    ///
    /// # Panics
    /// If it is no primary.
    pub fn wait_for_standby(&self, waits: bool) {
        let who = if waits { "*" } else { "" };
        self.sql(&format!("alter system set synchronous_standby_names = '{who}'"));
        self.sql("select pg_reload_conf()");
        self.wait_until("reads its settings", |node| node.sql("show synchronous_standby_names").trim() == who);
    }

    /// Waits until a standby follows, whose disk commits wait for.
    ///
    /// # Panics
    /// If none does within a minute.
    pub fn wait_until_followed(&self) {
        let followed = "select count(*) from pg_stat_replication where state = 'streaming' and sync_state = 'sync'";
        // It may still be coming back from a crash.
        self.wait_until("is followed", |node| node.try_sql(followed).is_some_and(|count| count == "1\n"));
    }

    /// Waits until it has taken connections of `application` so many times.
    ///
    /// # Panics
    /// If it does not within a minute.
    pub fn wait_for_connections(&self, application: &str, times: usize) {
        self.wait_until("is connected to", |node| node.connections(application) >= times);
    }

    /// How often it has taken connections of `application`.
    pub fn connections(&self, application: &str) -> usize {
        let (said, name) = (self.said(), format!("application_name={application}"));
        said.split_whitespace().filter(|word| *word == name).count()
    }

    /// SIGKILL to all its processes at once, as when its machine dies.
    ///
    /// # Errors
    /// If they can't be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        self.signal_all(postmaster.id(), "-KILL")?;
        postmaster.wait()?;
        // Those that were begun last end when they see that it is gone; until then nothing can be started in their place.
        self.wait_until("is gone", |node| !node.has_processes());
        self.forget_memory();
        Ok(())
    }

    /// The kernel keeps a segment of memory of whoever was killed, and the next one in the same place would remove it.
    fn forget_memory(&self) {
        let known = fs::read_to_string(format!("{}/postmaster.pid", self.data())).unwrap_or_default();
        if let Some(segment) = known.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            // Somebody may still have it; then a few bytes stay until the machine is started anew.
            let _gone = Command::new("ipcrm").args(["-m", segment]).stderr(Stdio::null()).status();
        }
    }

    /// SIGSTOP or SIGCONT to all its processes.
    ///
    /// # Errors
    /// If that can't be sent.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        let Some(postmaster) = &self.postmaster else { return Ok(()) };
        self.signal_all(postmaster.id(), if frozen { "-STOP" } else { "-CONT" })
    }

    /// All its processes.
    ///
    /// # Errors
    /// If they can't be seen.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let Some(postmaster) = &self.postmaster else { return Ok(Vec::new()) };
        let mut all = children(postmaster.id())?;
        all.push(postmaster.id());
        Ok(all)
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// If that can't be seen.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(match &mut self.postmaster {
            Some(postmaster) => postmaster.try_wait()?.is_some(),
            None => false,
        })
    }

    /// What a statement of an administrator gives, a row a line.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let socket = self.directory.display().to_string();
        self.must("psql", &["-h", &socket, "-U", "ambrosia", "-d", "postgres", "-XAtq", "-c", statement])
    }

    /// How long so many bare commits of one client take that sends them one after the other, from where this thread is: each puts a row of that
    /// many bytes into a table that has nothing else, by a prepared statement.
    ///
    /// # Errors
    /// If files can't be written or read.
    ///
    /// # Panics
    /// If they can't be made.
    pub fn bare_commits(&self, password: &str, bytes: usize, count: usize) -> io::Result<Vec<Duration>> {
        self.sql("create table if not exists public.bare_commit (body bytea)");
        let (script, prefix) = (self.file("bare.sql"), self.file("commits"));
        fs::write(&script, format!("insert into public.bare_commit values (decode(repeat('a7', {bytes}), 'hex'));\n"))?;
        let mut command = self.command("pgbench");
        command.args(["-n", "-M", "prepared", "-c", "1", "-t", &count.to_string(), "-l", "--log-prefix"]).arg(prefix);
        command.arg("-f").arg(script).args(["-h", &self.address, "-U", "ambrosia", "postgres"]);
        // Whatever certificates the user has who started this are nothing to it.
        command.env("PGPASSWORD", password).env("PGSSLMODE", "require").env("HOME", &self.directory);
        command.stdin(Stdio::null());
        let output = command.output()?;
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let mut times = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("commits.")) {
                continue;
            }
            // Client, number, microseconds, …
            let text = fs::read_to_string(&path)?;
            let micros = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok());
            times.extend(micros.map(Duration::from_micros));
            fs::remove_file(path)?;
        }
        assert_eq!(times.len(), count, "pgbench tells of each");
        Ok(times)
    }

    fn try_sql(&self, statement: &str) -> Option<String> {
        let socket = self.directory.display().to_string();
        let output = self.run("psql", &["-h", &socket, "-U", "ambrosia", "-d", "postgres", "-XAtq", "-c", statement]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn signal_all(&self, postmaster: u32, signal: &str) -> io::Result<()> {
        // It begins no others while they are counted.
        if signal != "-CONT" {
            Command::new("kill").arg("-STOP").arg(postmaster.to_string()).status()?;
        }
        let mut command = Command::new("kill");
        command.arg(signal).arg(postmaster.to_string()).args(children(postmaster)?.iter().map(ToString::to_string));
        // Some may have ended by now.
        command.stderr(Stdio::null()).status()?;
        Ok(())
    }

    fn has_processes(&self) -> bool {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let data = self.data();
        let is_in =
            |entry: fs::DirEntry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == Path::new(&data));
        entries.into_iter().any(is_in)
    }

    #[track_caller]
    fn wait_until(&self, what: &str, look: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look(self) {
            assert!(
                Instant::now() < deadline,
                "the server at {} never {what}; it said:\n{}",
                self.address,
                self.said()
            );
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// What it has logged so far.
    fn said(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn data(&self) -> String {
        self.data.display().to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn own(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
        self.user.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)))
    }

    fn command(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.directory).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).stdin(Stdio::null()).output();
        output.unwrap_or_else(|error| panic!("{program} can't be started: {error}"))
    }

    #[track_caller]
    fn must(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {out}{err}{}", self.said());
        out.into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        // It may have ended by itself.
        let _gone = self.signal_all(postmaster.id(), "-KILL");
        let _gone = postmaster.wait();
        self.forget_memory();
    }
}

/// Processes that one has begun.
fn children(of: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may be gone by now.
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(of) {
            children.push(process);
        }
    }
    Ok(children)
}
