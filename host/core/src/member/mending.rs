//! How a member goes on whose guest could not handle a record.
//!
//! A replica that has failed at a record is of no more use. If the log has a mend of the record, or an operator wishes for
//! one, another one is built that leaves the record out: it finds the mend behind it, or makes it as primary.
//!
//! **Architecture Invariant:** the log decides. What the registry says of an instance that stands is a note, and so is what
//! this process once saw; nothing is made, sent or heard between a record that was left out and its mend.

use super::{Command, Context, Ending, Notice, Stage, primary::Primary, recovery::Recovery, standby::Standby};
use crate::{
    ConnectionId, Fault, Guest, Lsn, Mend, Output, Record, RecordKind, Refusal, Remedy, Traffic, member::Wish,
};

/// A record that the guest can't handle.
pub(super) struct Void {
    lsn: Lsn,
    link: u64,
    /// What the guest did wrong.
    fault: Fault,
}

impl<G> Context<'_, G> {
    /// Whether the record is one to be left out.
    pub(super) fn is_void(&self, record: &Record) -> bool {
        let (lsn, link) = (record.lsn(), record.header().link());
        self.voids.iter().any(|void| (void.lsn, void.link) == (lsn, link))
    }
}

/// Whether a record of that kind can stand where one was left out and the mend of it is still to come.
pub(super) fn may_follow_a_void(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Epoch | RecordKind::Mend)
}

impl<G: Guest> Standby<G> {
    /// The guest could not handle a record: it is to be seen whether anybody has mended that, or wants to.
    pub(super) fn on_halted(mut self: Box<Self>, context: &mut Context<'_, G>, fault: Fault, lsn: Lsn) -> Stage<G> {
        let link = self.common.replica.link();
        assert_eq!(self.common.replica.applied(), lsn, "a guest fails at the record that is applied");
        self.stands_at(Void { lsn, link, fault });
        context.carry(Command::LookForMend { lsn, link });
        Stage::Following(self)
    }

    /// Whether the record that the replica has failed at is mended, or to be mended.
    pub(super) fn on_mending(mut self, context: &mut Context<'_, G>, is_mended: bool, wish: Option<Wish>) -> Stage<G> {
        let void = self.take_void();
        if !is_mended && wish.is_none() {
            return self.end(context, Ending::Halted { fault: void.fault, lsn: void.lsn });
        }
        context.tell(Notice::ToBeMended(void.lsn));
        context.voids.push(void);
        context.on_wish(wish);
        context.carry(Command::Abandon);
        Stage::Recovering(Box::new(Recovery::begin(context)))
    }
}

impl<G: Guest> Primary<G> {
    /// Where the instance stands, if nobody has mended that.
    pub(super) fn void(&self, context: &Context<'_, G>) -> Option<(Fault, Lsn)> {
        let lsn = self.common.replica.void()?;
        let known = context.voids.iter().find(|void| void.lsn == lsn).expect("who leaves a record out knows why");
        Some((known.fault.clone(), lsn))
    }

    /// Before the mend nobody is heard: who has connected shall do so again. What comes from outside can wait.
    pub(super) fn put_off(&mut self, context: &mut Context<'_, G>, traffic: Traffic) {
        match traffic {
            Traffic::PeerConnected { connection, .. } | Traffic::PeerReached { connection, .. } => {
                self.refuse(context, connection);
            }
            Traffic::Messages { .. } | Traffic::Acknowledged { .. } => {} // of a connection that was refused
            // A session is opened by a record, and what was left out holds requests of it.
            Traffic::OpenSession { connection, .. }
            | Traffic::SessionRequest { connection, .. }
            | Traffic::SessionConfirmed { connection, .. } => self.refuse(context, connection),
            Traffic::Impulse { .. }
            | Traffic::Outcome { .. }
            | Traffic::Resolve { .. }
            | Traffic::Cron { .. }
            | Traffic::Disconnected(_) => self.take_in(context, traffic),
        }
    }

    fn refuse(&mut self, context: &mut Context<'_, G>, connection: ConnectionId) {
        self.carry(context, Output::Refuse { connection, reason: Refusal::Ended });
    }

    /// The mend is durable: now the instance is there again, unless the reign is over already. That it is may be seen in this very
    /// step, by who looks at the fence to let something out, so nobody is told before the end of it.
    pub(super) fn on_mended(&mut self, context: &mut Context<'_, G>, mend: Mend, lsn: Lsn) {
        self.is_to_announce = !self.is_closing();
        let attempt = mend.attempt();
        context.tell(Notice::Mended { mend, lsn });
        context.settle_wish(attempt, self.epoch(), super::WishOutcome::Done(lsn));
    }
}

/// Whether the guest is another one behind that mend.
pub(super) fn hands_over(mend: &Mend) -> bool {
    matches!(mend.remedy, Remedy::Upgrade(_))
}
