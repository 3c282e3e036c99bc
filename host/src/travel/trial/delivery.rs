//! What of the log the new code gets: the same messages, under its own ids and its own numbers of peers.
//!
//! **Architecture Invariant:** a message is left out only if the new code waits for no such thing: the end of a timer that
//! it has not set, or an answer to a call that it has not made.

use ambrosia_core::{
    CallId, InstanceName, Message, MessageKind, Messages, PeerIndex, Peers, Run, Runs, Seq, begin_run, finish_run,
    push_message,
};

use super::twins::Twins;

/// A message of the log, for whoever is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrialMessage {
    /// Its number in its record, from 0.
    pub index: u32,
    /// Who sent it; `None` for the outside world.
    pub source: Option<InstanceName>,
    /// What it is.
    pub kind: MessageKind,
    /// The method that it names, or zero.
    pub method: ambrosia_core::MethodId,
    /// The call, timer or impulse that it belongs to, or zero.
    pub call_id: CallId,
    /// Its arguments, or the result that it brings.
    pub arguments: Vec<u8>,
}

/// What the new code gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Delivery {
    pub(super) runs: Vec<u8>,
    /// Of each message in it, its number in the record.
    pub(super) numbers: Vec<u32>,
}

/// All messages of some runs, each with its run.
fn messages(runs: &[u8]) -> impl Iterator<Item = (Run<'_>, Message<'_>)> {
    let runs = Runs::new(runs).map(|run| run.expect("the record was checked when it was read"));
    runs.flat_map(|run| {
        let messages = Messages::new(run.messages);
        messages.map(move |message| (run, message.expect("the record was checked when it was read")))
    })
}

/// The message with that number.
pub(super) fn message_at<'a>(
    runs: &[u8],
    index: u32,
    name: impl Fn(PeerIndex) -> Option<&'a InstanceName>,
) -> Option<TrialMessage> {
    let (run, message) = messages(runs).nth(index as usize)?;
    let Message { kind, method, call_id, arguments } = message;
    Some(TrialMessage { index, source: name(run.peer).cloned(), kind, method, call_id, arguments: arguments.to_vec() })
}

/// How many there are.
pub(super) fn count(runs: &[u8]) -> u32 {
    Runs::new(runs).map(|run| run.expect("the record was checked when it was read").count).sum()
}

/// What the new code gets of the runs that the old code got. `name` knows the peers of the old code, `peers` are those of the
/// new; `None` if these are too many.
pub(super) fn translated<'a>(
    runs: &[u8],
    me: &InstanceName,
    name: impl Fn(PeerIndex) -> Option<&'a InstanceName>,
    peers: &mut Peers,
    twins: &mut Twins,
) -> Option<Delivery> {
    let (mut delivery, mut number) = (Delivery::default(), 0);
    for run in Runs::new(runs) {
        let run = run.expect("the record was checked when it was read");
        let source = name(run.peer);
        let peer = source.map_or(Some(PeerIndex::OUTSIDE), |source| peers.attach(source))?;
        let at = begin_run(&mut delivery.runs, peer, run.first_seq);
        let mut taken = 0;
        for message in Messages::new(run.messages) {
            let message = message.expect("the record was checked when it was read");
            if let Some(call_id) = id_for_the_new(&message, source == Some(me), twins) {
                push_message(&mut delivery.runs, Message { call_id, ..message });
                delivery.numbers.push(number);
                taken += 1;
            }
            number += 1;
        }
        match taken {
            0 => delivery.runs.truncate(at),
            taken => finish_run(&mut delivery.runs, at, taken),
        }
    }
    Some(delivery)
}

/// The id under which the new code knows what the message is about; `None` if it knows no such thing.
fn id_for_the_new(message: &Message<'_>, is_own: bool, twins: &mut Twins) -> Option<CallId> {
    match message.kind {
        MessageKind::Timer | MessageKind::Reply | MessageKind::Error => twins.forget_old(message.call_id),
        MessageKind::Call if is_own => twins.new_of(message.call_id),
        _ => Some(message.call_id),
    }
}

/// The ends of timers that only the new code has set.
pub(super) fn timers(ids: &[CallId]) -> Delivery {
    let mut delivery = Delivery::default();
    let at = begin_run(&mut delivery.runs, PeerIndex::OUTSIDE, Seq(0));
    for id in ids {
        let message =
            Message { kind: MessageKind::Timer, method: ambrosia_core::MethodId(0), call_id: *id, arguments: &[] };
        push_message(&mut delivery.runs, message);
    }
    finish_run(&mut delivery.runs, at, ids.len() as u32);
    delivery
}

#[cfg(test)]
mod tests {
    use ambrosia_core::MethodId;

    use super::*;

    fn name(name: &str) -> InstanceName {
        InstanceName::new(name).expect("plain")
    }

    fn run(out: &mut Vec<u8>, peer: u32, list: &[(MessageKind, u64)]) {
        let at = begin_run(out, PeerIndex(peer), Seq(u64::from(peer)));
        for (kind, call) in list {
            push_message(out, Message { kind: *kind, method: MethodId(0), call_id: CallId(*call), arguments: b"x" });
        }
        finish_run(out, at, list.len() as u32);
    }

    #[test]
    fn messages_go_on_under_the_ids_and_peers_of_the_new_code_and_what_it_does_not_wait_for_is_left_out() {
        use MessageKind::{Call, Fork, Impulse, Reply, Timer};
        let names = [name("me"), name("anna"), name("otto")];
        let old_name = |peer: PeerIndex| names.get((peer.0 as usize).checked_sub(1)?);
        let mut runs = Vec::new();
        run(&mut runs, 0, &[(Timer, 10), (Timer, 11)]);
        run(&mut runs, 2, &[(Reply, 12)]);
        run(&mut runs, 3, &[(Call, 10), (Fork, 0), (Reply, 13)]);
        run(&mut runs, 1, &[(Call, 14)]);
        run(&mut runs, 0, &[(Impulse, 3)]);
        assert_eq!(count(&runs), 8);
        let mut peers = Peers::default();
        for name in ["me", "fresh", "anna", "otto"] {
            peers.attach(&InstanceName::new(name).expect("plain"));
        }
        let mut twins = Twins::default();
        [(11, 21), (13, 23), (14, 24)].iter().for_each(|(old, new)| twins.pair(CallId(*old), CallId(*new)));
        let Delivery { runs: new, numbers } =
            translated(&runs, &names[0], old_name, &mut peers, &mut twins).expect("they are few");
        let got: Vec<_> = messages(&new).map(|(run, message)| (run.peer.0, message.kind, message.call_id.0)).collect();
        let expected = [(0, Timer, 21), (4, Call, 10), (4, Fork, 0), (4, Reply, 23), (1, Call, 24), (0, Impulse, 3)];
        assert_eq!(got, expected, "the call of another has the id of that one");
        assert_eq!(numbers, [1, 3, 4, 5, 6, 7]);
        Runs::new(&new).for_each(|run| run.expect("a run").check().expect("each is what its header says"));
        assert_eq!((twins.new_of(CallId(11)), twins.new_of(CallId(14))), (None, Some(CallId(24))), "an end comes once");
        let told = message_at(&runs, 4, old_name).expect("it is there");
        assert_eq!((told.source, told.kind, told.arguments), (Some(name("otto")), Fork, b"x".to_vec()));
    }
}
