#!/usr/bin/env bash
# Makes what compose.yaml mounts, in the folder `secrets` beside it: a CA, certificates of databases, hosts and a client, passwords, and the URL of
# the store. What is there already stays. `ambrosia-host` is the one of the PATH, or $AMBROSIA_HOST.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

program=${AMBROSIA_HOST:-ambrosia-host}
command -v "$program" >/dev/null || {
    echo "compose-secrets.sh: $program is not found: build it (cargo build --release -p ambrosia-cli), and say where it is in AMBROSIA_HOST" >&2
    exit 1
}
install -d -m 755 secrets
[ -e secrets/ca.crt ] || "$program" cert init --dir secrets >/dev/null

issue() { # a name for the file, then flags
    [ -e "secrets/$1.crt" ] || "$program" cert issue --dir secrets "${@:2}" >/dev/null
}
for database in db1 db2; do issue "$database" --host "$database"; done
# localhost is how this machine reaches the ports that are published.
for host in a b c; do issue "$host" --host "$host" --host localhost; done
issue laptop --client laptop

for password in database-password copy-password; do
    [ -e "secrets/$password" ] || (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$password")
done
[ -e secrets/store.url ] || (umask 077 &&
    echo "postgres://ambrosia:$(cat secrets/database-password)@db1,db2/app?sslrootcert=/etc/ambrosia/ca.crt" >secrets/store.url)

# What a host reads is its own user's, as scripts/image.sh numbers it, where whoever calls this may say so.
if [ "$(id -u)" = 0 ]; then
    chown 7400:7400 secrets/{a,b,c,laptop}.key secrets/store.url
    echo "made $PWD/secrets"
else
    echo "made $PWD/secrets; set AMBROSIA_USER=$(id -u):$(id -g) for compose, so that hosts can read them"
fi
