//! One replica in this process, without the signals and streams of the process: beside others, each of its own, on any
//! store.
//!
//! **Architecture Invariant:** it touches nothing that belongs to the process as a whole.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use ambrosia_core::{InstanceName, PrintStream, ReplicaIndex};
use ambrosia_methods::Mounts;
use ambrosia_storage::Store;

use crate::{
    clock::SystemClock,
    everyone::Everyone,
    host::{Entrance, Host, Surface, enter, start_engine},
    listen::Listen,
    modules::Modules,
    output::Output,
    run::{Ending, MemberOptions, RunError, check_door},
};

/// Takes what a guest prints. It is called from a thread of the replica, with any part of a print.
pub type Print = Arc<dyn Fn(PrintStream, &[u8]) + Send + Sync>;

/// What to run in this process, and how.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// The instance.
    pub instance: InstanceName,
    /// Which replica of it.
    pub replica: ReplicaIndex,
    /// Where peers and clients connect.
    pub listen: Listen,
    /// Where HTTP is taken for all instances of the store, if anywhere; a loopback address, port 0 for a free one.
    pub http: Option<SocketAddr>,
    /// How it lives.
    pub member: MemberOptions,
    /// Gets what the guest prints.
    pub print: Print,
}

/// A replica that lives in this process. Dropped, it is abandoned.
pub struct Embedded {
    everyone: Everyone,
    http: Option<SocketAddr>,
    living: Option<JoinHandle<Result<Ending, RunError>>>,
}

impl Embedded {
    /// Has a replica live from now on.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(store: Arc<dyn Store>, modules: Arc<Modules>, options: EmbeddedOptions) -> Result<Embedded, RunError> {
        options.listen.check()?;
        options.http.map_or(Ok(()), |http| check_door(&*store, http, &options.listen.security))?;
        let clock = SystemClock::check()?;
        let everyone = Everyone::default();
        let entered = match enter(&*store, options.instance, options.replica)? {
            Entrance::Entered(entered) => entered,
            Entrance::Over(ending) => {
                let living = std::thread::Builder::new().spawn(move || ending).map_err(RunError::Thread)?;
                return Ok(Embedded { everyone, http: None, living: Some(living) });
            }
        };
        start_engine(&modules)?;
        let ready = entered.get_ready(&modules)?;
        let surface = Surface::Embedded { everyone: everyone.clone(), print: options.print };
        let mut host = Host::start(store, modules, clock, &options.listen, surface)?;
        let http = options.http.map(|address| host.open_door(address, Mounts::default())).transpose()?;
        host.add(ready, None, &options.member)?;
        let live = move || {
            let mut ending = Err(RunError::Defect);
            host.wait(|ended| ending = ended.ending);
            ending
        };
        let living = std::thread::Builder::new().name("embedded".to_owned()).spawn(live).map_err(RunError::Thread)?;
        Ok(Embedded { everyone, http, living: Some(living) })
    }

    /// Where HTTP is taken, if anywhere.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Ends the replica in order: another one takes over at once.
    pub fn stop(&self) {
        self.everyone.shut_down();
    }

    /// Ends the replica as if its process was killed: nothing more is written or sent.
    pub fn abandon(&self) {
        self.everyone.abandon();
    }

    /// Waits until the replica has ended.
    ///
    /// # Errors
    /// If it did not end well.
    pub fn wait(mut self) -> Result<Ending, RunError> {
        self.join()
    }

    fn join(&mut self) -> Result<Ending, RunError> {
        match self.living.take() {
            Some(living) => living.join().unwrap_or(Err(RunError::Defect)),
            None => Ok(Ending::Stopped),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.abandon();
        // Who drops it does not want to know.
        let _ending = self.join();
    }
}

/// An output that takes everything at once.
pub(crate) struct Printed {
    pub(crate) stream: PrintStream,
    pub(crate) print: Print,
}

impl Output for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.print)(self.stream, bytes);
        Ok(bytes.len())
    }

    fn wait_until_writable(&mut self, _: Duration) -> bool {
        true
    }
}
