//! Hands the messages of a delivery to their handlers, one after the other.

use std::rc::Rc;

use crate::{
    Arguments, Immortal, This, Timestamp,
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
            let is_due = message.kind == MessageKind::Cron;
            let impulse = if is_due { as_impulse::<S>(message) } else { Vec::new() };
            let bytes = if is_due { &impulse } else { bytes };
            runtime.current.set(Current {
                index,
                peer: run.peer,
                kind: message.kind,
                method: message.method,
                upgrading: false,
            });
            match is_due {
                false => handle(runtime, &this, run.peer, message),
                true => {
                    let (impulse, _) = layout::split_message(&impulse).expect("it was just made");
                    handle(runtime, &this, run.peer, impulse);
                }
            }
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

/// The impulse that stands for a time that has come: the method takes that time, or nothing. So a handler that waits is carried over by
/// an upgrade as any other.
#[cold]
fn as_impulse<S: Immortal>(due: Message<'_>) -> Vec<u8> {
    let time = due.arguments.try_into().map(u64::from_le_bytes).expect("the time is a number of 8 bytes");
    let method = S::METHODS.iter().find(|method| method.answers_to(due.method));
    let mut arguments = Vec::new();
    let encoded = match method.map_or(0, |method| method.arguments.len()) {
        0 => ().encode(&mut arguments),
        _ => (Timestamp::from_nanos(time),).encode(&mut arguments),
    };
    encoded.expect("a number can be encoded");
    let mut impulse = Vec::new();
    let message = Message { kind: MessageKind::Impulse, method: due.method, call_id: 0, arguments: &arguments };
    layout::push_message(&mut impulse, message);
    impulse
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
        // What is due was made an impulse.
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
