//! The threads of the connections.

use std::{
    io,
    sync::{Arc, mpsc},
};

use tokio::runtime::{Builder, Runtime};

/// See the head of the file. A clone has the same.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Held>);

struct Held {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    pub(crate) fn begin() -> io::Result<Threads> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("relay").enable_all().build()?;
        Ok(Threads(Arc::new(Held { runtime: Some(runtime) })))
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.0.runtime.as_ref().expect("it goes when this does")
    }

    /// Waits as any thread may, also one of a runtime, for what is done there; `None` if they have ended.
    pub(crate) fn wait_for<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        // Somebody waits for it.
        self.runtime().spawn(async move { drop(sender.send(what.await)) });
        receiver.recv().ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped by a thread of a runtime, where nobody may wait. What is under way is answered by its dropped question.
            runtime.shutdown_background();
        }
    }
}
