//! Each request as one statement. `{s}` stands for the schema.
//!
//! Head rows of several logs are locked in the order of these first: hosts that take over the same logs at once, in their own orders, would
//! wait for each other, each time until the database notices. A row that was locked is shown as it is then, and not as it was
//! when the statement began, which is what makes the conditions hold.

/// Groups: log, epoch, what each follows, its last record, and bytes. One row a group: whether it was appended, and the head row.
pub(crate) const APPEND: &str = "
with wanted as (
    select * from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::bytea[])
        as wanted(log, epoch, after, after_link, last, link, body)
), locked as materialized (
    select * from {s}.head where log = any($1) order by log for no key update
), moved as (
    update {s}.head as head set last = wanted.last, link = wanted.link, bytes = head.bytes + octet_length(wanted.body)
    from wanted join locked on locked.log = wanted.log
    where head.log = wanted.log and head.epoch = wanted.epoch and head.last = wanted.after and head.link = wanted.after_link
    returning head.log
), appended as (
    insert into {s}.log (log, last, link, after, after_link, epoch, body)
    select wanted.log, wanted.last, wanted.link, wanted.after, wanted.after_link, wanted.epoch, wanted.body
    from wanted join moved on moved.log = wanted.log
)
select wanted.log as wanted, moved.log is not null as is_done, locked.*
from wanted left join locked on locked.log = wanted.log left join moved on moved.log = wanted.log";

/// Logs, and what is known of each head row: epoch, whose it is, whether it is reigned and announced, its checkpoint, last record and its link; null if nothing is. One row a log
/// that is not there, or of which something else is so.
pub(crate) const HEADS: &str = "
select seen.log as wanted, head.*
from unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int8[], $5::bool[], $6::int8[], $7::int8[], $8::bool[], $9::int8[])
    as seen(log, epoch, claim_host, claim_attempt, is_reigned, last, link, is_announced, checkpoint)
left join {s}.head as head on head.log = seen.log
where head.log is null or seen.epoch is null
   or (head.epoch, head.claim_host, head.claim_attempt, head.is_reigned, head.last, head.link, head.is_announced, head.checkpoint)
      is distinct from (
          seen.epoch, seen.claim_host, seen.claim_attempt, seen.is_reigned, seen.last, seen.link, seen.is_announced,
          seen.checkpoint
      )";

/// Logs, reigns to be deposed, and whose wish that is: which try of a host, and which replica. One row a log: whether its epoch was raised, and the head row by then.
pub(crate) const RAISE: &str = "
with wanted as (
    select * from unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int8[], $5::int4[])
        as wanted(log, deposed, host, attempt, replica)
), locked as materialized (
    select * from {s}.head where log = any($1) order by log for no key update
), raised as (
    update {s}.head as head
    set epoch = wanted.deposed + 1, claim_host = wanted.host, claim_attempt = wanted.attempt,
        replica = wanted.replica, is_reigned = head.is_reigned or head.epoch = wanted.deposed,
        is_announced = head.is_announced and head.epoch <> wanted.deposed
    from wanted join locked on locked.log = wanted.log
    where head.log = wanted.log and (
        head.epoch = wanted.deposed
        or (head.epoch = wanted.deposed + 1 and head.claim_host = wanted.host and head.claim_attempt = wanted.attempt)
    )
    returning head.*
)
select wanted.log as wanted, true as is_done, raised.* from wanted join raised on raised.log = wanted.log
union all
select wanted.log, false, locked.* from wanted left join locked on locked.log = wanted.log
where not exists (select from raised where raised.log = wanted.log)";

/// Writes something, so that a commit waits for all before it.
pub(crate) const BARRIER: &str = "
insert into {s}.barrier as barrier values (pg_backend_pid() % 64, 1)
on conflict (number) do update set count = barrier.count + 1";

/// Logs with the first record wanted of each, and behind how many bytes of its groups none begins; the same of groups and logs of all. Rows of a log's number and its head
/// row, each with one of the groups: of the first of the logs.
///
/// How many groups are looked at is bounded, so that the rest of a long log is not read to be left out: of one log alone it is more, for whoever
/// follows from far behind reads it group by group, and each of them may be a single record. Each row is looked up by its key, for
/// which it says `limit 1`: a plan for any number of logs might read whole tables to join them.
pub(crate) const READ: &str = "
with wanted as (
    select * from unnest($1::uuid[], $2::int8[], $3::int8[]) with ordinality as wanted(log, first, bytes, number)
), near as (
    select wanted.number, wanted.log, near.last, sum(near.bytes) over (
        order by wanted.number, near.last rows between unbounded preceding and 1 preceding
    ) as before
    from wanted left join lateral (
        select * from (
            select log.last, octet_length(log.body) as bytes, sum(octet_length(log.body)) over (
                order by log.last rows between unbounded preceding and 1 preceding
            ) as before
            from {s}.log as log where log.log = wanted.log and log.last >= wanted.first
            order by log.last limit least(greatest(256, 4096 / cardinality($1::uuid[])), wanted.bytes)
        ) as near where coalesce(near.before, 0) < wanted.bytes
    ) as near on true
)
select near.number, head.*, found.*
from near left join lateral (
    select * from {s}.head as head where head.log = near.log limit 1
) as head on true left join lateral (
    select log.last as group_last, log.link as group_link, log.after, log.after_link, log.epoch as group_epoch, log.body
    from {s}.log as log where log.log = near.log and log.last = near.last limit 1
) as found on true
where coalesce(near.before, 0) < $4 order by near.number, near.last";

/// A log, a reign, and whose it is.
pub(crate) const RELEASE: &str = "
with locked as materialized (
    select log, epoch, claim_host, claim_attempt from {s}.head where log = $1 for no key update
)
update {s}.head as head set is_reigned = false
from locked
where head.log = locked.log and locked.epoch = $2 and locked.claim_host = $3 and locked.claim_attempt = $4";

/// Who is alive, how often it has said so, and who else is wanted. Nobody waits for this to be durable.
pub(crate) const BEAT: &str = "
with hasty as (
    select set_config('synchronous_commit', 'off', true)
), said as (
    insert into {s}.host select $1, $2, now() from hasty
    on conflict (id) do update set beats = excluded.beats, seen = excluded.seen
)
select id, beats from {s}.host where id = any($3::uuid[])";

/// Forgets lives of hosts that have long been over.
pub(crate) const FORGET: &str = "delete from {s}.host where seen < now() - interval '1 hour'";

/// A log, and the first record to stay. A part of what is to go, if it is much: one row with the count of groups that went.
///
/// Whoever appends to the log, or to others in the same statement, waits until the part has gone: so it has 1000 groups at most, and none that
/// begins behind 4 MiB of it, which is done in some 10 ms. It is found first and by itself: sought for each row of the log anew, it took a second
/// and more.
pub(crate) const TRIM: &str = "
with locked as materialized (
    select log, last from {s}.head where log = $1 for no key update
), part as materialized (
    select summed.last from (
        select first.last, sum(first.bytes) over (order by first.last) - first.bytes as before from (
            select last, octet_length(body) as bytes from {s}.log where log = $1 and last < $2 order by last limit 1000
        ) as first
    ) as summed, locked
    where summed.before < 4194304 and summed.last <> locked.last
), gone as (
    delete from {s}.log as log where log.log = $1 and log.last <= (select max(part.last) from part)
    returning log.last, octet_length(log.body) as bytes
), moved as (
    update {s}.head as head set first = (
        select rest.after + 1 from {s}.log as rest
        where rest.log = $1 and rest.last > (select max(gone.last) from gone) order by rest.last limit 1
    ), bytes = head.bytes - (select sum(gone.bytes) from gone)
    from locked where head.log = locked.log and exists (select from gone)
)
select count(*) from gone";

/// A log and its first record. One row if there was none.
pub(crate) const CREATE: &str = "
with made as (
    insert into {s}.head (
        log, epoch, claim_host, claim_attempt, replica, is_reigned, is_announced, checkpoint, first, last, link, bytes
    )
    values ($1, $2, $3, 0, 0, false, false, 0, $4, $4, $5, octet_length($7::bytea)) on conflict do nothing returning log
), begun as (
    insert into {s}.log (log, last, link, after, after_link, epoch, body)
    select $1, $4, $5, $4 - 1, $6, $2, $7 from made
)
select log from made";

/// A log. One row if there was one.
pub(crate) const REMOVE: &str = "
with gone as (delete from {s}.head where log = $1 returning log), rest as (delete from {s}.log where log = $1)
select log from gone";

/// Reigns that answer: logs, epochs and hosts. Checkpoints that count: logs and records.
pub(crate) const TELL: &str = "
with announced as (
    select * from unnest($1::uuid[], $2::int8[], $3::uuid[]) as announced(log, epoch, host)
), counted as (
    select log, max(lsn) as lsn from unnest($4::uuid[], $5::int8[]) as counted(log, lsn) group by log
), locked as materialized (
    select log, epoch, claim_host, is_reigned from {s}.head where log = any($1) or log = any($4)
    order by log for no key update
)
update {s}.head as head set
    is_announced = head.is_announced or locked.is_reigned and exists (
        select from announced
        where announced.log = locked.log and announced.epoch = locked.epoch and announced.host = locked.claim_host
    ),
    checkpoint = greatest(head.checkpoint, coalesce((select lsn from counted where counted.log = locked.log), 0))
from locked where head.log = locked.log";

/// All logs.
pub(crate) const LOGS: &str = "select log from {s}.head";

/// Hosts that are wanted.
pub(crate) const LIVES: &str = "select id, beats from {s}.host where id = any($1::uuid[])";

/// Processes of the server: their numbers and begins. Those of them that are there, of which the ones that wait for a standby are ended. They are
/// found first: a condition on processes alone would else be looked at for all that there are, so that whoever waits would be ended.
pub(crate) const END: &str = "
with found as materialized (
    select number, began, wait_event
    from unnest($1::int4[], $2::int8[]) as wanted(number, began)
    join pg_stat_activity on pid = number and (extract(epoch from backend_start) * 1000000)::int8 = began
)
select number, began from found
where wait_event is distinct from 'SyncRep' or not pg_terminate_backend(number)";
