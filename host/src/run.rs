//! Runs one replica in this process, or several.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambrosia_core::{Configuration, Fault, InstanceName, Lsn, RecordError, ReplicaIndex};
use ambrosia_engine::{Engine, EngineError, ModuleError, spare_address_space};
use ambrosia_methods::{Mount, Mounts, UnknownMethod};
use ambrosia_outgoing::{Grants, Secrets};
use ambrosia_storage::{
    AcquireError, BlobError, EnterError, HostNameError, InstanceError, Instances, JoinError, LogError, OpenError,
    Store, StorePlace, TokenError, Tokens,
};
use ambrosia_wire::{Security, TlsError};

use crate::{
    clock::{ClockError, SystemClock},
    guest_log::GuestLogPlace,
    host::{Entrance, Host, Surface, enter, start_engine},
    listen::Listen,
    modules::Modules,
    resources,
};

/// What to run and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where the store lies.
    pub store: StorePlace,
    /// The instance.
    pub instance: InstanceName,
    /// Which replica of it.
    pub replica: ReplicaIndex,
    /// Where peers and clients connect.
    pub listen: Listen,
    /// Where HTTP is taken for all instances of the store, if anywhere; by TLS if the other connections are.
    pub http: Option<HttpAddress>,
    /// Where what the guest logs is written, if anywhere.
    pub guest_log: Option<GuestLogPlace>,
    /// The method that gets each line of stdin.
    pub stdin: Option<String>,
    /// The replica ends in order when stdin does, and what comes from there is dropped: so it does not outlive the process that
    /// holds the other end. Not together with `stdin`.
    pub ends_with_stdin: bool,
    /// How it lives.
    pub member: MemberOptions,
}

/// Where HTTP is taken.
#[derive(Clone, Debug)]
pub struct HttpAddress {
    /// The address, port 0 for a free one.
    pub address: SocketAddr,
    /// Where routes of instances are, beside their names. The instances are registered.
    pub mounts: Mounts,
}

/// How a replica lives.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Show what the guest prints during replay too.
    pub print_replay: bool,
    /// Replay the log from its beginning, or from the oldest checkpoint if it was trimmed.
    pub from_beginning: bool,
    /// Become primary although it is not known that this version of the engine does what that of the last reign did.
    pub allow_engine_change: bool,
    /// The record at which the replica may differ from what the log says it was.
    pub allow_divergence: Option<Lsn>,
    /// A checkpoint is taken when the log has grown by this many bytes …
    pub checkpoint_every_bytes: u64,
    /// … or when a replay would keep the guest busy for longer than this.
    pub recovery_target: Duration,
    /// How many checkpoints are kept, at least one.
    pub keep_checkpoints: usize,
    /// Keep the whole log, also what no checkpoint needs.
    pub keep_log: bool,
    /// How many bytes of the log, and of the checkpoints in it, are kept beyond what a recovery needs, for journeys
    /// ([`crate::travel`]).
    pub history_bytes: u64,
    /// What is set for the guest; the values keep to their limits. The key is none of it.
    pub configuration: Configuration,
    /// Where the guest may send requests to.
    pub grants: Grants,
    /// What is put into them on their way out.
    pub secrets: Secrets,
}

/// As the command line has them.
impl Default for MemberOptions {
    fn default() -> Self {
        MemberOptions {
            print_replay: false,
            from_beginning: false,
            allow_engine_change: false,
            allow_divergence: None,
            checkpoint_every_bytes: 64 << 20,
            recovery_target: Duration::from_secs(1),
            keep_checkpoints: 3,
            keep_log: false,
            history_bytes: 1 << 30,
            configuration: Configuration::default(),
            grants: Grants::default(),
            secrets: Secrets::default(),
        }
    }
}

/// How a run ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The guest finished the instance with this code.
    Finished {
        /// Exit code.
        code: i32,
        /// The record that brought it about.
        lsn: Lsn,
    },
    /// The operator stopped the replica; another one has taken over, or may.
    Stopped,
}

/// Why a run failed. The log is intact in every case.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Others would refuse to speak with this host.
    #[error("no host or client would believe this host: {0}")]
    Disbelieved(TlsError),
    /// Not a loopback address, and no TLS.
    #[error(
        "{0} is not a loopback address, and without TLS peers and clients are served on this machine only: give --tls-cert, --tls-key \
         and --tls-ca, which `ambrosia-host cert` makes, or use an address such as 127.0.0.1:0"
    )]
    NotLoopback(SocketAddr),
    /// Nobody is reached at the address.
    #[error(
        "{0} says where to listen, and not where others reach this host: tell them with --advertise, such as --advertise a.example:{port}",
        port = if .0.port() > 0 { .0.port() } else { 7400 }
    )]
    NotAdvertised(SocketAddr),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {error}. Give another address with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The address of HTTP can't be listened on.
    #[error("can't listen on {address} for HTTP: {error}. Give another address with --http")]
    Http {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// What guests log can't be written there.
    #[error("what guests log can't be written to {place}: {error}. Give another file with --guest-log")]
    GuestLog {
        /// The place asked for.
        place: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A host has a certificate.
    #[error("a host shows a certificate where it has TLS: give --tls-cert and --tls-key, too")]
    NoCertificate,
    /// The address of HTTP is one that other machines reach, and there is no TLS.
    #[error(
        "{0} is not a loopback address, and without TLS HTTP is taken on this machine only: give --tls-cert, --tls-key and --tls-ca, which \
         `ambrosia-host cert` makes, or use an address such as 127.0.0.1:8080"
    )]
    HttpNotLoopback(SocketAddr),
    /// Other machines reach the address of HTTP, and nobody needs a token.
    #[error(
        "{0} is not a loopback address, and the store has no token, so everybody who reaches it could do everything: make one with \
         `ambrosia-host token new --name NAME`"
    )]
    NoToken(SocketAddr),
    /// Routes of an instance are to be somewhere, and there is none of that name.
    #[error("the routes of instance {} can't be at {}: {error}", .mount.instance, .mount.prefix)]
    Mount {
        /// Whose routes were to be where.
        mount: Box<Mount>,
        /// What the store says.
        error: Box<InstanceError>,
    },
    /// The tokens can't be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The replica was never added.
    #[error(
        "instance {name} has no replica {replica}: add it with `ambrosia-host add-replica --instance {name} --replica {replica}`"
    )]
    NoReplica {
        /// The instance.
        name: InstanceName,
        /// The replica asked for.
        replica: ReplicaIndex,
    },
    /// Two replicas of one instance are to run in one process, which would die together.
    #[error(
        "instance {0} is named twice: a process runs one replica of an instance. Run the other one in another process"
    )]
    Twice(InstanceName),
    /// One of the replicas that are to be served can't be started.
    #[error("replica {replica} of instance {name} can't be served, so nothing is: {error}")]
    NotServed {
        /// The instance.
        name: InstanceName,
        /// The replica.
        replica: ReplicaIndex,
        /// Why.
        error: Box<RunError>,
    },
    /// The instance stands still since its guest failed.
    #[error("{}", halted_text(.name, *.lsn, .reason, .backtrace, .stderr))]
    Halted {
        /// The instance.
        name: InstanceName,
        /// The record that it failed at.
        lsn: Lsn,
        /// What happened.
        reason: String,
        /// Where in the guest.
        backtrace: String,
        /// What the guest said on its standard error.
        stderr: String,
    },
    /// Writing the log failed.
    #[error("the log can't be written, so this replica stops; nothing was acknowledged that is not durable: {0}")]
    LogFailed(String),
    /// Another directory lies where the store was.
    #[error(
        "the store was replaced or removed under this replica: {0} is not the file that it opened. It stops, and has \
         acknowledged nothing since it noticed. What it acknowledged before is in the directory that it had opened, \
         wherever that is now; start it again to go on with what lies there now"
    )]
    StoreLost(String),
    /// The log holds nothing.
    #[error("the log has no genesis record; deregister the instance and register it again")]
    NoGenesis,
    /// The first record can't be used.
    #[error("a record of the log can't be used: {0}")]
    Genesis(RecordError),
    /// A record holds what this program does not know.
    #[error("record {lsn} of the log can't be applied: {error}")]
    Record {
        /// The record.
        lsn: Lsn,
        /// What is wrong with it.
        error: RecordError,
    },
    /// `--stdin` names a method that is not there.
    #[error("--stdin: {0}")]
    Stdin(#[from] UnknownMethod),
    /// No checkpoint can be used, and the log does not go back to the beginning.
    #[error(
        "instance {name} can't be recovered: its log was trimmed and begins at lsn {first}, and no usable checkpoint reaches \
         that far. Restore from a backup either a checkpoint at lsn {} or later, or the part of the log that was \
         removed. Tried:{}",
        first.0 - 1,
        if reasons.is_empty() { "\n  there is no checkpoint" } else { reasons }
    )]
    NothingToBeginAt {
        /// The instance.
        name: InstanceName,
        /// First record of the log.
        first: Lsn,
        /// Why each checkpoint can't be used, a line each.
        reasons: String,
    },
    /// The replica is not what the log says.
    #[error(
        "replica of instance {name} stops: {description}The log and all files are as they were. To go on from the log \
         all the same, run with --allow-divergence {lsn}"
    )]
    Diverged {
        /// The instance.
        name: InstanceName,
        /// The last record before the difference was found.
        lsn: Lsn,
        /// Where and how.
        description: String,
    },
    /// The guests may need more memory than the process may take.
    #[error(
        "the guests of {replicas} instances may take {} MiB of memory together, and this process may take {} MiB: run fewer of them \
         in it, give it more by --process-memory, or allow an instance less by `ambrosia-host upgrade --memory-mib`",
        needed.div_ceil(1 << 20),
        allowed >> 20
    )]
    ProcessMemory {
        /// How many instances there are.
        replicas: usize,
        /// Bytes that their guests may take.
        needed: u64,
        /// Bytes that the process may take for that.
        allowed: u64,
    },
    /// The primary has handed over to another module, and this replica can't.
    #[error(
        "replica of instance {name} stops: the upgrade at lsn {lsn} was done by the primary and can't be done here: {fault}. The \
         log is intact. If the module is missing in the store, restore it, then start the replica again"
    )]
    UpgradeFailed {
        /// The instance.
        name: InstanceName,
        /// The record of the upgrade.
        lsn: Lsn,
        /// Why.
        fault: Fault,
    },
    /// The module can't be run.
    #[error("the module of the instance can't be run: {0}")]
    Module(#[from] ModuleError),
    /// The engine can't be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log can't be written by this replica.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The module can't be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The registration can't be read or changed.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The replica can't take its place.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system has no more threads, or no runtime can be made.
    #[error(
        "a thread can't be started: {0}. The limit of threads, or of the address space for their stacks, is reached: raise \
         it (`ulimit -u` of the user, pids.max of the container, kernel.threads-max of the machine; `ulimit -v`), or end \
         something else"
    )]
    Thread(std::io::Error),
    /// The clock can't be used.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The process may have no more files open.
    #[error(
        "not enough files can be opened: {0}. Raise the limit of open files (`ulimit -n`) of this process: it needs one \
         for each peer and client beside some 32 of its own"
    )]
    Descriptors(std::io::Error),
    /// The process that embeds the replica has dropped it.
    #[error("the replica was abandoned by the process that it runs in; the log is intact")]
    Abandoned,
    /// The name of the host can't be one.
    #[error("this host can't be called by its address, so give it a name with --host-name: {0}")]
    HostName(HostNameError),
    /// The process can't be a host of the store.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A defect in this program.
    #[error("the driver of the replica failed; this is a defect of ambrosia-host, and the log is intact")]
    Defect,
}

fn halted_text(name: &InstanceName, lsn: Lsn, reason: &str, backtrace: &str, stderr: &str) -> String {
    let mut text = format!("instance {name} halted at lsn {lsn}: {reason}");
    for (title, part) in [("the guest's standard error", stderr), ("backtrace", backtrace)] {
        if !part.trim().is_empty() {
            text.push_str(&format!("\n{title}:\n{}", part.trim_end()));
        }
    }
    text.push_str(&format!(
        "\nThe log is intact. See the record with `ambrosia-host log --instance {name} --from {lsn} --to {lsn}`. Have other code \
         handle it with `ambrosia-host upgrade --instance {name} --module FIXED.wasm`, or go on without one of its messages \
         with `ambrosia-host skip --instance {name} --lsn {lsn}`, which lists them"
    ));
    text
}

/// Runs a replica until the instance ends or the process gets SIGTERM or SIGINT.
///
/// # Errors
/// If the replica can't run, or not any more. The log is intact in every case.
pub fn run(options: RunOptions) -> Result<Ending, RunError> {
    run_by(options, Modules::new)
}

/// The same, by an engine that is not the usual one.
///
/// # Errors
/// As [`run`].
pub fn run_on(engine: Engine, options: RunOptions) -> Result<Ending, RunError> {
    run_by(options, |store| Modules::on(engine, store))
}

fn run_by(options: RunOptions, modules: impl FnOnce(Arc<dyn Store>) -> Modules) -> Result<Ending, RunError> {
    options.listen.check()?;
    let clock = SystemClock::check()?;
    spare_address_space();
    resources::check(1)?;
    let store = options.store.open()?;
    if let Some(caution) = store.caution() {
        tracing::warn!("{caution}");
    }
    check_http(&*store, options.http.as_ref(), &options.listen.security)?;
    let entered = match enter(&*store, options.instance, options.replica)? {
        Entrance::Entered(entered) => entered,
        Entrance::Over(ending) => return ending,
    };
    let modules = Arc::new(modules(Arc::clone(&store)));
    start_engine(&modules)?;
    let ready = entered.get_ready(&modules)?;
    if let Some(name) = &options.stdin {
        ready.check_stdin(&modules, name)?;
    }
    let mut host = Host::start(
        store,
        modules,
        clock,
        &options.listen,
        Surface::Process { names_members: false, ends_with_stdin: options.ends_with_stdin },
    )?;
    options.http.map(|http| host.open_door(http.address, http.mounts)).transpose()?;
    options.guest_log.map_or(Ok(()), |place| host.open_guest_log(&place))?;
    host.add(ready, options.stdin, &options.member)?;
    let mut ending = Err(RunError::Defect);
    host.wait(|ended| ending = ended.ending);
    ending
}

/// Others may reach HTTP only by TLS, and with a token.
pub(crate) fn check_http(store: &dyn Store, http: Option<&HttpAddress>, security: &Security) -> Result<(), RunError> {
    let Some(HttpAddress { address, mounts }) = http else { return Ok(()) };
    check_door(store, *address, security)?;
    check_mounts(store, mounts)
}

/// Whether HTTP may be taken at that address.
pub(crate) fn check_door(store: &dyn Store, address: SocketAddr, security: &Security) -> Result<(), RunError> {
    match (address.ip().is_loopback(), security.is_tls()) {
        (false, false) => Err(RunError::HttpNotLoopback(address)),
        (false, true) if store.tokens()?.is_empty() => Err(RunError::NoToken(address)),
        _ => Ok(()),
    }
}

/// Only what is registered has routes.
pub(crate) fn check_mounts(store: &dyn Store, mounts: &Mounts) -> Result<(), RunError> {
    for mount in mounts.iter() {
        if let Err(error) = store.instance(&mount.instance) {
            return Err(RunError::Mount { mount: Box::new(mount.clone()), error: Box::new(error) });
        }
    }
    Ok(())
}
