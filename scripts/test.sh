#!/usr/bin/env bash
# Runs every test in a few steps, all of them even if one fails, and fails if any did. `make test` builds the host
# program and the guests first, which the integration tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# These do not depend on wasmtime. They are tested in the dev profile: its debug assertions are detectors.
readonly WITH_ASSERTIONS=(
    ambrosia-core ambrosia-storage ambrosia-shared-log ambrosia-postgres ambrosia-etcd ambrosia-blobs ambrosia-relay ambrosia-wire ambrosia-client ambrosia-sim ambrosia-fuzz ambrosia-test-allocations ambrosia-test-database ambrosia-sdk ambrosia-sdk-macros shop
)
# These are programs for wasm. They are tested by running them in the host.
readonly GUESTS=(server client1 client2 client3 test-guests debugged-guest ambrosia-sim-guest)

# Tests run in the folder of their package: a relative directory would mean another one there.
if [[ -n ${CARGO_TARGET_DIR:-} && $CARGO_TARGET_DIR != /* ]]; then
    export CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
fi

if cargo nextest --version >/dev/null 2>&1; then
    run_tests=(cargo nextest run --no-fail-fast --no-tests=pass)
else
    # Documentation tests have a step of their own, as nextest leaves them out.
    run_tests=(cargo test --no-fail-fast --lib --bins --tests --examples)
fi

# What can't be tested on this machine is written there, and said at the end.
AMBROSIA_SKIPPED=$(mktemp)
export AMBROSIA_SKIPPED
trap 'rm -f "$AMBROSIA_SKIPPED"' EXIT

failed=()
step() {
    local name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed+=("$name")
}

# What runs, prints and is captured, with the guests as the other one of rustup's and Debian's libraries makes them.
other_std() {
    local built status=0
    built=$(scripts/other-std.sh "${CARGO_TARGET_DIR:-$PWD/target}/other-std") || status=$?
    if ((status == 3)); then
        echo "SKIPPED guests with another standard library: there is none to be had here (see the output)" |
            tee -a "$AMBROSIA_SKIPPED"
        return 0
    fi
    ((status == 0)) || return "$status"
    # A filter by names, which `cargo test` does not have: there the whole of the integration tests runs.
    local filter=()
    if [[ ${run_tests[1]} == nextest ]]; then
        filter=(-E 'binary(integration) & test(/^(captures|checkpoints|simulated|walkthrough)::/)')
    fi
    AMBROSIA_TEST_GUESTS=$(tail -n 1 <<<"$built") "${run_tests[@]}" --release "${rest[@]}" "${filter[@]}"
}

# The guest in Python is too large to be committed. What is not built is skipped by its tests, which say so.
export AMBROSIA_OTHER_GUESTS=${CARGO_TARGET_DIR:-$PWD/target}/other-guests
other_guests() {
    local status=0
    scripts/build-other-guests.sh "$AMBROSIA_OTHER_GUESTS" python || status=$?
    ((status == 0 || status == 3))
}

# What is kept in etcd or an object store is skipped by its tests where that can't be had, which say so.
AMBROSIA_ENGINES=${CARGO_TARGET_DIR:-$PWD/target}/engines
export AMBROSIA_ENGINES
engines() {
    local status=0
    scripts/engines.sh "$AMBROSIA_ENGINES" || status=$?
    ((status == 0 || status == 3))
}

assertions=() rest=(--workspace)
for package in "${WITH_ASSERTIONS[@]}"; do
    assertions+=(-p "$package")
    rest+=(--exclude "$package")
done
for package in "${GUESTS[@]}"; do
    rest+=(--exclude "$package")
done

step "guests in other languages, where their tools are" other_guests
step "servers of engines, where they are to be had" engines
step "core, storage, simulations, SDK and fuzz corpora with debug assertions" "${run_tests[@]}" "${assertions[@]}"
step "engine, host, command line, integration and the rest of the corpora" "${run_tests[@]}" --release "${rest[@]}"
step "documentation of the SDK" cargo test --doc -p ambrosia-sdk
step "guests with another standard library of wasm32-wasip2" other_std

sort -u "$AMBROSIA_SKIPPED" >&2
echo "test.sh: $(sort -u "$AMBROSIA_SKIPPED" | wc -l) skipped"
if ((${#failed[@]} > 0)); then
    printf 'test.sh: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "test.sh: all tests passed"
