#!/usr/bin/env bash
# Builds a container image of the program, by podman, buildah or docker, whichever is there. It is made of what is on this machine: the
# program, the shared libraries that it is linked with, the CAs of the system and its time zones; so no base image is pulled, and nothing of a
# network is needed but the crates of a first build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
Usage: scripts/image.sh [--tag NAME] [--program PATH] [--with podman|buildah|docker] [--archive FILE]

  --tag NAME      how the image is called (localhost/ambrosia-host:VERSION)
  --program PATH  the program (target/release/ambrosia-host, which is built)
  --with TOOL     what builds the image (the first that is there)
  --archive FILE  save it in that file too, for `podman load`, `docker load` or `ctr images import` elsewhere
EOF
}

fail() {
    echo "image.sh: $*" >&2
    exit 1
}

tag='' program='' tool='' archive=''
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage && exit ;;
        --tag | --program | --with | --archive) [ $# -ge 2 ] || fail "$1 wants a value" ;;&
        --tag) tag=$2 ;;
        --program) program=$2 ;;
        --with) tool=$2 ;;
        --archive) archive=$2 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift 2
done

for candidate in podman buildah docker; do
    [ -n "$tool" ] || ! command -v "$candidate" >/dev/null || tool=$candidate
done
[ -n "$tool" ] || fail "none of podman, buildah and docker is installed"
command -v "$tool" >/dev/null || fail "$tool is not installed"

if [ -z "$program" ]; then
    "${CARGO:-cargo}" build --release -p ambrosia-cli
    program=${CARGO_TARGET_DIR:-target}/release/ambrosia-host
fi
version=$("$program" --version | awk '{ print $2 }')
tag=${tag:-localhost/ambrosia-host:$version}

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/root
install -d "$root"/{etc/ssl/certs,usr/local/bin,usr/share} "$stage/cache"
# Whoever it runs as can write there.
install -d -m 1777 "$root/tmp" "$stage/cache/ambrosia"

install -m 755 "$program" "$root/usr/local/bin/ambrosia-host"
# Names of functions in backtraces stay; which lines they are of is a hundred megabytes.
strip --strip-debug "$root/usr/local/bin/ambrosia-host"

# Each where its path says, since the loader's own is written in the program.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$library" "$root$library"
done

bundle=''
for candidate in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [ -n "$bundle" ] || [ ! -s "$candidate" ] || bundle=$candidate
done
[ -n "$bundle" ] || fail "the CAs of this system are not found: install ca-certificates, or name a file of them as SSL_CERT_FILE"
install -m 644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"

# For times of the calendar that methods run at.
[ -d /usr/share/zoneinfo ] || fail "the time zones of this system are not found: install tzdata"
cp -rL /usr/share/zoneinfo "$root/usr/share/zoneinfo"

printf 'ambrosia:x:7400:7400::/var/cache/ambrosia:/nowhere\n' >"$root/etc/passwd"
printf 'ambrosia:x:7400:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"

case "$tool" in
    buildah) buildah build --quiet -f deploy/Containerfile -t "$tag" "$stage" ;;
    *) "$tool" build --quiet -f deploy/Containerfile -t "$tag" "$stage" ;;
esac
if [ -n "$archive" ]; then
    case "$tool" in
        buildah) buildah push --quiet "$tag" "docker-archive:$archive:$tag" ;;
        *) "$tool" save --output "$archive" "$tag" ;;
    esac
fi
echo "$tag"
