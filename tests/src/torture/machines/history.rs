//! Whether what clients saw of a total and of a list is what some order of their calls would have shown, in which each call
//! happens once and between its beginning and its end: linearizability.
//!
//! Every change answers what it has made of the object: the total, or the length of the list. So the order of all changes is known from
//! their answers, and there is nothing to search for: it is seen whether each answer follows from the one before, and whether no
//! call comes in that order behind one that began only when it had ended. For these objects that is exact: what is refused here
//! no order explains, and what is accepted this order explains.
//!
//! **Architecture Invariant:** it knows no clock, client or process: times are arguments.

use std::time::Duration;

use anyhow::ensure;

/// When a call was made and when its answer was there, since any moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) called: Duration,
    pub(crate) answered: Duration,
}

/// A call that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) span: Span,
    pub(crate) act: Act,
}

/// What was asked for, and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// More than nothing was added, and made the total so large.
    Add { added: u64, total: u64 },
    /// The total was read.
    Total(u64),
    /// A value was appended, and made the list so long.
    Append { value: u64, length: u64 },
    /// The list was read: how long it was, and the sum that [`sum_of`] makes of it.
    List { length: u64, sum: u64 },
}

/// What is there when all calls were answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remains {
    pub(crate) total: u64,
    pub(crate) list: Vec<u64>,
}

/// A call that has its place in the order, and whether it changed something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The total or the length after it.
    after: u64,
    is_read: bool,
    /// Reads of the same are in the order in which they were made.
    called: Duration,
    answered: Duration,
}

/// Of what a list holds: two lists of the same length with another content differ in it, but for what a hash can't tell.
pub(crate) fn sum_of(list: &[u64]) -> u64 {
    list.iter().fold(0xcbf2_9ce4_8422_2325, |sum, value| step(sum, *value))
}

fn step(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
}

/// Every call happened once, in an order that fits what each was told and when. All that were made were answered.
///
/// # Errors
/// If not, with the calls that show it.
pub(crate) fn check(calls: &[Call], remains: &Remains) -> anyhow::Result<()> {
    check_total(calls, remains.total)?;
    check_list(calls, &remains.list)
}

fn check_total(calls: &[Call], remains: u64) -> anyhow::Result<()> {
    let mut adds = Vec::new();
    let mut places = Vec::new();
    for call in calls {
        match call.act {
            Act::Add { added, total } => {
                ensure!(added > 0, "nothing was added, so its place is not known: {call:?}");
                adds.push((total, added));
                places.push(place(call, total, false));
            }
            Act::Total(total) => places.push(place(call, total, true)),
            Act::Append { .. } | Act::List { .. } => {}
        }
    }
    adds.sort_unstable();
    let mut total = 0;
    for (after, added) in &adds {
        ensure!(
            after.checked_sub(*added) == Some(total),
            "{added} was added and {after} was answered, but the answer before that is {total}: a call was lost or done twice"
        );
        total = *after;
    }
    ensure!(total == remains, "the last answer is a total of {total}, and in the end it is {remains}");
    let is_known = |of: u64| of == 0 || adds.binary_search_by_key(&of, |(total, _)| *total).is_ok();
    if let Some(unknown) = places.iter().find(|place| !is_known(place.after)) {
        anyhow::bail!("a total of {} was read that no call has made", unknown.after);
    }
    check_times("total", places)
}

fn check_list(calls: &[Call], remains: &[u64]) -> anyhow::Result<()> {
    let mut places = Vec::new();
    let mut is_told = vec![false; remains.len()];
    // Of the list as long as it was each time.
    let sums: Vec<u64> = std::iter::once(sum_of(&[]))
        .chain(remains.iter().scan(sum_of(&[]), |sum, value| {
            *sum = step(*sum, *value);
            Some(*sum)
        }))
        .collect();
    for call in calls {
        match call.act {
            Act::Append { value, length } => {
                let at = usize::try_from(length).ok().and_then(|length| length.checked_sub(1));
                let stands = at.and_then(|at| remains.get(at));
                ensure!(
                    stands == Some(&value),
                    "{value} was appended as number {length}, where in the end is {stands:?} of {}",
                    remains.len()
                );
                let told = at.and_then(|at| is_told.get_mut(at)).expect("there is something");
                ensure!(!*told, "number {length} of the list, {value}, was told twice");
                *told = true;
                places.push(place(call, length, false));
            }
            Act::List { length, sum } => {
                let was = usize::try_from(length).ok().and_then(|length| sums.get(length));
                ensure!(was == Some(&sum), "a list of {length} was read, whose content is not that of the list");
                places.push(place(call, length, true));
            }
            Act::Add { .. } | Act::Total(_) => {}
        }
    }
    if let Some(at) = is_told.iter().position(|told| !told) {
        anyhow::bail!("number {} of the list, {}, was told to nobody: a call was done twice", at + 1, remains[at]);
    }
    check_times("list", places)
}

fn place(call: &Call, after: u64, is_read: bool) -> Place {
    Place { after, is_read, called: call.span.called, answered: call.span.answered }
}

/// No call has ended before one began that comes before it.
fn check_times(what: &str, mut places: Vec<Place>) -> anyhow::Result<()> {
    places.sort_unstable();
    let mut latest: Option<Place> = None;
    for place in places {
        ensure!(place.called <= place.answered, "an answer came before its call");
        if let Some(before) = latest {
            ensure!(
                before.called <= place.answered,
                "the {what} was {} for a call that had ended after {:?}, and had been {} only for one that began after {:?}",
                place.after,
                place.answered,
                before.after,
                before.called
            );
        }
        if latest.is_none_or(|latest| latest.called < place.called) {
            latest = Some(place);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(called: u64, answered: u64, act: Act) -> Call {
        let span = Span { called: Duration::from_millis(called), answered: Duration::from_millis(answered) };
        Call { span, act }
    }

    fn add(times: (u64, u64), added: u64, total: u64) -> Call {
        call(times.0, times.1, Act::Add { added, total })
    }

    fn append(times: (u64, u64), value: u64, length: u64) -> Call {
        call(times.0, times.1, Act::Append { value, length })
    }

    fn list(times: (u64, u64), seen: &[u64]) -> Call {
        call(times.0, times.1, Act::List { length: seen.len() as u64, sum: sum_of(seen) })
    }

    fn total(times: (u64, u64), seen: u64) -> Call {
        call(times.0, times.1, Act::Total(seen))
    }

    fn remains(total: u64, list: &[u64]) -> Remains {
        Remains { total, list: list.to_vec() }
    }

    #[track_caller]
    fn holds(calls: &[Call], total: u64, list: &[u64]) {
        check(calls, &remains(total, list)).expect("there is an order");
    }

    #[track_caller]
    fn is_refused(calls: &[Call], total: u64, list: &[u64], because: &str) {
        let error = check(calls, &remains(total, list)).expect_err("there is no order");
        assert!(error.to_string().contains(because), "{error}");
    }

    #[test]
    fn calls_at_the_same_time_may_have_happened_in_any_order() {
        holds(&[], 0, &[]);
        holds(
            &[add((0, 10), 3, 8), add((1, 9), 5, 5), total((0, 10), 5), total((0, 10), 0), total((0, 10), 8)],
            8,
            &[],
        );
        holds(&[append((0, 10), 7, 2), append((1, 9), 8, 1), list((0, 10), &[8]), list((0, 10), &[8, 7])], 0, &[8, 7]);
        // One ends in the moment in which the other begins.
        holds(&[add((0, 5), 1, 2), add((5, 6), 1, 1)], 2, &[]);
    }

    #[test]
    fn a_call_that_is_lost_or_done_twice_is_found() {
        is_refused(&[add((0, 1), 3, 3), add((2, 3), 4, 4)], 7, &[], "lost or done twice");
        is_refused(&[add((0, 1), 3, 3), add((2, 3), 4, 10)], 10, &[], "lost or done twice");
        is_refused(&[add((0, 1), 3, 3), add((2, 3), 3, 3)], 3, &[], "lost or done twice");
        is_refused(&[add((0, 1), 3, 3)], 6, &[], "in the end it is 6");
        is_refused(&[append((0, 1), 7, 1), append((2, 3), 8, 2)], 0, &[7], "was appended as number 2");
        is_refused(&[append((0, 1), 7, 1)], 0, &[8], "was appended as number 1");
        is_refused(&[append((0, 1), 7, 1)], 0, &[7, 7], "told to nobody");
        is_refused(&[append((0, 1), 7, 1), append((2, 3), 7, 1)], 0, &[7], "told twice");
        is_refused(&[append((0, 1), 7, 0)], 0, &[7], "was appended as number 0");
    }

    #[test]
    fn an_order_that_the_times_exclude_is_found() {
        is_refused(&[add((0, 1), 3, 8), add((2, 3), 5, 5)], 8, &[], "the total was 8");
        is_refused(&[append((0, 1), 7, 2), append((2, 3), 8, 1)], 0, &[8, 7], "the list was 2");
        // It is not the one just before it.
        let far = [append((0, 1), 7, 3), append((2, 9), 8, 1), append((0, 9), 9, 2)];
        is_refused(&far, 0, &[8, 9, 7], "the list was 3");
    }

    #[test]
    fn a_read_of_what_is_over_or_is_not_yet_there_or_never_was_is_found() {
        let adds = [add((0, 1), 3, 3), add((4, 5), 4, 7)];
        let with = |read: Call| [adds.to_vec(), vec![read]].concat();
        holds(&with(total((2, 3), 3)), 7, &[]);
        is_refused(&with(total((2, 3), 0)), 7, &[], "the total was 3");
        is_refused(&with(total((2, 3), 7)), 7, &[], "the total was 7");
        is_refused(&with(total((6, 7), 3)), 7, &[], "the total was 7");
        is_refused(&with(total((2, 3), 5)), 7, &[], "no call has made");
        let appends = [append((0, 1), 7, 1), append((4, 5), 8, 2)];
        let with = |read: Call| [appends.to_vec(), vec![read]].concat();
        holds(&with(list((2, 3), &[7])), 0, &[7, 8]);
        is_refused(&with(list((2, 3), &[])), 0, &[7, 8], "the list was 1");
        is_refused(&with(list((2, 3), &[7, 8])), 0, &[7, 8], "the list was 2");
        is_refused(&with(list((6, 7), &[7])), 0, &[7, 8], "the list was 2");
        is_refused(&with(list((2, 3), &[8])), 0, &[7, 8], "whose content");
        is_refused(&with(list((6, 7), &[7, 8, 9])), 0, &[7, 8], "whose content");
        // Two readers see time go back.
        let back = [append((0, 9), 7, 1), list((1, 2), &[7]), list((3, 4), &[])];
        is_refused(&back, 0, &[7], "the list was 1");
    }
}
