#!/usr/bin/env bash
# Prints the numbers of several machines beside their goals. `make bench-machines` builds everything it needs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Run as it was built: a build of its own, with a smaller set of features, would compile wasmtime once more.
exec "${CARGO_TARGET_DIR:-target}/release/bench-machines" "$@"
