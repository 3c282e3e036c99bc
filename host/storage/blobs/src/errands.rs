//! Errands to a depot: each is done by others than the one who waits for it, who is told of every step. So whoever waits for something that
//! hangs, such as a directory whose server is gone, gives up by himself.
//!
//! **Architecture Invariant:** nobody waits longer than [`Errands::patience`] for the next step of an errand.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use ambrosia_shared_log::DepotError;
use bytes::Bytes;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    task::AbortHandle,
};

/// Contents go in pieces of so many bytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Pieces that are read before they are taken.
const PIECES_AHEAD: usize = 2;

/// Threads that files may hang on; what comes beyond waits for one of them, and whoever wants it gives up.
pub(crate) const THREADS_MAX: usize = 16;

/// The errands of one depot.
pub(crate) struct Errands {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    /// Whoever has one of these is under way.
    together: Arc<Semaphore>,
    place: String,
    patience: Duration,
    /// Since when nothing succeeds, if that was said.
    away_since: Mutex<Option<Instant>>,
}

/// Whoever waits for it has given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Abandoned;

enum Step {
    Piece(Bytes),
    End,
}

enum Report<T> {
    Taken,
    Done(Result<T, DepotError>),
}

enum Part {
    Piece(Bytes),
    Done(Result<(), DepotError>),
}

/// Contents that come to a depot.
pub(crate) struct Incoming {
    steps: UnboundedReceiver<Step>,
    reports: Sender<Report<()>>,
}

impl Incoming {
    /// The next piece; `None` behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Abandoned> {
        let step = self.steps.recv().await.ok_or(Abandoned)?;
        self.reports.send(Report::Taken).map_err(|_| Abandoned)?;
        Ok(match step {
            Step::Piece(bytes) => Some(bytes),
            Step::End => None,
        })
    }
}

/// Contents that come from a depot.
pub(crate) struct Outgoing {
    parts: Sender<Part>,
    room: Arc<Semaphore>,
}

impl Outgoing {
    /// Hands on a piece, when there is room for it.
    pub(crate) async fn send(&self, piece: Bytes) -> Result<(), Abandoned> {
        self.room.acquire().await.map_err(|_| Abandoned)?.forget();
        self.parts.send(Part::Piece(piece)).map_err(|_| Abandoned)
    }
}

/// Nobody takes any more pieces once this is dropped.
struct Room(Arc<Semaphore>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An errand that does not begin any more once this is dropped; what it would have put goes with it.
struct Wanted(AbortHandle);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Errands {
    /// Of them, so many are under way at a time.
    pub(crate) fn begin(place: String, patience: Duration, together: usize) -> Result<Errands, DepotError> {
        let mut building = Builder::new_multi_thread();
        building.worker_threads(1).max_blocking_threads(THREADS_MAX).thread_name("blobs").enable_all();
        let runtime = building.build().map_err(|error| DepotError::Unusable {
            place: place.clone(),
            reason: format!("no thread can be begun for it: {error}"),
        })?;
        let together = Arc::new(Semaphore::new(together));
        Ok(Errands { runtime: Some(runtime), together, place, patience, away_since: Mutex::new(None) })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// For an errand that nobody waits for any more.
    pub(crate) fn given_up(&self) -> DepotError {
        DepotError::Away { place: self.place.clone(), reason: "nobody waits for it any more".to_owned() }
    }

    /// Reads contents, and hands them to whoever puts them.
    pub(crate) fn put<Putting>(
        &self,
        contents: &mut dyn Read,
        work: impl FnOnce(Incoming) -> Putting,
    ) -> Result<(), DepotError>
    where
        Putting: Future<Output = Result<(), DepotError>> + Send + 'static,
    {
        let (to, steps) = unbounded_channel();
        let (report, reports) = mpsc::channel();
        let working = work(Incoming { steps, reports: report.clone() });
        // Whoever waits may have given up.
        let _wanted = self.send(async move { drop(report.send(Report::Done(working.await))) });
        let mut ahead = 0_usize;
        loop {
            let mut piece = Vec::new();
            contents.take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(DepotError::Contents)?;
            let is_last = piece.is_empty();
            // If nobody takes it any more, the last report says why.
            let _taken = to.send(if is_last { Step::End } else { Step::Piece(piece.into()) });
            ahead += 1;
            while is_last || ahead > PIECES_AHEAD {
                match self.hear(&reports)? {
                    Report::Taken => ahead = ahead.saturating_sub(1),
                    Report::Done(done) => return done,
                }
            }
        }
    }

    /// Writes out what somebody gets.
    pub(crate) fn get<Getting>(
        &self,
        out: &mut dyn Write,
        work: impl FnOnce(Outgoing) -> Getting,
    ) -> Result<(), DepotError>
    where
        Getting: Future<Output = Result<(), DepotError>> + Send + 'static,
    {
        let (part, parts) = mpsc::channel();
        let room = Room(Arc::new(Semaphore::new(PIECES_AHEAD)));
        let working = work(Outgoing { parts: part.clone(), room: Arc::clone(&room.0) });
        // Whoever waits may have given up.
        let _wanted = self.send(async move { drop(part.send(Part::Done(working.await))) });
        loop {
            match self.hear(&parts)? {
                Part::Piece(piece) => out.write_all(&piece).map_err(DepotError::Contents)?,
                Part::Done(done) => return done,
            }
            room.0.add_permits(1);
        }
    }

    /// Waits for an answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DepotError>> + Send + 'static,
    ) -> Result<T, DepotError> {
        let (report, reports) = mpsc::channel();
        // Whoever waits may have given up.
        let _wanted = self.send(async move { drop(report.send(Report::Done(work.await))) });
        loop {
            if let Report::Done(done) = self.hear(&reports)? {
                return done;
            }
        }
    }

    /// Has it done as soon as there is room for it.
    fn send(&self, errand: impl Future<Output = ()> + Send + 'static) -> Wanted {
        let together = Arc::clone(&self.together);
        let runtime = self.runtime.as_ref().expect("it goes when this does");
        let waiting = runtime.spawn(async move {
            let room = together.acquire_owned().await.expect("nobody closes it");
            // What has begun goes on without whoever waits: it removes what it leaves undone.
            tokio::spawn(async move {
                errand.await;
                drop(room);
            });
        });
        Wanted(waiting.abort_handle())
    }

    fn hear<T>(&self, reports: &Receiver<T>) -> Result<T, DepotError> {
        let reason = match reports.recv_timeout(self.patience) {
            Ok(report) => return Ok(report),
            Err(RecvTimeoutError::Timeout) => format!("it has not come on within {:?}", self.patience),
            Err(RecvTimeoutError::Disconnected) => "its threads have ended".to_owned(),
        };
        Err(DepotError::Away { place: self.place.clone(), reason })
    }

    /// The same for whoever is not to begin at all if there is something else.
    pub(crate) fn told_if_away<T>(&self, done: Result<T, DepotError>) -> Result<T, DepotError> {
        if matches!(done, Err(DepotError::Away { .. })) { self.told(done) } else { done }
    }

    /// Says once that nothing succeeds any more, and once that it does again; and hands on what was found.
    pub(crate) fn told<T>(&self, done: Result<T, DepotError>) -> Result<T, DepotError> {
        let mut away_since = self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        match &done {
            Err(error @ (DepotError::Away { .. } | DepotError::Unusable { .. })) => {
                if away_since.is_none() {
                    *away_since = Some(Instant::now());
                    tracing::warn!(
                        "{error}; as long as that is so there are no new checkpoints, and no replica begins whose module or checkpoint has to come from \
                         there; requests go on"
                    );
                }
            }
            Ok(_) | Err(DepotError::Missing { .. }) => {
                if let Some(since) = away_since.take() {
                    tracing::info!("{} can be used again, after {:?}", self.place, since.elapsed());
                }
            }
            // Whoever wanted it says that.
            Err(DepotError::Damaged { .. } | DepotError::Contents(_)) => {}
        }
        done
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// Waits, on a thread where files may hang, for what is to be waited for.
pub(crate) fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(what)
}

/// Does something that may hang, such as everything with files.
pub(crate) async fn aside<T: Send + 'static>(what: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(what).await.unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than it takes until something is dropped.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_waits_behind_all_that_hangs_is_dropped_once_nobody_waits_for_it() {
        let patience = Duration::from_millis(10);
        let errands = Errands::begin("a directory".to_owned(), patience, THREADS_MAX).expect("there are threads");
        let put = |held: Box<dyn FnOnce() + Send>| {
            errands.put(&mut &b"contents"[..], |incoming| async move {
                let what = move || {
                    held();
                    drop(incoming);
                    Ok(())
                };
                aside(what).await.map_err(DepotError::Contents)
            })
        };
        let mut releases = Vec::new();
        while releases.len() < THREADS_MAX {
            let ((release, hanging), (begun, began)) = (mpsc::channel::<()>(), mpsc::channel());
            let put = put(Box::new(move || {
                let _given_up = begun.send(());
                hanging.recv().expect_err("nothing is sent");
            }));
            assert!(matches!(put, Err(DepotError::Away { .. })), "{put:?}");
            releases.extend(began.try_recv().map(|()| release));
        }
        let (holder, dropped) = mpsc::channel::<()>();
        put(Box::new(move || drop(holder))).expect_err("it has not begun");
        let told = dropped.recv_timeout(LONG);
        assert_eq!(told, Err(RecvTimeoutError::Disconnected), "what it was to put stays in memory");
        drop(releases);
        let until = Instant::now() + LONG;
        while errands.ask(async { Ok(()) }).is_err() {
            assert!(Instant::now() < until, "nothing hangs any more");
        }
    }
}
