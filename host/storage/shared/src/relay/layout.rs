//! The layout of what an engine is asked, and answers. Numbers of kinds are never used for anything else.

use bytes::Bytes;

use super::octets::{Octets, Unreadable, fields, kinds, named};
use crate::{
    engine::{
        Answered, AppendFault, Claim, EngineHead, Fault, Group, HostId, Known, Lane, LogRead, News, Position, Raise,
        RaiseFault, ReadFrom, Request, Seen, Session,
    },
    keys::{KeyEntry, KeysAnswer, KeysRequest, Put, PutRefused, Space},
};

named!(HostId, Session);

fields!(Position { lsn, link });
fields!(Claim { host, attempt });
fields!(Group { log, epoch, after, last, bytes });
fields!(EngineHead { log, epoch, claim, replica, is_reigned, is_announced, checkpoint, first, last, bytes });
fields!(Known { epoch, claim, is_reigned, is_announced, checkpoint, last });
fields!(Seen { log, known });
fields!(ReadFrom { log, from, bytes });
fields!(LogRead { head, groups });
fields!(Raise { log, over, claim, replica });
fields!(Put { space, key, expected, value, claim, beside });
fields!(KeyEntry { key, revision, value });

kinds!(Lane { 1 => Groups(number), 2 => Other });
kinds!(News { 1 => Announced { log, epoch, host }, 2 => Checkpoint { log, lsn } });
kinds!(Space { 1 => Registry, 2 => Store });

kinds!(Request {
    1 => Append { groups },
    2 => Heads { logs },
    3 => Raise { wanted },
    4 => Barrier { session },
    6 => Release { log, epoch, claim },
    7 => Tell { news },
    8 => Create { genesis },
    9 => Remove { log },
    10 => Logs,
    11 => Lives { of },
    12 => Keys(request),
    13 => Beat { host, beats, of },
    14 => Trim { log, before },
    15 => Read { wanted, bytes },
});

kinds!(KeysRequest {
    1 => Get { space, key },
    2 => List { space, prefix, after, values },
    3 => Put(put),
    4 => Delete { space, key, expected },
    5 => Changes,
    6 => Note { notes },
    7 => Notes { prefix },
});

kinds!(Answered {
    1 => Appended(answers),
    2 => Heads { session, heads, gone },
    3 => Raised(answers),
    4 => Barred,
    6 => Released,
    7 => Beats { session, beats },
    8 => Trimmed,
    9 => Told,
    10 => Created(is_new),
    11 => Removed(was_there),
    12 => Logs { session, logs },
    13 => Keys(answer),
    14 => Read { session, logs },
});

kinds!(KeysAnswer {
    1 => Got { session, entry },
    2 => Listed { session, entries, is_all },
    3 => Put(result),
    4 => Deleted(result),
    5 => Changes(count),
    6 => Noted,
    7 => Notes(notes),
});

kinds!(Fault { 1 => Unknown(reason), 2 => Unavailable(reason), 3 => Refused(reason) });
kinds!(AppendFault { 1 => Refused(head), 2 => Failed(fault), 3 => TooLarge { max } });
kinds!(RaiseFault { 1 => Contended(head), 2 => Gone });
kinds!(PutRefused { 1 => Stands(revision), 2 => NoLog });
