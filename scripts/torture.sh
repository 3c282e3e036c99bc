#!/usr/bin/env bash
# Breaks processes, disks and networks under the real program. `make torture` builds everything it needs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Run as it was built: a build of its own, with a smaller set of features, would compile wasmtime once more.
exec "${CARGO_TARGET_DIR:-target}/release/torture" "$@"
