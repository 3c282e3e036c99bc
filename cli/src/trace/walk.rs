//! From a message to all that it brought about, across instances.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use ambrosia_core::{InstanceName, InstanceUuid, Lsn, Seq, Timestamp};
use ambrosia_storage::{Instances, Store};
use anyhow::{Context, bail};

use super::{
    index::{Delivered, Fate, Returning},
    life::Life,
    span::{Answer, Place, Span},
};
use crate::{
    debug::{ShownEffect, ShownMoment},
    records::{Body, ShownMessage},
};

/// How the world outside is named where a message comes from.
const OUTSIDE: &str = "outside";

/// Goes along messages in the order of their times, so that each replica goes forwards for the most part.
pub(super) struct Walk {
    store: Arc<dyn Store>,
    /// Instances that a message has come to; `None` for one that the store does not have.
    lives: BTreeMap<String, Option<Life>>,
    spans: Vec<Span>,
    /// Spans that are to be looked at, the earliest first, and how a mend has treated each.
    next: BinaryHeap<Reverse<(Timestamp, usize)>>,
    fates: HashMap<usize, Fate>,
    /// Whose answer is still to come: by instance, who asked, and the number of the call.
    unanswered: HashMap<(String, String, u64), usize>,
    limit: usize,
    left_out: usize,
}

impl Walk {
    pub(super) fn new(store: Arc<dyn Store>, limit: usize) -> Walk {
        let (lives, spans, next) = (BTreeMap::new(), Vec::new(), BinaryHeap::new());
        let (fates, unanswered) = (HashMap::new(), HashMap::new());
        Walk { store, lives, spans, next, fates, unanswered, limit, left_out: 0 }
    }

    /// How many messages were found beyond the limit.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    pub(super) fn into_spans(self) -> Vec<Span> {
        self.spans
    }

    /// Where the log of the instance has that request.
    pub(super) fn request(&mut self, instance: &InstanceName, request: &str) -> anyhow::Result<(String, Delivered)> {
        let life = self.life(instance.as_str())?.context("it was there")?;
        let delivered = life.index.request(request.as_bytes());
        let (first, last) = life.traveller.range();
        let delivered = delivered.with_context(|| {
            format!(
                "records {first} to {last} of instance {instance}, which are all that its log has, have no request {request}"
            )
        })?;
        Ok((instance.to_string(), delivered))
    }

    /// Checks that there is such a message.
    pub(super) fn message(
        &mut self,
        instance: &InstanceName,
        lsn: Lsn,
        index: u32,
    ) -> anyhow::Result<(String, Delivered)> {
        let life = self.life(instance.as_str())?.context("it was there")?;
        let moment = life.at(lsn)?;
        let time = life.traveller.replica().time();
        let count = messages(&moment).len();
        if index as usize >= count {
            bail!("record {lsn} of instance {instance} has {count} messages, numbered from 0, and so no {lsn}.{index}");
        }
        Ok((instance.to_string(), Delivered { place: Place { lsn, index }, time }))
    }

    /// Finds all that follows from that message, up to the limit.
    pub(super) fn follow(&mut self, (instance, delivered): (String, Delivered)) -> anyhow::Result<()> {
        self.push(None, instance, Reached::There(delivered), None)?;
        while let Some(Reverse((_, number))) = self.next.pop() {
            self.visit(number)?;
        }
        Ok(())
    }

    fn life(&mut self, instance: &str) -> anyhow::Result<Option<&mut Life>> {
        if !self.lives.contains_key(instance) {
            let name = InstanceName::new(instance)?;
            let is_there = self.store.instances()?.iter().any(|entry| entry.name == name);
            let read = || Life::read(&self.store, &name).with_context(|| format!("instance {instance}"));
            let life = if is_there { Some(read()?) } else { None };
            self.lives.insert(instance.to_owned(), life);
        }
        Ok(self.lives.get_mut(instance).and_then(Option::as_mut))
    }

    /// Adds a span. What it is said to be is replaced by what its record says, once that is looked at.
    fn push(
        &mut self,
        parent: Option<usize>,
        instance: String,
        reached: Reached,
        sent: Option<(&str, &ShownEffect, Timestamp)>,
    ) -> anyhow::Result<()> {
        if self.spans.len() >= self.limit {
            self.left_out += 1;
            return Ok(());
        }
        let number = self.spans.len();
        let life = self.life(&instance)?;
        let uuid = life.as_ref().map(|life| life.uuid);
        let sent_at = sent.map_or(Timestamp(0), |(_, _, time)| time);
        let (fate, note) = match (reached, life) {
            (Reached::There(delivered), Some(life)) => (Some(life.index.fate(delivered)), None),
            (Reached::There(_), None) => (None, Some("is not in this store".to_owned())),
            (Reached::Not(note), _) => (None, Some(note)),
        };
        let delivered = fate.map(|fate| match fate {
            Fate::Handled(delivered) | Fate::Skipped(delivered) => delivered,
        });
        let span = Span {
            number,
            parent,
            instance,
            uuid,
            place: delivered.map(|delivered| delivered.place),
            time: delivered.map_or(sent_at, |delivered| delivered.time),
            kind: sent.map(|(_, effect, _)| effect.kind.clone()).unwrap_or_default(),
            source: sent.map(|(source, _, _)| source.to_owned()).unwrap_or_default(),
            method: sent.and_then(|(_, effect, _)| effect.method.clone()),
            call_id: sent.and_then(|(_, effect, _)| effect.id),
            request: None,
            traceparent: None,
            arguments: sent.and_then(|(_, effect, _)| effect.value.clone()).unwrap_or_default(),
            answer: None,
            note,
        };
        if let Some(fate) = fate {
            self.next.push(Reverse((span.time, number)));
            self.fates.insert(number, fate);
        }
        self.spans.push(span);
        Ok(())
    }

    /// Where a request to the world outside has come to another instance of the store: the key that it has there is its own.
    fn asked_over_http(&mut self, instance: &str, effect: &ShownEffect) -> anyhow::Result<Option<(String, Delivered)>> {
        let uuid = self.life(instance)?.map(|life| life.uuid);
        let (Some(uuid), Some(id)) = (uuid, effect.id) else { return Ok(None) };
        let url = effect.value.as_ref().and_then(|request| request["url"].as_str()).unwrap_or_default();
        for name in named_by(url).filter(|name| InstanceName::new(*name).is_ok()) {
            let key = format!("{uuid}-{id}");
            let life = self.life(name)?;
            if let Some(delivered) = life.and_then(|life| life.index.request(key.as_bytes())) {
                return Ok(Some((name.to_owned(), delivered)));
            }
        }
        Ok(None)
    }

    /// Looks at the record of a message: what it says, and what followed.
    fn visit(&mut self, number: usize) -> anyhow::Result<()> {
        let (instance, fate) = (self.spans[number].instance.clone(), self.fates[&number]);
        let (Fate::Handled(delivered) | Fate::Skipped(delivered)) = fate;
        let is_skipped = matches!(fate, Fate::Skipped(_));
        let Place { lsn, index } = delivered.place;
        let life = self.life(&instance)?.context("a message was delivered to it")?;
        let moment = life.at(lsn)?;
        let time = life.traveller.replica().time();
        match messages(&moment).get(index as usize).filter(|_| !is_skipped) {
            Some(message) => self.spans[number].take(message),
            None => self.spans[number].note = Some("was skipped by an operator".to_owned()),
        }
        let span = &self.spans[number];
        if let Some(call) = span.call_id
            && matches!(span.kind.as_str(), "impulse" | "call")
        {
            self.unanswered.insert((instance.clone(), span.source.clone(), call), number);
        }
        let Some(execution) = &moment.execution else { return Ok(()) };
        if execution.fault.is_some() {
            self.spans[number].note = Some("the instance has halted here".to_owned());
            return Ok(());
        }
        let life = self.life(&instance)?.context("it was there")?;
        let sequels = sequels(life, &execution.effects, index, is_skipped);
        for (effect, sequel) in sequels {
            if let "reply" | "error" = effect.kind.as_str()
                && let Some(asked) =
                    effect.id.and_then(|id| self.unanswered.remove(&(instance.clone(), effect.to.clone(), id)))
            {
                let (value, success) = (effect.value.clone().unwrap_or_default(), effect.kind == "reply");
                self.spans[asked].answer = Some(Answer { lsn, time, value, success });
            }
            if effect.kind == "request"
                && let Some((asked, delivered)) = self.asked_over_http(&instance, effect)?
            {
                self.push(Some(number), asked, Reached::There(delivered), Some((&instance, effect, time)))?;
            }
            let (to, reached) = match sequel {
                Sequel::None => continue,
                Sequel::Here(reached) => (instance.clone(), reached),
                Sequel::Sent { seq, uuid } => {
                    let there = self.life(&effect.to)?;
                    let reached = match there {
                        None => Reached::Not("is not in this store".to_owned()),
                        Some(there) if uuid.is_some_and(|uuid| uuid != there.uuid) => {
                            Reached::Not("was deleted since, and registered anew".to_owned())
                        }
                        Some(there) => {
                            let peer = there.peers.get(&instance);
                            let found = peer.and_then(|peer| there.index.of_peer(*peer, seq));
                            found.map_or_else(|| Reached::not_yet(there), Reached::There)
                        }
                    };
                    (effect.to.clone(), reached)
                }
            };
            self.push(Some(number), to, reached, Some((&instance, effect, time)))?;
        }
        Ok(())
    }
}

/// Which instance a URL names, as our own HTTP has it: `…/v1/NAME/…`, or `…/NAME/…`.
fn named_by(url: &str) -> impl Iterator<Item = &str> {
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let mut parts = path.split(['/', '?']);
    let first = parts.next();
    first.into_iter().chain(parts.next().filter(|_| first == Some("v1")))
}

/// Whether a message was delivered, as far as logs tell.
enum Reached {
    There(Delivered),
    /// Why not.
    Not(String),
}

impl Reached {
    /// The same, with other words if nothing has come.
    fn or(self, note: impl FnOnce() -> String) -> Reached {
        match self {
            Reached::There(delivered) => Reached::There(delivered),
            Reached::Not(_) => Reached::Not(note()),
        }
    }

    fn not_yet(life: &Life) -> Reached {
        let (first, last) = life.traveller.range();
        let trimmed = if first > Lsn(1) { format!("; what was before {first} is trimmed") } else { String::new() };
        Reached::Not(format!("was not delivered up to record {last}{trimmed}"))
    }
}

/// What becomes of an effect.
enum Sequel {
    /// Nothing that is delivered to anybody.
    None,
    /// Something comes back to the instance itself.
    Here(Reached),
    /// It goes to a peer with this number in its stream.
    Sent { seq: Seq, uuid: Option<InstanceUuid> },
}

/// The effects of one message of the record at which a replica stands, and what becomes of each.
fn sequels<'a>(
    life: &Life,
    effects: &'a [ShownEffect],
    index: u32,
    is_skipped: bool,
) -> Vec<(&'a ShownEffect, Sequel)> {
    let replica = life.traveller.replica();
    let travels = |effect: &&ShownEffect| {
        matches!(effect.kind.as_str(), "fork" | "call" | "reply" | "error") && effect.to != OUTSIDE
    };
    // The numbers of what a record sends are the last that its state has given away.
    let mut behind: HashMap<&str, u64> = HashMap::new();
    let mut sequels = Vec::new();
    for effect in effects.iter().rev() {
        let seq = travels(&effect).then(|| {
            let behind = behind.entry(&effect.to).or_default();
            *behind += 1;
            let peer = life.peers.get(&effect.to)?;
            let seq = Seq(replica.sent(*peer).0 + 1 - *behind);
            Some(Sequel::Sent { seq, uuid: replica.peer_uuid(*peer) })
        });
        if effect.cause != index || effect.is_of_skipped != is_skipped {
            continue;
        }
        let here = |returning| {
            let found = effect.id.and_then(|id| life.index.returned(returning, id));
            found.map_or_else(|| Reached::not_yet(life), Reached::There)
        };
        let sequel = match effect.kind.as_str() {
            // Most timers are limits of what came in time, and are never due.
            "timer" => match here(Returning::Timer) {
                Reached::There(delivered) => Sequel::Here(Reached::There(delivered)),
                Reached::Not(_) => Sequel::None,
            },
            "request" => Sequel::Here(
                here(Returning::Other).or(|| format!("has no outcome up to record {}", life.traveller.range().1)),
            ),
            "promise" => Sequel::Here(
                here(Returning::Other).or(|| format!("was not fulfilled up to record {}", life.traveller.range().1)),
            ),
            _ => seq.flatten().unwrap_or(Sequel::None),
        };
        sequels.push((effect, sequel));
    }
    sequels.reverse();
    sequels
}

fn messages(moment: &ShownMoment) -> &[ShownMessage] {
    match moment.record.as_ref().map(|record| &record.body) {
        Some(Body::Deliver { messages, .. } | Body::Mend { messages, .. }) => messages,
        _ => &[],
    }
}

impl Span {
    /// It is as its record says.
    fn take(&mut self, message: &ShownMessage) {
        let ShownMessage { source, kind, method, call_id, request, traceparent, arguments, .. } = message;
        (self.source, self.kind) = (source.clone(), kind.clone());
        (self.method, self.call_id) = (method.clone(), *call_id);
        (self.request, self.traceparent, self.arguments) = (request.clone(), traceparent.clone(), arguments.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_that_a_url_names_is_found() {
        let named = |url| named_by(url).collect::<Vec<_>>();
        assert_eq!(named("http://127.0.0.1:8080/v1/bank/charge?a=1"), ["v1", "bank"]);
        assert_eq!(named("https://shop.example/bank/accounts"), ["bank"]);
        assert_eq!(named("https://shop.example/bank?x"), ["bank"]);
        assert_eq!(named("https://shop.example"), [""]);
        assert_eq!(named("nonsense"), [""]);
    }
}
