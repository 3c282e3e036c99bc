//! Where replicas of a test run: processes on a store on files, in PostgreSQL or in etcd, or threads of the test on a store in memory or on an engine.
//!
//! **Architecture Invariant:** a test knows the traits alone, so that it says the same of both.

use std::{
    any::Any,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ambrosia_core::{InstanceName, PrintStream, ReplicaIndex};
use ambrosia_etcd::EtcdStore;
use ambrosia_host::{Embedded, EmbeddedOptions, Ending, MemberOptions, Modules, fresh_uuid};
use ambrosia_postgres::PostgresStore;
use ambrosia_shared_log::{EngineStore, HostId, MemoryEngine};
use ambrosia_storage::{EnginePlace, MemoryStore, Store, StorePlace};
use ambrosia_test_database::{Etcd, Objects, Server};
use ambrosia_tests::{Cluster, Host, Lines, PATIENCE, Signal};

use crate::support::cluster_with;

/// Where replicas run.
pub(crate) trait Ground {
    /// What they run on.
    fn store(&self) -> Arc<dyn Store>;

    /// Where guests and files of the test are.
    fn cluster(&self) -> &Cluster;

    /// The component of a guest.
    fn guest(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.cluster().guest(name)).expect("the guest was built")
    }

    /// Starts a replica.
    fn start(&self, instance: &str, replica: u16) -> Box<dyn Running>;
}

/// A replica that runs.
pub(crate) trait Running {
    /// What its guest prints.
    fn stdout(&self) -> &Lines;

    /// Ends it as it is, with nothing put in order. Returns what its guest has printed.
    fn kill(self: Box<Self>) -> Vec<String>;

    /// Ends it in order.
    ///
    /// # Panics
    /// If it ends otherwise.
    fn stop(self: Box<Self>);
}

/// Processes, and a store on files or in a server of the test's own.
pub(crate) struct Processes {
    cluster: Cluster,
    store: Arc<dyn Store>,
    _server: Box<dyn Any>,
}

impl Processes {
    pub(crate) fn on_files() -> Processes {
        let cluster = Cluster::new();
        let store = StorePlace::from(cluster.store()).create_or_open().expect("a directory of the test's own");
        Processes { cluster, store, _server: Box::new(()) }
    }

    /// `None` where there is no PostgreSQL.
    pub(crate) fn in_postgresql() -> Option<Processes> {
        let server = Server::begin(&[])?;
        let url = server.url("shop");
        let place =
            |cache| -> Box<dyn EnginePlace> { Box::new(PostgresStore::read(&url, cache).expect("it is a URL")) };
        Some(Processes::of(server, &url, place))
    }

    /// `None` where there is no etcd.
    pub(crate) fn in_etcd() -> Option<Processes> {
        let server = Etcd::begin(1, &[])?;
        let url = server.url("shop");
        let place = |cache| -> Box<dyn EnginePlace> { Box::new(EtcdStore::read(&url, cache).expect("it is a URL")) };
        Some(Processes::of(server, &url, place))
    }

    /// In etcd, with modules and checkpoints in an object store; `None` where one of them is not there.
    pub(crate) fn beside_objects() -> Option<Processes> {
        let (server, objects) = (Etcd::begin(1, &[])?, Objects::begin()?);
        let url = server.url_with("shop", "s3://shop/some/prefix");
        Some(Processes::with(objects.variables(), (server, objects), &url, |cache, variables| {
            let store = EtcdStore::read(&url, cache).expect("it is a URL");
            let place = store.place().clone().with_variables(variables);
            Box::new(store.at(place))
        }))
    }

    /// In PostgreSQL, with modules and checkpoints in an object store; `None` where one of them is not there.
    pub(crate) fn in_postgresql_beside_objects() -> Option<Processes> {
        let (server, objects) = (Server::begin(&[])?, Objects::begin()?);
        let url = format!("{}&blobs=s3://shop", server.url("shop"));
        Some(Processes::with(objects.variables(), (server, objects), &url, |cache, variables| {
            let store = PostgresStore::read(&url, cache).expect("it is a URL");
            let place = store.place().clone().with_variables(variables);
            Box::new(store.at(place))
        }))
    }

    fn with(
        variables: Vec<(String, String)>,
        server: impl Any,
        url: &str,
        place: impl FnOnce(PathBuf, Vec<(String, String)>) -> Box<dyn EnginePlace>,
    ) -> Processes {
        let cluster = cluster_with(url, &variables);
        let store = place(cluster.file("own-cache"), variables).open().expect("it was made");
        Processes { cluster, store, _server: Box::new(server) }
    }

    fn of(server: impl Any, url: &str, place: impl FnOnce(PathBuf) -> Box<dyn EnginePlace>) -> Processes {
        Processes::with(Vec::new(), server, url, |cache, _| place(cache))
    }
}

impl Ground for Processes {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn start(&self, instance: &str, replica: u16) -> Box<dyn Running> {
        Box::new(self.cluster.start_with(instance, replica, &["--history", "0"], |_| {}))
    }
}

impl Running for Host {
    fn stdout(&self) -> &Lines {
        &self.stdout
    }

    fn kill(mut self: Box<Self>) -> Vec<String> {
        Host::kill(&mut self);
        self.printed()
    }

    fn stop(mut self: Box<Self>) {
        self.signal(Signal::Terminate);
        assert_eq!(self.exit_code(), 0, "{}", self.said());
    }
}

/// Threads of this process, and a store in memory.
pub(crate) struct Memory {
    cluster: Cluster,
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        Memory { cluster: Cluster::new(), modules: Arc::new(Modules::new(Arc::clone(&store))), store }
    }
}

impl Ground for Memory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn start(&self, instance: &str, replica: u16) -> Box<dyn Running> {
        start_here(self.store(), Arc::clone(&self.modules), instance, replica)
    }
}

/// Threads of this process, and a store on an engine in memory: each replica is a host of its own.
pub(crate) struct OnEngine {
    cluster: Cluster,
    engine: MemoryEngine,
    store: Arc<dyn Store>,
}

impl OnEngine {
    pub(crate) fn new() -> OnEngine {
        let (cluster, engine) = (Cluster::new(), MemoryEngine::default());
        let store = open(&cluster, &engine);
        OnEngine { cluster, engine, store }
    }
}

/// Another host on the engine. The cache is that of the machine.
fn open(cluster: &Cluster, engine: &MemoryEngine) -> Arc<dyn Store> {
    let cache = cluster.file("cache");
    std::fs::create_dir_all(&cache).expect("a directory of the test's own");
    let me = HostId(fresh_uuid().0);
    Arc::new(EngineStore::begin(Arc::new(engine.clone()), me, cache).expect("there are threads"))
}

impl Ground for OnEngine {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn start(&self, instance: &str, replica: u16) -> Box<dyn Running> {
        let store = open(&self.cluster, &self.engine);
        start_here(Arc::clone(&store), Arc::new(Modules::new(store)), instance, replica)
    }
}

/// Starts a replica by threads of this process.
fn start_here(store: Arc<dyn Store>, modules: Arc<Modules>, instance: &str, replica: u16) -> Box<dyn Running> {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let writer = Mutex::new(writer);
    let print = move |stream: PrintStream, bytes: &[u8]| {
        if stream == PrintStream::Stdout {
            let mut writer = writer.lock().expect("nobody panics with it");
            writer.write_all(bytes).expect("the test reads it");
        }
    };
    let options = EmbeddedOptions {
        instance: InstanceName::new(instance).expect("a plain name"),
        replica: ReplicaIndex(replica),
        http: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        member: MemberOptions { history_bytes: 0, ..MemberOptions::default() },
        print: Arc::new(print),
    };
    let embedded = Embedded::start(store, modules, options).expect("it can be started");
    Box::new(InThisProcess { embedded, stdout: Lines::of(reader, |_| {}) })
}

struct InThisProcess {
    embedded: Embedded,
    stdout: Lines,
}

impl Running for InThisProcess {
    fn stdout(&self) -> &Lines {
        &self.stdout
    }

    fn kill(self: Box<Self>) -> Vec<String> {
        let InThisProcess { embedded, stdout } = *self;
        embedded.abandon();
        let ending = embedded.wait();
        assert!(ending.is_err(), "it was not to end in order: {ending:?}");
        assert!(stdout.wait_for_end(PATIENCE), "nobody prints any more");
        stdout.all()
    }

    fn stop(self: Box<Self>) {
        self.embedded.stop();
        let ending = self.embedded.wait().expect("it ends well");
        assert_eq!(ending, Ending::Stopped);
    }
}
