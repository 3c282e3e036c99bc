//! One at a time, across awaits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Lets one handler at a time go through a part of its code, awaits included. Whoever comes first is let in first.
///
/// Handlers never run at once, so a value alone needs none of this: [`This::with`](crate::This::with) suffices. It is for what
/// must not be begun twice while it waits.
///
/// ```
/// # #[ambrosia::interface] trait Bank { fn withdraw(amount: u64) -> u64; }
/// use ambrosia::{Mutex, This};
///
/// #[ambrosia::state]
/// struct Till { bank: Mutex<u64> }
///
/// #[ambrosia::immortal]
/// impl Till {
///     /// The one that comes later sees what the one before has fetched.
///     async fn fetch_up_to(this: This<Self>, bank: Bank, amount: u64) {
///         let lock = this.with(|till| till.bank.lock()).await;
///         let missing = lock.with(|cash| amount.saturating_sub(*cash));
///         if let Ok(fetched) = bank.withdraw(missing).await {
///             lock.with(|cash| *cash += fetched);
///         }
///     }
/// }
/// # fn main() {}
/// ```
///
/// A clone is the same mutex. As a field of the state it is the value inside, and an upgrade hands that over: it is open in the
/// new code, since no handler goes on there (one that is marked `#[ambrosia(restart)]` asks for it again).
pub struct Mutex<T>(Rc<Shared<T>>);

struct Shared<T> {
    value: RefCell<T>,
    is_held: Cell<bool>,
    /// Who was let in and has not been polled since, 0 for nobody.
    let_in: Cell<u64>,
    last_ticket: Cell<u64>,
    queue: RefCell<VecDeque<(u64, Waker)>>,
}

impl<T> Mutex<T> {
    /// With that value inside.
    pub fn new(value: T) -> Self {
        Mutex(Rc::new(Shared {
            value: RefCell::new(value),
            is_held: Cell::new(false),
            let_in: Cell::new(0),
            last_ticket: Cell::new(0),
            queue: RefCell::default(),
        }))
    }

    /// Waits until it is our turn. Who drops the guard lets the next one in.
    pub fn lock(&self) -> Lock<T> {
        Lock { mutex: Mutex(Rc::clone(&self.0)), progress: Progress::New }
    }

    /// Lets `look` see, or change, the value without waiting for who has the lock.
    ///
    /// Panics inside another such closure.
    pub fn peek<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.value.borrow_mut())
    }

    /// True while somebody has the lock.
    pub fn is_locked(&self) -> bool {
        self.0.is_held.get()
    }

    /// The next one in the queue has it, or nobody.
    fn release(&self) {
        let next = self.0.queue.borrow_mut().pop_front();
        match next {
            Some((ticket, waker)) => {
                self.0.let_in.set(ticket);
                waker.wake();
            }
            None => self.0.is_held.set(false),
        }
    }
}

/// See [`Mutex::lock`].
#[must_use = "a lock does nothing unless it is awaited"]
pub struct Lock<T> {
    mutex: Mutex<T>,
    progress: Progress,
}

enum Progress {
    New,
    Queued(u64),
    Done,
}

impl<T> Future for Lock<T> {
    type Output = Guard<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Guard<T>> {
        let shared = &self.mutex.0;
        let waker = || context.waker().clone();
        match self.progress {
            Progress::Done => panic!("a lock is not polled again after it gave its guard"),
            Progress::New if shared.is_held.get() => {
                let ticket = shared.last_ticket.get() + 1;
                shared.last_ticket.set(ticket);
                shared.queue.borrow_mut().push_back((ticket, waker()));
                self.progress = Progress::Queued(ticket);
                return Poll::Pending;
            }
            Progress::New => shared.is_held.set(true),
            Progress::Queued(ticket) if shared.let_in.get() == ticket => shared.let_in.set(0),
            Progress::Queued(ticket) => {
                let mut queue = shared.queue.borrow_mut();
                let own =
                    queue.iter_mut().find(|(queued, _)| *queued == ticket).expect("it is let in, or in the queue");
                own.1 = waker();
                return Poll::Pending;
            }
        }
        self.progress = Progress::Done;
        Poll::Ready(Guard(Mutex(Rc::clone(&self.mutex.0))))
    }
}

impl<T> Drop for Lock<T> {
    fn drop(&mut self) {
        let Progress::Queued(ticket) = self.progress else { return };
        let shared = &self.mutex.0;
        if shared.let_in.get() == ticket {
            shared.let_in.set(0);
            self.mutex.release();
        } else {
            shared.queue.borrow_mut().retain(|(queued, _)| *queued != ticket);
        }
    }
}

/// Our turn with a [`Mutex`], until this is dropped.
#[must_use = "the mutex is open again as soon as the guard is dropped: keep it in a variable"]
pub struct Guard<T>(Mutex<T>);

impl<T> Guard<T> {
    /// Lets `change` work on the value, for a moment that can't span an await.
    ///
    /// Panics inside another such closure.
    pub fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.0.peek(change)
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Mutex(Rc::clone(&self.0))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: Serialize> Serialize for Mutex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.borrow().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Mutex::new)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.0;
        f.debug_struct("Mutex").field("value", &shared.value).field("is_locked", &shared.is_held.get()).finish()
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
