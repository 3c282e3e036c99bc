//! Whoever started this process and holds the other end of its stdin: this process does not outlive that one.
//!
//! **Architecture Invariant:** the kernel closes a pipe of a process that has died, of whatever it died, so nobody has to
//! say anything for this to work.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

/// Once let go, the process has so long to end in order.
pub(crate) const END_PATIENCE: Duration = Duration::from_secs(10);

/// The end of stdin.
pub(crate) struct Leash(Arc<Notify>);

impl Leash {
    /// Watches stdin from now on; what comes from there is dropped.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn hold() -> io::Result<Leash> {
        let ended = Arc::new(Notify::new());
        let tell = Arc::clone(&ended);
        let watch = move || {
            let (mut stdin, mut dropped) = (io::stdin().lock(), [0; 64]);
            loop {
                match stdin.read(&mut dropped) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => return tell.notify_one(),
                }
            }
        };
        std::thread::Builder::new().name("leash".to_owned()).spawn(watch)?;
        Ok(Leash(ended))
    }

    /// Waits until nobody holds it any more.
    pub(crate) async fn let_go(&self) {
        self.0.notified().await;
    }
}
