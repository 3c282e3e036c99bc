//! Runs one replica in this process: opens everything, starts the threads, and waits for the end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{
    Epoch, InstanceName, Lsn, RecordError, ReplicaIndex, ScheduleOptions,
    member::{Keep, MemberSettings},
};
use ambrosia_engine::{
    Captures, EngineError, Module, ModuleError, THREAD_STACK_BYTES_MIN, Tracking, spare_address_space,
};
use ambrosia_storage::{
    AcquireError, BlobError, EnterError, HEARTBEAT_SILENCE, InstanceError, Instances, LogError, LogId, Members,
    OpenError, Outcome, Presence, Store, StorePlace,
};
use ambrosia_wire::socket;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    clock::{ClockError, SystemClock},
    diagnostics::Diagnostics,
    driver::{Driver, DriverOptions},
    event::Event,
    listener::{Reception, accept_all},
    mailbox::Mailbox,
    member_driver::MemberDriver,
    methods::UnknownMethod,
    modules::{CurrentMethods, Modules},
    peers::PeerDirectory,
    printer::Printer,
    resources,
    stdin::Stdin,
    vitals::{Vitals, beat},
};

/// Signals closer together than this count as one.
const SIGNAL_DEBOUNCE: Duration = Duration::from_secs(1);

/// What to run and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where the store lies.
    pub store: StorePlace,
    /// The instance.
    pub instance: InstanceName,
    /// Which replica of it.
    pub replica: ReplicaIndex,
    /// Where peers and clients connect; a loopback address, port 0 for a free one.
    pub listen: SocketAddr,
    /// The method that gets each line of stdin.
    pub stdin: Option<String>,
    /// Show what the guest prints during replay too.
    pub print_replay: bool,
    /// Replay the log from its beginning, or from the oldest checkpoint if it was trimmed.
    pub from_beginning: bool,
    /// Go on although the log was written by another version of the engine.
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
    /// Not a loopback address.
    #[error(
        "{0} is not a loopback address: there is no encryption yet, so peers and clients can be served on this machine \
         only. Use an address such as 127.0.0.1:0"
    )]
    NotLoopback(SocketAddr),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {error}. Give another address with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
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
    /// The log was written by another engine.
    #[error(
        "the reign of epoch {epoch} (lsn {lsn}) was written by another version or configuration of the engine, which \
         may have another limit for stack or fuel. Run the version that wrote it, or accept the change with \
         --allow-engine-change once all replicas run the same version"
    )]
    ForeignEngine {
        /// The reign.
        epoch: Epoch,
        /// Its first record.
        lsn: Lsn,
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
        "\nThe log is intact. See the record with `ambrosia-host log --instance {name} --from {lsn} --to {lsn}`"
    ));
    text
}

/// Runs a replica until the instance ends or the process gets SIGTERM or SIGINT.
pub fn run(options: RunOptions) -> Result<Ending, RunError> {
    if !options.listen.ip().is_loopback() {
        return Err(RunError::NotLoopback(options.listen));
    }
    let clock = SystemClock::check()?;
    spare_address_space();
    resources::check()?;
    let store = options.store.open()?;
    let entry = store.instance(&options.instance)?;
    if !entry.replicas.contains(&options.replica.0) {
        return Err(RunError::NoReplica { name: options.instance, replica: options.replica });
    }
    match &entry.outcome {
        Some(Outcome::Finished { code, lsn }) => return Ok(Ending::Finished { code: *code, lsn: *lsn }),
        Some(Outcome::Halted { lsn, reason, backtrace }) => {
            return Err(RunError::Halted {
                name: options.instance,
                lsn: *lsn,
                reason: reason.clone(),
                backtrace: backtrace.clone(),
                stderr: String::new(),
            });
        }
        None => {}
    }
    let log = entry.log();
    let members = store.members(log)?;
    let presence = members.enter(options.replica)?;
    let modules = Arc::new(Modules::new(Arc::clone(&store)));
    let engine = modules.engine()?;
    match engine.tracking() {
        Tracking::WriteProtect => tracing::info!("the kernel tells which pages of the guest were written"),
        Tracking::Shadow => tracing::info!("pages of the guest are compared with a copy to see which were written"),
    }
    // The replica runs the one that its state names. What is wrong with it is found before anything is started.
    let (module, methods) = (modules.module(entry.module)?, modules.methods(entry.module)?);
    if let Some(name) = &options.stdin {
        methods.find(name)?;
    }
    let methods = Arc::new(CurrentMethods::new(methods));
    Process { store, log, members, presence, engine: engine.hash(), modules, module, methods, clock, options }.run()
}

/// All that is needed to start the threads.
struct Process {
    store: Arc<dyn Store>,
    log: LogId,
    members: Arc<dyn Members>,
    presence: Box<dyn Presence>,
    engine: [u8; 32],
    modules: Arc<Modules>,
    /// The one that the instance is registered with.
    module: Module,
    methods: Arc<CurrentMethods>,
    clock: SystemClock,
    options: RunOptions,
}

impl Process {
    fn run(self) -> Result<Ending, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("network")
            .build()
            .map_err(RunError::Thread)?;
        let address = self.options.listen;
        let listen = |error| RunError::Listen { address, error };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(listen)?;
        socket::prepare(&listener).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        self.presence.set_address(address);

        let mailbox = Arc::new(Mailbox::new());
        let name = self.options.instance.clone();
        let methods = Arc::clone(&self.methods);
        let reception = Reception { name: name.clone(), methods, mailbox: Arc::clone(&mailbox) };
        runtime.spawn(accept_all(listener, Arc::new(reception)));
        let signals = runtime.block_on(async { Signals::catch() }).map_err(RunError::Thread)?;
        let there = Arc::clone(&mailbox);
        let printer = Arc::new(Printer::new(move || there.push(Event::RoomToPrint)).map_err(RunError::Thread)?);
        runtime.spawn(signals.watch(Arc::clone(&mailbox), Arc::clone(&printer)));

        let settings = self.settings();
        let (vitals, presence) = (Arc::new(Vitals::new()), Arc::<dyn Presence>::from(self.presence));
        let log = self.store.log(self.log)?;
        let checkpoints = self.store.checkpoints(self.log)?;
        checkpoints.remove_leftovers(self.options.replica).map_err(LogError::from)?;
        let driver = Driver {
            name,
            replica: self.options.replica,
            log: Arc::clone(&log),
            checkpoints,
            members: self.members,
            modules: self.modules,
            methods: Arc::clone(&self.methods),
            engine: self.engine,
            vitals: Arc::clone(&vitals),
            mailbox: Arc::clone(&mailbox),
            directory: PeerDirectory::new(Arc::clone(&self.store)).map_err(RunError::Thread)?,
            presence: Arc::clone(&presence),
            store: self.store,
            runtime: runtime.handle().clone(),
            printer: Arc::clone(&printer),
            stdin: self.options.stdin.map(|name| Arc::new(Stdin::new(name, self.methods))),
            clock: self.clock,
            settings,
            options: DriverOptions { print_replay: self.options.print_replay, address },
        };
        let (end_beat, beat_ends) = std::sync::mpsc::channel();
        let heart = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || beat(&*presence, &*log, &vitals, &mailbox, &beat_ends))
            .map_err(RunError::Thread)?;
        let living = std::thread::Builder::new()
            .name("driver".to_owned())
            .stack_size(THREAD_STACK_BYTES_MIN)
            .spawn(move || MemberDriver::new(&driver).live())
            .map_err(RunError::Thread)?;
        let ending = living.join().unwrap_or(Err(RunError::Defect));
        printer.close();
        drop(end_beat);
        if heart.join().is_err() {
            tracing::error!("the heartbeat thread failed");
        }
        // Reading stdin may hang in the system for ever; nothing else is under way any more.
        runtime.shutdown_background();
        ending
    }
}

impl Process {
    /// What its member is told.
    fn settings(&self) -> MemberSettings {
        let cannot_capture = match self.module.capture_means() {
            Captures::Nothing(findings) => {
                Some(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            Captures::Memory | Captures::Save(_) => None,
        };
        MemberSettings {
            replica: self.options.replica,
            engine: self.engine,
            from_beginning: self.options.from_beginning,
            allow_engine_change: self.options.allow_engine_change,
            allow_divergence: self.options.allow_divergence,
            schedule: ScheduleOptions {
                checkpoints: cannot_capture.is_none(),
                checkpoint_every_bytes: self.options.checkpoint_every_bytes,
                recovery_target_ns: self.options.recovery_target.as_nanos() as u64,
            },
            cannot_capture,
            keep: Keep { checkpoints: self.options.keep_checkpoints, log: self.options.keep_log },
            silence: HEARTBEAT_SILENCE,
        }
    }
}

/// SIGTERM and SIGINT, caught from the moment that this is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first signal ends the replica in order, the second at once.
    async fn watch(mut self, mailbox: Arc<Mailbox<Event>>, printer: Arc<Printer>) {
        let mut asked: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            match asked {
                None => {
                    mailbox.push(Event::Shutdown);
                    printer.ask_to_end();
                    tracing::info!("asked to stop, handing over; a second signal stops at once");
                    asked = Some(Instant::now());
                }
                // A shell or a wrapper passes on what the terminal has sent as well: that is one wish, not two.
                Some(first) if first.elapsed() < SIGNAL_DEBOUNCE => {}
                Some(_) => break,
            }
        }
        // As if killed: the log is made for that.
        Diagnostics::flush_at_end();
        std::process::exit(1);
    }
}
