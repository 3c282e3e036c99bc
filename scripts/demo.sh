#!/usr/bin/env bash
# Runs the walkthrough unattended. `make demo` builds everything it needs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --quiet --release -p ambrosia-tests --bin demo -- "$@"
