//! What is asked about keys, and what is answered.

use ambrosia_shared_log::{Answered, Fault, KeyEntry, KeysAnswer, KeysRequest, LIST_BYTES_MAX, Put, PutRefused, Space};
use ambrosia_storage::Revision;
use bytes::Bytes;
use tokio_postgres::{Error, Row};

use crate::{
    conversation::{Conversation, Failed},
    engine::Parameter,
    rows::{host_column, log_column, number_column, number_in},
};

pub(crate) async fn perform(conversation: &Conversation, request: &KeysRequest) -> Result<Answered, Failed> {
    let (session, prepared) = (conversation.session(), conversation.prepared());
    let answer = match request {
        KeysRequest::Get { space, key } => {
            let rows = conversation.rows(&prepared.get, &[&space_column(*space), key]).await?;
            KeysAnswer::Got { session, entry: rows.first().map(entry_in).transpose()? }
        }
        KeysRequest::List { space, prefix, after, values } => {
            let bytes = i64::try_from(LIST_BYTES_MAX).unwrap_or(i64::MAX);
            let parameters: [Parameter<'_>; 5] = [&space_column(*space), prefix, after, values, &bytes];
            let rows = conversation.rows(&prepared.list, &parameters).await?;
            let entries = rows.iter().map(entry_in).collect::<Result<Vec<_>, _>>()?;
            let found = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>("found"))?;
            KeysAnswer::Listed { session, is_all: found == entries.len() as i64, entries }
        }
        KeysRequest::Put(request) => put(conversation, request).await?,
        KeysRequest::Delete { space, key, expected } => {
            let parameters: [Parameter<'_>; 3] = [&space_column(*space), key, &number_column(expected.0)];
            let rows = conversation.rows(&prepared.delete, &parameters).await?;
            let row = one(&rows)?;
            let is_done = row.try_get("is_done")?;
            KeysAnswer::Deleted(if is_done { Ok(()) } else { Err(revision_in(row, "stands")?) })
        }
        KeysRequest::Changes => {
            let rows = conversation.rows(&prepared.changes, &[]).await?;
            KeysAnswer::Changes(number_in(one(&rows)?, "count")?)
        }
        KeysRequest::Note { notes } => {
            let names: Vec<_> = notes.iter().map(|(name, _)| &**name).collect();
            let values: Vec<_> = notes.iter().map(|(_, value)| value.as_deref()).collect();
            conversation.rows(&prepared.note, &[&names, &values]).await?;
            KeysAnswer::Noted
        }
        KeysRequest::Notes { prefix } => {
            let rows = conversation.rows(&prepared.notes, &[prefix]).await?;
            let note = |row: &Row| Ok::<_, Error>((row.try_get("name")?, bytes_in(row)?));
            KeysAnswer::Notes(rows.iter().map(note).collect::<Result<_, _>>()?)
        }
    };
    Ok(Answered::Keys(answer))
}

/// Puts a value. A key that was new when the statement began, and was made by another one for which it has waited, is not seen by it: that may have
/// been the same put, whose answer was lost, so the statement is repeated and sees whose it is.
async fn put(conversation: &Conversation, request: &Put) -> Result<KeysAnswer, Failed> {
    loop {
        if let Some(answer) = try_to_put(conversation, request).await? {
            return Ok(answer);
        }
    }
}

/// `None` if the key was made meanwhile.
async fn try_to_put(conversation: &Conversation, request: &Put) -> Result<Option<KeysAnswer>, Failed> {
    let Put { space, key, expected, value, claim, beside } = request;
    let parameters: [Parameter<'_>; 7] = [
        &space_column(*space),
        key,
        &expected.map(|revision| number_column(revision.0)),
        &&value[..],
        &host_column(claim.host),
        &number_column(claim.attempt),
        &beside.map(log_column),
    ];
    let rows = conversation.rows(&conversation.prepared().put, &parameters).await?;
    let row = one(&rows)?;
    let (done, stands) = (revision_in(row, "done")?, revision_in(row, "stands")?);
    let (is_mine, is_there): (bool, bool) = (row.try_get("is_mine")?, row.try_get("is_there")?);
    Ok(Some(KeysAnswer::Put(match (done, stands) {
        (Some(revision), _) => Ok(revision),
        (None, Some(revision)) if is_mine => Ok(revision),
        (None, stands) if stands == *expected && !is_there => Err(PutRefused::NoLog),
        (None, None) if expected.is_none() => return Ok(None),
        (None, stands) => Err(PutRefused::Stands(stands)),
    })))
}

fn space_column(space: Space) -> i16 {
    match space {
        Space::Registry => 0,
        Space::Store => 1,
    }
}

fn one(rows: &[Row]) -> Result<&Row, Failed> {
    let fault = || Fault::Unknown("the database has answered with no row".to_owned());
    rows.first().ok_or_else(|| Failed { fault: fault(), is_over: true })
}

fn revision_in(row: &Row, column: &str) -> Result<Option<Revision>, Error> {
    Ok(row.try_get::<_, Option<i64>>(column)?.map(|revision| Revision(revision as u64)))
}

fn bytes_in(row: &Row) -> Result<Bytes, Error> {
    Ok(Bytes::copy_from_slice(row.try_get("value")?))
}

fn entry_in(row: &Row) -> Result<KeyEntry, Error> {
    Ok(KeyEntry { key: row.try_get("key")?, revision: Revision(number_in(row, "revision")?), value: bytes_in(row)? })
}
