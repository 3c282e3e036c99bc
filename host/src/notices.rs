//! Tells the operator what a member has to tell.

use ambrosia_core::{Blocked, Remedy, member::Notice};
use ambrosia_storage::BlobHash;

use crate::driver::Driver;

impl Driver {
    /// Tells the operator. Whose message it is, is said by the span that it is in.
    pub(crate) fn tell(&self, notice: Notice) {
        match notice {
            Notice::Restored(lsn) => tracing::info!(%lsn, "restored a checkpoint"),
            Notice::Unusable { lsn, reason } => {
                tracing::warn!(%lsn, "a checkpoint can't be used: {reason}");
            }
            Notice::BeginsAnew(asked) => {
                tracing::warn!(%asked, "the log was trimmed meanwhile, beginning anew");
            }
            Notice::CaughtUp(lsn) => tracing::info!(%lsn, "caught up with the log"),
            Notice::OtherEngine { epoch, lsn } => {
                tracing::info!(
                    %epoch, %lsn,
                    "the primary of this reign runs another version of the engine; this replica follows, and compares itself with it"
                );
            }
            Notice::EnginesAgree(lsn) => {
                tracing::info!(%lsn, "this version of the engine agrees with that of the primary; this replica may take over");
            }
            Notice::EngineInDoubt { over, since } => tracing::error!(
                "the primary of epoch {over} is gone, and this replica can't take over: that one ran another version of the \
                 engine, and it is not known that this one does the same from lsn {since} on. Start a replica with the version \
                 that the primary had: it takes over, and this one compares itself with it. Or give that up, and start this \
                 one with --allow-engine-change"
            ),
            Notice::DivergenceAllowed(found) => tracing::warn!("{found}; this is accepted as asked for"),
            Notice::TakesWhatWasLeft => {
                tracing::info!("nobody else took over, so this replica does, though its output takes nothing")
            }
            Notice::BecamePrimary { epoch, lsn } => {
                tracing::info!(%epoch, %lsn, "became primary");
            }
            Notice::ClockBehind(by) => tracing::warn!(
                "the clock of this machine is {} behind the last record; time goes on from there",
                seconds(by)
            ),
            Notice::ClockJumped(by) => tracing::warn!(
                "the clock of this machine jumped by {}; this reign goes on by the time that passes, and the next one begins \
                 at the clock or at the last record, whichever is later",
                seconds(by)
            ),
            Notice::Blocked(Blocked::Outgoing) => tracing::warn!(
                "many requests to the world outside have no outcome, so what comes in waits until some have"
            ),
            Notice::Blocked(blocked) => {
                tracing::warn!(?blocked, "peers do not take their messages, so deliveries wait until they do");
            }
            Notice::LogStands { reason, waited } => tracing::warn!(
                "the log takes nothing, for {} s by now: {reason}; nothing that is not durable is seen, and it goes on by itself",
                waited.as_secs()
            ),
            Notice::LogGoesOn => tracing::info!("the log goes on"),
            Notice::Rebound { name, dropped, failed_calls } => {
                tracing::warn!(%name, dropped, failed_calls, "a peer was registered anew: its streams start afresh");
            }
            Notice::AskedOneIsGone(replica) => {
                tracing::warn!(%replica, "the replica that was asked for a checkpoint is gone; another one is asked");
            }
            Notice::NoCheckpoint { lsn, reason } => {
                tracing::error!(%lsn, "no checkpoint: {reason}; the log is intact and not trimmed");
            }
            Notice::NotTidied { lsn, reason } => tracing::error!(
                %lsn,
                "the checkpoint was taken, and what it makes unnecessary was not removed: {reason}"
            ),
            Notice::OthersUnknown => {
                tracing::warn!("it can't be found out whether there is another replica");
            }
            Notice::StepsDownForOutput => tracing::warn!(
                "the output takes nothing, so this replica steps down for another one; read its stdout to have it reign again"
            ),
            Notice::Undelivered(undelivered) => tracing::warn!(
                undelivered,
                "peers did not take the last messages; run the instance again to deliver them"
            ),
            Notice::NotReady(replicas) => {
                let replicas: Vec<_> = replicas.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    "replicas {} don't have the new module yet; the upgrade goes on, and they load it when they meet it",
                    replicas.join(", ")
                );
            }
            Notice::UpgradeWaits { attempt, report } => {
                tracing::info!(attempt, "the upgrade waits for handlers that can't go on in the new module: {report}");
            }
            Notice::Upgraded { upgrade, lsn } => {
                let what = if upgrade.to == upgrade.from { "has the new limits" } else { "runs the new module" };
                tracing::info!(%lsn, module = %BlobHash(upgrade.to), "{what}");
            }
            Notice::ToBeMended(lsn) => {
                tracing::info!(%lsn, "the guest can't handle this record; it is left out, and what mends it comes behind it");
            }
            Notice::Mended { mend, lsn } => {
                let what = match &mend.remedy {
                    Remedy::Upgrade(upgrade) => format!("by module {}", BlobHash(upgrade.to)),
                    Remedy::Skip(skip) => format!("without {} of its messages", skip.messages.len()),
                };
                tracing::info!(%lsn, "the instance goes on behind lsn {}, which is delivered {what}", mend.lsn);
            }
            Notice::UpgradeRefused { attempt, fault } => {
                tracing::warn!(attempt, "the upgrade was not done, and nothing has changed: {fault}");
            }
            Notice::Deposed { own, by } => {
                tracing::warn!(%own, %by, "deposed: another replica is primary");
            }
        }
    }
}

fn seconds(nanoseconds: i128) -> String {
    format!("{:.1} s", nanoseconds as f64 / 1e9)
}
