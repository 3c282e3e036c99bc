//! The wish for one member, from the registry to its core and back.
//!
//! **Architecture Invariant:** a module is compiled, or had from the cache, in a thread of its own: no member of this process
//! waits for it.

use std::{sync::Arc, time::Duration};

use ambrosia_core::{
    Epoch, Limits, Skip, Upgrade,
    member::{Change, Wish, WishOutcome},
};
use ambrosia_engine::THREAD_STACK_BYTES_MIN;
use ambrosia_storage::{BlobHash, StandingWish, Wanted, WantedSkip, WishAnswer};

use crate::{
    driver::{Driver, shorten},
    event::Event,
};

/// What the registry says is wished, and whether the member knows it.
#[derive(Default)]
pub(crate) struct WishAtHand {
    wish: Option<StandingWish>,
    is_untold: bool,
}

impl WishAtHand {
    /// The registry says something else now.
    pub(crate) fn set(&mut self, wish: Option<StandingWish>) {
        (self.wish, self.is_untold) = (wish, true);
    }

    /// What the member is to be told. Limits that nobody wishes for are those of its replica.
    pub(crate) fn take_untold(&mut self, limits: Limits) -> Option<Option<Wish>> {
        let is_untold = std::mem::take(&mut self.is_untold);
        is_untold.then(|| self.wish.as_ref().map(|wish| of_core(wish, limits)))
    }
}

pub(crate) fn of_core(wish: &StandingWish, limits: Limits) -> Wish {
    let StandingWish { attempt, from, to, skip, wanted, made: _, claimed_by: _, is_cancelled } = wish;
    let Wanted { limits: wanted_limits, handover_fuel, wait, waiting } = wanted;
    if let Some(WantedSkip { lsn, messages }) = skip {
        let skip = Skip { attempt: *attempt, messages: messages.clone() };
        let change = Change::Skip { lsn: *lsn, skip };
        return Wish { change, wait: *wait, hold: waiting.hold, is_cancelled: *is_cancelled };
    }
    let upgrade = Upgrade {
        attempt: *attempt,
        from: *from,
        to: *to,
        limits: wanted_limits.over(limits),
        handover_fuel: *handover_fuel,
        end_waiting: waiting.end,
    };
    Wish { change: Change::Upgrade(upgrade), wait: *wait, hold: waiting.hold, is_cancelled: *is_cancelled }
}

/// While the store can't be reached a module is asked for again after so long.
const PREPARE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Driver {
    /// Has a module at hand, compiled and described; [`Event::Prepared`] says when.
    pub(crate) fn prepare(self: &Arc<Self>, attempt: u64, module: [u8; 32]) {
        let (driver, there) = (Arc::clone(self), Arc::clone(&self.mailbox));
        tracing::info!(attempt, module = %BlobHash(module), "an upgrade is wished for");
        let prepare = move || {
            let _in_span = driver.span.enter();
            let (modules, mailbox) = (&driver.modules, &driver.mailbox);
            let prepare = || modules.module(module).and_then(|_| modules.methods(module)).map(|_| ());
            // That the store can't be reached says nothing of the module, and whoever wishes for it has been told that it is wished for.
            let prepared = loop {
                match prepare() {
                    Err(error) if driver.is_away(&error) && !mailbox.is_closed() => {
                        std::thread::park_timeout(PREPARE_AGAIN_AFTER);
                    }
                    prepared => break prepared,
                }
            };
            mailbox.push(Event::Prepared { attempt, result: prepared.map_err(|error| error.to_string()) });
        };
        // A module is asked what it describes, for which it needs as much of a stack as a guest.
        let thread = std::thread::Builder::new().name("prepare".to_owned()).stack_size(THREAD_STACK_BYTES_MIN);
        if let Err(error) = thread.spawn(prepare) {
            there.push(Event::Prepared { attempt, result: Err(format!("a thread can't be started: {error}")) });
        }
    }

    /// Has written down what came of a wish.
    pub(crate) fn settle_wish(&self, attempt: u64, epoch: Epoch, outcome: WishOutcome) {
        let said = |mut report: String| {
            shorten(&mut report);
            report
        };
        self.notary.settle(
            attempt,
            epoch,
            match outcome {
                WishOutcome::Done(lsn) => WishAnswer::Done { lsn },
                WishOutcome::Refused(report) => WishAnswer::Refused { report: said(report) },
                WishOutcome::GivenUp(report) => WishAnswer::GivenUp { report: said(report) },
            },
        );
    }
}
