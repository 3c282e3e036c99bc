//! What one message brings about, by the old code and by the new.
//!
//! An answer is compared with the answer to the same call, the n-th call or fork of a method of a peer with the n-th, the n-th
//! timer with the n-th: the ids that the two codes give to calls and timers may differ.
//!
//! **Architecture Invariant:** it is a function of the two lists and of the pairs that were found before; what is printed, and
//! how many handlers wait, is no matter here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ambrosia_core::{CallId, EffectError, Effects, InstanceName, MessageKind, MethodId, PeerIndex};

use super::twins::Twins;

/// Something that a message brought about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brought {
    /// What it is.
    pub kind: MessageKind,
    /// The peer that it goes to; `None` for the outside world.
    pub to: Option<InstanceName>,
    /// The method that it names, or zero.
    pub method: MethodId,
    /// The call, timer or impulse that it belongs to, or zero, as the code that brought it about has it.
    pub call_id: CallId,
    /// Arguments, a result, the time of a timer, an exit code.
    pub arguments: Vec<u8>,
}

/// A difference in what a message brings about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Both codes bring it about, with other contents.
    Other {
        /// As the old code has it.
        before: Brought,
        /// As the new code has it.
        after: Brought,
    },
    /// Only the old code does.
    Gone(Brought),
    /// Only the new code does.
    New(Brought),
    /// The same goes to that peer in another order.
    Order(InstanceName),
}

/// The same as [`Brought`], borrowed, with the message that it comes of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent<'a> {
    pub(super) cause: u32,
    kind: MessageKind,
    to: Option<&'a InstanceName>,
    method: MethodId,
    call_id: CallId,
    arguments: &'a [u8],
}

impl Sent<'_> {
    fn kept(self) -> Brought {
        let Sent { cause: _, kind, to, method, call_id, arguments } = self;
        Brought { kind, to: to.cloned(), method, call_id, arguments: arguments.to_vec() }
    }
}

/// Effects in the order of the messages that they come of.
///
/// # Errors
/// If the bytes are no effects, or one goes to a peer without a name.
pub(super) fn read<'a>(
    effects: &'a [u8],
    name: impl Fn(PeerIndex) -> Option<&'a InstanceName>,
) -> Result<Vec<Sent<'a>>, String> {
    let mut sent = Vec::new();
    for effect in Effects::new(effects) {
        let effect = effect.map_err(|error: EffectError| error.to_string())?;
        let message = effect.message;
        let to = match effect.target {
            PeerIndex::OUTSIDE => None,
            peer => Some(name(peer).ok_or_else(|| format!("a message to peer {peer}, which it never attached"))?),
        };
        if message.kind == MessageKind::Waiting {
            continue;
        }
        let (kind, method, call_id, arguments) = (message.kind, message.method, message.call_id, message.arguments);
        sent.push(Sent { cause: effect.cause, kind, to, method, call_id, arguments });
    }
    sent.sort_by_key(|sent| sent.cause);
    Ok(sent)
}

/// By what an effect is found among those of the other code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key<'a> {
    Answer(Option<&'a InstanceName>, CallId),
    Fork(&'a InstanceName, MethodId),
    Call(&'a InstanceName, MethodId),
    Timer,
    /// `None` for a timer that the other code never set.
    Cancel(Option<CallId>),
    Exit,
}

/// Compares the effects of one message. Calls and timers that belong together are paired.
pub(super) fn compare(before: &[Sent<'_>], after: &[Sent<'_>], me: &InstanceName, twins: &mut Twins) -> Vec<Change> {
    let mut open: BTreeMap<Key<'_>, VecDeque<usize>> = BTreeMap::new();
    for (at, sent) in after.iter().enumerate() {
        open.entry(key(sent, me, |id| twins.old_of(id))).or_default().push_back(at);
    }
    let (mut changes, mut paired, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for sent in before {
        let twin = open.get_mut(&key(sent, me, Some)).and_then(VecDeque::pop_front);
        let Some(at) = twin else {
            changes.push(Change::Gone(sent.kept()));
            continue;
        };
        used.insert(at);
        paired.push((sent.to, at));
        if matches!(sent.kind, MessageKind::Call | MessageKind::SetTimer) {
            twins.pair(sent.call_id, after[at].call_id);
        }
        if (sent.kind, sent.arguments) != (after[at].kind, after[at].arguments) {
            changes.push(Change::Other { before: sent.kept(), after: after[at].kept() });
        }
    }
    let news = after.iter().enumerate().filter(|(at, _)| !used.contains(at));
    changes.extend(news.map(|(_, sent)| Change::New(sent.kept())));
    changes.extend(disordered(&paired).into_iter().map(|to| Change::Order(to.clone())));
    changes
}

/// The peers to which the same goes in another order.
fn disordered<'a>(paired: &[(Option<&'a InstanceName>, usize)]) -> BTreeSet<&'a InstanceName> {
    let mut last = BTreeMap::new();
    let late = paired.iter().filter_map(|(to, at)| {
        let to = (*to)?;
        last.insert(to, *at).is_some_and(|before| before > *at).then_some(to)
    });
    late.collect()
}

/// `old_of` says which id of the old code one is.
fn key<'a>(sent: &Sent<'a>, me: &InstanceName, old_of: impl Fn(CallId) -> Option<CallId>) -> Key<'a> {
    match (sent.kind, sent.to) {
        (MessageKind::Fork, Some(to)) => Key::Fork(to, sent.method),
        (MessageKind::Call, Some(to)) => Key::Call(to, sent.method),
        // The ids of calls to itself are the guest's own.
        (_, Some(to)) if to == me => Key::Answer(Some(to), old_of(sent.call_id).unwrap_or_default()),
        (_, Some(to)) => Key::Answer(Some(to), sent.call_id),
        (MessageKind::SetTimer, None) => Key::Timer,
        (MessageKind::CancelTimer, None) => Key::Cancel(old_of(sent.call_id)),
        (MessageKind::Exit, None) => Key::Exit,
        (_, None) => Key::Answer(None, sent.call_id),
    }
}

/// Why the log can't be followed any more behind these changes, if so.
pub(super) fn why_it_ends(changes: &[Change], me: &InstanceName) -> Option<String> {
    let only = |code: &str, brought: &Brought| {
        let to = brought.to.as_ref()?;
        match brought.kind {
            _ if to == me => Some(format!("only the {code} code sends that to itself")),
            MessageKind::Call => {
                Some(format!("only the {code} code calls {to} there, so the log does not tell the answer"))
            }
            _ => None,
        }
    };
    changes.iter().find_map(|change| match change {
        Change::Gone(brought) => only("old", brought),
        Change::New(brought) if brought.kind == MessageKind::Exit => Some("the new code exits there".to_owned()),
        Change::New(brought) => only("new", brought),
        Change::Other { before, .. } if before.to.as_ref() == Some(me) => {
            Some("what it sends to itself there is another message".to_owned())
        }
        Change::Order(to) if to == me => Some("what it sends to itself there comes in another order".to_owned()),
        Change::Other { .. } | Change::Order(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{Message, push_effect};

    use super::*;

    fn name(name: &str) -> InstanceName {
        InstanceName::new(name).expect("plain")
    }

    /// Effects: the peer, what goes there, its method, its id, and its arguments.
    fn effects(list: &[(u32, MessageKind, u32, u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (peer, kind, method, call, arguments) in list {
            let message = Message { kind: *kind, method: MethodId(*method), call_id: CallId(*call), arguments };
            push_effect(&mut bytes, 0, PeerIndex(*peer), message);
        }
        bytes
    }

    /// Compares; peer 1 is the instance itself, peers 2 and 3 are others. In the new code 4 is peer 2.
    fn changes(before: &[u8], after: &[u8], twins: &mut Twins) -> Vec<Change> {
        let names = [name("me"), name("anna"), name("otto")];
        let at = |peer: PeerIndex| names.get(peer.0 as usize - 1);
        let renumbered = |peer: PeerIndex| at(if peer.0 == 4 { PeerIndex(2) } else { peer });
        let (before, after) = (read(before, at).expect("sound"), read(after, renumbered).expect("sound"));
        compare(&before, &after, &names[0], twins)
    }

    use MessageKind::{Call, CancelTimer, Error, Exit, Fork, Reply, SetTimer, Waiting};

    #[test]
    fn the_same_under_other_ids_and_other_numbers_of_peers_is_the_same() {
        let mut twins = Twins::default();
        let old = effects(&[(2, Call, 7, 100, b"a"), (0, SetTimer, 0, 101, &[1; 8]), (2, Call, 7, 102, b"b")]);
        let new = effects(&[
            (0, SetTimer, 0, 7, &[1; 8]),
            (4, Call, 7, 8, b"a"),
            (0, Waiting, 0, 0, &[0; 8]),
            (4, Call, 7, 9, b"b"),
        ]);
        assert_eq!(changes(&old, &new, &mut twins), []);
        let of = |old| twins.new_of(CallId(old));
        assert_eq!([of(100), of(101), of(102)], [Some(CallId(8)), Some(CallId(7)), Some(CallId(9))]);
        let (old, new) = (effects(&[(0, CancelTimer, 0, 101, b"")]), effects(&[(0, CancelTimer, 0, 7, b"")]));
        assert_eq!(changes(&old, &new, &mut twins), []);
        let other = effects(&[(0, CancelTimer, 0, 8, b"")]);
        assert!(matches!(changes(&old, &other, &mut twins)[..], [Change::Gone(_), Change::New(_)]));
    }

    #[test]
    fn answers_are_compared_by_the_call_that_they_answer() {
        let mut twins = Twins::default();
        let old = effects(&[(2, Reply, 0, 1, b"1"), (2, Reply, 0, 2, b"2"), (0, Reply, 0, 1, b"x")]);
        let new = effects(&[(2, Reply, 0, 1, b"1"), (2, Error, 0, 2, b"no"), (0, Reply, 0, 1, b"x")]);
        let [Change::Other { before, after }] = &changes(&old, &new, &mut twins)[..] else { panic!("one differs") };
        assert_eq!(
            (before.kind, &*before.arguments, after.kind, &*after.arguments),
            (Reply, &b"2"[..], Error, &b"no"[..])
        );
        // Those to itself by the id that the other code gave.
        twins.pair(CallId(50), CallId(60));
        let (old, new) = (effects(&[(1, Reply, 0, 50, b"1")]), effects(&[(1, Reply, 0, 60, b"1")]));
        assert_eq!(changes(&old, &new, &mut twins), []);
        assert_eq!(changes(&old, &old, &mut twins).len(), 2, "that is another call");
    }

    #[test]
    fn what_only_one_does_and_what_comes_in_another_order_is_told() {
        let mut twins = Twins::default();
        let old = effects(&[(2, Fork, 1, 0, b""), (2, Fork, 2, 0, b""), (3, Fork, 1, 0, b"")]);
        let new = effects(&[(3, Fork, 1, 0, b""), (2, Fork, 2, 0, b""), (2, Fork, 1, 0, b"")]);
        assert_eq!(changes(&old, &new, &mut twins), [Change::Order(name("anna"))], "between peers there is no order");
        let fewer = effects(&[(2, Fork, 1, 0, b""), (2, Fork, 2, 0, b""), (3, Fork, 9, 0, b"")]);
        let told = changes(&old, &fewer, &mut twins);
        assert!(
            matches!(&told[..], [Change::Gone(gone), Change::New(new)] if (gone.method, new.method) == (MethodId(1), MethodId(9))),
            "{told:?}"
        );
        assert_eq!(why_it_ends(&told, &name("me")), None, "forks have no answer");
    }

    #[test]
    fn a_call_that_only_one_makes_ends_the_comparison_and_so_does_what_it_sends_to_itself() {
        let end = |old: &[u8], new: &[u8]| why_it_ends(&changes(old, new, &mut Twins::default()), &name("me"));
        let call = effects(&[(2, Call, 7, 1, b"a")]);
        assert!(end(&call, b"").is_some_and(|why| why.contains("only the old code calls anna")));
        assert!(end(b"", &call).is_some_and(|why| why.contains("only the new code calls anna")));
        assert_eq!(end(&call, &effects(&[(2, Call, 7, 1, b"b")])), None, "the log's answer is that to both");
        let own = effects(&[(1, Fork, 7, 0, b"a")]);
        assert!(end(&own, b"").is_some_and(|why| why.contains("sends that to itself")));
        assert!(end(&own, &effects(&[(1, Fork, 7, 0, b"b")])).is_some_and(|why| why.contains("another message")));
        assert!(end(b"", &effects(&[(0, Exit, 0, 0, &[0; 4])])).is_some_and(|why| why.contains("exits")));
    }

    #[test]
    fn what_no_host_takes_is_no_effect() {
        let nobody = |_| None;
        let stranger = effects(&[(9, Fork, 7, 0, b"a")]);
        assert!(read(&stranger, nobody).is_err_and(|error| error.contains("peer 9, which it never attached")));
        assert!(read(&stranger[..20], nobody).is_err());
    }
}
