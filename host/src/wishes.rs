//! Wishes for another module, or for messages to be skipped, as the registry has them, told to the members of this process; and what came of them, written
//! there. One thread for all of them.
//!
//! **Architecture Invariant:** a member is told its wish before anything else happens to it, and each change of it. What came
//! of a wish is written down until that works: a registry that can't be written for a while loses no answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn};
use ambrosia_storage::{InstanceEntry, InstanceError, Instances, StandingWish, Store, Subscription, WishAnswer};

use crate::{event::Event, mailbox::Mailbox};

/// What could not be read or written is tried again that often; and who may not be told of changes looks that often.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// So many instances are looked at together, by one look at all that there are.
const SURVEY_MIN: usize = 8;

/// Follows the wishes for the instances of this process.
pub(crate) struct Wishes {
    desk: Arc<Desk>,
    clerk: Option<JoinHandle<()>>,
}

/// What the members, and the registry, ask of the thread.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    rung: Condvar,
}

#[derive(Default)]
struct DeskState {
    followers: Vec<Follower>,
    notes: Vec<Note>,
    /// The registry has changed, so any of them may have another wish.
    is_changed: bool,
    /// There is anything for the thread to look at.
    is_rung: bool,
    is_dropped: bool,
}

/// A member that is told.
struct Follower {
    name: InstanceName,
    uuid: InstanceUuid,
    mailbox: Arc<Mailbox<Event>>,
    /// What it was told last: the attempt, and whether it was taken back.
    told: Option<(u64, bool)>,
    /// Nobody has looked since it follows.
    is_new: bool,
}

/// What of a wish a member is told anew when it changes.
fn told(wish: &StandingWish) -> (u64, bool) {
    (wish.attempt, wish.is_cancelled)
}

/// What is to be written into the registry.
#[derive(Clone)]
struct Note {
    name: InstanceName,
    what: What,
}

#[derive(Clone)]
enum What {
    /// A reign sees to an attempt. Whether the registry has it so is told the member.
    Claimed { attempt: u64, epoch: Epoch, mailbox: Arc<Mailbox<Event>> },
    /// What came of an attempt.
    Settled { attempt: u64, epoch: Epoch, answer: WishAnswer },
    /// The module that the instance runs by its log, the last attempt in that, and the last record that its primary has applied.
    Runs { module: [u8; 32], attempt: u64, applied: Lsn },
}

impl Wishes {
    /// Starts the thread.
    pub(crate) fn new(store: Arc<dyn Store>) -> std::io::Result<Wishes> {
        let desk = Arc::<Desk>::default();
        let there = Arc::downgrade(&desk);
        let on_change = move || {
            if let Some(desk) = there.upgrade() {
                desk.ring(|state| state.is_changed = true);
            }
        };
        let registry = store.registry().subscribe(Box::new(on_change))?;
        let clerk = Clerk { store, registry, desk: Arc::clone(&desk), has_failed: false };
        let clerk = std::thread::Builder::new().name("wishes".to_owned()).spawn(move || clerk.work())?;
        Ok(Wishes { desk, clerk: Some(clerk) })
    }

    /// Has a member told what is wished for its instance: what `entry` says at once, and then each change.
    pub(crate) fn follow(&self, entry: &InstanceEntry, mailbox: Arc<Mailbox<Event>>) {
        let wish = entry.upgrades.wanted.clone();
        let told = wish.as_ref().map(told);
        if wish.is_some() {
            mailbox.push(Event::Wish(wish));
        }
        let (name, uuid) = (entry.name.clone(), entry.uuid);
        // It may have changed since that was read.
        self.desk.ring(|state| state.followers.push(Follower { name, uuid, mailbox, told, is_new: true }));
    }

    /// The member with that mailbox has ended.
    pub(crate) fn leave(&self, mailbox: &Arc<Mailbox<Event>>) {
        self.desk.lock().followers.retain(|follower| !Arc::ptr_eq(&follower.mailbox, mailbox));
    }

    /// Who may have things written down.
    pub(crate) fn notary(&self, name: &InstanceName, mailbox: &Arc<Mailbox<Event>>) -> Notary {
        Notary { name: name.clone(), mailbox: Arc::clone(mailbox), desk: Arc::clone(&self.desk) }
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        self.desk.ring(|state| state.is_dropped = true);
        if let Some(clerk) = self.clerk.take()
            && clerk.join().is_err()
        {
            tracing::error!("the thread that follows wishes failed; this is a defect of ambrosia-host");
        }
    }
}

/// Has what becomes of the wishes for one instance written down.
pub(crate) struct Notary {
    name: InstanceName,
    mailbox: Arc<Mailbox<Event>>,
    desk: Arc<Desk>,
}

impl Notary {
    /// Has written down that a reign sees to an attempt; [`Event::Claimed`] says whether it does.
    pub(crate) fn claim(&self, attempt: u64, epoch: Epoch) {
        self.note(What::Claimed { attempt, epoch, mailbox: Arc::clone(&self.mailbox) });
    }

    /// Has written down what came of an attempt that a reign has claimed.
    pub(crate) fn settle(&self, attempt: u64, epoch: Epoch, answer: WishAnswer) {
        self.note(What::Settled { attempt, epoch, answer });
    }

    /// Has written down which module the instance runs by its log, if the registry notes another one, and that it goes on behind
    /// a record, if the registry notes that it stands there.
    pub(crate) fn note_reign(&self, module: [u8; 32], attempt: u64, applied: Lsn) {
        self.note(What::Runs { module, attempt, applied });
    }

    fn note(&self, what: What) {
        let name = self.name.clone();
        self.desk.ring(|state| state.notes.push(Note { name, what }));
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, tell: impl FnOnce(&mut DeskState)) {
        let mut state = self.lock();
        tell(&mut state);
        state.is_rung = true;
        drop(state);
        self.rung.notify_one();
    }

    /// Waits until there is something to look at, or `time` is over if there is one.
    fn wait(&self, time: Option<Duration>) -> MutexGuard<'_, DeskState> {
        let is_quiet = |state: &mut DeskState| !state.is_rung;
        let mut state = match time {
            None => self.rung.wait_while(self.lock(), is_quiet).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.rung.wait_timeout_while(self.lock(), time, is_quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.is_rung = false;
        state
    }
}

/// The thread.
struct Clerk {
    store: Arc<dyn Store>,
    /// `None` if this process may not know of changes.
    registry: Option<Subscription>,
    desk: Arc<Desk>,
    /// Whether the registry could not be used just now, which is told once.
    has_failed: bool,
}

impl Clerk {
    fn work(mut self) {
        loop {
            let is_to_look_again = self.has_failed || self.registry.is_none();
            let mut state = self.desk.wait(is_to_look_again.then_some(RETRY_INTERVAL));
            let (notes, is_dropped) = (std::mem::take(&mut state.notes), state.is_dropped);
            let is_changed = std::mem::take(&mut state.is_changed) || is_to_look_again;
            drop(state);
            // A claim that is refused below is told anew only when something has changed.
            let mut failure = if is_dropped { None } else { self.look(is_changed).err() };
            let mut unwritten = notes;
            unwritten.retain(|note| match self.write(note) {
                Ok(()) => false,
                Err(error) => {
                    failure = Some(error);
                    !matches!(note.what, What::Claimed { .. })
                }
            });
            // The oldest first, as they came.
            let mut state = self.desk.lock();
            unwritten.append(&mut state.notes);
            state.notes = unwritten;
            drop(state);
            self.tell(failure);
            if is_dropped {
                return;
            }
        }
    }

    fn write(&self, Note { name, what }: &Note) -> Result<(), InstanceError> {
        let written = match what {
            What::Claimed { attempt, epoch, mailbox } => return self.claim(name, *attempt, *epoch, mailbox),
            What::Settled { attempt, epoch, answer } => self.store.settle_wish(name, *attempt, *epoch, answer),
            What::Runs { module, attempt, applied } => self.store.note_reign(name, *module, *attempt, *applied),
        };
        match written {
            // It was deregistered: nobody waits for the answer.
            Err(InstanceError::Unknown { .. }) => Ok(()),
            written => written,
        }
    }

    /// A claim is not tried again by itself: whoever made it may not reign any more. Where it fails the member is told its
    /// wish anew, after a while or when the registry has changed, and makes a new one.
    fn claim(
        &self,
        name: &InstanceName,
        attempt: u64,
        epoch: Epoch,
        mailbox: &Arc<Mailbox<Event>>,
    ) -> Result<(), InstanceError> {
        let claimed = self.store.claim_wish(name, attempt, epoch);
        let is_claimed = claimed.as_ref().is_ok_and(|is_claimed| *is_claimed);
        mailbox.push(Event::Claimed { attempt, epoch, is_claimed });
        if !is_claimed {
            let mut state = self.desk.lock();
            let own = |follower: &&mut Follower| Arc::ptr_eq(&follower.mailbox, mailbox);
            state.followers.iter_mut().filter(own).for_each(|follower| follower.told = None);
        }
        claimed.map(|_| ())
    }

    /// Tells each member what has changed of its wish; those alone that are new, if the registry has not changed.
    fn look(&self, is_changed: bool) -> Result<(), InstanceError> {
        let state = self.desk.lock();
        let concerned = state.followers.iter().filter(|one| is_changed || one.is_new);
        let names: BTreeSet<InstanceName> = concerned.map(|one| one.name.clone()).collect();
        drop(state);
        if names.len() < SURVEY_MIN {
            for name in &names {
                let entry = match self.store.instance(name) {
                    Ok(entry) => Some(entry),
                    Err(InstanceError::Unknown { .. }) => None,
                    Err(error) => return Err(error),
                };
                self.tell_followers(name, entry.as_ref());
            }
            return Ok(());
        }
        let mut found: BTreeMap<InstanceName, _> =
            self.store.survey()?.into_iter().map(|found| (found.name, found.entry)).collect();
        for name in &names {
            let entry = found.remove(name).transpose()?;
            self.tell_followers(name, entry.as_ref());
        }
        Ok(())
    }

    fn tell_followers(&self, name: &InstanceName, entry: Option<&InstanceEntry>) {
        let mut state = self.desk.lock();
        for follower in state.followers.iter_mut().filter(|follower| follower.name == *name) {
            let own = entry.filter(|entry| entry.uuid == follower.uuid);
            let wish = own.and_then(|entry| entry.upgrades.wanted.clone());
            let news = wish.as_ref().map(told);
            follower.is_new = false;
            if std::mem::replace(&mut follower.told, news) != news {
                follower.mailbox.push(Event::Wish(wish));
            }
        }
    }

    fn tell(&mut self, failure: Option<InstanceError>) {
        let had_failed = std::mem::replace(&mut self.has_failed, failure.is_some());
        if let Some(error) = failure.filter(|_| !had_failed) {
            tracing::error!(%error, "the registry can't be read or written, so upgrades wait; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use ambrosia_core::{Limits, Timestamp};
    use ambrosia_storage::{BlobHash, MemoryStore, Waiting, Wanted, WantedLimits};

    use super::*;

    fn name() -> InstanceName {
        InstanceName::new("server").expect("plain")
    }

    fn wish(store: &dyn Store, module: &[u8]) -> StandingWish {
        let (limits, waiting) = (WantedLimits::default(), Waiting::default());
        let wanted = Wanted { limits, handover_fuel: 1, wait: Duration::from_secs(30), waiting };
        let from = BlobHash(store.instance(&name()).expect("works").upgrades.current);
        store.wish(&name(), from, module, &wanted, Timestamp(2)).expect("none stands").wish().clone()
    }

    fn registered() -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let limits = Limits { fuel: 1, memory_bytes: 1 };
        store.register(&name(), b"old", 1, InstanceUuid([1; 16]), limits, Timestamp(1)).expect("works");
        store
    }

    /// The next wishes that come into the mailbox, as many as are expected.
    fn told(mailbox: &Mailbox<Event>, count: usize) -> Vec<Option<u64>> {
        let mut events = VecDeque::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while events.len() < count {
            assert!(std::time::Instant::now() < deadline, "{} of {count} wishes were told", events.len());
            mailbox.take(&mut events);
            std::thread::yield_now();
        }
        let attempt = |event| match event {
            Event::Wish(wish) => wish.map(|wish| wish.attempt),
            _ => panic!("only wishes are told"),
        };
        events.into_iter().map(attempt).collect()
    }

    fn claim(event: Event) -> (Epoch, bool) {
        match event {
            Event::Claimed { epoch, is_claimed, .. } => (epoch, is_claimed),
            _ => panic!("only claims are answered"),
        }
    }

    #[test]
    fn a_member_is_told_its_wish_at_once_and_each_change() {
        let store = registered();
        wish(&*store, b"one");
        let wishes = Wishes::new(Arc::clone(&store)).expect("there are threads");
        let mailbox = Arc::new(Mailbox::new());
        wishes.follow(&store.instance(&name()).expect("works"), Arc::clone(&mailbox));
        assert_eq!(told(&mailbox, 1), [Some(1)]);
        store.cancel_wish(&name()).expect("works");
        assert_eq!(told(&mailbox, 1), [None]);
        wish(&*store, b"two");
        assert_eq!(told(&mailbox, 1), [Some(2)]);
        wishes.leave(&mailbox);
        store.cancel_wish(&name()).expect("works");
        drop(wishes);
        let mut events = VecDeque::new();
        mailbox.take(&mut events);
        assert!(events.is_empty(), "who has left is told nothing");
    }

    #[test]
    fn what_came_of_a_wish_is_written_down_before_the_process_ends() {
        let store = registered();
        wish(&*store, b"one");
        let wishes = Wishes::new(Arc::clone(&store)).expect("there are threads");
        let mailbox = Arc::new(Mailbox::new());
        let notary = wishes.notary(&name(), &mailbox);
        notary.claim(1, Epoch(3));
        notary.claim(1, Epoch(2));
        notary.settle(1, Epoch(2), WishAnswer::Refused { report: "it was deposed".to_owned() });
        notary.settle(1, Epoch(3), WishAnswer::Done { lsn: Lsn(9) });
        drop(wishes);
        let mut events = VecDeque::new();
        mailbox.take(&mut events);
        let claims: Vec<_> = events.into_iter().map(claim).collect();
        assert_eq!(claims, [(Epoch(3), true), (Epoch(2), false)]);
        let upgrades = store.instance(&name()).expect("works").upgrades;
        assert_eq!((upgrades.wanted, upgrades.current), (None, BlobHash::of(b"one").0));
    }

    #[test]
    fn the_module_that_the_log_has_is_noted() {
        let store = registered();
        wish(&*store, b"one");
        let wishes = Wishes::new(Arc::clone(&store)).expect("there are threads");
        wishes.notary(&name(), &Arc::new(Mailbox::new())).note_reign(BlobHash::of(b"one").0, 1, Lsn(9));
        drop(wishes);
        let upgrades = store.instance(&name()).expect("works").upgrades;
        assert_eq!((upgrades.wanted.map(|wish| wish.attempt), upgrades.current), (Some(1), BlobHash::of(b"one").0));
    }

    #[test]
    fn another_life_of_the_name_is_no_business_of_a_member_of_the_first() {
        let store = registered();
        let wishes = Wishes::new(Arc::clone(&store)).expect("there are threads");
        let (mailbox, later) = (Arc::new(Mailbox::new()), Arc::new(Mailbox::new()));
        wish(&*store, b"one");
        wishes.follow(&store.instance(&name()).expect("works"), Arc::clone(&mailbox));
        assert_eq!(told(&mailbox, 1), [Some(1)]);
        store.deregister(&name()).expect("nothing runs");
        assert_eq!(told(&mailbox, 1), [None]);
        let limits = Limits { fuel: 1, memory_bytes: 1 };
        store.register(&name(), b"old", 1, InstanceUuid([2; 16]), limits, Timestamp(1)).expect("works");
        wishes.follow(&store.instance(&name()).expect("works"), Arc::clone(&later));
        wish(&*store, b"one");
        assert_eq!(told(&later, 1), [Some(1)]);
        drop(wishes);
        let mut events = VecDeque::new();
        mailbox.take(&mut events);
        assert!(events.is_empty(), "it is told of its own life only");
    }
}
