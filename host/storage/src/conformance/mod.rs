//! What every store must do, as tests that run against any of them.
//!
//! [`store_conformance!`](crate::store_conformance) makes one test of each check of a whole store, and
//! [`log_conformance!`](crate::log_conformance) of a log by itself. A failed check panics.
//!
//! **Architecture Invariant:** the checks know the traits alone.
#![allow(missing_docs, reason = "a check says by its name what it checks")]

pub mod blobs;
pub mod checkpoints;
pub mod hosts;
pub mod log;
pub mod members;
pub mod registry;
mod reign;
pub(crate) mod sample_checkpoints;
pub mod store;
pub mod wishes;

pub use reign::{Follower, Handles, MODULE, Reign, genesis, genesis_of, read_all, wait_for_vacancy};

/// Makes a test of each check of [`log`]. `$new_log` is called with a genesis record for each of them, makes the log,
/// and returns a [`Handles`] with which further handles on it are opened.
#[macro_export]
macro_rules! log_conformance {
    ($new_log:expr) => {
        $crate::log_conformance! { @ $new_log,
            appends_are_read_back_in_order
            what_is_read_later_is_what_is_read_at_once
            durable_events_only_rise_and_reach_the_last_record
            a_second_acquire_fences_the_first_writer
            a_tail_follows_across_a_change_of_the_primary
            a_tail_returns_nothing_that_is_not_durable
            a_forked_tail_reads_on_from_where_the_other_one_stood
            acquire_returns_what_the_tail_had_not_read
            of_many_candidates_each_gets_an_epoch_of_its_own
            of_two_candidates_for_one_vacancy_the_second_deposes_nobody
            a_misplaced_record_is_refused_and_changes_nothing
            a_closed_writer_leaves_a_vacancy_and_all_its_records
            a_dropped_writer_leaves_a_vacancy
            a_watch_that_was_given_up_tells_nothing
            a_vacancy_is_told_to_all_who_watch_and_once_to_each
            more_to_read_is_told_until_that_is_not_wanted_any_more
            the_end_of_a_primary_is_told_to_those_who_follow
            events_of_a_reign_come_with_its_epoch
            a_tail_can_begin_anywhere_in_the_log_and_nowhere_else
            a_large_record_is_read_back
        }
    };
    (@ $new_log:expr, $($name:ident)*) => {
        $(#[test] fn $name() { $crate::conformance::log::$name(&|genesis| $new_log(genesis)); })*
    };
}

/// Makes a test of each check of [`registry`], [`blobs`], [`store`], [`wishes`], [`checkpoints`], [`hosts`] and [`members`]. `$new` makes an empty store, and `$of` gives it as a `&dyn Store`.
#[macro_export]
macro_rules! store_conformance {
    ($new:expr, $of:expr) => {
        mod registry {
            $crate::store_conformance! { @ registry, |new| $crate::Store::registry(new), $new, $of,
                a_value_is_read_back_with_its_revision
                a_change_needs_the_current_revision
                a_revision_is_never_used_again
                keys_are_listed_by_prefix_in_order
                of_many_changes_at_once_one_wins
                a_change_is_told_to_those_who_have_subscribed
                a_value_as_it_is_kept_can_be_had_and_removed
                a_bad_key_is_refused
            }
        }
        mod blobs {
            $crate::store_conformance! { @ blobs, |new| $crate::Store::blobs(new), $new, $of,
                a_blob_is_named_by_its_hash
                blobs_are_listed_and_deleted
                what_is_written_down_of_a_module_goes_with_it
            }
        }
        mod instances {
            $crate::store_conformance! { @ store, |new| new, $new, $of,
                an_instance_is_registered_once_with_one_module
                replicas_and_the_outcome_are_kept
                an_instance_that_is_registered_anew_has_another_log
                a_log_that_no_instance_has_and_nobody_used_is_removed
                a_scan_finds_all_records_and_where_they_are
                registrations_come_one_after_the_other
                a_copy_runs_and_is_made_anew_once_it_was_deregistered
            }
        }
        mod wishes {
            $crate::store_conformance! { @ wishes, |new| new, $new, $of,
                a_wish_stands_until_it_is_settled
                of_two_operators_one_has_a_wish
                a_wish_that_is_taken_back_stands_no_more
                what_settles_an_attempt_leaves_another_one_alone
                an_instance_that_has_finished_takes_no_wish
                an_instance_that_has_halted_goes_on_once_its_wish_is_done
                messages_are_skipped_only_where_an_instance_stands
                what_a_primary_has_applied_an_instance_does_not_stand_at
                modules_stay_until_the_last_instance_that_had_them_is_deregistered
                a_wish_is_told_to_those_who_have_subscribed
            }
        }
        mod checkpoints {
            $crate::store_conformance! { @ checkpoints, |new| new, $new, $of,
                a_base_with_changes_upon_changes_reads_back
                a_checkpoint_counts_once_it_is_published
                a_checkpoint_is_told_to_those_who_follow_the_log
                changes_without_what_they_rest_on_are_of_no_use
                a_long_chain_is_made_a_base
                what_is_needed_is_kept_and_the_rest_is_trimmed
                history_keeps_checkpoints_and_the_log_behind_them
                who_was_overtaken_by_trimming_is_told
            }
        }
        mod hosts {
            $crate::store_conformance! { @ hosts, |new| new, $new, $of,
                a_host_is_alive_until_it_ends_and_a_name_has_one_host
                hosts_are_listed_by_name_and_forgotten_when_they_are_gone
            }
        }
        mod members {
            $crate::store_conformance! { @ members, |new| new, $new, $of,
                a_replica_runs_once
                members_show_what_each_replica_says
                what_a_replica_said_in_an_earlier_life_is_forgotten
                a_deposed_primary_is_not_shown_as_primary
                a_new_primary_and_its_end_are_told_to_those_who_have_subscribed
                what_was_seen_of_a_primary_follows_what_is_told
                an_instance_is_not_deregistered_while_a_replica_runs
            }
        }
    };
    (@ $module:ident, |$store:ident| $part:expr, $new:expr, $of:expr, $($name:ident)*) => {
        $(#[test] fn $name() {
            let new = $new();
            let $store: &dyn $crate::Store = $of(&new);
            $crate::conformance::$module::$name($part);
        })*
    };
}

/// Makes a test of what only stores do in which each replica says by itself that it is alive. `$new` and `$of` as for
/// [`store_conformance!`](crate::store_conformance).
#[macro_export]
macro_rules! heartbeat_conformance {
    ($new:expr, $of:expr) => {
        mod heartbeats {
            $crate::store_conformance! { @ members, |new| new, $new, $of,
                a_primary_that_beats_is_not_silent_and_one_that_does_not_is
            }
        }
    };
}
