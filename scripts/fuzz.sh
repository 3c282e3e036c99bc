#!/usr/bin/env bash
# Fuzzes the targets of tests/fuzz, from their corpora on. `make fuzz` runs all of them for SECONDS each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<EOF
usage: scripts/fuzz.sh [--seconds N] [--seed N] [--blind] [TARGET...]
       scripts/fuzz.sh --run TARGET FILE...
       scripts/fuzz.sh --keep [TARGET...]

The first fuzzes each target for N seconds (60). A find is an input that makes a target panic, hang or take more memory
than is justified: its file is printed, and the exit code is 1. Inputs that reached new code are gathered in
target/fuzz/new, to begin with the next time.
The second runs inputs once, to look at a find.
The third adds to tests/fuzz/corpus what reached code that nothing in it reaches, as few inputs as do.

Fuzzing is guided by coverage if there is a C++ compiler to build libFuzzer with; nothing but stable Rust is needed
beside it. Without one, or with --blind, the corpus is changed blindly. The seed N is another one each time.

targets: ${LIGHT[*]} ${HEAVY[*]}
EOF
}

# The first are built in seconds. The others depend on wasmtime, which is compiled once more for them.
readonly LIGHT=(records layout relayed segments member states checkpoints)
readonly HEAVY=(frames arguments components)
readonly BUILT=${CARGO_TARGET_DIR:-target}
readonly WORK=$BUILT/fuzz

fail() {
    printf 'fuzz.sh: %s\n' "$1" >&2
    exit 2
}

mode=fuzz seconds=60 seed=$RANDOM blind='' targets=()
while (($# > 0)); do
    case $1 in
        --seconds) seconds=${2:?"--seconds takes a number"}; shift ;;
        --seed) seed=${2:?"--seed takes a number"}; shift ;;
        --blind) blind=yes ;;
        --run) mode=run; targets=("${2:?"--run takes a target"}"); shift 2; break ;;
        --keep) mode=keep ;;
        -h | --help) usage; exit ;;
        -*) usage >&2; exit 2 ;;
        *) targets+=("$1") ;;
    esac
    shift
done
((${#targets[@]} > 0)) || targets=("${LIGHT[@]}" "${HEAVY[@]}")

is_one_of() {
    local wanted=$1
    shift
    [[ " $* " == *" $wanted "* ]]
}

for target in "${targets[@]}"; do
    is_one_of "$target" "${LIGHT[@]}" "${HEAVY[@]}" || fail "there is no target $target"
done

# Whether this rustc can make coverage, and this machine build libFuzzer.
can_be_guided() {
    local probe status=0
    command -v "${CXX:-c++}" >/dev/null || return 1
    probe=$(mktemp -d)
    scripts/fuzz-rustc.sh "${RUSTC:-rustc}" - --crate-type lib --emit obj -o "$probe/probe.o" \
        <<<'pub fn probe() {}' 2>/dev/null || status=1
    rm -r "$probe"
    return "$status"
}

if [[ -z $blind ]] && ! can_be_guided; then
    echo "fuzz.sh: no coverage, for this rustc can't make it or there is no C++ compiler: mutating blindly"
    blind=yes
fi

build() {
    if [[ -n $blind ]]; then
        cargo build "$@" --bins
    else
        RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/fuzz-rustc.sh cargo build "$@" --features libfuzzer --bins
    fi
}

program() {
    if is_one_of "$1" "${LIGHT[@]}"; then
        echo "$BUILT/debug/fuzz-$1"
    else
        echo "$BUILT/release/fuzz-$1"
    fi
}

for target in "${targets[@]}"; do
    if is_one_of "$target" "${LIGHT[@]}"; then light=yes; else heavy=yes; fi
done
[[ -z ${light:-} ]] || build -p ambrosia-fuzz
[[ -z ${heavy:-} ]] || build --release -p ambrosia-fuzz-host

# Stores are made and thrown away thousands of times: not on a disk, if there is a place in memory.
if [[ -z ${TMPDIR:-} && -w /dev/shm ]]; then
    export TMPDIR=/dev/shm
fi

if [[ $mode == run ]]; then
    (($# > 0)) || fail "--run takes a target and the files to run"
    exec "$(program "${targets[0]}")" "$@"
fi

if [[ $mode == keep ]]; then
    [[ -z $blind ]] || fail "only fuzzing guided by coverage knows what reaches new code"
    for target in "${targets[@]}"; do
        mkdir -p "$WORK/new/$target"
        # Without counters: how often some code ran makes too many inputs differ.
        "$(program "$target")" -merge=1 -set_cover_merge=1 -use_counters=0 \
            "tests/fuzz/corpus/$target" "$WORK/new/$target"
    done
    exit
fi

mkdir -p "$WORK/finds"
found=()
for target in "${targets[@]}"; do
    new=$WORK/new/$target log=$WORK/$target.log
    mkdir -p "$new"
    arguments=(-max_total_time="$seconds" -seed="$seed" -artifact_prefix="$WORK/finds/$target-")
    if [[ -z $blind ]]; then
        arguments+=(-timeout=30 -rss_limit_mb=6144 "$new")
    fi
    printf '== %s, %s s, seed %s\n' "$target" "$seconds" "$seed"
    if "$(program "$target")" "${arguments[@]}" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        grep -E 'INITED|DONE|^Done|no find' "$log" | sed 's/^/   /'
        continue
    fi
    found+=("$target")
    grep -E -A3 'panicked at|ERROR: libFuzzer|^the input that did it' "$log" | head -n 12 || true
    file=$(sed -n 's/.*Test unit written to //p; s/^the input that did it is in //p' "$log" | tail -n 1)
    printf '   more in %s; to repeat it:\n   scripts/fuzz.sh --run %s %s\n' "$log" "$target" "${file:-FILE}"
done

if ((${#found[@]} > 0)); then
    printf 'fuzz.sh: finds in: %s\n' "${found[*]}" >&2
    exit 1
fi
echo "fuzz.sh: no finds"
