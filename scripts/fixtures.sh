#!/usr/bin/env bash
# Builds tests/fixtures/printer-{rustup,debian}.wasm: the test guest `printer` with each of two standard libraries of
# wasm32-wasip2. They are committed, so that what one libc does is tested on machines that have the other. Needs rustup's target
# and what scripts/other-std.sh needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Small, and without paths of this machine.
export CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=fat
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_DEBUG=false CARGO_INCREMENTAL=0
readonly PATHS="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"

scripts/setup-wasip2.sh
scripts/other-std.sh "$work/other" >"$work/built"
build() {
    RUSTFLAGS="$2 $PATHS" cargo build --release --target wasm32-wasip2 --target-dir "$work/$1" \
        -p test-guests --example printer
    cp "$work/$1/wasm32-wasip2/release/examples/printer.wasm" "tests/fixtures/printer-$1.wasm"
}
mkdir -p tests/fixtures
build rustup ""
build debian "--sysroot=$work/other/sysroot"
