#!/usr/bin/env bash
# Prints the numbers of the README beside their goals. `make bench` builds everything it needs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --quiet --release -p ambrosia-tests --bin bench -- "$@"
