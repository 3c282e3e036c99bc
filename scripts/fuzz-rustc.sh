#!/usr/bin/env bash
# rustc as scripts/fuzz.sh uses it for the crates of this workspace, and for no other: dependencies stay as they are
# built for everything else. LLVM adds the counters that guide libFuzzer, and the comparisons it learns from; all of
# it works on stable rustc. Assertions and checks of overflows are on, in whatever profile.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 -Copt-level=3 -Cdebug-assertions=on -Coverflow-checks=on
