//! Whose turn it is to be looked at: nobody is passed over for ever, however many there are.

use std::time::Duration;

use ambrosia_core::InstanceName;

/// How far the log was, as it was seen so long ago, says no more who has caught up.
pub(super) const MARK_TIME_MAX: Duration = Duration::from_secs(10);

/// So many replicas of this host that may have to end are looked at in one turn …
const LOOKS_MAX: usize = 16;

/// … among them at least so many of whose log nothing is known yet, and no more if there are enough others: what is known of a log counts for
/// a while only, so all that are known have their turn before that is over …
const LOOKS_NEW_MIN: usize = 4;

/// … and of those that seem to be well so many, one after the other.
const LOOKS_IDLE_MAX: usize = 2;

/// One after the other, and again from the beginning.
#[derive(Default)]
pub(super) struct Turn {
    last: Option<InstanceName>,
}

impl Turn {
    /// The next `count` of them, which are in order.
    pub(super) fn next(&mut self, names: &[InstanceName], count: usize) -> Vec<InstanceName> {
        let begin = self.last.as_ref().map_or(0, |last| names.partition_point(|name| name <= last));
        let turn: Vec<_> = names[begin..].iter().chain(&names[..begin]).take(count).cloned().collect();
        if let Some(last) = turn.last() {
            self.last = Some(last.clone());
        }
        turn
    }
}

/// Replicas of this host, by what is known of them.
#[derive(Default)]
pub(super) struct Looked {
    /// They may have to end, and it was seen how far their logs are.
    pub(super) known: Vec<InstanceName>,
    /// They may have to end.
    pub(super) new: Vec<InstanceName>,
    /// They seem to be well.
    pub(super) idle: Vec<InstanceName>,
}

/// Which of them are looked at.
#[derive(Default)]
pub(super) struct Looks {
    known: Turn,
    new: Turn,
    idle: Turn,
}

impl Looks {
    pub(super) fn next(&mut self, looked: &Looked) -> Vec<InstanceName> {
        let mut turn = self.known.next(&looked.known, LOOKS_MAX);
        turn.extend(self.new.next(&looked.new, (LOOKS_MAX - turn.len()).max(LOOKS_NEW_MIN)));
        turn.extend(self.idle.next(&looked.idle, LOOKS_IDLE_MAX));
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names(count: u32) -> Vec<InstanceName> {
        (0..count).map(|number| InstanceName::new(format!("i{number:05}")).expect("plain")).collect()
    }

    #[test]
    fn everybody_has_a_turn() {
        let names = names(4);
        let mut turn = Turn::default();
        let had: Vec<_> = (0..4).flat_map(|_| turn.next(&names, 3)).collect();
        assert_eq!(had, [&names[..], &names[..], &names[..]].concat());
        assert!(turn.next(&[], 3).is_empty());
        assert_eq!(turn.next(&names, 9).len(), 4);
    }

    #[test]
    fn of_however_many_that_are_to_end_all_do_though_some_never_can() {
        const LOOK_TIME: Duration = Duration::from_millis(20);
        const BETWEEN: Duration = Duration::from_millis(50);
        let never = |name: &InstanceName| name.as_str().ends_with('7');
        let (mut now, mut looks) = (Duration::ZERO, Looks::default());
        let mut here: BTreeMap<InstanceName, Option<Duration>> =
            names(4000).into_iter().map(|name| (name, None)).collect();
        while !here.keys().all(never) {
            assert!(now < Duration::from_secs(3600), "{} are still there", here.len());
            let mut looked = Looked::default();
            for (name, mark) in &here {
                let is_known = mark.is_some_and(|at| now - at < MARK_TIME_MAX);
                (if is_known { &mut looked.known } else { &mut looked.new }).push(name.clone());
            }
            for name in looks.next(&looked) {
                now += LOOK_TIME;
                match here[&name].filter(|at| now - *at < MARK_TIME_MAX) {
                    Some(_) if never(&name) => {}
                    Some(_) => drop(here.remove(&name)),
                    None => drop(here.insert(name, Some(now))),
                }
            }
            now += BETWEEN;
        }
    }
}
