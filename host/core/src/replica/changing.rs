//! What a primary changes of the code of its instance, between two deliveries.
//!
//! **Architecture Invariant:** it is judged first, on a copy of the state, and written after: what fails leaves no trace in the
//! log, and no replica has to undo anything.

use super::Replica;
use crate::{
    Fault, Guest, HandoverError, Mend, Output, Record, RecordKind, Remedy, Timestamp, Upgrade,
    limits::RECORD_MESSAGES_MAX,
};

impl<G: Guest> Replica<G> {
    /// Hands over to another module, or to other limits.
    pub(super) fn on_upgrade(&mut self, upgrade: Upgrade, now: Timestamp, outputs: &mut Vec<Output>) {
        assert!(self.state.void.is_none(), "what was left out is mended first");
        if self.state.outcome.is_some() {
            let fault = Fault::because("the instance has ended");
            return outputs.push(Output::UpgradeRefused { attempt: upgrade.attempt, fault, is_lost: false });
        }
        let mut body = Vec::new();
        upgrade.encode(&mut body);
        let record = Record::seal(self.next_header(RecordKind::Upgrade, now), &body);
        let mut judged = self.state.clone();
        let applied = judged.apply(&record, &mut self.guest, &mut self.delivered);
        let attempt = upgrade.attempt;
        match applied.upgrade.as_ref().expect("an upgrade was applied") {
            Ok(_) => {}
            Err(HandoverError::Waits(report)) => {
                return outputs.push(Output::UpgradeWaits { attempt, report: report.clone() });
            }
            Err(HandoverError::Refused(fault)) => {
                return outputs.push(Output::UpgradeRefused { attempt, fault: fault.clone(), is_lost: false });
            }
            Err(HandoverError::Lost(fault)) => {
                return outputs.push(Output::UpgradeRefused { attempt, fault: fault.clone(), is_lost: true });
            }
        }
        self.guest.keep_upgrade();
        self.state = judged;
        let after = record.lsn();
        outputs.push(Output::Append(record));
        self.put_effects(applied, after, outputs);
        outputs.push(Output::Upgraded { upgrade, after });
    }

    /// Delivers what was left out. What fails leaves no trace but a replica that is of no more use.
    pub(super) fn on_mend(&mut self, remedy: Remedy, now: Timestamp, outputs: &mut Vec<Output>) {
        let void = self.state.void.as_ref().expect("only what was left out is mended");
        let mend = Mend { lsn: void.lsn(), link: void.header().link(), remedy };
        let mut body = Vec::new();
        mend.encode(&mut body);
        if Mend::decode(&body).is_err() {
            let reason = format!(
                "positions of messages rise and are below {RECORD_MESSAGES_MAX}, and those to be skipped don't"
            );
            let (attempt, fault) = (mend.attempt(), Fault::because(reason));
            return outputs.push(Output::UpgradeRefused { attempt, fault, is_lost: true });
        }
        let record = Record::seal(self.next_header(RecordKind::Mend, now), &body);
        let mut judged = self.state.clone();
        let mut applied = judged.apply(&record, &mut self.guest, &mut self.delivered);
        match applied.mend.take().expect("a mend was applied") {
            Ok(_) => {}
            Err(fault) => {
                return outputs.push(Output::UpgradeRefused { attempt: mend.attempt(), fault, is_lost: true });
            }
        }
        self.state = judged;
        let after = record.lsn();
        outputs.push(Output::Append(record));
        self.put_effects(applied, after, outputs);
        self.want_all(outputs);
        self.resume_requests(after, outputs);
        outputs.push(Output::Mended { mend, after });
        self.put_outcome(after, outputs);
    }
}
