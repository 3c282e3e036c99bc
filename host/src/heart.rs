//! One thread that tells others, for each member of this process, that its driver moves.
//!
//! **Architecture Invariant:** it waits for no member, and no member waits for it but to be added or removed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use ambrosia_core::Epoch;
use ambrosia_storage::{HEARTBEAT_INTERVAL, HostPresence, LogStore, Presence, Role};

use crate::{
    event::Event,
    mailbox::Mailbox,
    store_watch::StoreWatch,
    vitals::{Beat, Pulse, Vitals},
};

/// Members whose store is looked for in one beat. With more, each has its turn in one of the next beats: to look is a call
/// of the system, and a thousand of them in each beat would be most of what an idle process does.
const STORES_LOOKED_FOR_MAX: usize = 64;

/// The heart of the process. Dropped, it stops.
pub(crate) struct Heart {
    bodies: Arc<Mutex<Bodies>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bodies {
    all: Vec<Body>,
    /// That this process is a host, if it is one.
    host: Option<Arc<dyn HostPresence>>,
    /// Whose store is looked for next.
    turn: usize,
}

/// What the heart knows of one member.
pub(crate) struct Body {
    presence: Arc<dyn Presence>,
    log: Arc<dyn LogStore>,
    vitals: Arc<Vitals>,
    mailbox: Arc<Mailbox<Event>>,
    span: tracing::Span,
    pulse: Pulse,
    store: StoreWatch,
    /// The own reign that was deposed, which is told once.
    deposed: u64,
}

impl Heart {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Heart> {
        let bodies = Arc::<Mutex<Bodies>>::default();
        let (end, ends) = channel::<()>();
        let there = Arc::clone(&bodies);
        let beat = move || {
            loop {
                lock(&there).beat();
                match ends.recv_timeout(HEARTBEAT_INTERVAL) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat)?;
        Ok(Heart { bodies, end: Some(end), thread: Some(thread) })
    }

    /// Beats for a member too, at once and from then on.
    pub(crate) fn add(&self, mut body: Body) {
        body.beat(Instant::now());
        lock(&self.bodies).all.push(body);
    }

    /// Says from now on that this host is alive.
    pub(crate) fn announce(&self, host: Arc<dyn HostPresence>) {
        host.beat();
        lock(&self.bodies).host = Some(host);
    }

    /// Lets go of the place of the member with that mailbox.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox<Event>>) {
        lock(&self.bodies).all.retain(|body| !Arc::ptr_eq(&body.mailbox, mailbox));
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the heartbeat thread failed");
        }
    }
}

fn lock(bodies: &Mutex<Bodies>) -> std::sync::MutexGuard<'_, Bodies> {
    bodies.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bodies {
    fn beat(&mut self) {
        let now = Instant::now();
        self.host.iter().for_each(|host| host.beat());
        self.all.iter_mut().for_each(|body| body.beat(now));
        for _ in 0..self.all.len().min(STORES_LOOKED_FOR_MAX) {
            self.turn = (self.turn + 1) % self.all.len();
            let body = &mut self.all[self.turn];
            let _in_span = body.span.enter();
            body.store.look(&*body.presence, &body.mailbox);
        }
    }
}

impl Body {
    pub(crate) fn new(
        presence: Arc<dyn Presence>,
        log: Arc<dyn LogStore>,
        vitals: Arc<Vitals>,
        mailbox: Arc<Mailbox<Event>>,
        span: tracing::Span,
    ) -> Body {
        let pulse = Pulse::new(&vitals, Instant::now());
        Body { presence, log, vitals, mailbox, span, pulse, store: StoreWatch::default(), deposed: 0 }
    }

    /// Tells others that the driver of this replica moves, and notices when it was deposed while it was stopped, even if it
    /// has nothing to write.
    ///
    /// Most of what an idle process does is this, for each member ten times a second: no call of the system is in it.
    fn beat(&mut self, now: Instant) {
        let reign = self.vitals.reign.load(Ordering::Acquire);
        let role = if reign == 0 { Role::Standby } else { Role::Primary };
        let beat = self.pulse.look(&self.vitals, now);
        self.tell(&beat);
        if matches!(beat, Beat::Alive | Beat::AliveAgain(_)) {
            self.presence.beat(role);
        }
        if reign != 0 && reign != self.deposed {
            match self.log.later_reign(Epoch(reign)) {
                Ok(Some(by)) => {
                    self.deposed = reign;
                    self.mailbox.push(Event::Fenced { by });
                }
                Ok(None) => {}
                Err(error) => {
                    self.span.in_scope(|| tracing::error!(%error, "the fence of the log can't be read"));
                }
            }
        }
    }

    /// Says what is to be said of the driver.
    fn tell(&self, beat: &Beat) {
        match beat {
            Beat::Alive | Beat::None => {}
            Beat::AliveAgain(still) => self.span.in_scope(|| {
                tracing::warn!("this replica moves again, after it had stood still for {still:?}");
            }),
            Beat::Missed(phase) => self.span.in_scope(|| {
                tracing::error!(
                    ?phase,
                    "this replica stands still and is silent until it moves, so that another one takes over if it was \
                     primary"
                );
            }),
        }
    }
}
