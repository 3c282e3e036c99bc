//! A wall clock that the test moves, for the processes that it starts and for no other.

use std::{path::PathBuf, process::Command};

use ambrosia_tests::Cluster;

use super::cluster;

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
pub(crate) struct Moved {
    pub(crate) cluster: Cluster,
    offset: PathBuf,
}

impl Moved {
    pub(crate) fn new() -> Moved {
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
    pub(crate) fn jump_to(&self, seconds: i64) {
        // At once and as a whole: the processes read it all the time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, seconds.to_string()).and_then(|()| std::fs::rename(&new, &self.offset)).expect("ours");
    }
}
