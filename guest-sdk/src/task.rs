//! Futures beside the handlers: spawned, delayed, bounded in time.

use std::{
    cell::RefCell,
    fmt,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    Timestamp,
    executor::{Role, TaskId},
    now,
    runtime::{self, Runtime},
};

/// Runs `future` beside the handlers. It starts when the handler that is running returns or awaits.
///
/// ```
/// # use std::time::Duration;
/// # #[ambrosia::interface] trait Clock { fn tick(); }
/// # fn example(clock: Clock) {
/// ambrosia::spawn(async move {
///     loop {
///         ambrosia::sleep(Duration::from_secs(1)).await;
///         clock.fork().tick();
///     }
/// });
/// # }
/// ```
pub fn spawn<F: Future + 'static>(future: F) -> Task<F::Output> {
    let outcome = Rc::new(RefCell::new(TaskResult { value: None, waker: None }));
    let written = Rc::clone(&outcome);
    let work = async move {
        let value = future.await;
        let mut outcome = written.borrow_mut();
        outcome.value = Some(value);
        if let Some(waker) = outcome.waker.take() {
            waker.wake();
        }
    };
    let id = runtime::with(|runtime| runtime.executor.spawn("spawned future", Role::Future, Box::pin(work)));
    Task { id, outcome }
}

/// Runs `future` once `delay` has passed.
pub fn after<F: Future + 'static>(delay: Duration, future: F) -> Task<F::Output> {
    let sleep = sleep(delay);
    spawn(async move {
        sleep.await;
        future.await
    })
}

/// A spawned future. Await it for its value; dropping it lets the future run on.
pub struct Task<T> {
    id: TaskId,
    outcome: Rc<RefCell<TaskResult<T>>>,
}

struct TaskResult<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Task<T> {
    /// Drops the future where it stands: its timers are cancelled, the answers to its calls ignored.
    pub fn cancel(self) {
        runtime::with(|runtime| runtime.executor.cancel(self.id));
    }

    /// Lets the future end where it stands when the code of the instance is upgraded: `on_upgrade` starts its successor. An
    /// upgrade waits for other futures. For what never ends by itself, as a ticker.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn tick() {}
    /// # fn example() {
    /// ambrosia::spawn(async {
    ///     loop {
    ///         ambrosia::sleep(Duration::from_secs(1)).await;
    ///         tick();
    ///     }
    /// })
    /// .until_upgrade();
    /// # }
    /// ```
    #[expect(clippy::must_use_candidate, reason = "dropping it lets the future run on, as with `spawn`")]
    pub fn until_upgrade(self) -> Self {
        runtime::with(|runtime| runtime.executor.end_with_code(self.id));
        self
    }

    /// True once the future has come to its end.
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().value.is_some()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut outcome = self.outcome.borrow_mut();
        match outcome.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                outcome.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Ends once `duration` has passed since it was made. It survives what happens meanwhile, and fires late rather than
/// never.
///
/// The timer is set when this is first polled, and cancelled when it is dropped before its time.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Ends at `due`, or at once if that has passed.
pub fn sleep_until(due: Timestamp) -> Sleep {
    Sleep { due, timer: None }
}

/// See [`sleep`].
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    due: Timestamp,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        runtime::with(|runtime| {
            let due = self.due;
            let id = *self.timer.get_or_insert_with(|| start_timer(runtime, due));
            runtime.poll_timer(id, context)
        })
    }
}

fn start_timer(runtime: &Runtime, due: Timestamp) -> u64 {
    let id = runtime.next_id();
    runtime.set_timer(id, due.as_nanos());
    id
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            runtime::try_with(|runtime| runtime.forget(id));
        }
    }
}

/// Gives `future` at most `limit` to end; then it is dropped.
///
/// ```
/// # use std::time::Duration;
/// # #[ambrosia::interface] trait Counter { fn add(n: u64) -> u64; }
/// # async fn example(counter: Counter) {
/// match ambrosia::timeout(Duration::from_secs(5), counter.add(1)).await {
///     Ok(answer) => println!("{answer:?}"),
///     Err(ambrosia::TimedOut) => println!("no answer yet; the method may run all the same"),
/// }
/// # }
/// ```
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut sleep = sleep(limit);
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut sleep).poll(context).map(|()| Err(TimedOut))
    })
    .await
}

/// The future did not end in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is up")
    }
}

impl std::error::Error for TimedOut {}
