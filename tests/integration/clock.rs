//! A wall clock that jumps while a primary reigns. The test moves the clock of the processes that it starts, and of no other.

use std::{path::PathBuf, process::Command};

use ambrosia_tests::Cluster;
use serde_json::json;

use crate::support::{Replicas, Session, cluster, fails};

/// Adds the number of seconds in a file to the wall clock.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, time);
    FILE *file;
    if (result == 0 && which == CLOCK_REALTIME && (file = fopen(getenv("TEST_CLOCK"), "r"))) {
        long long seconds = 0;
        if (fscanf(file, "%lld", &seconds) == 1) time->tv_sec += seconds;
        fclose(file);
    }
    return result;
}
"#;

/// A store whose processes have a wall clock that the test moves.
struct Moved {
    cluster: Cluster,
    offset: PathBuf,
}

impl Moved {
    fn new() -> Moved {
        let mut cluster = cluster();
        let (source, shim, offset) = (cluster.file("shim.c"), cluster.file("shim.so"), cluster.file("offset"));
        std::fs::write(&source, SHIM).expect("the directory is ours");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).arg("-ldl").status();
        assert!(built.expect("Rust links with cc, so it is there").success(), "the shim does not build");
        cluster.set_env("LD_PRELOAD", shim);
        cluster.set_env("TEST_CLOCK", offset.clone());
        let moved = Moved { cluster, offset };
        moved.jump_to(0);
        moved
    }

    /// The clock is now so many seconds ahead of the true time.
    fn jump_to(&self, seconds: i64) {
        // At once and as a whole: the processes read it all the time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, seconds.to_string()).and_then(|()| std::fs::rename(&new, &self.offset)).expect("ours");
    }
}

#[test]
fn a_request_is_done_once_although_the_clock_was_hours_ahead_for_a_moment() {
    let moved = Moved::new();
    let counter = Replicas::of(&moved.cluster, "counter", "counter", 1);
    let mut session = Session::new(&moved.cluster, "counter");
    assert_eq!(session.call_as("order-1", "add", json!([1])), 1);
    moved.jump_to(2 * 3600);
    assert_eq!(session.call("add", json!([1])), 2);
    counter.host(0).wait_for_word("the clock of this machine jumped by 7200");
    moved.jump_to(0);
    assert_eq!(session.call_as("order-1", "add", json!([1])), 1, "the first result");
    assert_eq!(session.call("total", json!([])), 2);
    counter.host(0).wait_for_word("the clock of this machine jumped by -7200");
}

#[test]
fn timers_go_on_although_the_clock_was_an_hour_ahead_for_a_moment() {
    let moved = Moved::new();
    let mut ticker = Replicas::of(&moved.cluster, "ticker", "ticker", 1);
    let mut session = Session::new(&moved.cluster, "ticker");
    assert_eq!(session.call("every", json!([1, 2])), 2);
    moved.jump_to(3600);
    session.call("report", json!([]));
    moved.jump_to(0);
    assert_eq!(session.call("every", json!([1, 2])), 2, "a timer set after the jump is due in time");
    ticker.restart(0);
    ticker.next_reign();
    assert_eq!(session.call("every", json!([1, 2])), 2, "in the next reign, too");
}

#[test]
fn a_clock_that_was_never_set_is_refused_at_the_start() {
    let moved = Moved::new();
    moved.cluster.register("counter", "counter", 1);
    moved.jump_to(-4_000_000_000);
    let words = ["stands before 1970", "date --set"];
    fails(&moved.cluster, &["run", "--instance", "counter"], &words);
    let module = moved.cluster.guest("counter");
    let module = module.to_str().expect("the path is text");
    fails(&moved.cluster, &["register-instance", "--instance", "other", "--module", module], &words);
}
