//! What every store must do, as tests that run against any of them.
//!
//! [`log_conformance!`](crate::log_conformance), [`registry_conformance!`](crate::registry_conformance) and
//! [`blob_conformance!`](crate::blob_conformance) make one test of each check. A failed check panics.
//!
//! **Architecture Invariant:** the checks know the traits alone.
#![allow(missing_docs, reason = "a check says by its name what it checks")]

pub mod blobs;
pub mod log;
pub mod registry;
mod reign;

pub use reign::{Handles, MODULE, Reign, genesis, read_all};

/// Makes a test of each check of [`log`]. `$new_log` is called with a genesis record for each of them, makes the log,
/// and returns a [`Handles`] with which further handles on it are opened.
#[macro_export]
macro_rules! log_conformance {
    ($new_log:expr) => {
        $crate::log_conformance! { @ $new_log,
            appends_are_read_back_in_order
            durable_events_only_rise_and_reach_the_last_record
            a_second_acquire_fences_the_first_writer
            a_tail_follows_across_a_change_of_the_primary
            a_tail_returns_nothing_that_is_not_durable
            acquire_returns_what_the_tail_had_not_read
            of_many_candidates_each_gets_an_epoch_of_its_own
            of_two_candidates_for_one_vacancy_the_second_deposes_nobody
            a_misplaced_record_is_refused_and_changes_nothing
            a_closed_writer_leaves_a_vacancy_and_all_its_records
            a_dropped_writer_leaves_a_vacancy
            a_wait_for_vacancy_can_be_interrupted
            a_blocked_tail_can_be_interrupted
            a_tail_can_begin_anywhere_in_the_log_and_nowhere_else
            a_large_record_is_read_back
        }
    };
    (@ $new_log:expr, $($name:ident)*) => {
        $(#[test] fn $name() { $crate::conformance::log::$name(&|genesis| $new_log(genesis)); })*
    };
}

/// Makes a test of each check of [`registry`]. `$new` makes an empty store, and `$of` gives its registry.
#[macro_export]
macro_rules! registry_conformance {
    ($new:expr, $of:expr) => {
        $crate::registry_conformance! { @ $new, $of,
            a_value_is_read_back_with_its_revision
            a_change_needs_the_current_revision
            a_revision_is_never_used_again
            keys_are_listed_by_prefix_in_order
            of_many_changes_at_once_one_wins
            a_change_is_told_to_those_who_have_subscribed
            a_value_as_it_is_kept_can_be_had_and_removed
            a_bad_key_is_refused
        }
    };
    (@ $new:expr, $of:expr, $($name:ident)*) => {
        $(#[test] fn $name() { $crate::conformance::registry::$name($of(&$new())); })*
    };
}

/// Makes a test of each check of [`blobs`]. `$new` makes an empty store, and `$of` gives its blobs.
#[macro_export]
macro_rules! blob_conformance {
    ($new:expr, $of:expr) => {
        $crate::blob_conformance! { @ $new, $of,
            a_blob_is_named_by_its_hash
            blobs_are_listed_and_deleted
            what_is_written_down_of_a_module_goes_with_it
        }
    };
    (@ $new:expr, $of:expr, $($name:ident)*) => {
        $(#[test] fn $name() { $crate::conformance::blobs::$name($of(&$new())); })*
    };
}
