//! Several futures at once: all of them, or whichever ends first.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// Awaits all of a tuple of two to six futures at once, and gives what each of them gave.
///
/// ```
/// # #[ambrosia::interface] trait Counter { fn add(n: u64) -> u64; }
/// # async fn example(left: Counter, right: Counter) -> Result<u64, ambrosia::CallError> {
/// let (first, second) = ambrosia::join((left.add(1), right.add(2))).await;
/// Ok(first? + second?)
/// # }
/// ```
#[must_use = "nothing is awaited unless the join is: write `.await`"]
pub fn join<T: Joined>(futures: T) -> impl Future<Output = T::Values> {
    futures.joined()
}

/// Awaits all of many futures at once, and gives what they gave, in their order.
///
/// ```
/// # #[ambrosia::interface] trait Counter { fn add(n: u64) -> u64; }
/// # async fn example(counters: Vec<Counter>) {
/// let totals = ambrosia::join_all(counters.iter().map(|counter| counter.add(1))).await;
/// # }
/// ```
#[must_use = "nothing is awaited unless the join is: write `.await`"]
pub fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> impl Future<Output = Vec<F::Output>> {
    let mut all: Vec<_> = futures.into_iter().map(Part::new).collect();
    std::future::poll_fn(move |context| {
        // Each is polled, so that each has been woken by what it waits for.
        let pending = all.iter_mut().filter_map(|part| part.poll(context).is_pending().then_some(())).count();
        if pending > 0 {
            return Poll::Pending;
        }
        Poll::Ready(all.iter_mut().map(Part::take).collect())
    })
}

/// Awaits whichever of two futures ends first; the other one is dropped. If both have ended, it is the first.
///
/// ```
/// # use std::time::Duration;
/// # #[ambrosia::interface] trait Shop { fn price() -> u64; }
/// # async fn example(near: Shop, far: Shop) {
/// match ambrosia::select(near.price(), far.price()).await {
///     ambrosia::Either::First(price) => println!("near: {price:?}"),
///     ambrosia::Either::Second(price) => println!("far: {price:?}"),
/// }
/// # }
/// ```
///
/// A call that is dropped runs all the same at its peer: only its answer is ignored.
#[must_use = "nothing is awaited unless the select is: write `.await`"]
pub fn select<A: Future, B: Future>(first: A, second: B) -> impl Future<Output = Either<A::Output, B::Output>> {
    let (mut first, mut second) = (Part::new(first), Part::new(second));
    std::future::poll_fn(move |context| {
        if first.poll(context).is_ready() {
            return Poll::Ready(Either::First(first.take()));
        }
        if second.poll(context).is_ready() {
            return Poll::Ready(Either::Second(second.take()));
        }
        Poll::Pending
    })
}

/// Awaits whichever of many futures ends first, and says which one that is, counted from 0. The others are dropped.
///
/// Panics if there is none.
#[must_use = "nothing is awaited unless the select is: write `.await`"]
pub fn select_all<F: Future>(futures: impl IntoIterator<Item = F>) -> impl Future<Output = (usize, F::Output)> {
    let mut all: Vec<_> = futures.into_iter().map(Part::new).collect();
    assert!(!all.is_empty(), "of no futures none ends first");
    std::future::poll_fn(move |context| {
        let ended = all.iter_mut().position(|part| part.poll(context).is_ready());
        ended.map_or(Poll::Pending, |at| Poll::Ready((at, all[at].take())))
    })
}

/// Which of two futures ended first, and what it gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either<A, B> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
}

/// A future of several, and its value once it has ended.
struct Part<F: Future> {
    future: Option<Pin<Box<F>>>,
    value: Option<F::Output>,
}

/// The future is in a box, and the value is never pinned.
impl<F: Future> Unpin for Part<F> {}

impl<F: Future> Part<F> {
    fn new(future: F) -> Self {
        Part { future: Some(Box::pin(future)), value: None }
    }

    /// Polls it if it has not ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(future) = &mut self.future {
            let Poll::Ready(value) = future.as_mut().poll(context) else { return Poll::Pending };
            self.value = Some(value);
            self.future = None;
        }
        Poll::Ready(())
    }

    fn take(&mut self) -> F::Output {
        self.value.take().expect("it has ended, and is not polled again")
    }
}

impl<F: Future> fmt::Debug for Part<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("has_ended", &self.future.is_none()).finish()
    }
}

/// A tuple of futures, for [`join`].
pub trait Joined {
    /// What they give.
    type Values;

    #[doc(hidden)]
    fn joined(self) -> impl Future<Output = Self::Values>;
}

macro_rules! joined {
    ($($future:ident $at:tt),*) => {
        impl<$($future: Future),*> Joined for ($($future,)*) {
            type Values = ($($future::Output,)*);

            fn joined(self) -> impl Future<Output = Self::Values> {
                let mut parts = ($(Part::new(self.$at),)*);
                std::future::poll_fn(move |context| {
                    // No short cut: each is polled, so that each has been woken by what it waits for.
                    let ended = [$(parts.$at.poll(context).is_ready()),*];
                    if ended.contains(&false) {
                        return Poll::Pending;
                    }
                    Poll::Ready(($(parts.$at.take(),)*))
                })
            }
        }
    };
}

joined!(A 0, B 1);
joined!(A 0, B 1, C 2);
joined!(A 0, B 1, C 2, D 3);
joined!(A 0, B 1, C 2, D 3, E 4);
joined!(A 0, B 1, C 2, D 3, E 4, F 5);
