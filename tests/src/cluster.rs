//! A store in a directory of its own, and the verbs of `ambrosia-host` on it.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ambrosia_core::InstanceName;
use ambrosia_host::{Client, client_of};
use ambrosia_storage::StorePlace;
use serde_json::Value;
use tempfile::TempDir;

use crate::Host;

/// Directory of other guests than those of the build directory: `scripts/test.sh` has the same guests, built with another
/// standard library.
const GUESTS_VARIABLE: &str = "AMBROSIA_TEST_GUESTS";

/// A store of its own, deleted when dropped.
pub struct Cluster {
    directory: TempDir,
    bin: PathBuf,
    guests: PathBuf,
    /// What every process finds in its environment, beside what this one has.
    environment: Vec<(String, OsString)>,
}

/// How a verb went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// Exit code; -1 if it was killed.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Cluster {
    /// An empty store. The program and the guests are those beside the running test in the build directory.
    pub fn new() -> Cluster {
        Cluster::with_prefix(".tmp")
    }

    /// The same, in a directory whose name begins with `prefix`.
    pub fn with_prefix(prefix: &str) -> Cluster {
        Cluster::within(&std::env::temp_dir(), prefix)
    }

    /// The same, in the directory `parent`.
    pub fn within(parent: &Path, prefix: &str) -> Cluster {
        let me = std::env::current_exe().expect("a running program has a path");
        let in_deps = me.parent().is_some_and(|parent| parent.ends_with("deps"));
        let release = me.ancestors().nth(if in_deps { 2 } else { 1 }).expect("it lies in the build directory");
        let target = release.parent().expect("the profile's directory lies in the build directory");
        let cluster = Cluster {
            directory: tempfile::Builder::new()
                .prefix(prefix)
                .tempdir_in(parent)
                .expect("a temporary directory can be made"),
            bin: release.join("ambrosia-host"),
            guests: std::env::var_os(GUESTS_VARIABLE).map_or(target.join("wasm32-wasip2/release"), PathBuf::from),
            environment: Vec::new(),
        };
        for (built, by) in [(&cluster.bin, "make build"), (&cluster.guest("server"), "make guests")] {
            assert!(built.exists(), "{} is not there: run `{by}` first", built.display());
        }
        cluster
    }

    /// Directory that has the store and all other files in it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Directory of the store.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Lets every user read the directory and start the program, if the directory above lets them in.
    ///
    /// The program is a copy from now on: the build directory may lie in a home that is closed to others.
    pub fn open_to_all(&mut self) {
        let copy = self.file("ambrosia-host");
        std::fs::copy(&self.bin, &copy).expect("a program can be copied");
        for path in [self.directory.path(), &copy] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is the test's own");
        }
        self.bin = copy;
    }

    /// Does not delete the directory when dropped.
    pub fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// Sets a variable of the environment of every process from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// A path for a file of the test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program under test.
    pub fn program(&self) -> &Path {
        &self.bin
    }

    /// A guest by its name: of the examples or of the test guests.
    pub fn guest(&self, name: &str) -> PathBuf {
        let example = self.guests.join(format!("{name}.wasm"));
        if example.exists() { example } else { self.guests.join("examples").join(format!("{name}.wasm")) }
    }

    /// The program with these arguments on this store, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&self.bin, arguments)
    }

    fn command_by(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("AMBROSIA_STORE", self.store()).env_remove("AMBROSIA_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same of another program that was built with it.
    pub fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        self.command_by(&self.bin.with_file_name(program), arguments)
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("the program can be started");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a verb that must succeed; returns what it printed.
    ///
    /// # Panics
    /// If it does not.
    pub fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?} failed:\n{}", ran.stderr);
        ran.stdout
    }

    /// Registers `instance` with a guest, and adds replicas so that it has `replicas`.
    pub fn register(&self, instance: &str, guest: &str, replicas: u16) {
        let module = self.guest(guest);
        let module = module.to_str().expect("the path is text");
        self.must(&["register-instance", "--instance", instance, "--module", module]);
        for replica in 1..replicas {
            self.must(&["add-replica", "--instance", instance, "--replica", &replica.to_string()]);
        }
    }

    /// Starts a replica, with further arguments for `run`.
    pub fn start_with(
        &self,
        instance: &str,
        replica: u16,
        more: &[&str],
        echo: impl Fn(&str) + Send + 'static,
    ) -> Host {
        let replica = replica.to_string();
        let mut arguments = vec!["run", "--instance", instance, "--replica", &replica];
        arguments.extend(more);
        Host::start(self.command(&arguments), echo).expect("the program can be started")
    }

    /// Starts a replica; `hear` gets each line that the host says.
    pub fn start_heard(
        &self,
        instance: &str,
        replica: u16,
        more: &[&str],
        hear: impl Fn(&str) + Send + 'static,
    ) -> Host {
        let replica = replica.to_string();
        let mut arguments = vec!["run", "--instance", instance, "--replica", &replica];
        arguments.extend(more);
        Host::start_heard(self.command(&arguments), |_| {}, hear).expect("the program can be started")
    }

    /// Starts a replica.
    pub fn start(&self, instance: &str, replica: u16) -> Host {
        self.start_with(instance, replica, &[], |_| {})
    }

    /// Sends a request that must succeed; returns its result.
    ///
    /// # Panics
    /// If it does not.
    pub fn send(&self, instance: &str, method: &str, arguments: Value) -> Value {
        let printed =
            self.must(&["send", "--instance", instance, "--method", method, "--args", &arguments.to_string()]);
        serde_json::from_str(&printed).expect("send prints JSON")
    }

    /// What `status` says of an instance.
    pub fn status(&self, instance: &str) -> Value {
        let printed = self.must(&["status", "--instance", instance, "--json"]);
        let status: Value = serde_json::from_str(&printed).expect("status prints JSON");
        status["instances"][0].clone()
    }

    /// The records of an instance's log.
    pub fn log(&self, instance: &str) -> Vec<Value> {
        let printed = self.must(&["log", "--instance", instance, "--json"]);
        printed.lines().map(|line| serde_json::from_str(line).expect("log prints JSON lines")).collect()
    }

    /// A client in this process. Must be called within a tokio runtime.
    pub fn client(&self, instance: &str) -> Client {
        client(&self.store(), instance)
    }
}

/// A client of an instance in the store at `store`. Must be called within a tokio runtime.
///
/// # Panics
/// If there is no such store or instance.
pub fn client(store: &Path, instance: &str) -> Client {
    let store = StorePlace::from(store).open().expect("something was registered in the store");
    client_of(store, InstanceName::new(instance).expect("a plain name")).expect("the instance is registered")
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}
