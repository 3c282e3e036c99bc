#!/usr/bin/env bash
# Provides the std of wasm32-wasip2 for the installed rustc: see usage() below, or run with --help.
set -euo pipefail

readonly TARGET=wasm32-wasip2
readonly WAYS=(present rustup debian archives)
readonly RUSTUP_SECONDS_MAX=120
readonly APT_SECONDS_MAX=300
# In the directory of the target, where this script has built it.
readonly MARK=ambrosia-built
readonly LIBC_FILES=(crt1-command.o crt1-reactor.o libc.a)

usage() {
    cat <<'HELP'
usage: scripts/setup-wasip2.sh [--help]

Provides the standard library of wasm32-wasip2 for the installed rustc, so that
`cargo build --target wasm32-wasip2` works. Ways are tried in this order; the first that works ends the script.

  present   the target is in rustc's sysroot already
  rustup    rustup target add wasm32-wasip2
  debian    built from Debian's packages rust-src (of exactly rustc's version, from trixie-backports or forky) and
            wasi-libc (forky). The mirror is the one in this machine's own apt sources. Nothing is installed
            system-wide: apt runs with a private configuration in a temporary directory.
  archives  built from two archives in the directory $AMBROSIA_RUST_SRC:
            rust-src-<version of rustc>-library.tar.xz (holds library/, with its crates in library/vendor) and
            wasi-libc-wasip2.tar.xz (holds usr/lib/wasm32-wasip2). Needs no network.

Every way ends with a check that a small cdylib links to a component, and says whose standard library is in use. What cargo has
compiled for another one, in target/ or $CARGO_TARGET_DIR, is removed. To go back: rm -r
"$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" (also do so before you let rustup manage a target built here).

environment:
  AMBROSIA_RUST_SRC    directory of the archives (default: none)
  AMBROSIA_SETUP_SKIP  ways not to try, separated by spaces, for example "present rustup"
  AMBROSIA_SYSROOT     sysroot to install into (default: that of rustc; another one rules rustup out)

exit status: 0 the target works; 1 no way worked, and what was tried is on stderr; 2 wrong usage.
HELP
}

say() { printf 'setup-wasip2: %s\n' "$*"; }

# why TEXT: what the current way failed at. It is told at once, and once more in the last error.
reason=
why() {
    reason=$*
    say "  no: $*"
    return 1
}

# need TOOL...: each tool is there.
need() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || why "this way needs ${missing[*]} in PATH"
}

# bounded SECONDS COMMAND...: the command with a time limit, where the system has timeout(1).
bounded() {
    if command -v timeout >/dev/null; then
        timeout --kill-after=5 "$@"
    else
        "${@:2}"
    fi
}

# Output of long commands is kept, and shown only when they fail.
quietly() {
    if ! "$@" >"$work/output" 2>&1; then
        tail -n 25 "$work/output" | sed 's/^/    | /' >&2
        return 1
    fi
}

is_there() {
    local lib=$1/lib/rustlib/$TARGET/lib
    compgen -G "$lib/libstd-*.rlib" >/dev/null && [[ -f $lib/self-contained/crt1-reactor.o ]]
}

# A component is what cargo will make of the guests: std with its imports, libc, wasm-ld and wasm-component-ld.
links() {
    local dir=$work/check
    if [[ ! -x $rustlib/$host/bin/wasm-component-ld ]] && ! command -v wasm-component-ld >/dev/null; then
        why "wasm-component-ld is missing: toolchains of rustup have it in lib/rustlib/$host/bin; for others put it" \
            "(and wasm-ld, from lld) in PATH"
        return
    fi
    mkdir -p "$dir"
    cat >"$dir/check.rs" <<'RUST'
#[unsafe(no_mangle)]
pub extern "C" fn check() -> usize {
    let names: std::collections::HashMap<_, _> = std::env::vars().collect();
    println!("{names:?}");
    names.len()
}
RUST
    quietly "$rustc" --sysroot "$sysroot" --target "$TARGET" --edition 2024 --crate-type cdylib -O \
        "$dir/check.rs" -o "$dir/check.wasm" || why "a small cdylib does not build for $TARGET" || return
    # The magic number, then version 13 of layer 1: a component and no core module.
    [[ $(od -An -tx1 -N8 "$dir/check.wasm" | tr -d ' \n') == 0061736d0d000100 ]] ||
        why "linking for $TARGET gives no component"
}

# Reads library/ and usr/lib/wasm32-wasip2/ in $work/source, and installs what cargo makes of them.
build_and_install() {
    local library=$work/source/library libc=$work/source/usr/lib/$TARGET file
    [[ -f $library/sysroot/Cargo.toml ]] || why "the Rust source has no library/sysroot/Cargo.toml" || return
    for file in "${LIBC_FILES[@]}"; do
        [[ -f $libc/$file ]] || why "the libc has no usr/lib/$TARGET/$file" || return
    done

    say "  building std for $TARGET (about half a minute of two cores)"
    if [[ -d $library/vendor ]]; then
        build_std_vendored "$library" || say "  its own copies of the crates did not do: taking them from the registry"
    fi
    compgen -G "$work/target/$TARGET/release/deps/libsysroot-*.rlib" >/dev/null ||
        build_std "$library" || why "std does not build (the output is above)" || return
    install_std "$libc"
}

# Debian strips the crates of binaries, and cargo checks and copies one that wasip2 has no use for: an archive with
# cabi_realloc, which for this target comes from libc. An empty archive stands in for it; links() would notice.
build_std_vendored() {
    local library=$1 bindgen
    for bindgen in "$library"/vendor/wit-bindgen-*/src/rt; do
        [[ ! -d $bindgen || -e $bindgen/libwit_bindgen_cabi.a ]] || printf '!<arch>\n' >"$bindgen/libwit_bindgen_cabi.a"
    done
    build_std "$library" --offline \
        --config 'source.crates-io.replace-with="ambrosia-vendored"' \
        --config "source.ambrosia-vendored.directory='$library/vendor'"
}

# As rustc's own bootstrap builds it. avoid-dev-deps because the crates of std's tests are not in the vendored set.
# The caller's flags, wrappers and target directory are for other builds.
build_std() {
    local library=$1
    shift
    (
        cd "$work"
        unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR
        unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_RUSTC_WRAPPER MAKEFLAGS CARGO_MAKEFLAGS
        export RUSTC=$rustc RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=sysroot CARGO_NET_RETRY=1
        export RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes -Clink-self-contained=yes"
        quietly "$cargo" build --release --locked -Zavoid-dev-deps --target "$TARGET" --target-dir "$work/target" \
            --manifest-path "$library/sysroot/Cargo.toml" \
            --features "panic-unwind backtrace compiler-builtins-mem" "$@"
    )
}

# Complete beside its place, then moved into it: an interrupted run leaves nothing that looks installed.
install_std() {
    local libc=$1 file
    [[ -w $rustlib ]] || why "$rustlib is not writable: run this as its owner" || return
    rm -rf "$rustlib/.$TARGET".* # of runs that were killed: only one runs at a time
    staging=$(mktemp -d "$rustlib/.$TARGET.XXXXXX") || return
    mkdir -p "$staging/new/lib/self-contained"
    cp "$work/target/$TARGET/release/deps/"*.rlib "$staging/new/lib/" || return
    for file in "${LIBC_FILES[@]}"; do
        cp "$libc/$file" "$staging/new/lib/self-contained/" || return
    done
    printf 'built by scripts/setup-wasip2.sh (%s), rustc %s\n' "$way" "$release" >"$staging/new/$MARK"
    chmod -R u=rwX,go=rX "$staging/new"
    [[ ! -e $rustlib/$TARGET ]] || mv "$rustlib/$TARGET" "$staging/old" || return
    mv "$staging/new" "$rustlib/$TARGET" || return
    rm -rf "$staging"
    say "  installed into $rustlib/$TARGET"
}

# Whose standard library it is. The libc of rustup's differs from Debian's.
whose() {
    local mark=$rustlib/$TARGET/$MARK
    if [[ -f $mark ]]; then
        cat "$mark"
    elif compgen -G "$rustlib/manifest-rust-std-$TARGET" >/dev/null; then
        echo "that of rustup"
    else
        echo "that of the distribution"
    fi
}

# The apt sources of this machine, one "URI keyring" a line ("-" for no keyring), of both formats. Suites of security
# updates live on hosts without the suites that are asked for.
apt_mirrors() {
    local file
    {
        for file in /etc/apt/sources.list.d/*.sources; do
            [[ ! -r $file ]] || { cat "$file"; echo; }
        done | awk '
            function value(s) { sub(/^[^:]*:[ \t]*/, "", s); return s }
            function stanza(   i, n, uri, key) {
                n = split(field["uris"], uri, " ")
                key = field["signed-by"] ~ /^[ \t]*\/[^ \t]+[ \t]*$/ ? field["signed-by"] : "-"
                gsub(/[ \t]/, "", key)
                if (field["types"] ~ /(^|[ \t])deb([ \t]|$)/ && field["enabled"] !~ /^(no|false|0|off)/ \
                    && field["suites"] !~ /-security/)
                    for (i = 1; i <= n; i++) print uri[i], key
                delete field
            }
            /^#/ { next }
            /^[ \t]*$/ { stanza(); next }
            /^[ \t]/ { field[name] = field[name] " " $0; next }
            { name = tolower($0); sub(/:.*/, "", name); field[name] = value($0) }
            END { stanza() }'
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            [[ ! -r $file ]] || { cat "$file"; echo; }
        done | awk '
            $1 == "deb" {
                key = "-"
                if (match($0, /\[[^]]*\]/)) {
                    options = substr($0, RSTART + 1, RLENGTH - 2)
                    if (match(options, /signed-by=\/[^ \t,]+/)) key = substr(options, RSTART + 10, RLENGTH - 10)
                    sub(/\[[^]]*\][ \t]*/, "")
                }
                if ($3 !~ /-security/ && $2 !~ /^cdrom:/) print $2, key
            }'
    } | awk '!seen[$0]++'
}

# apt with lists, cache and state of its own in $work/apt, without the hooks and pins of the machine.
private_apt() {
    local uri=$1 keyring=$2 dir=$work/apt options="target=Packages" suite
    rm -rf "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/state"
    : >"$dir/status"
    [[ $keyring == - ]] || options+=" signed-by=$keyring"
    for suite in trixie-backports forky; do
        printf 'deb [%s] %s %s main\n' "$options" "$uri" "$suite"
    done >"$dir/sources.list"
    cat >"$dir/apt.conf" <<CONF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$dir/state";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

# The version of rust-src that is of this rustc, the newest packaging of it; nothing if there is none.
rust_src_version() {
    apt-cache -c "$work/apt/apt.conf" madison rust-src |
        awk -F' *[|] *' -v release="$release" 'index($2, release "+") == 1 || index($2, release "-") == 1 { print $2; exit }'
}

download_debs() {
    local version=$1
    mkdir -p "$work/debs"
    (
        cd "$work/debs"
        rm -f ./*.deb
        quietly bounded "$APT_SECONDS_MAX" apt-get -c "$work/apt/apt.conf" download "rust-src=$version" wasi-libc/forky
    )
}

way_present() {
    is_there "$sysroot" || why "$rustlib/$TARGET/lib has no libstd or no crt1-reactor.o"
}

way_rustup() {
    need rustup || return
    [[ $(rustup which rustc 2>/dev/null) -ef $sysroot/bin/rustc ]] ||
        why "rustup does not manage the sysroot $sysroot" || return
    # What is here is half gone or of another rustc: rustup would call its own up to date, and not touch ours.
    if rustup target list --installed | grep -qx "$TARGET"; then
        quietly rustup target remove "$TARGET" || why "rustup target remove $TARGET failed" || return
    fi
    rm -rf "${rustlib:?}/$TARGET"
    RUST_BACKTRACE=0 quietly bounded "$RUSTUP_SECONDS_MAX" rustup target add "$TARGET" ||
        why "rustup target add $TARGET failed, or took more than $RUSTUP_SECONDS_MAX s" || return
    is_there "$sysroot" || why "rustup added $TARGET, but its files are not in $rustlib"
}

way_debian() {
    need apt-get apt-cache dpkg-deb tar awk || return
    local uri keyring version='' mirrors
    mirrors=$(apt_mirrors)
    [[ -n $mirrors ]] || why "no apt sources in /etc/apt" || return
    while read -r uri keyring; do
        say "  looking for rust-src $release at $uri"
        private_apt "$uri" "$keyring"
        # Its exit status is not asked: one of the suites is enough.
        quietly bounded "$APT_SECONDS_MAX" apt-get -c "$work/apt/apt.conf" update || true
        version=$(rust_src_version)
        [[ -z $version ]] || break
    done <<<"$mirrors"
    [[ -n $version ]] ||
        why "no apt source of this machine has rust-src $release in trixie-backports or forky" || return

    say "  downloading rust-src $version and wasi-libc"
    download_debs "$version" || why "apt-get download failed" || return
    rm -rf "$work/source"
    mkdir -p "$work/source/usr/lib"
    dpkg-deb --fsys-tarfile "$work"/debs/rust-src_*.deb |
        tar -x -C "$work/source" --strip-components=4 "./usr/src/rustc-$release/library" ||
        why "rust-src $version has no usr/src/rustc-$release/library" || return
    dpkg-deb --fsys-tarfile "$work"/debs/wasi-libc_*.deb | tar -x -C "$work/source" "./usr/lib/$TARGET" ||
        why "wasi-libc has no usr/lib/$TARGET" || return
    build_and_install
}

way_archives() {
    local dir=${AMBROSIA_RUST_SRC:-} archive
    [[ -n $dir ]] || why "AMBROSIA_RUST_SRC is not set" || return
    need tar xz || return
    rm -rf "$work/source"
    mkdir -p "$work/source"
    for archive in "rust-src-$release-library.tar.xz" wasi-libc-wasip2.tar.xz; do
        [[ -r $dir/$archive ]] || why "AMBROSIA_RUST_SRC=$dir has no $archive" || return
        say "  unpacking $dir/$archive"
        quietly tar -xJf "$dir/$archive" -C "$work/source" || why "$archive does not unpack" || return
    done
    build_and_install
}

# What was compiled for another std of the same rustc can't be linked with this one, and cargo does not see the change. So it
# goes, unless it says that it is of this one.
clear_stale() {
    local built=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/$TARGET std
    std=$(cd "$rustlib/$TARGET/lib" && cksum libstd-*.rlib)
    if [[ -d $built && $(cat "$built/.std" 2>/dev/null) != "$std" ]]; then
        say "  what was compiled for another standard library is removed: $built"
        rm -rf "$built"
    fi
    mkdir -p "$built" && echo "$std" >"$built/.std"
}

main() {
    local way tried=() skip=" ${AMBROSIA_SETUP_SKIP:-} "
    case ${1:-} in
        '') ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    command -v rustc >/dev/null || { say "there is no rustc in PATH: install Rust first" >&2 && exit 1; }

    own=$(rustc --print sysroot)
    rustc=$own/bin/rustc
    [[ -x $rustc ]] || rustc=$(command -v rustc)
    cargo=$own/bin/cargo
    [[ -x $cargo ]] || cargo=cargo
    sysroot=${AMBROSIA_SYSROOT:-$own}
    rustlib=$sysroot/lib/rustlib
    release=$("$rustc" -vV | sed -n 's/^release: //p')
    host=$("$rustc" -vV | sed -n 's/^host: //p')
    [[ -d $rustlib ]] || { say "$rustlib is no directory: is AMBROSIA_SYSROOT right?" >&2 && exit 1; }

    staging=
    work=$(mktemp -d)
    trap 'rm -rf "$work" ${staging:+"$staging"}' EXIT
    trap 'exit 130' INT TERM HUP
    # One run at a time; the next one then finds the target present.
    if command -v flock >/dev/null; then
        exec 9<"$rustlib"
        flock 9
    fi

    say "rustc $release, sysroot $sysroot"
    for way in "${WAYS[@]}"; do
        if [[ $skip == *" $way "* ]]; then
            tried+=("$way: skipped by AMBROSIA_SETUP_SKIP")
            continue
        fi
        say "$way:"
        reason="it stopped, see the output above"
        if "way_$way" && links; then
            say "  $TARGET works: a small cdylib links to a component"
            say "  in use: $(whose)"
            [[ $sysroot != "$own" ]] || clear_stale
            return
        fi
        tried+=("$way: $reason")
    done
    {
        say "$TARGET could not be provided for rustc $release. Tried:"
        printf '  %s\n' "${tried[@]}"
        say "what helps: a network that rustup can use, an apt source of a Debian mirror, or AMBROSIA_RUST_SRC (see --help)"
    } >&2
    exit 1
}

main "$@"
