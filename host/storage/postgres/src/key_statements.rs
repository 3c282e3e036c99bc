//! Each request about keys as one statement. `{s}` stands for the schema.
//!
//! A key that is to be changed is locked first: who waits for another one then sees the key as that has left it.

/// Space and key. One row if it is there.
pub(crate) const GET: &str = "select key, revision, value from {s}.entry where space = $1 and key = $2";

/// Space, what keys begin with, behind which one, whether values are wanted, and behind how many bytes a list ends. One row a key, with the count of all that
/// were looked at.
pub(crate) const LIST: &str = "
select key, revision, found, case when $4 then (
    select value from {s}.entry as entry where entry.space = $1 and entry.key = near.key
) else ''::bytea end as value
from (
    select key, revision, row_number() over () as number, count(*) over () as found,
        sum(bytes) over (order by key rows between unbounded preceding and 1 preceding) as before
    from (
        select key, revision, case when $4 then octet_length(value) else 0 end as bytes from {s}.entry
        where space = $1 and key >= $2 and starts_with(key, $2) and key < $2 || chr(1114111)
            and ($3::text is null or key > $3)
        order by key limit 1001
    ) as near
) as near
where number <= 1000 and coalesce(before, 0) < $5 order by key";

/// Space, key, where it is to stand, value, whose change that is, and a log that has to be there. One row: where it stands now if that was done, where it stood,
/// whose change that was, and whether the log is there.
pub(crate) const PUT: &str = "
with stands as materialized (
    select revision, claim_host, claim_attempt from {s}.entry where space = $1 and key = $2 for update
), there as materialized (
    select from {s}.head where log = $7 for key share
), changed as (
    update {s}.entry set revision = nextval('{s}.revision'), value = $4, claim_host = $5, claim_attempt = $6
    where space = $1 and key = $2 and revision = $3 and ($7::uuid is null or exists (select from there))
    returning revision
), made as (
    insert into {s}.entry select $1, $2, nextval('{s}.revision'), $5, $6, $4
    where $3::int8 is null and not exists (select from stands) and ($7::uuid is null or exists (select from there))
    on conflict do nothing returning revision
), done as (
    select revision from changed union all select revision from made
), counted as (
    update {s}.counter set count = count + 1 where $1 = 0 and exists (select from done)
)
select (select revision from done) as done, (select revision from stands) as stands,
    coalesce((select claim_host = $5 and claim_attempt = $6 from stands), false) as is_mine,
    $7::uuid is null or exists (select from there) as is_there";

/// Space, key, and where it is to stand. One row: whether it was deleted, and where it stood.
pub(crate) const DELETE: &str = "
with stands as materialized (
    select revision from {s}.entry where space = $1 and key = $2 for update
), gone as (
    delete from {s}.entry where space = $1 and key = $2 and revision = $3 returning revision
), counted as (
    update {s}.counter set count = count + 1 where $1 = 0 and exists (select from gone)
)
select exists (select from gone) as is_done, (select revision from stands) as stands";

/// How many changes there were.
pub(crate) const CHANGES: &str = "select count from {s}.counter";

/// Names, and values; null for what is to be removed.
pub(crate) const NOTE: &str = "
with said as (
    select * from unnest($1::text[], $2::bytea[]) as said(name, value) order by name
), gone as (
    delete from {s}.note using said where note.name = said.name and said.value is null
)
insert into {s}.note select name, value from said where value is not null
on conflict (name) do update set value = excluded.value";

/// What names begin with.
pub(crate) const NOTES: &str = "
select name, value from {s}.note
where name >= $1 and starts_with(name, $1) and name < $1 || chr(1114111) order by name";
