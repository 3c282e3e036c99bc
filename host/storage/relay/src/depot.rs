//! The depot of a host: a connection for each errand, on which contents go in pieces.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use ambrosia_shared_log::{Asked, Depot, DepotError, Listing, PIECE_BYTES, Told, decode, encode};
use ambrosia_wire::{ConnectionError, Dialogue, Frame};
use tokio::time::{Instant, timeout};

use crate::{
    engine::{Office, RelayEngine},
    place::OPENING_TIME,
    reaching::reach,
    threads::Threads,
};

/// A depot gives up by itself what does not come on; a host that is gone does not say so.
const PIECE_TIME: Duration = Duration::from_secs(120);

/// The depot of a store that is reached through hosts.
pub(crate) struct RelayDepot {
    place: String,
    office: Arc<Office>,
    threads: Threads,
}

impl RelayDepot {
    /// That of the hosts of an engine.
    pub(crate) fn new(engine: &RelayEngine, place: String) -> RelayDepot {
        RelayDepot { place, office: Arc::clone(&engine.office), threads: engine.threads.clone() }
    }

    fn away(&self, reason: String) -> DepotError {
        DepotError::Away { place: self.place(), reason }
    }

    /// Connects for an errand.
    fn begin(&self) -> Result<Errand<'_>, DepotError> {
        let office = Arc::clone(&self.office);
        let reaching = async move {
            reach(&office.place, Some(office.store()), office.behind().await.as_ref(), Instant::now() + OPENING_TIME)
                .await
                .map(|reached| {
                    // Nothing is queued on it.
                    drop(reached.handle);
                    Dialogue::of(reached.connection)
                })
        };
        let reached = self.threads.wait_for(reaching).ok_or_else(|| self.away("this process ends".to_owned()))?;
        let dialogue = reached.map_err(|error| self.away(error.to_string()))?;
        Ok(Errand { depot: self, dialogue: Some(dialogue), number: 0 })
    }

    fn done(&self, told: Told) -> Result<(), DepotError> {
        match told {
            Told::Done => Ok(()),
            other => Err(self.unfit(other)),
        }
    }

    /// What was told in the place of what was wanted.
    fn unfit(&self, told: Told) -> DepotError {
        match told {
            Told::Failed(fault) => fault.into_error(),
            Told::Refused { reason } => DepotError::Unusable { place: self.place(), reason },
            _ => self.away("the host has answered something else".to_owned()),
        }
    }
}

/// A connection on which one thing is done.
struct Errand<'a> {
    depot: &'a RelayDepot,
    /// `None` once it has ended.
    dialogue: Option<Dialogue>,
    number: u64,
}

impl Errand<'_> {
    fn ask(&mut self, asked: &Asked) -> Result<Told, DepotError> {
        self.number += 1;
        let (number, contents) = (self.number, encode(asked).into());
        let over = || self.depot.away("the connection with the host has ended".to_owned());
        let mut dialogue = self.dialogue.take().ok_or_else(over)?;
        let asking = async move {
            dialogue.say(&Frame::Relayed { number, contents });
            let heard = timeout(PIECE_TIME, dialogue.hear()).await;
            (dialogue, heard)
        };
        let heard = self.depot.threads.wait_for(asking);
        let (dialogue, heard) = heard.ok_or_else(|| self.depot.away("this process ends".to_owned()))?;
        let heard = heard.map_err(|_| self.depot.away(format!("the host has not answered within {PIECE_TIME:?}")))?;
        match heard {
            Ok(Frame::Relayed { number: of, contents }) if of == number => {
                self.dialogue = Some(dialogue);
                decode(contents).map_err(|error| self.depot.away(error.to_string()))
            }
            Ok(_) => Err(self.depot.away(ConnectionError::Unexpected.to_string())),
            Err(error) => Err(self.depot.away(error.to_string())),
        }
    }
}

impl Depot for RelayDepot {
    fn place(&self) -> String {
        format!("{}, through {}", self.place, self.office.place)
    }

    fn make(&self) -> Result<(), DepotError> {
        let reason = "a store is made by whoever reaches its database".to_owned();
        Err(DepotError::Unusable { place: self.place(), reason })
    }

    fn check(&self) -> Result<(), DepotError> {
        self.done(self.begin()?.ask(&Asked::Check)?)
    }

    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
        let mut errand = self.begin()?;
        self.done(errand.ask(&Asked::Give { name: name.to_owned() })?)?;
        loop {
            let mut piece = Vec::new();
            contents.take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(DepotError::Contents)?;
            if piece.is_empty() {
                return self.done(errand.ask(&Asked::Given)?);
            }
            self.done(errand.ask(&Asked::Piece { bytes: piece.into() })?)?;
        }
    }

    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
        let mut errand = self.begin()?;
        let mut told = errand.ask(&Asked::Take { name: name.to_owned() })?;
        loop {
            match told {
                Told::Piece { bytes, is_last } => {
                    out.write_all(&bytes).map_err(DepotError::Contents)?;
                    if is_last {
                        return Ok(());
                    }
                }
                other => return Err(self.unfit(other)),
            }
            told = errand.ask(&Asked::More)?;
        }
    }

    fn remove(&self, name: &str) -> Result<(), DepotError> {
        self.done(self.begin()?.ask(&Asked::Remove { name: name.to_owned() })?)
    }

    fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        match self.begin()?.ask(&Asked::List { folder: folder.to_owned() })? {
            Told::Listed { files, folders } => Ok(Listing { files, folders }),
            other => Err(self.unfit(other)),
        }
    }
}
