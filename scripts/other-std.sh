#!/usr/bin/env bash
# Builds the guests of the tests with another standard library than the one in use: see usage() below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGET=wasm32-wasip2
readonly GUESTS=(server client1 client2 client3 ambrosia-sim-guest)

usage() {
    cat <<'HELP'
usage: scripts/other-std.sh DIR

The libc inside of the standard library of wasm32-wasip2 is one thing by rustup and another by Debian, and what holds with
one must hold with the other. Where the one in use is rustup's, this provides in DIR/sysroot the one that
scripts/setup-wasip2.sh builds from Debian's packages or from the archives in $AMBROSIA_RUST_SRC, and builds the guests
with it; the last line of its output is the directory that they are in. Nothing outside of DIR is changed.

exit status: 0 they are built; 3 there is no other standard library to be had here; 1 something failed; 2 wrong usage.
HELP
}

case ${1:-} in
    -h | --help) usage && exit 0 ;;
    '' | -*) usage >&2 && exit 2 ;;
esac
mkdir -p "$1"
dir=$(cd "$1" && pwd)
own=$(rustc --print sysroot)/lib/rustlib
host=$(rustc -vV | sed -n 's/^host: //p')

if [[ ! -e $own/manifest-rust-std-$TARGET ]]; then
    echo "other-std: the standard library in use is not rustup's, so rustup has none for this rustc" >&2
    exit 3
fi
mkdir -p "$dir/sysroot/lib/rustlib"
# The linkers are beside the libraries of the host.
ln -sfn "$own/$host" "$dir/sysroot/lib/rustlib/$host"
if ! AMBROSIA_SYSROOT=$dir/sysroot AMBROSIA_SETUP_SKIP=rustup scripts/setup-wasip2.sh >&2; then
    exit 3
fi
packages=()
for package in "${GUESTS[@]}"; do
    packages+=(-p "$package")
done
# Flags for a target are not used for build scripts and macros, which need the libraries of the host.
export RUSTFLAGS="--sysroot=$dir/sysroot" CARGO_TARGET_DIR=$dir/target
cargo build --release --target "$TARGET" "${packages[@]}" >&2
cargo build --release --target "$TARGET" -p test-guests --examples >&2
echo "$dir/target/$TARGET/release"
