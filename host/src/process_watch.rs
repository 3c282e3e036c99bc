//! Whether the process of a primary has ended, as the connection with its host shows.
//!
//! When a process ends, however it does, the system closes its connections and nobody listens at its address any more. Where a
//! store knows of beats alone, that is seen half a second before their silence. A connection that was lost says nothing by itself:
//! it may have been cut on its way, so a new one has to be refused as well; and a machine that is gone refuses nothing.
//!
//! **Architecture Invariant:** it says who should be asked to give way, and never who may write: a false suspicion costs a change of
//! the primary, and no record. Who was never reached is not suspected, so two that can't reach each other depose each other once at most.

use std::{io::ErrorKind, sync::Arc};

use ambrosia_client::Primary;
use ambrosia_core::Epoch;
use ambrosia_wire::ConnectionError;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use crate::trunks::{Lease, Trunks, Way};

/// Watches the processes of the primaries of an instance, until dropped.
pub(crate) struct ProcessWatch(JoinHandle<()>);

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ProcessWatch {
    /// Tells the epoch of each primary whose process is seen to have ended.
    pub(crate) fn start(
        runtime: &Handle,
        trunks: Arc<Trunks>,
        primaries: watch::Receiver<Option<Primary>>,
        tell: impl Fn(Epoch) + Send + Sync + 'static,
    ) -> ProcessWatch {
        ProcessWatch(runtime.spawn(keep(trunks, primaries, tell)))
    }
}

async fn keep(trunks: Arc<Trunks>, mut primaries: watch::Receiver<Option<Primary>>, tell: impl Fn(Epoch) + Sync) {
    loop {
        let primary = primaries.borrow_and_update().clone();
        let ended = async {
            if let Some(primary) = &primary {
                seen_to_end(trunks.lease(&primary.address)).await;
                tell(primary.epoch);
            }
            // It is told once of each.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ended => unreachable!("it waits for ever"),
            changed = primaries.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits until nobody listens any more where somebody did.
async fn seen_to_end(mut lease: Lease) {
    loop {
        match lease.way().await {
            Way::Trunk(trunk) => trunk.ended().await,
            Way::Failed(error) if lease.was_reached() && is_refused(&error) => return,
            Way::Failed(_) => {}
            // Of a host of an earlier version the beats tell.
            Way::Alone => std::future::pending().await,
        }
    }
}

fn is_refused(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Io(error) if error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ambrosia_core::HostAddress;
    use ambrosia_wire::{Connection, Frame, STREAMS_VERSION, Security, Trunk};
    use tokio::{net::TcpListener, sync::mpsc, time::timeout};

    use super::*;

    /// More than a host that is not reached is waited for.
    const LONG: Duration = Duration::from_secs(2);

    struct Watching {
        news: watch::Sender<Option<Primary>>,
        ended: mpsc::UnboundedReceiver<Epoch>,
        _watch: ProcessWatch,
    }

    fn watching(listener: &TcpListener) -> Watching {
        let address = HostAddress::from(listener.local_addr().expect("it listens"));
        let (news, primaries) = watch::channel(Some(Primary { epoch: Epoch(1), address }));
        let (sender, ended) = mpsc::unbounded_channel();
        let tell = move |epoch| sender.send(epoch).expect("the test waits");
        let trunks = Arc::new(Trunks::new(Handle::current(), Security::Plain));
        let watch = ProcessWatch::start(&Handle::current(), trunks, primaries, tell);
        Watching { news, ended, _watch: watch }
    }

    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a port is free")
    }

    /// A host takes a connection, and holds it until that is dropped.
    async fn take(listener: &TcpListener) -> Trunk {
        let (socket, _) = listener.accept().await.expect("somebody connects");
        let (_, mut connection) = Connection::new(socket).expect("it is set up");
        let hello = connection.read_frame().await.expect("a hello");
        let Frame::Control(hello) = hello else { panic!("no hello: {hello:?}") };
        assert_eq!(hello.version_of_host(), Some(STREAMS_VERSION));
        Trunk::welcome(connection).await.expect("it is there")
    }

    #[tokio::test]
    async fn a_process_has_ended_whose_connection_is_lost_and_where_nobody_listens_any_more() {
        let listener = listen().await;
        let mut watching = watching(&listener);
        let trunk = take(&listener).await;
        drop((listener, trunk));
        assert_eq!(timeout(LONG, watching.ended.recv()).await, Ok(Some(Epoch(1))));
        assert!(watching.ended.try_recv().is_err(), "it is told once");
    }

    #[tokio::test]
    async fn a_connection_that_was_lost_says_nothing_while_somebody_listens() {
        let listener = listen().await;
        let mut watching = watching(&listener);
        for _ in 0..3 {
            drop(take(&listener).await);
        }
        let trunk = take(&listener).await;
        assert!(watching.ended.try_recv().is_err());
        // That it goes on to be watched shows that it was waited for.
        drop((listener, trunk));
        assert_eq!(timeout(LONG, watching.ended.recv()).await, Ok(Some(Epoch(1))));
    }

    #[tokio::test]
    async fn who_was_never_reached_is_not_suspected() {
        let (before, after) = (listen().await, listen().await);
        let mut watching = watching(&before);
        let address = HostAddress::from(after.local_addr().expect("it listens"));
        drop(before);
        // Long enough for some tries.
        assert!(timeout(Duration::from_millis(300), watching.ended.recv()).await.is_err());
        watching.news.send_replace(Some(Primary { epoch: Epoch(2), address }));
        let trunk = take(&after).await;
        drop((after, trunk));
        assert_eq!(timeout(LONG, watching.ended.recv()).await, Ok(Some(Epoch(2))), "the next one is watched");
    }
}
