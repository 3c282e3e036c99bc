//! What a record must be like for a journey to stop at it.

use std::fmt;

use ambrosia_core::{DeliverBody, Message, Messages, MethodId, PeerIndex, PrintStream, Record, RecordKind, Runs};
use ambrosia_host::travel::{Execution, Moment};

/// What can be written.
pub(crate) const FORMS: &str = "from NAME, method NAME, kind KIND, print ~ TEXT, fault";

/// What a record must be like: all of it. Empty, any record is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Condition {
    /// One of its messages is from that instance, or from `outside` …
    from: Option<String>,
    /// … and names that method.
    method: Option<String>,
    /// It is of that kind.
    kind: Option<RecordKind>,
    /// The guest prints that at it, among else.
    print: Option<String>,
    /// The guest fails at it.
    fault: bool,
}

impl Condition {
    /// Reads words; there may be none.
    pub(crate) fn parse(words: &[String]) -> Result<Condition, String> {
        let mut condition = Condition::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value = |what: &str| words.next().ok_or_else(|| format!("{word} needs {what}")).map(str::to_owned);
            match word {
                "from" => condition.from = Some(value("the name of an instance, or outside")?),
                "method" => condition.method = Some(value("the name of a method")?),
                "kind" => condition.kind = Some(kind(&value("a kind of record")?)?),
                "print" => {
                    let text = value("~ and a text")?;
                    let text = if text == "~" { value("a text behind the ~")? } else { text };
                    condition.print = Some(text);
                }
                "fault" => condition.fault = true,
                _ => return Err(format!("`{word}` is no condition: write {FORMS}")),
            }
        }
        Ok(condition)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Condition::default()
    }

    /// Whether the record alone does not tell, but what the guest does with it.
    pub(crate) fn is_of_execution(&self) -> bool {
        self.print.is_some() || self.fault
    }

    /// The name of a method that it has.
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Whether the record is like that, as far as it tells; `peer` tells the names of peers.
    pub(crate) fn fits_record(&self, record: &Record, peer: impl Fn(PeerIndex) -> String) -> bool {
        if self.kind.is_some_and(|kind| kind != record.header().kind) {
            return false;
        }
        if self.from.is_none() && self.method.is_none() {
            return true;
        }
        let fits_message = |source: PeerIndex, message: &Message<'_>| {
            let is_from = self.from.as_ref().is_none_or(|from| *from == peer(source));
            let names = |method: &String| message.kind.names_method() && message.method == MethodId::of(method);
            is_from && self.method.as_ref().is_none_or(names)
        };
        let Some(Ok(body)) = (record.header().kind == RecordKind::Deliver).then(|| DeliverBody::decode(record.body()))
        else {
            return false;
        };
        Runs::new(body.runs)
            .flatten()
            .any(|run| Messages::new(run.messages).flatten().any(|message| fits_message(run.peer, &message)))
    }

    /// Whether all of it is like that.
    pub(crate) fn fits(&self, moment: &Moment, peer: impl Fn(PeerIndex) -> String) -> bool {
        let execution = moment.execution.as_ref();
        let prints = |text: &String| execution.is_some_and(|execution| printed(execution).contains(text.as_str()));
        moment.record.as_ref().is_some_and(|record| self.fits_record(record, peer))
            && self.print.as_ref().is_none_or(prints)
            && (!self.fault || execution.is_some_and(|execution| execution.fault.is_some()))
    }
}

/// All that was printed, on either stream.
fn printed(execution: &Execution) -> String {
    let of = |stream: PrintStream| -> Vec<u8> {
        execution.prints.iter().filter(|print| print.stream == stream).flat_map(|print| print.bytes.clone()).collect()
    };
    let bytes = [of(PrintStream::Stdout), of(PrintStream::Stderr)].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kind(name: &str) -> Result<RecordKind, String> {
    Ok(match name {
        "genesis" => RecordKind::Genesis,
        "epoch" => RecordKind::Epoch,
        "bind" => RecordKind::Bind,
        "deliver" => RecordKind::Deliver,
        "digest" => RecordKind::Digest,
        "upgrade" => RecordKind::Upgrade,
        "mend" => RecordKind::Mend,
        "configuration" => RecordKind::Configuration,
        "session" => RecordKind::Session,
        _ => {
            return Err(format!(
                "`{name}` is no kind of record: write genesis, epoch, bind, deliver, digest, upgrade, mend, \
                 configuration or session"
            ));
        }
    })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Condition { from, method, kind, print, fault } = self;
        let parts = [
            from.as_ref().map(|from| format!("from {from}")),
            method.as_ref().map(|method| format!("method {method}")),
            kind.map(|kind| format!("kind {kind:?}").to_lowercase()),
            print.as_ref().map(|text| format!("print ~ {text:?}")),
            fault.then(|| "fault".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}
