//! The tables, and whether they are there.
//!
//! ```text
//! meta   format of these tables, and which store it is
//! head   one row a log: the fence. epoch, whose it is (claim), whether it is reigned, first and last record, link of the last, bytes of all
//! log    one row a group of records, by its last record
//! host   lives of hosts, and how often each has said that it is alive
//! barrier  rows that are written so that something is
//! entry  one row a key. space: 0 the registry, 1 all else; revision of its last change, and whose that was (claim)
//! counter  one row: changes of the registry
//! note   what replicas say of themselves
//! ```
//! Lsns and epochs are below 2^63; a link is the same 64 bits with a sign.

/// Of these tables.
pub(crate) const FORMAT: &str = "1";

/// Parts of the table of groups: each has an index of its own.
const PARTS: u32 = 16;

/// The statements that make the tables in a schema, for a database administrator to read, and to run again without harm.
///
/// Head rows are updated in place, for which their pages need room; records are compressed by nobody, for that costs time.
pub fn statements(schema: &str) -> String {
    let parts: String = (0..PARTS)
        .map(|part| {
            format!(
                "create table if not exists {schema}.log_{part} partition of {schema}.log\n    \
                 for values with (modulus {PARTS}, remainder {part});\n"
            )
        })
        .collect();
    format!(
        "create schema if not exists {schema};
create table if not exists {schema}.meta (key text primary key, value text not null);
create table if not exists {schema}.head (
    log uuid primary key, epoch bigint not null, claim_host uuid not null, claim_attempt bigint not null,
    replica int not null, is_reigned boolean not null, is_announced boolean not null, checkpoint bigint not null, first bigint not null, last bigint not null, link bigint not null,
    bytes bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create table if not exists {schema}.log (
    log uuid not null, last bigint not null, link bigint not null, after bigint not null, after_link bigint not null,
    epoch bigint not null, body bytea not null, primary key (log, last)
) partition by hash (log);
alter table {schema}.log alter column body set storage external;
{parts}create table if not exists {schema}.host (
    id uuid primary key, beats bigint not null, seen timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create table if not exists {schema}.barrier (number int primary key, count bigint not null) with (fillfactor = 50);
create table if not exists {schema}.entry (
    space smallint not null, key text collate \"C\" not null, revision bigint not null, claim_host uuid not null,
    claim_attempt bigint not null, value bytea not null, primary key (space, key)
);
alter table {schema}.entry alter column value set storage external;
create sequence if not exists {schema}.revision;
create table if not exists {schema}.counter (one boolean primary key check (one), count bigint not null) with (fillfactor = 50);
insert into {schema}.counter values (true, 0) on conflict do nothing;
create table if not exists {schema}.note (name text collate \"C\" primary key, value bytea not null) with (fillfactor = 50);
insert into {schema}.meta values ('format', '{FORMAT}'), ('store', gen_random_uuid()) on conflict do nothing;
"
    )
}
