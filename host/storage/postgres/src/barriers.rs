//! Barriers of one connection: those that are asked for while one is under way are one, behind it.
//!
//! A barrier is a commit, and waits for a disk and a standby. Each of many that wait one behind the other would hold up those behind it,
//! and all that is read by the connection.
//!
//! **Architecture Invariant:** who waits for a barrier is told of one that has begun since it asked.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

#[derive(Default)]
pub(crate) struct Barriers {
    /// So many were begun.
    begun: AtomicU64,
    /// The last that has returned. Whoever has it makes the next one.
    done: Mutex<u64>,
}

impl Barriers {
    /// Makes a barrier, unless one that has begun meanwhile returns.
    pub(crate) async fn wait<E>(&self, make: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= wanted {
            return Ok(());
        }
        // Whoever is given up while it waits for the server has begun one all the same.
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        make().await?;
        *done = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// A server that says when a barrier begins, and lets it return when it is told to.
    struct Server {
        begun: mpsc::UnboundedSender<()>,
        may_return: Semaphore,
        made: AtomicUsize,
    }

    #[tokio::test]
    async fn what_waits_for_a_barrier_that_has_not_begun_shares_it_and_nobody_is_told_of_one_that_had() {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let server = Arc::new(Server { begun, may_return: Semaphore::new(0), made: AtomicUsize::new(0) });
        let barriers = Arc::new(Barriers::default());
        let ask = || {
            let (barriers, server) = (Arc::clone(&barriers), Arc::clone(&server));
            tokio::spawn(async move {
                let made = async || {
                    server.begun.send(()).expect("the test waits");
                    server.may_return.acquire().await.expect("it is open").forget();
                    server.made.fetch_add(1, Ordering::SeqCst);
                    Ok::<(), ()>(())
                };
                barriers.wait(made).await
            })
        };
        let first = ask();
        begins.recv().await.expect("it begins");
        let others: Vec<_> = (0..50).map(|_| ask()).collect();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        server.may_return.add_permits(1);
        assert_eq!(first.await.expect("it ends"), Ok(()));
        begins.recv().await.expect("another one begins for those that have asked since");
        assert!(others.iter().all(|other| !other.is_finished()), "the first had begun before they asked");
        server.may_return.add_permits(1);
        for other in others {
            assert_eq!(other.await.expect("it ends"), Ok(()));
        }
        assert_eq!(server.made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_that_fails_is_nobody_elses() {
        let barriers = Barriers::default();
        assert_eq!(barriers.wait(async || Err("lost")).await, Err("lost"));
        assert_eq!(barriers.wait(async || Err("lost again")).await, Err("lost again"));
        assert_eq!(barriers.wait(async || Ok::<_, &str>(())).await, Ok(()));
    }
}
