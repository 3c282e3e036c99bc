//! Where a trial begins: so many deliveries before the end of the log, or where it is asked for, at a moment in which no handler
//! waits.
//!
//! **Architecture Invariant:** a trial of the last deliveries begins with the code that runs at the end of the log.

use std::collections::VecDeque;

use ambrosia_core::{DeliverBody, Lsn, Record, RecordKind};

use super::{NoTrial, TrialPlan, TrialProgress, TrialStretch};
use crate::travel::{error::TravelError, traveller::Traveller};

/// Records between two words on how far it is.
const STEP_RECORDS: u64 = 512;

/// What lies behind the place where the traveller stands.
pub(super) struct Beginning {
    /// So many deliveries.
    pub(super) deliveries: u64,
}

/// Goes to where the trial begins.
pub(super) fn go_to(
    traveller: &mut Traveller,
    plan: &TrialPlan<'_>,
    tell: &mut dyn FnMut(TrialProgress<'_>),
) -> Result<Beginning, NoTrial> {
    let (first, last) = traveller.range();
    let (mut deliveries, begin) = match plan.stretch {
        TrialStretch::Last(count) => {
            let deliveries = last_deliveries(traveller, count)?;
            let begin = deliveries.front().map_or(last, |lsn| Lsn(lsn.0 - 1)).max(first);
            (deliveries, begin)
        }
        TrialStretch::From(from, to) => {
            let begin = Lsn(from.0.saturating_sub(1)).max(first);
            let mut deliveries = VecDeque::new();
            traveller.find(begin.next(), to.unwrap_or(last).min(last), |record| {
                deliveries.extend(delivers(record).then_some(record.lsn()));
                false
            })?;
            (deliveries, begin)
        }
    };
    go(traveller, begin, tell)?;
    let waits = |traveller: &Traveller| traveller.replica().waiting_handlers().is_some_and(|count| count > 0);
    // A module that stays keeps its handlers.
    while plan.to != traveller.replica().module() && waits(traveller) {
        if !traveller.step()? {
            if !plan.end_waiting {
                let count = traveller.replica().waiting_handlers().unwrap_or_default();
                return Err(NoTrial::HandlersWait(format!("{count} at the last one")));
            }
            traveller.seek(begin)?;
            break;
        }
    }
    if plan.from.is_some_and(|from| traveller.replica().module() != from) {
        return Err(NoTrial::Upgraded);
    }
    deliveries.retain(|lsn| *lsn > traveller.lsn());
    Ok(Beginning { deliveries: deliveries.len() as u64 })
}

/// Goes there and says how far it is now and then.
fn go(traveller: &mut Traveller, to: Lsn, tell: &mut dyn FnMut(TrialProgress<'_>)) -> Result<(), TravelError> {
    let near = traveller.beginnings().rfind(|beginning| *beginning <= to);
    if let Some(near) = near {
        tell(TrialProgress::Going(near, to));
        traveller.seek(near)?;
    }
    while traveller.lsn() < to {
        traveller.go_along(Lsn(traveller.lsn().0 + STEP_RECORDS).min(to))?;
        tell(TrialProgress::Going(traveller.lsn(), to));
    }
    Ok(())
}

/// The last records that deliver something, at most so many, behind the last upgrade. Nothing is executed for that, and no more
/// is read than from the checkpoint before them.
fn last_deliveries(traveller: &Traveller, count: u64) -> Result<VecDeque<Lsn>, TravelError> {
    let mut found: VecDeque<Lsn> = VecDeque::new();
    let mut end = traveller.range().1;
    for beginning in traveller.beginnings().rev() {
        let (mut deliveries, mut is_upgraded) = (Vec::new(), false);
        traveller.find(beginning.next(), end, |record| {
            // A mend may be an upgrade too, and delivers what stands before it.
            if matches!(record.header().kind, RecordKind::Upgrade | RecordKind::Mend) {
                (is_upgraded, deliveries) = (true, Vec::new());
            }
            if delivers(record) {
                deliveries.push(record.lsn());
            }
            false
        })?;
        deliveries.into_iter().rev().for_each(|lsn| found.push_front(lsn));
        end = end.min(beginning);
        if is_upgraded || found.len() as u64 >= count {
            break;
        }
    }
    let more = found.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    found.drain(..more);
    Ok(found)
}

/// Whether the guest gets something in it.
fn delivers(record: &Record) -> bool {
    record.header().kind == RecordKind::Deliver
        && DeliverBody::decode(record.body()).is_ok_and(|body| !body.runs.is_empty())
}
