//! A host passes an engine, and the depot beside it, on to those that reach the host alone.
//!
//! **Architecture Invariant:** nobody has anything done for which they have not the right: that is looked at before anything else is. And
//! whoever goes leaves nothing: contents that did not come as a whole are none.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use ambrosia_storage::{Relayed, Relaying, StoreRight, Tell};
use bytes::{Buf, Bytes};

use super::{Depot, DepotError, Listing};
use crate::{
    engine::{Engine, Fault, Lane, Request},
    limits::{READ_BYTES_MAX, READ_LOGS_MAX, REQUEST_LOGS_MAX},
    relay::{
        Asked, DepotFault, NEEDS_OPERATOR, PIECE_BYTES, READ_QUESTION_BYTES_MAX, RELAY_VERSION, RELAYED_BYTES_MAX,
        RelayFacts, RelayedPlace, Told, decode, encode,
    },
};

/// So many ask something of the depot at a time, each of whom has a thread.
const ERRANDS_MAX: usize = 32;

/// Whoever asks for no further piece for so long, or sends none, is taken for gone: others may wait for the errand.
const TRANSFER_STANDS_STILL: Duration = Duration::from_secs(120);

/// No name of contents is longer.
const NAME_BYTES_MAX: usize = 512;

/// An engine and a depot to be passed on.
pub(super) struct EngineRelay {
    engine: Arc<dyn Engine>,
    depot: Option<Arc<dyn Depot>>,
    store: String,
    errands: Arc<AtomicUsize>,
}

impl EngineRelay {
    pub(super) fn new(engine: Arc<dyn Engine>, depot: Option<Arc<dyn Depot>>, store: String) -> EngineRelay {
        EngineRelay { engine, depot, store, errands: Arc::default() }
    }
}

impl Relayed for EngineRelay {
    fn version(&self) -> u16 {
        RELAY_VERSION
    }

    fn facts(&self, right: StoreRight) -> Vec<u8> {
        let depot = self.depot.as_ref().map(|depot| depot.place());
        encode(&RelayFacts::of(self.engine.facts(), &self.store, depot, right == StoreRight::Change))
    }

    fn question_bytes_max(&self, right: StoreRight) -> usize {
        match right {
            StoreRight::Read => READ_QUESTION_BYTES_MAX,
            StoreRight::Change => RELAYED_BYTES_MAX,
        }
    }

    fn begin(&self, right: StoreRight) -> Box<dyn Relaying> {
        Box::new(EngineRelaying {
            engine: Arc::clone(&self.engine),
            depot: self.depot.clone(),
            errands: Arc::clone(&self.errands),
            right,
            transfer: None,
        })
    }
}

/// Somebody who asks.
struct EngineRelaying {
    engine: Arc<dyn Engine>,
    depot: Option<Arc<dyn Depot>>,
    errands: Arc<AtomicUsize>,
    right: StoreRight,
    /// Contents on their way, of which there are one at a time.
    transfer: Option<Transfer>,
}

enum Transfer {
    /// Out of the depot: whoever is to be told the next piece.
    Out(SyncSender<Tell>),
    /// Into it: the next piece, or none behind the last one.
    In(SyncSender<(Option<Bytes>, Tell)>),
}

impl Relaying for EngineRelaying {
    fn ask(&mut self, question: Bytes, tell: Tell) -> Result<(), String> {
        let asked: Asked = decode(question).map_err(|error| error.to_string())?;
        if asked.needs_to_change() && self.right != StoreRight::Change {
            tell(encode(&Told::Refused { reason: NEEDS_OPERATOR.to_owned() }));
            return Ok(());
        }
        if let Some(name) = asked.name()
            && !is_name(name)
        {
            return Err(format!("{name:?} is no name of contents of a depot"));
        }
        match asked {
            Asked::Engine { lane, request } => return self.ask_engine(lane, request, tell),
            Asked::More => return self.pass(tell),
            Asked::Piece { bytes } if bytes.len() > PIECE_BYTES || bytes.is_empty() => {
                return Err(format!("a piece of {} bytes", bytes.len()));
            }
            Asked::Piece { bytes } => return self.accept(Some(bytes), tell),
            Asked::Given => return self.accept(None, tell),
            Asked::Check => self.errand(tell, |depot, tell| tell(encode(&done(depot.check())))),
            Asked::List { folder } => self.errand(tell, move |depot, tell| tell(encode(&listed(depot.list(&folder))))),
            Asked::Remove { name } => self.errand(tell, move |depot, tell| tell(encode(&done(depot.remove(&name))))),
            Asked::Take { name } => {
                let (sender, wanted) = sync_channel(1);
                self.transfer = Some(Transfer::Out(sender));
                self.errand(tell, move |depot, tell| take_out(depot, &name, tell, wanted));
            }
            Asked::Give { name } => {
                let (sender, pieces) = sync_channel(1);
                self.transfer = Some(Transfer::In(sender));
                self.errand(tell, move |depot, tell| put_in(depot, &name, tell, pieces));
            }
        }
        Ok(())
    }
}

impl EngineRelaying {
    fn ask_engine(&self, lane: Lane, mut request: Request, tell: Tell) -> Result<(), String> {
        if let Lane::Groups(number) = lane {
            if number >= self.engine.facts().lanes {
                return Err(format!("lane {number} of an engine that has fewer"));
            }
            // Whatever else goes there holds up the groups of this host, which it may do that may only read.
            if !matches!(request, Request::Append { .. }) {
                return Err("something else than groups on a lane of groups".to_owned());
            }
        }
        match &mut request {
            Request::Read { wanted, bytes } => {
                if wanted.is_empty() || wanted.len() > READ_LOGS_MAX {
                    return Err(format!("a read of {} logs", wanted.len()));
                }
                // Whoever asks for more would have it all in memory at once.
                *bytes = (*bytes).min(READ_BYTES_MAX);
            }
            Request::Heads { logs } if logs.len() > REQUEST_LOGS_MAX => {
                return Err(format!("a look at {} logs", logs.len()));
            }
            Request::Lives { of } if of.len() > REQUEST_LOGS_MAX => {
                return Err(format!("a look at {} hosts", of.len()));
            }
            _ => {}
        }
        let answer = move |answer| {
            let told = encode(&Told::Engine(answer));
            let fits = told.len() <= RELAYED_BYTES_MAX;
            let too_large = || {
                let words = format!(
                    "the answer has {} bytes, and no more than {RELAYED_BYTES_MAX} go through a host",
                    told.len()
                );
                encode(&Told::Engine(Err(Fault::Refused(words))))
            };
            tell(if fits { told } else { too_large() });
        };
        self.engine.ask(lane, request, Box::new(answer));
        Ok(())
    }

    /// The next piece of contents is wanted.
    fn pass(&self, tell: Tell) -> Result<(), String> {
        let Some(Transfer::Out(wanted)) = &self.transfer else {
            return Err("the next piece of contents that were not asked for".to_owned());
        };
        wanted.try_send(tell).map_err(|error| match error {
            TrySendError::Full(_) => "a piece before the last one has come".to_owned(),
            TrySendError::Disconnected(_) => "a piece behind the last one".to_owned(),
        })
    }

    /// The next piece of contents is there, or all of them are.
    fn accept(&self, piece: Option<Bytes>, tell: Tell) -> Result<(), String> {
        let Some(Transfer::In(pieces)) = &self.transfer else {
            return Err("a piece of contents without a name".to_owned());
        };
        pieces.try_send((piece, tell)).map_err(|_| "a piece before the last one was taken".to_owned())
    }

    /// Does something with the depot, in a thread of its own: it blocks.
    fn errand(&self, tell: Tell, act: impl FnOnce(&dyn Depot, Tell) + Send + 'static) {
        let place = || self.engine.facts().place;
        let Some(depot) = self.depot.clone() else {
            let words = "it has no depot, and no contents beside it".to_owned();
            return tell(encode(&Told::Failed(DepotFault::Unusable(place_of(place(), words)))));
        };
        let Some(errand) = Errand::begin(&self.errands) else {
            let words = format!("the host does {ERRANDS_MAX} things with it just now");
            return tell(encode(&Told::Failed(DepotFault::Away(place_of(depot.place(), words)))));
        };
        let run = move || {
            act(&*depot, tell);
            drop(errand);
        };
        if let Err(error) = thread::Builder::new().name("relay".to_owned()).spawn(run) {
            // Whoever asks hears that there is no answer, since it was dropped.
            drop(error);
        }
    }
}

/// One of those that do something with the depot.
struct Errand(Arc<AtomicUsize>);

impl Errand {
    fn begin(all: &Arc<AtomicUsize>) -> Option<Errand> {
        let one_more = |count: usize| (count < ERRANDS_MAX).then_some(count + 1);
        all.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Errand(Arc::clone(all)))
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes contents out of the depot, piece by piece as they are wanted.
fn take_out(depot: &dyn Depot, name: &str, first: Tell, wanted: Receiver<Tell>) {
    let mut pieces = PiecesOut { gathered: Vec::new(), next: Some(first), wanted };
    let got = depot.get(name, &mut pieces);
    // Whoever has gone wants nothing more.
    if let Some(tell) = pieces.next() {
        let bytes = std::mem::take(&mut pieces.gathered).into();
        let told = got.map_or_else(|error| Told::Failed(fault(error)), |()| Told::Piece { bytes, is_last: true });
        tell(encode(&told));
    }
}

struct PiecesOut {
    gathered: Vec<u8>,
    /// Whoever is told the next piece.
    next: Option<Tell>,
    wanted: Receiver<Tell>,
}

impl PiecesOut {
    /// Waits for somebody who wants a piece.
    fn next(&mut self) -> Option<Tell> {
        self.next.take().or_else(|| self.wanted.recv_timeout(TRANSFER_STANDS_STILL).ok())
    }
}

impl Write for PiecesOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.len() == PIECE_BYTES {
            // There is more, so it is not the last one.
            let tell = self.next().ok_or_else(|| io::Error::other("whoever asked for it has gone"))?;
            let bytes = std::mem::take(&mut self.gathered).into();
            tell(encode(&Told::Piece { bytes, is_last: false }));
        }
        let taken = bytes.len().min(PIECE_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts contents into the depot, piece by piece as they come.
fn put_in(depot: &dyn Depot, name: &str, begun: Tell, pieces: Receiver<(Option<Bytes>, Tell)>) {
    begun(encode(&Told::Done));
    let mut coming = PiecesIn { piece: Bytes::new(), last: None, pieces };
    let put = depot.put(name, &mut coming);
    let told = encode(&done(put));
    // Whoever sends hears of it with the next piece, if it has failed before the last one.
    let next = || coming.pieces.recv_timeout(TRANSFER_STANDS_STILL).ok().map(|(_, tell)| tell);
    let last = coming.last.take().or_else(next);
    if let Some(tell) = last {
        tell(told);
    }
}

struct PiecesIn {
    piece: Bytes,
    /// Whoever has said that it was all, and is told what became of it.
    last: Option<Tell>,
    pieces: Receiver<(Option<Bytes>, Tell)>,
}

impl Read for PiecesIn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.last.is_none() {
            let gone = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "whoever sent it has gone");
            match self.pieces.recv_timeout(TRANSFER_STANDS_STILL).map_err(gone)? {
                (Some(piece), tell) => {
                    self.piece = piece;
                    tell(encode(&Told::Done));
                }
                (None, tell) => self.last = Some(tell),
            }
        }
        let taken = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

fn done(result: Result<(), DepotError>) -> Told {
    result.map_or_else(|error| Told::Failed(fault(error)), |()| Told::Done)
}

fn listed(result: Result<Listing, DepotError>) -> Told {
    match result {
        Ok(Listing { files, folders }) => Told::Listed { files, folders },
        Err(error) => Told::Failed(fault(error)),
    }
}

/// Whether it is a name that contents of a depot may have, or that of a folder: it leads out of none.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain);
    name.len() <= NAME_BYTES_MAX && name.split('/').all(is_part)
}

fn place_of(place: String, words: String) -> RelayedPlace {
    RelayedPlace { name: String::new(), place, words }
}

fn fault(error: DepotError) -> DepotFault {
    match error {
        DepotError::Away { place, reason } => DepotFault::Away(place_of(place, reason)),
        DepotError::Unusable { place, reason } => DepotFault::Unusable(place_of(place, reason)),
        DepotError::Missing { name, place, remedy } => {
            DepotFault::Missing(RelayedPlace { name, place, words: remedy.into_owned() })
        }
        DepotError::Damaged { name, place } => DepotFault::Damaged(RelayedPlace { name, place, words: String::new() }),
        DepotError::Contents(error) => {
            DepotFault::Away(place_of("the way through the host".to_owned(), error.to_string()))
        }
    }
}

impl DepotFault {
    /// As whoever has a depot is told.
    pub fn into_error(self) -> DepotError {
        match self {
            DepotFault::Away(RelayedPlace { place, words: reason, .. }) => DepotError::Away { place, reason },
            DepotFault::Unusable(RelayedPlace { place, words: reason, .. }) => DepotError::Unusable { place, reason },
            DepotFault::Missing(RelayedPlace { name, place, words }) => {
                DepotError::Missing { name, place, remedy: words.into() }
            }
            DepotFault::Damaged(RelayedPlace { name, place, .. }) => DepotError::Damaged { name, place },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError, mpsc::channel},
    };

    use ambrosia_core::{InstanceUuid, Lsn};
    use ambrosia_storage::LogId;

    use super::*;
    use crate::{
        engine::{Answered, HostId, ReadFrom, Seen},
        keys::KeysRequest,
        shell::MemoryEngine,
    };

    /// A depot in memory.
    #[derive(Default)]
    struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

    impl Shelf {
        fn contents(&self) -> BTreeMap<String, Vec<u8>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Depot for Shelf {
        fn place(&self) -> String {
            "a shelf".to_owned()
        }

        fn make(&self) -> Result<(), DepotError> {
            Ok(())
        }

        fn check(&self) -> Result<(), DepotError> {
            Err(DepotError::Unusable { place: self.place(), reason: "it has no mark".to_owned() })
        }

        fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
            let mut bytes = Vec::new();
            contents.read_to_end(&mut bytes).map_err(DepotError::Contents)?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bytes);
            Ok(())
        }

        fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
            let missing =
                || DepotError::Missing { name: name.to_owned(), place: self.place(), remedy: "look for it".into() };
            let bytes = self.contents().remove(name).ok_or_else(missing)?;
            out.write_all(&bytes).map_err(DepotError::Contents)
        }

        fn remove(&self, _: &str) -> Result<(), DepotError> {
            Ok(())
        }

        fn list(&self, _: &str) -> Result<Listing, DepotError> {
            Ok(Listing { files: self.contents().into_keys().collect(), folders: Vec::new() })
        }
    }

    fn relay(depot: Option<Arc<dyn Depot>>) -> EngineRelay {
        EngineRelay::new(Arc::new(MemoryEngine::default()), depot, "store".to_owned())
    }

    /// Asks, and waits; `None` if there is no answer.
    fn ask(asker: &mut dyn Relaying, asked: &Asked) -> Result<Option<Told>, String> {
        let (tell, told) = channel();
        asker.ask(encode(asked).into(), Box::new(move |bytes| tell.send(bytes).expect("somebody waits")))?;
        Ok(told.recv().ok().map(|bytes| decode(bytes.into()).expect("it is an answer")))
    }

    fn told(asker: &mut dyn Relaying, asked: &Asked) -> Told {
        ask(asker, asked).expect("it is a question").expect("it is answered")
    }

    fn of_engine(request: Request) -> Asked {
        Asked::Engine { lane: Lane::Other, request }
    }

    #[test]
    fn who_may_only_read_changes_nothing() {
        let relay = relay(Some(Arc::<Shelf>::default()));
        let beat = of_engine(Request::Beat { host: HostId([1; 16]), beats: 1, of: Vec::new() });
        let changes = [
            beat.clone(),
            of_engine(Request::Append { groups: Vec::new() }),
            of_engine(Request::Keys(KeysRequest::Note { notes: Vec::new() })),
            Asked::Give { name: "a".to_owned() },
            Asked::Piece { bytes: Bytes::from_static(b"a") },
            Asked::Given,
            Asked::Remove { name: "a".to_owned() },
        ];
        let mut reader = relay.begin(StoreRight::Read);
        for change in &changes {
            let refused = told(&mut *reader, change);
            assert!(matches!(&refused, Told::Refused { reason } if reason.contains("operator")), "{refused:?}");
        }
        let logs = of_engine(Request::Logs);
        assert!(matches!(told(&mut *reader, &logs), Told::Engine(Ok(Answered::Logs { .. }))));
        assert!(matches!(told(&mut *relay.begin(StoreRight::Change), &beat), Told::Engine(Ok(Answered::Beats { .. }))));
    }

    #[test]
    fn contents_go_in_and_out_in_pieces_and_half_of_them_are_none() {
        let shelf = Arc::<Shelf>::default();
        let relay = relay(Some(Arc::clone(&shelf) as Arc<dyn Depot>));
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let contents: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let name = || format!("blob/{length}");
            let mut giver = relay.begin(StoreRight::Change);
            assert_eq!(told(&mut *giver, &Asked::Give { name: name() }), Told::Done);
            for piece in contents.chunks(PIECE_BYTES) {
                assert_eq!(told(&mut *giver, &Asked::Piece { bytes: piece.to_vec().into() }), Told::Done);
            }
            assert!(!shelf.contents().contains_key(&name()), "it may be that more comes");
            assert_eq!(told(&mut *giver, &Asked::Given), Told::Done);
            assert_eq!(shelf.contents().get(&name()), Some(&contents));
            let mut taker = relay.begin(StoreRight::Read);
            let (mut got, mut asked) = (Vec::new(), Asked::Take { name: name() });
            loop {
                match told(&mut *taker, &asked) {
                    Told::Piece { bytes, is_last } => {
                        got.extend_from_slice(&bytes);
                        if is_last {
                            break;
                        }
                    }
                    other => panic!("{other:?}"),
                }
                asked = Asked::More;
            }
            assert_eq!(got, contents);
        }
        let mut gone = relay.begin(StoreRight::Change);
        assert_eq!(told(&mut *gone, &Asked::Give { name: "half".to_owned() }), Told::Done);
        assert_eq!(told(&mut *gone, &Asked::Piece { bytes: Bytes::from_static(b"half") }), Told::Done);
        drop(gone);
        while relay.errands.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        assert!(!shelf.contents().contains_key("half"));
    }

    #[test]
    fn faults_of_a_depot_are_told_as_they_are() {
        let mut asker = relay(Some(Arc::<Shelf>::default())).begin(StoreRight::Change);
        let words = |told| match told {
            Told::Failed(fault) => fault.into_error().to_string(),
            other => panic!("{other:?}"),
        };
        let missing = told(&mut *asker, &Asked::Take { name: "blob/x".to_owned() });
        assert_eq!(words(missing), "blob/x of a shelf is missing: look for it");
        assert_eq!(words(told(&mut *asker, &Asked::Check)), "a shelf can't be used: it has no mark");
        let none = told(&mut *relay(None).begin(StoreRight::Change), &Asked::Check);
        assert!(words(none).contains("no depot"));
    }

    #[test]
    fn what_is_no_question_ends_the_conversation() {
        let relay = relay(Some(Arc::<Shelf>::default()));
        let refused = |asked: Asked| ask(&mut *relay.begin(StoreRight::Change), &asked).expect_err("it is none");
        for name in ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a\0b", "a/", &"a".repeat(600)] {
            let said = refused(Asked::Take { name: name.to_owned() });
            assert!(said.contains("no name of contents"), "{said}");
        }
        for asked in [Asked::More, Asked::Given, Asked::Piece { bytes: Bytes::from_static(b"a") }] {
            refused(asked);
        }
        refused(Asked::Engine { lane: Lane::Groups(2), request: Request::Append { groups: Vec::new() } });
        for request in [Request::Logs, Request::Heads { logs: Vec::new() }, Request::Keys(KeysRequest::Changes)] {
            refused(Asked::Engine { lane: Lane::Groups(0), request });
        }
        let seen = Seen { log: LogId(InstanceUuid([7; 16])), known: None };
        let logs = vec![seen; REQUEST_LOGS_MAX + 1];
        refused(Asked::Engine { lane: Lane::Other, request: Request::Heads { logs } });
        for logs in [0, READ_LOGS_MAX + 1] {
            let wanted = vec![ReadFrom { log: LogId(InstanceUuid([7; 16])), from: Lsn(1), bytes: 1 }; logs];
            refused(Asked::Engine { lane: Lane::Other, request: Request::Read { wanted, bytes: 1 } });
        }
        let mut asker = relay.begin(StoreRight::Read);
        for bytes in [&b""[..], &[1, 2, 10, 0], &[255]] {
            asker.ask(Bytes::copy_from_slice(bytes), Box::new(|_| {})).expect_err("it is none");
        }
    }
}
