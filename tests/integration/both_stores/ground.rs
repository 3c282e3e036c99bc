//! Where replicas of a test run: processes on a store on files, or threads of the test on a store in memory.
//!
//! **Architecture Invariant:** a test knows the traits alone, so that it says the same of both.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use ambrosia_core::{InstanceName, PrintStream, ReplicaIndex};
use ambrosia_host::{Embedded, EmbeddedOptions, Ending, MemberOptions, Modules};
use ambrosia_storage::{MemoryStore, Store, StorePlace};
use ambrosia_tests::{Cluster, Host, Lines, PATIENCE, Signal};

/// Where replicas run.
pub(crate) trait Ground {
    /// What they run on.
    fn store(&self) -> Arc<dyn Store>;

    /// The component of a guest.
    fn guest(&self, name: &str) -> Vec<u8>;

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

/// Processes, and a store on files.
pub(crate) struct Files {
    cluster: Cluster,
    store: Arc<dyn Store>,
}

impl Files {
    pub(crate) fn new() -> Files {
        let cluster = Cluster::new();
        let store = StorePlace::from(cluster.store()).create_or_open().expect("a directory of the test's own");
        Files { cluster, store }
    }
}

impl Ground for Files {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn guest(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.cluster.guest(name)).expect("the guest was built")
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

    fn guest(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.cluster.guest(name)).expect("the guest was built")
    }

    fn start(&self, instance: &str, replica: u16) -> Box<dyn Running> {
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
        let embedded = Embedded::start(self.store(), Arc::clone(&self.modules), options).expect("it can be started");
        Box::new(InThisProcess { embedded, stdout: Lines::of(reader, |_| {}) })
    }
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
