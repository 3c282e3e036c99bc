//! What each request does.

use ambrosia_shared_log::conformance;
use ambrosia_test_database::Etcd;

use crate::support::engine;

#[test]
fn each_request_does_what_it_does_to_rows_in_memory() {
    let Some(server) = Etcd::begin(1, &[]) else { return };
    conformance::each_request_does_what_it_does_to_rows_in_memory(&engine(&server));
}

#[test]
fn who_was_deposed_appends_nothing_even_where_the_log_was_trimmed() {
    let Some(server) = Etcd::begin(1, &[]) else { return };
    conformance::who_was_deposed_appends_nothing_even_where_the_log_was_trimmed(&engine(&server));
}
