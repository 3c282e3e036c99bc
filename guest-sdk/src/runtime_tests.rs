//! What the runtime promises beneath the harness: whose answer counts, which ids there are, and in which order tasks run.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    Arguments, CallError, Peer,
    executor::{Role, Work},
    host::native::World,
    layout::{self, MessageKind},
    request::{AnswerTo, Request},
    runtime::{self, Answer, Runtime},
};

fn life(seed: u64) -> Rc<Runtime> {
    Rc::new(Runtime::new(World::new("it", seed, 1)))
}

/// Runs `inside` with `runtime` as the current one.
fn within<R>(runtime: &Rc<Runtime>, inside: impl FnOnce(&Runtime) -> R) -> R {
    let before = runtime::enter(Some(Rc::clone(runtime)));
    let result = inside(runtime);
    runtime::enter(before);
    result
}

#[test]
fn an_answer_counts_only_if_it_is_of_the_peer_that_was_called() {
    within(&life(1), |runtime| {
        runtime.expect_answer(7, 1, "ask");
        let context = Context::from_waker(Waker::noop());
        runtime.on_answer(7, 2, Answer::Reply(b"of another peer"));
        runtime.on_answer(7, 2, Answer::Error("of another peer".to_owned()));
        assert_eq!(runtime.poll_answer(7, &context), Poll::Pending);
        runtime.on_answer(7, 1, Answer::Reply(b"right"));
        assert_eq!(runtime.poll_answer(7, &context), Poll::Ready(Ok(b"right".to_vec())));
    });
}

/// A late answer to a call of an earlier life of the same name must not be taken for one to a call of this life.
#[test]
fn two_lives_of_a_name_have_no_ids_in_common() {
    let ids = |seed| within(&life(seed), |runtime| [(); 1000].map(|()| runtime.next_id()));
    let (first, second) = (ids(1), ids(2));
    assert!(first.iter().all(|id| !second.contains(id)));
    assert!(first.is_sorted() && first[0].abs_diff(second[0]) > 1 << 32, "{} and {}", first[0], second[0]);
    within(&life(2), |runtime| {
        runtime.expect_answer(second[0], 1, "ask");
        runtime.on_answer(first[0], 1, Answer::Reply(b"late"));
        assert_eq!(runtime.poll_answer(second[0], &Context::from_waker(Waker::noop())), Poll::Pending);
    });
}

/// A replay must run them in the same order.
#[test]
fn tasks_run_in_the_order_in_which_they_were_woken() {
    within(&life(1), |runtime| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for name in 0..3 {
            let (order, wakers) = (Rc::clone(&order), Rc::clone(&wakers));
            let work = std::future::poll_fn(move |context| {
                order.borrow_mut().push(name);
                wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            });
            runtime.executor.spawn("task", Role::Future, Box::pin(work));
        }
        runtime.executor.run(runtime);
        assert_eq!(order.take(), [0, 1, 2], "first in the order in which they were spawned");
        let wakers = wakers.take();
        for name in [2_usize, 0, 1, 2] {
            wakers[name].wake_by_ref();
        }
        runtime.executor.run(runtime);
        assert_eq!(order.take(), [2, 0, 1]);
        runtime.executor.clear();
    });
}

#[test]
fn cancelling_a_task_that_has_ended_does_not_touch_the_one_in_its_place() {
    within(&life(1), |runtime| {
        let ran = Rc::new(Cell::new(false));
        let ended = runtime.executor.spawn("first", Role::Future, Box::pin(async {}));
        runtime.executor.run(runtime);
        let flag = Rc::clone(&ran);
        let work: Work = Box::pin(async move { flag.set(true) });
        let second = runtime.executor.spawn("second", Role::Future, work);
        assert_ne!(second, ended);
        runtime.executor.cancel(ended);
        runtime.executor.run(runtime);
        assert!(ran.get(), "it was not the one that was cancelled");
    });
}

/// What one delivery brings about, each effect's kind and the bytes of its arguments.
fn effects(runtime: &Runtime) -> Vec<(MessageKind, usize)> {
    let bytes = runtime.take_effects();
    let mut rest = bytes.as_slice();
    std::iter::from_fn(|| {
        let (effect, after) = layout::split_effect(rest)?;
        rest = after;
        Some((effect.message.kind, effect.message.arguments.len()))
    })
    .collect()
}

/// The host takes 512 MiB of effects: what would bring them there is refused, and what is small never is.
#[test]
fn large_answers_that_together_are_too_large_are_refused_to_who_asked_last() {
    const LARGE: usize = 2 << 10;
    let runtime = Rc::new(Runtime::new(World::new("it", 1, 1)).with_large_effects_max(5 << 10));
    within(&runtime, |runtime| {
        let answer = |call_id| Request::new(runtime, 7, &[], AnswerTo { peer: 1, call_id });
        for call_id in 1..=2 {
            answer(call_id).reply_raw(&vec![1; LARGE]);
        }
        answer(3).reply_raw(&vec![1; LARGE]);
        answer(4).reply(&"x".repeat(LARGE));
        answer(5).reply_raw(&vec![1; layout::SMALL_ARGUMENTS_BYTES]);
        let error = Peer { index: 1 }.try_fork_raw("keep", &[1; LARGE]).expect_err("too much");
        assert!(error.to_string().contains("more than 5120 bytes: try again"), "{error}");
        let error = Peer { index: 1 }.try_fork("keep", ("x".repeat(LARGE),)).expect_err("too much");
        assert!(error.to_string().contains("more than 5120 bytes: try again"), "{error}");
        let context = &mut Context::from_waker(Waker::noop());
        let mut call = Box::pin(Peer { index: 1 }.call_raw("keep", &[1; LARGE]));
        assert!(matches!(call.as_mut().poll(context), Poll::Ready(Err(CallError::Codec { .. }))));
        drop(call);
        let all = effects(runtime);
        let kinds: Vec<MessageKind> = all.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [MessageKind::Reply, MessageKind::Reply, MessageKind::Error, MessageKind::Error, MessageKind::Reply]
        );
        assert!(all[2..4].iter().all(|(_, bytes)| *bytes < 200), "{all:?}");
        // In the next delivery there is room again.
        answer(6).reply_raw(&vec![1; LARGE]);
        assert_eq!(effects(runtime), [(MessageKind::Reply, LARGE)]);
    });
}

/// What a caller has sent may stand in the text of an error, five times as long.
#[test]
fn the_text_of_an_error_is_cut() {
    within(&life(1), |runtime| {
        let name = "\u{1}\u{e4}".repeat(1 << 20);
        let mut arguments = Vec::new();
        (name,).encode(&mut arguments).expect("a text can be encoded");
        let request = Request::new(runtime, 7, &arguments, AnswerTo { peer: 1, call_id: 1 });
        assert_eq!(request.arguments(1, |reader| reader.next::<Peer>("peer")), None);
        let all = effects(runtime);
        assert!(matches!(all[..], [(MessageKind::Error, bytes)] if bytes <= layout::SMALL_ARGUMENTS_BYTES), "{all:?}");
    });
}
