//! Hands the messages of a delivery to their handlers, one after the other.

use std::rc::Rc;

use crate::{
    Immortal, This,
    call::error_text,
    layout::{self, Message, MessageKind},
    request::{AnswerTo, Request},
    runtime::{Answer, Current, Runtime},
};

/// Handles the runs of one record and returns the effects. `runtime` is the current one.
pub(crate) fn deliver<S: Immortal>(runtime: &Rc<Runtime>, runs: &[u8]) -> Vec<u8> {
    runtime.forget_now();
    if !runtime.exiting() {
        handle_runs::<S>(runtime, runs);
        runtime.push_waiting();
        runtime.push_exit();
    }
    runtime.take_effects()
}

fn handle_runs<S: Immortal>(runtime: &Runtime, mut runs: &[u8]) {
    let this = runtime.this::<S>();
    let mut index = 0;
    while !runs.is_empty() {
        let (run, rest) = layout::split_run(runs).expect("the host hands over whole runs");
        runs = rest;
        let mut messages = run.messages;
        while !messages.is_empty() {
            let (message, rest) = layout::split_message(messages).expect("the host hands over whole messages");
            let bytes = &messages[..messages.len() - rest.len()];
            messages = rest;
            runtime.current.set(Current {
                index,
                peer: run.peer,
                kind: message.kind,
                method: message.method,
                upgrading: false,
            });
            handle(runtime, &this, run.peer, message);
            if !runtime.executor.idle() {
                run_tasks(runtime, Some((run.peer, bytes)));
            }
            if runtime.exiting() {
                return;
            }
            index += 1;
        }
    }
}

/// Runs what is ready. Handlers that wait after that keep the message they were begun by, for an upgrade: the peer that it is
/// of, and its bytes.
pub(crate) fn run_tasks(runtime: &Runtime, message: Option<(u32, &[u8])>) {
    runtime.executor.run(runtime);
    if !runtime.exiting() {
        runtime.executor.keep_begun(message.filter(|_| runtime.keeps()), || runtime.now());
    }
}

#[inline]
pub(crate) fn handle<S: Immortal>(runtime: &Runtime, this: &This<S>, peer: u32, message: Message<'_>) {
    let Message { kind, method, call_id, arguments } = message;
    match kind {
        MessageKind::Fork => S::dispatch(this, Request::new(runtime, method, arguments, AnswerTo { peer, call_id: 0 })),
        MessageKind::Call | MessageKind::Impulse => {
            S::dispatch(this, Request::new(runtime, method, arguments, AnswerTo { peer, call_id }));
        }
        MessageKind::Reply => runtime.on_answer(call_id, peer, Answer::Reply(arguments)),
        MessageKind::Error => runtime.on_answer(call_id, peer, Answer::Error(error_text(arguments))),
        MessageKind::Timer => runtime.on_timer(call_id),
        MessageKind::Outcome | MessageKind::Resolved => runtime.on_outside(call_id, Ok(arguments.to_vec())),
        MessageKind::Start => S::start(this),
        MessageKind::Primary => S::primary(this),
        // Nothing here describes a schedule, so none is due.
        MessageKind::Cron
        | MessageKind::Exit
        | MessageKind::SetTimer
        | MessageKind::CancelTimer
        | MessageKind::Waiting
        | MessageKind::Request
        | MessageKind::CancelRequest
        | MessageKind::Promise
        | MessageKind::CancelPromise
        | MessageKind::Emit
        | MessageKind::Log => panic!("{} can't be delivered", kind.word()),
    }
}
