#!/usr/bin/env bash
# What a container with PostgreSQL runs, in the image `postgres` of Docker's library: where it has no data yet it copies $OTHER, if that serves,
# and else the one that is FIRST makes a new database. So a server whose volume was removed comes back as a standby.
set -euo pipefail

data=/database/data other=host=$OTHER
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }

# Mounted files belong to whoever owns them outside. The server takes a key that nobody else can read.
install -d -m 700 -o postgres -g postgres /database /database/tls
for file in server.crt server.key ca.crt copy-password; do
    install -m 600 -o postgres -g postgres "/etc/ambrosia/$file" "/database/tls/$file"
done
printf '*:*:*:copy:%s\n' "$(cat /database/tls/copy-password)" >/database/tls/passfile
chown postgres:postgres /database/tls/passfile
chmod 600 /database/tls/passfile

copy() {
    rm -rf "$data"
    as_postgres pg_basebackup --checkpoint=fast --pgdata="$data" --write-recovery-conf --dbname="$other user=copy passfile=/database/tls/passfile \
        sslmode=verify-full sslrootcert=/database/tls/ca.crt connect_timeout=5"
}

# In a folder of its own until it is whole: what was cut short is done again.
make() {
    rm -rf "$data.new"
    as_postgres initdb --pgdata="$data.new" --auth-local=peer --auth-host=reject --encoding=UTF8 --locale=C.UTF-8
    cat >>"$data.new/pg_hba.conf" <<'HBA'
hostssl app ambrosia all scram-sha-256
hostssl replication copy all scram-sha-256
HBA
    # Only afterwards do commits wait for a standby: there is none yet.
    as_postgres postgres --single -D "$data.new" postgres >/dev/null <<SQL
create role ambrosia login password '$(cat /etc/ambrosia/database-password)'
create role copy login replication password '$(cat /database/tls/copy-password)'
create database app owner ambrosia
SQL
    echo "synchronous_standby_names = 'ANY 1 (*)'" >>"$data.new/postgresql.auto.conf"
    mv "$data.new" "$data"
}

until [ -s "$data/PG_VERSION" ]; do
    if copy; then
        echo "this server is a standby of $OTHER"
    elif [ "${FIRST:-no}" = yes ]; then
        rm -rf "$data"
        make
        echo "this server is the primary of a new database"
    else
        echo "waiting for $OTHER"
        sleep 2
    fi
done

exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -D "$data" -c listen_addresses='*' \
    -c unix_socket_directories=/database -c ssl=on -c ssl_cert_file=/database/tls/server.crt -c ssl_key_file=/database/tls/server.key
