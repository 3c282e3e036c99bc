//! The process that carries members: what all of them share, and the life and the end of each.
//!
//! **Architecture Invariant:** members of one process know nothing of each other: whoever fails takes no other one along.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use ambrosia_core::{
    HostAddress, InstanceName, ReplicaIndex, ScheduleOptions,
    member::{Keep, MemberSettings},
};
use ambrosia_door::Door;
use ambrosia_engine::{THREAD_STACK_BYTES_MIN, Tracking};
use ambrosia_methods::Mounts;
use ambrosia_outgoing::{Outside, Roots, Sender as OutgoingSender, SenderOptions, Surroundings};
use ambrosia_storage::{
    Checkpoints, EnterError, HEARTBEAT_SILENCE, InstanceEntry, Instances, LogError, LogStore, Members, Pool, Presence,
    RecordedOutcome, Store,
};
use ambrosia_wire::{Security, socket};
use tokio::net::TcpListener;

use crate::{
    certificate::watch_certificate,
    clock::{SystemClock, system_time},
    doorway::open_door,
    driver::{Driver, DriverOptions},
    driving::Living,
    elsewhere::Elsewhere,
    embedded::Print,
    entropy::{entropy_bytes, entropy_u64},
    event::Event,
    everyone::Everyone,
    guest_log::{GuestLog, GuestLogPlace},
    heart::{Body, Heart},
    leash::Leash,
    listen::Listen,
    listener::{Reception, Receptions, accept_all},
    mailbox::Mailbox,
    modules::{CurrentMethods, Modules},
    neighbours::Neighbours,
    peers::PeerDirectory,
    places::{Deed, Places, PlacingOptions, Surroundings as PlaceSurroundings},
    printer::Printer,
    prints::Prints,
    run::{Ending, MemberOptions, RunError},
    signals::Signals,
    stall::Stall,
    standing::has_work,
    stdin::Stdin,
    trunks::Trunks,
    vitals::Vitals,
    wishes::Wishes,
};

/// Driver threads for each core, at most: while some wait for the disk, as those do that read a log, others go on. There are
/// more than two of them only while there is so much to do.
const DRIVERS_PER_CORE: usize = 4;

/// So many members have the disk do something that others wait for, at once: begin a reign, or end one. Stdin takes one of these
/// threads too.
const ERRANDS_MAX: usize = 33;

/// So many wait for the answer of an engine: what they ask for meanwhile is asked together, so the more the better.
const ERRANDS_ELSEWHERE_MAX: usize = 513;

/// The process, once it runs members.
pub(crate) struct Host {
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    engine: [u8; 32],
    clock: SystemClock,
    runtime: tokio::runtime::Runtime,
    /// How others reach it.
    address: HostAddress,
    receptions: Arc<Receptions>,
    everyone: Everyone,
    printer: Arc<Printer>,
    directory: Arc<PeerDirectory>,
    trunks: Arc<Trunks>,
    /// The way out into the world, for all members.
    outside: Arc<Outside>,
    heart: Heart,
    wishes: Wishes,
    /// Drives members.
    drivers: Pool,
    /// Whether the output says whose it is.
    names_members: bool,
    happenings: (Sender<Happening>, Receiver<Happening>),
    living: usize,
    /// Where HTTP comes in.
    door: Option<Door>,
    /// Where what guests log goes.
    guest_log: Option<Arc<GuestLog>>,
}

/// What members of this process share with what is around it.
pub(crate) enum Surface {
    /// The signals and the streams of the process.
    Process {
        /// Whether the output says whose it is.
        names_members: bool,
        /// Whether the members end when stdin does.
        ends_with_stdin: bool,
    },
    /// Neither: somebody else ends the members, and gets what they print.
    Embedded {
        /// By which that is done.
        everyone: Everyone,
        /// Who gets it.
        print: Print,
    },
}

impl Surface {
    /// How all members are told, where they print, and whether that says whose it is.
    fn open(self, runtime: &tokio::runtime::Runtime) -> std::io::Result<(Everyone, Arc<Printer>, bool)> {
        match self {
            Surface::Process { names_members, ends_with_stdin } => {
                let leash = if ends_with_stdin { Some(Leash::hold()?) } else { None };
                let signals = runtime.block_on(async { Signals::catch() })?;
                let everyone = Everyone::default();
                let there = everyone.clone();
                let printer = Arc::new(Printer::new(move || there.tell_of_room())?);
                runtime.spawn(signals.watch(everyone.clone(), Arc::clone(&printer), leash));
                Ok((everyone, printer, names_members))
            }
            Surface::Embedded { everyone, print } => {
                let there = everyone.clone();
                let printer = Arc::new(Printer::embedded(&print, move || there.tell_of_room())?);
                Ok((everyone, printer, false))
            }
        }
    }
}

/// A member, and how it ended.
pub(crate) struct Ended {
    pub(crate) instance: InstanceName,
    pub(crate) replica: ReplicaIndex,
    pub(crate) ending: Result<Ending, RunError>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
}

/// What the host waits for.
pub(crate) enum Happening {
    /// A member has ended.
    Ended(Ended),
    /// Something is to be done about places.
    Deed(Deed),
    /// A replica that has taken a place has what it needs, or can't have it.
    Provided(InstanceName, Result<Box<Provided>, RunError>),
    /// All are to end.
    ShutDown,
}

/// A replica that has taken its place, so that nobody else can.
pub(crate) struct Entered {
    instance: InstanceName,
    replica: ReplicaIndex,
    entry: InstanceEntry,
    members: Arc<dyn Members>,
    presence: Box<dyn Presence>,
}

/// What comes of the wish to run a replica.
pub(crate) enum Entrance {
    /// It may live.
    Entered(Box<Entered>),
    /// The instance has come to its end before.
    Over(Result<Ending, RunError>),
}

/// Takes the place of a replica.
///
/// # Errors
/// If there is no such replica, or it runs already.
pub(crate) fn enter(store: &dyn Store, instance: InstanceName, replica: ReplicaIndex) -> Result<Entrance, RunError> {
    let entry = store.instance(&instance)?;
    if !entry.replicas.contains(&replica.0) {
        return Err(RunError::NoReplica { name: instance, replica });
    }
    match &entry.outcome {
        Some(RecordedOutcome::Finished { code, lsn }) => {
            return Ok(Entrance::Over(Ok(Ending::Finished { code: *code, lsn: *lsn })));
        }
        Some(RecordedOutcome::Halted { lsn, reason, backtrace }) if !has_work(store, &entry)? => {
            let (reason, backtrace, stderr) = (reason.clone(), backtrace.clone(), String::new());
            return Ok(Entrance::Over(Err(RunError::Halted { name: instance, lsn: *lsn, reason, backtrace, stderr })));
        }
        // The log decides whether it stands there still, and on.
        Some(RecordedOutcome::Halted { .. }) | None => {}
    }
    let members = store.members(entry.log())?;
    let presence = members.enter(replica)?;
    Ok(Entrance::Entered(Box::new(Entered { instance, replica, entry, members, presence })))
}

/// A replica with the methods of the module that its instance most likely runs: its log tells.
pub(crate) struct Ready {
    entered: Entered,
    methods: Arc<CurrentMethods>,
}

impl Entered {
    /// What the registry has of the instance.
    pub(crate) fn entry(&self) -> &InstanceEntry {
        &self.entry
    }

    /// Loads what the replica runs: what is wrong with that is found before anything is started.
    pub(crate) fn get_ready(self, modules: &Modules) -> Result<Ready, RunError> {
        let current = self.entry.upgrades.current;
        modules.module(current)?;
        let methods = modules.methods(current)?;
        Ok(Ready { entered: self, methods: Arc::new(CurrentMethods::new(methods)) })
    }
}

impl Ready {
    /// Sees that a method is there which is to get the lines of stdin: in the module that the instance most likely runs, or
    /// in another one that it was given, which it may run all the same, or will.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn check_stdin(&self, modules: &Modules, name: &str) -> Result<(), RunError> {
        let Err(unknown) = self.methods.get().find(name).map(|_| ()) else { return Ok(()) };
        let given = &self.entered.entry.upgrades.modules;
        let has_it = |module: &[u8; 32]| modules.methods(*module).is_ok_and(|methods| methods.find(name).is_ok());
        if given.iter().any(has_it) { Ok(()) } else { Err(unknown.into()) }
    }
}

/// A replica with what it needs of the store.
pub(crate) struct Provided {
    ready: Ready,
    log: Arc<dyn LogStore>,
    checkpoints: Arc<dyn Checkpoints>,
}

impl Ready {
    /// Gets what the replica needs of the store, which may take a while.
    fn provide(self, store: &dyn Store, address: &HostAddress) -> Result<Provided, RunError> {
        let Entered { replica, entry, presence, .. } = &self.entered;
        presence.set_address(address).map_err(EnterError::from)?;
        let log = store.log(entry.log())?;
        let checkpoints = store.checkpoints(entry.log())?;
        checkpoints.remove_leftovers(*replica).map_err(LogError::from)?;
        Ok(Provided { log, checkpoints, ready: self })
    }
}

/// Starts the engine, and says how it finds what a guest has written.
pub(crate) fn start_engine(modules: &Modules) -> Result<[u8; 32], RunError> {
    let engine = modules.engine()?;
    match engine.tracking() {
        Tracking::WriteProtect => tracing::info!("the kernel tells which pages of the guest were written"),
        Tracking::Shadow => tracing::info!("pages of the guest are compared with a copy to see which were written"),
    }
    Ok(engine.hash())
}

impl Host {
    /// Starts all that members share. From now on signals are heard and connections are accepted.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        modules: Arc<Modules>,
        clock: SystemClock,
        listen: &Listen,
        surface: Surface,
    ) -> Result<Host, RunError> {
        let engine = modules.engine()?.hash();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(if store.asks_together() { ERRANDS_ELSEWHERE_MAX } else { ERRANDS_MAX })
            .enable_all()
            .thread_name("network")
            .build()
            .map_err(RunError::Thread)?;
        let failed = |error| RunError::Listen { address: listen.address, error };
        let listener = runtime.block_on(TcpListener::bind(listen.address)).map_err(failed)?;
        socket::prepare(&listener).map_err(failed)?;
        let address = listen.advertised(listener.local_addr().map_err(failed)?);
        let receptions = Arc::new(Receptions::new(Arc::clone(&store)));
        let directory = PeerDirectory::new(Arc::clone(&store), listen.security.clone()).map_err(RunError::Thread)?;
        let directory = Arc::new(directory);
        let accepting = accept_all(listener, Arc::clone(&receptions), Arc::clone(&directory), listen.security.clone());
        runtime.spawn(accepting);
        if let Security::Tls(tls) = &listen.security {
            runtime.spawn(watch_certificate(Arc::clone(tls)));
        }
        let (everyone, printer, names_members) = surface.open(&runtime).map_err(RunError::Thread)?;
        let heart = Heart::start().map_err(RunError::Thread)?;
        let wishes = Wishes::new(Arc::clone(&store)).map_err(RunError::Thread)?;
        let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
        let trunks = Arc::new(Trunks::new(runtime.handle().clone(), listen.security.clone()));
        let surroundings = Surroundings { random: entropy_u64, now: system_time };
        let outside = Arc::new(Outside::new(surroundings, Roots::System));
        Ok(Host {
            store,
            modules,
            engine,
            clock,
            runtime,
            address,
            receptions,
            everyone,
            printer,
            directory,
            trunks,
            outside,
            heart,
            wishes,
            drivers: Pool::new("driver", cores * DRIVERS_PER_CORE, Some(THREAD_STACK_BYTES_MIN)),
            names_members,
            happenings: channel(),
            living: 0,
            door: None,
            guest_log: None,
        })
    }

    /// Takes HTTP at that address from now on, for all instances of the store. Returns where that is.
    pub(crate) fn open_door(&mut self, address: SocketAddr, mounts: Mounts) -> Result<SocketAddr, RunError> {
        let (store, modules) = (Arc::clone(&self.store), Arc::clone(&self.modules));
        let (directory, receptions) = (Arc::clone(&self.directory), Arc::clone(&self.receptions));
        let neighbours = Some(Arc::new(Neighbours::new(self.address.clone(), receptions)));
        let door = open_door(&self.runtime, store, modules, directory, neighbours, address, mounts)?;
        Ok(self.door.insert(door).address())
    }

    /// What guests log goes there, of all members that are added from now on.
    pub(crate) fn open_guest_log(&mut self, place: &GuestLogPlace) -> Result<(), RunError> {
        let opened = GuestLog::open(place);
        let opened = opened.map_err(|error| RunError::GuestLog { place: place.to_string(), error })?;
        self.guest_log = Some(Arc::new(opened));
        Ok(())
    }

    /// Has a replica live from now on.
    pub(crate) fn add(&mut self, ready: Ready, stdin: Option<String>, options: &MemberOptions) -> Result<(), RunError> {
        let provided = ready.provide(&*self.store, &self.address)?;
        self.begin_life(provided, stdin, options)
    }

    fn begin_life(
        &mut self,
        provided: Provided,
        stdin: Option<String>,
        options: &MemberOptions,
    ) -> Result<(), RunError> {
        let Provided { ready, log, checkpoints } = provided;
        let Ready { entered: Entered { instance, replica, entry, members, presence }, methods } = ready;
        let mailbox = Arc::new(Mailbox::new());
        let span = tracing::error_span!("member", instance = %instance, replica = %replica);
        let (vitals, presence) = (Arc::new(Vitals::new()), Arc::<dyn Presence>::from(presence));
        let (printer, stall) = (Arc::clone(&self.printer), Arc::<Stall>::default());
        let driver = Driver {
            name: instance.clone(),
            uuid: entry.uuid,
            replica,
            log: Arc::clone(&log),
            checkpoints,
            members,
            modules: Arc::clone(&self.modules),
            methods: Arc::clone(&methods),
            engine: self.engine,
            vitals: Arc::clone(&vitals),
            stall: Arc::clone(&stall),
            mailbox: Arc::clone(&mailbox),
            directory: Arc::clone(&self.directory),
            address: self.address.clone(),
            trunks: Arc::clone(&self.trunks),
            presence: Arc::clone(&presence),
            store: Arc::clone(&self.store),
            sender: Arc::new(OutgoingSender::new(
                SenderOptions {
                    instance: instance.to_string(),
                    uuid: entry.uuid.to_string(),
                    grants: options.grants.clone(),
                    secrets: options.secrets.clone(),
                },
                Arc::clone(&self.outside),
            )),
            runtime: self.runtime.handle().clone(),
            printer: if self.names_members { Prints::of(instance.clone(), printer) } else { Prints::alone(printer) },
            guest_log: self.guest_log.clone(),
            stdin: stdin.map(|name| Arc::new(Stdin::new(name, Arc::clone(&methods)))),
            notary: self.wishes.notary(&instance, &mailbox),
            clock: self.clock,
            settings: settings(replica, self.engine, options),
            options: DriverOptions { print_replay: options.print_replay },
            elsewhere: Elsewhere::default(),
            span: span.clone(),
        };
        self.wishes.follow(&entry, Arc::clone(&mailbox));
        let (name, here, mailed) = (instance.clone(), Arc::clone(&vitals), Arc::clone(&mailbox));
        self.receptions.add(Reception { name, replica, methods, vitals: here, stall, mailbox: mailed });
        self.everyone.add(Arc::clone(&mailbox));
        self.heart.add(Body::new(presence, log, vitals, Arc::clone(&mailbox), span));
        self.begin(driver, &mailbox)
    }

    /// Has a driver driven. That it ends is reported, whatever it ends of.
    fn begin(&mut self, driver: Driver, mailbox: &Mailbox<Event>) -> Result<(), RunError> {
        let waker = self.drivers.place();
        mailbox.set_receiver(waker.clone());
        waker.begin(Box::new(Living::new(driver, self.happenings.0.clone()))).map_err(RunError::Thread)?;
        self.living += 1;
        Ok(())
    }

    /// Waits for all members to end, and tells of each.
    pub(crate) fn wait(mut self, mut tell: impl FnMut(Ended)) {
        while self.living > 0 {
            if let Happening::Ended(ended) = self.next() {
                let is_last = self.living == 1;
                self.let_go(&ended, is_last);
                tell(ended);
            }
        }
        self.end();
    }

    /// Has members live in the places that this host takes by itself, until all are to end; tells of those that end.
    ///
    /// # Errors
    /// If it can't be a host of the store.
    pub(crate) fn take_places(
        mut self,
        options: PlacingOptions,
        process_memory_bytes: Option<u64>,
        member: &MemberOptions,
        mut tell: impl FnMut(Ended),
    ) -> Result<(), RunError> {
        let surroundings = PlaceSurroundings {
            store: Arc::clone(&self.store),
            modules: Arc::clone(&self.modules),
            address: self.address.clone(),
            process_memory_bytes,
        };
        let sender = self.happenings.0.clone();
        // Nobody listens any more once the process ends.
        let act = move |deed| drop(sender.send(Happening::Deed(deed)));
        let places = Places::begin(surroundings, options, act)?;
        self.heart.announce(places.presence());
        let sender = self.happenings.0.clone();
        self.everyone.on_end(move || drop(sender.send(Happening::ShutDown)));
        let (mut is_ending, mut told) = (false, BTreeMap::new());
        // Those that get what they need, and whether they are to leave before they live.
        let mut provided_for: BTreeMap<InstanceName, bool> = BTreeMap::new();
        while !(is_ending && self.living == 0) {
            match self.next() {
                Happening::ShutDown => {
                    is_ending = true;
                    places.end();
                }
                Happening::Ended(ended) => {
                    self.let_go(&ended, false);
                    places.on_end(ended.instance.clone(), ended.ending.is_ok());
                    // What fails is tried again and again.
                    let how = ended.ending.as_ref().map_or_else(ToString::to_string, |_| String::new());
                    if told.insert(ended.instance.clone(), how.clone()) != Some(how) {
                        tell(ended);
                    }
                }
                // What is dropped here has no place any more.
                Happening::Deed(Deed::Claimed(_)) if is_ending => {}
                Happening::Deed(Deed::Claimed(ready)) => {
                    provided_for.insert(ready.entered.instance.clone(), false);
                    self.provide(*ready);
                }
                // As above.
                Happening::Provided(..) if is_ending => {}
                Happening::Provided(name, provided) => {
                    if provided_for.remove(&name) == Some(true) {
                        drop(provided);
                        places.on_end(name, true);
                        continue;
                    }
                    let begun = provided.and_then(|provided| self.begin_life(*provided, None, member));
                    if let Err(error) = begun {
                        tracing::warn!(instance = %name, %error, "a replica can't be begun");
                        places.on_end(name, false);
                    }
                }
                Happening::Deed(Deed::Leave(name)) => {
                    if let Some(leaves) = provided_for.get_mut(&name) {
                        *leaves = true;
                    } else if let Some(reception) = self.receptions.of(&name) {
                        reception.mailbox.push(Event::Shutdown);
                    }
                }
            }
        }
        self.close_output();
        drop(places);
        self.end();
        Ok(())
    }

    /// Has a replica get what it needs, beside others.
    fn provide(&self, ready: Ready) {
        let (store, address) = (Arc::clone(&self.store), self.address.clone());
        let sender = self.happenings.0.clone();
        self.runtime.spawn_blocking(move || {
            let name = ready.entered.instance.clone();
            let provided = ready.provide(&*store, &address).map(Box::new);
            // Nobody listens any more once the process ends.
            drop(sender.send(Happening::Provided(name, provided)));
        });
    }

    fn next(&self) -> Happening {
        self.happenings.1.recv().expect("this host has a sender itself")
    }

    /// A member has ended.
    fn let_go(&mut self, ended: &Ended, is_last: bool) {
        self.living -= 1;
        self.receptions.remove(&ended.mailbox);
        self.everyone.remove(&ended.mailbox);
        self.wishes.leave(&ended.mailbox);
        if is_last {
            // The last one holds its place until all is printed.
            self.close_output();
        } else {
            self.heart.remove(&ended.mailbox);
        }
    }

    /// What members have printed and logged is written.
    fn close_output(&self) {
        self.printer.close();
        self.guest_log.iter().for_each(|log| log.close());
    }

    /// All that members shared ends.
    fn end(mut self) {
        drop(self.heart);
        // Others may be primaries now, and answer what has come in here.
        if let Some(door) = self.door.take() {
            self.runtime.block_on(door.close());
        }
        // Reading stdin may hang in the system for ever; nothing else is under way any more.
        self.runtime.shutdown_background();
    }
}

/// What a member is told.
fn settings(replica: ReplicaIndex, engine: [u8; 32], options: &MemberOptions) -> MemberSettings {
    MemberSettings {
        replica,
        engine,
        from_beginning: options.from_beginning,
        allow_engine_change: options.allow_engine_change,
        allow_divergence: options.allow_divergence,
        schedule: ScheduleOptions {
            checkpoint_every_bytes: options.checkpoint_every_bytes,
            recovery_target_ns: options.recovery_target.as_nanos() as u64,
        },
        keep: Keep {
            checkpoints: options.keep_checkpoints,
            log: options.keep_log,
            history_bytes: options.history_bytes,
        },
        silence: HEARTBEAT_SILENCE,
        configuration: options.configuration.values.clone(),
        entropy: entropy_bytes(),
    }
}
