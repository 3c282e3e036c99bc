//! How often what happened, so that a run which checks nothing is noticed.

use crate::checkpointing::Task;

macro_rules! counts {
    ($($name:ident)*) => {
        /// How often what happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counts {
            $(#[allow(missing_docs, reason = "the names say it")] pub $name: u64,)*
        }

        impl Counts {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }

            /// The counts with their names.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }

            /// What never came up: a fault, or something that is checked because of one.
            pub fn missing(&self) -> Vec<&'static str> {
                self.list().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

counts! {
    kills
    kills_at_disk
    pauses
    pauses_at_disk
    power_losses
    changes_lost
    sync_errors
    write_errors
    slow_disks
    flips
    damage_reported
    cuts
    partitions
    clock_jumps
    suspicions
    lags
    hand_overs
    outputs_stuck
    captures_failed
    rebirths
    takeovers
    contended
    fenced
    stopped_by_errors
    records
    messages
    requests
    outside
    outside_again
    promises_fulfilled
    tokens_guessed
    ticks
    events
    repeated_requests
    answers
    sessions_opened
    session_requests
    session_answers
    session_repeats
    session_clients_reborn
    session_refusals
    queries
    queries_at_standbys
    queries_that_waited
    slow_looks
    engines_agreed
    engines_doubted
    engines_asked
    repeated_frames
    lost_frames
    refusals
    earlier_lives_refused
    rebounds
    failed_calls
    timers
    prints
    transfers
    states_compared
    digests
    checkpoints
    deltas
    compactions
    checkpoints_failed
    checkpoints_discarded
    checkpoints_compared
    checkpoints_restored
    checkpoint_flips
    checkpoints_skipped
    checkpoints_trimmed
    segments_trimmed
    overtaken
    deaths_writing
    deaths_publishing
    deaths_compacting
    deaths_trimming
    exits
    wishes
    upgrades
    upgrades_refused
    upgrades_given_up
    upgrades_put_off
    answers_not_heard
    poison
    halts
    mends_by_upgrade
    mends_by_skip
    mends_found
}

impl Counts {
    /// A process dies in the middle of an operation of its disk.
    pub(crate) fn on_death(&mut self, task: Option<Task>) {
        self.kills_at_disk += 1;
        match task {
            None => {}
            Some(Task::Write) => self.deaths_writing += 1,
            Some(Task::Publish) => self.deaths_publishing += 1,
            Some(Task::Compact) => self.deaths_compacting += 1,
            Some(Task::Trim) => self.deaths_trimming += 1,
        }
    }
}
