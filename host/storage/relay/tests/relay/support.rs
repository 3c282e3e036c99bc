//! A host of a test: it relays a store to whoever connects.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ambrosia_shared_log::{
    Answered, Answering, Depot, DepotError, Engine, EngineFacts, EngineStore, Fault, HostId, KeysAnswer, Lane, Listing,
    MemoryEngine, RELAY_VERSION, Request, Session,
};
use ambrosia_storage::{Store, StoreRight};
use ambrosia_wire::{Connection, Control, Frame};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

/// What a host does with somebody who says hello.
#[derive(Clone)]
pub(crate) enum Manner {
    /// It relays.
    Relay(StoreRight),
    /// It refuses.
    Refuse(&'static str),
    /// It hangs up, as one of before does.
    HangUp,
    /// It takes questions, and answers none.
    Silence,
}

/// A host. Dropped, it is gone with all its connections.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    _store: EngineStore,
    _cache: tempfile::TempDir,
    _runtime: Runtime,
}

impl Host {
    /// One of the store of that name, which is on that engine.
    pub(crate) fn begin(engine: Arc<dyn Engine>, depot: Option<Arc<dyn Depot>>, store: &str, manner: Manner) -> Host {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there are threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("it listens");
        let cache = tempfile::tempdir().expect("there is room");
        let begun = EngineStore::begin_with(engine, depot, HostId([0xee; 16]), cache.path().join("cache"));
        let store = begun.expect("there are threads").relayed_as(store.to_owned());
        let (relayed, connections) = (store.relayed().expect("it is relayed"), Arc::<Mutex<JoinSet<()>>>::default());
        let there = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (relayed, manner) = (Arc::clone(&relayed), manner.clone());
                let served = async move {
                    let (handle, mut connection) = Connection::new(socket).expect("it is set up");
                    let hello = connection.read_frame().await;
                    assert!(
                        matches!(hello, Ok(Frame::Control(Control::RelayHello { version: RELAY_VERSION }))),
                        "{hello:?}"
                    );
                    match manner {
                        Manner::Relay(right) => drop(ambrosia_relay::serve(&*relayed, right, handle, connection).await),
                        Manner::Refuse(reason) => {
                            let refused = Control::Refused { elsewhere: false, reason: reason.to_owned() };
                            // Whoever has gone does not hear it.
                            drop(connection.write_frame(&Frame::Control(refused)).await);
                        }
                        Manner::HangUp => {}
                        Manner::Silence => {
                            let facts = relayed.facts(StoreRight::Change);
                            drop(connection.write_frame(&Frame::Control(Control::RelayWelcome { facts })).await);
                            connection.welcome_relay(1 << 20);
                            drop(connection.serve(|_, _| Ok(())).await);
                        }
                    }
                };
                there.lock().unwrap_or_else(PoisonError::into_inner).spawn(served);
            }
        });
        Host { address, connections, _store: store, _cache: cache, _runtime: runtime }
    }

    /// All connections end; others can be made.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The URL of hosts.
pub(crate) fn url(hosts: &[&Host]) -> String {
    let addresses: Vec<_> = hosts.iter().map(|host| host.address.to_string()).collect();
    format!("ambrosia://{}", addresses.join(","))
}

/// An engine whose sessions are numbered by a test, and whose barriers are of those that it has begun, as those of a database are.
pub(crate) struct Numbered<E> {
    pub(crate) engine: E,
    pub(crate) session: Session,
}

impl<E: Engine> Engine for Numbered<E> {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        if let Request::Barrier { session } = request {
            let known = session == self.session;
            let over = || ambrosia_shared_log::Fault::Unavailable("there is no such session".to_owned());
            return answer(if known { Ok(Answered::Barred) } else { Err(over()) });
        }
        let ours = self.session;
        let number = move |answered: Answered| match answered {
            Answered::Logs { logs, .. } => Answered::Logs { session: ours, logs },
            Answered::Keys(KeysAnswer::Got { entry, .. }) => Answered::Keys(KeysAnswer::Got { session: ours, entry }),
            other => other,
        };
        self.engine.ask(lane, request, Box::new(move |answered| answer(answered.map(number))));
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

/// An engine that is not reached.
pub(crate) struct CutOff(pub(crate) MemoryEngine);

impl Engine for CutOff {
    fn ask(&self, _: Lane, _: Request, answer: Answering) {
        answer(Err(Fault::Unavailable("no database answers".to_owned())));
    }

    fn facts(&self) -> EngineFacts {
        self.0.facts()
    }
}

/// A depot in memory.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

impl Depot for Shelf {
    fn place(&self) -> String {
        "a shelf".to_owned()
    }

    fn make(&self) -> Result<(), DepotError> {
        Ok(())
    }

    fn check(&self) -> Result<(), DepotError> {
        Ok(())
    }

    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes).map_err(DepotError::Contents)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bytes);
        Ok(())
    }

    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let missing =
            || DepotError::Missing { name: name.to_owned(), place: self.place(), remedy: "look for it".into() };
        out.write_all(&found.ok_or_else(missing)?).map_err(DepotError::Contents)
    }

    fn remove(&self, name: &str) -> Result<(), DepotError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut listing = Listing::default();
        for name in all.keys().filter_map(|name| name.strip_prefix(&*prefix)) {
            match name.split_once('/') {
                None => listing.files.push(name.to_owned()),
                Some((folder, _)) => listing.folders.push(folder.to_owned()),
            }
        }
        listing.folders.dedup();
        Ok(listing)
    }
}
