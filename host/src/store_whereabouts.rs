//! Tells a client where the primary of an instance is, by what the store says.

use std::{sync::Arc, time::Duration};

use ambrosia_client::{Client, ClientError, Nearby, Primary, Session, SessionError, Whereabouts};
use ambrosia_core::{HostAddress, InstanceName, Lsn, ReplicaIndex, SessionId};
use ambrosia_storage::{Checkpoints, InstanceError, Instances, RecordedOutcome, Store, Subscription};
use ambrosia_wire::Security;
use tokio::sync::watch;

use crate::{neighbours::Neighbours, peers::PeerDirectory};

/// Where the primary of an instance in a store is.
pub struct StoreWhereabouts {
    store: Arc<dyn Store>,
    name: InstanceName,
    primaries: watch::Receiver<Option<Primary>>,
    /// What tells of them.
    directory: Arc<PeerDirectory>,
    /// Members of this process, if whoever asks is to reach them without a socket.
    neighbours: Option<Arc<Neighbours>>,
}

impl StoreWhereabouts {
    /// Follows the primary of `name`.
    ///
    /// # Errors
    /// [`ClientError::Whereabouts`] if no such instance is registered, [`ClientError::Thread`] if the system has no more.
    pub fn new(store: Arc<dyn Store>, name: InstanceName) -> Result<Self, ClientError> {
        StoreWhereabouts::secured(store, name, Security::Plain)
    }

    /// The same, where hosts are connected to like this.
    ///
    /// # Errors
    /// As [`StoreWhereabouts::new`].
    pub fn secured(store: Arc<dyn Store>, name: InstanceName, security: Security) -> Result<Self, ClientError> {
        store.instance(&name).map_err(unreadable)?;
        let directory = PeerDirectory::new(Arc::clone(&store), security).map_err(ClientError::Thread)?;
        Ok(StoreWhereabouts::told_by(Arc::new(directory), store, name))
    }

    /// The same, told by somebody who follows others beside it.
    pub(crate) fn told_by(directory: Arc<PeerDirectory>, store: Arc<dyn Store>, name: InstanceName) -> Self {
        let primaries = directory.follow(&name);
        StoreWhereabouts { store, name, primaries, directory, neighbours: None }
    }

    /// The same for whoever lives beside these.
    pub(crate) fn beside(self, neighbours: Option<Arc<Neighbours>>) -> Self {
        StoreWhereabouts { neighbours, ..self }
    }
}

/// A client of the instance `name` of a store.
///
/// # Errors
/// As [`StoreWhereabouts::new`].
pub fn client_of(store: Arc<dyn Store>, name: InstanceName) -> Result<Client, ClientError> {
    Ok(Client::new(name.clone(), StoreWhereabouts::new(store, name)?))
}

/// Opens the session `id` with the instance `name` of a store, as [`Session::open`] does.
///
/// # Errors
/// As that, and as [`StoreWhereabouts::new`].
pub async fn session_with(
    store: Arc<dyn Store>,
    name: InstanceName,
    id: SessionId,
    limit: Duration,
) -> Result<Session, SessionError> {
    let whereabouts = StoreWhereabouts::new(store, name.clone());
    let whereabouts = whereabouts.map_err(|error| SessionError::Unreached(error.to_string()))?;
    Session::open(name, whereabouts, id, limit).await
}

/// Follows the newest checkpoint of a log, as long as the subscription is kept.
///
/// # Errors
/// [`ClientError::Thread`] if the system has no more threads.
pub fn follow_checkpoints(
    checkpoints: &Arc<dyn Checkpoints>,
) -> Result<(watch::Receiver<Lsn>, Subscription), ClientError> {
    let (news, newest) = watch::channel(Lsn(0));
    let (news, there) = (Arc::new(news), Arc::clone(checkpoints));
    let tell = move || {
        let found = there.newest_published();
        news.send_if_modified(|newest| std::mem::replace(newest, found.max(*newest)) < found);
    };
    let told = tell.clone();
    let subscription = checkpoints.subscribe(Box::new(tell)).map_err(ClientError::Thread)?;
    told();
    Ok((newest, subscription))
}

fn unreadable(error: InstanceError) -> ClientError {
    ClientError::Whereabouts(error.into())
}

impl Whereabouts for StoreWhereabouts {
    fn security(&self) -> Security {
        self.directory.security()
    }

    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.primaries.clone()
    }

    fn nearby(&self, primary: &Primary) -> Option<Nearby> {
        self.neighbours.as_ref()?.connect(&self.name, primary)
    }

    fn replica(&self, replica: ReplicaIndex) -> Result<HostAddress, String> {
        let log = self.store.log_of(&self.name).map_err(|error| error.to_string())?;
        let members = self.store.members(log).map_err(|error| error.to_string())?;
        let running = members.running().map_err(|error| error.to_string())?;
        let member = running.iter().find(|member| member.replica == replica);
        let member = member.ok_or_else(|| {
            format!("it does not run: start it with `ambrosia-host run --instance {} --replica {replica}`", self.name)
        })?;
        member.address.clone().ok_or_else(|| "it has not said yet where it answers".to_owned())
    }

    fn check_alive(&self) -> Result<(), ClientError> {
        let name = &self.name;
        let entry = self.store.instance(name).map_err(unreadable)?;
        match entry.outcome {
            None => Ok(()),
            // Somebody wishes for what may mend it: whoever asks waits for that, as for a takeover.
            Some(RecordedOutcome::Halted { .. }) if entry.upgrades.wanted.is_some() => Ok(()),
            Some(outcome) => Err(ClientError::Ended(how_it_ended(name, outcome))),
        }
    }
}

/// Why an instance does not answer any more.
pub(crate) fn how_it_ended(name: &InstanceName, outcome: RecordedOutcome) -> String {
    match outcome {
        RecordedOutcome::Finished { code, lsn } => {
            format!("instance {name} finished with exit code {code} at lsn {lsn}")
        }
        RecordedOutcome::Halted { lsn, reason, .. } => format!("instance {name} halted at lsn {lsn}: {reason}"),
    }
}
