//! What the runtime promises beneath the harness: whose answer counts, which ids there are, and in which order tasks run.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    executor::Work,
    host::native::World,
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
            runtime.executor.spawn("task", Box::pin(work));
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
        let ended = runtime.executor.spawn("first", Box::pin(async {}));
        runtime.executor.run(runtime);
        let flag = Rc::clone(&ran);
        let work: Work = Box::pin(async move { flag.set(true) });
        let second = runtime.executor.spawn("second", work);
        assert_ne!(second, ended);
        runtime.executor.cancel(ended);
        runtime.executor.run(runtime);
        assert!(ran.get(), "it was not the one that was cancelled");
    });
}
