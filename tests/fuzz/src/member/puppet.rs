//! The guest of the target: its messages tell it what to do.

use ambrosia_core::{
    CallId, Delivered, Fault, Guest, Message, MessageKind, Messages, MethodId, PeerIndex, Print, PrintStream, Runs,
    Seq, World, push_effect,
};

use super::name;
use crate::choices::Choices;

/// What the guest does with a message, by the numbers in its arguments.
pub(super) mod act {
    pub(in super::super) const ATTACH: u8 = 0;
    pub(in super::super) const EFFECT: u8 = 1;
    pub(in super::super) const BYTES: u8 = 2;
    pub(in super::super) const PRINT: u8 = 3;
    pub(in super::super) const FAULT: u8 = 4;
    pub(in super::super) const RANDOM: u8 = 5;
    pub(in super::super) const KINDS: u8 = 6;
}

/// A guest whose messages tell it what to do.
#[derive(Default)]
pub(super) struct Puppet {
    poisoned: bool,
}

impl Guest for Puppet {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        assert!(!self.poisoned, "a guest is not called again after a fault");
        let mut cause = 0;
        for run in Runs::new(runs) {
            let run = run.expect("the core hands over whole runs");
            run.check().expect("the core hands over whole messages");
            for message in Messages::new(run.messages) {
                let message = message.expect("checked a line above");
                let from_outside = run.peer == PeerIndex::OUTSIDE;
                assert!(from_outside == (run.first_seq == Seq(0)), "peers count from 1, the outside does not");
                assert!(if from_outside { message.kind.comes_from_outside() } else { message.kind.travels() });
                // Host's own messages have no arguments of somebody's choice.
                if message.kind != MessageKind::Error || !from_outside {
                    self.obey(cause, message, world, delivered)?;
                }
                cause += 1;
            }
        }
        Ok(())
    }
}

impl Puppet {
    fn obey(
        &mut self,
        cause: u32,
        message: Message<'_>,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), Fault> {
        let mut choices = Choices::new(message.arguments);
        while !choices.is_empty() {
            match choices.below(act::KINDS) {
                act::ATTACH => {
                    let _index = world.peers.attach(&name(choices.byte()));
                }
                act::EFFECT => {
                    let kind = MessageKind::from_byte(choices.byte()).unwrap_or(MessageKind::Fork);
                    let target = PeerIndex(choices.number() as u32);
                    let call_id = if choices.chance() { message.call_id } else { CallId(choices.number()) };
                    let arguments = choices.bytes();
                    let method = MethodId(7);
                    push_effect(&mut delivered.effects, cause, target, Message { kind, method, call_id, arguments });
                }
                act::BYTES => delivered.effects.extend_from_slice(choices.bytes()),
                act::PRINT => {
                    let stream = if choices.chance() { PrintStream::Stderr } else { PrintStream::Stdout };
                    delivered.prints.push(Print { stream, bytes: choices.bytes().to_vec() });
                }
                act::FAULT => {
                    self.poisoned = true;
                    let reason = "told to".to_owned();
                    return Err(Fault { reason, backtrace: String::new(), stderr: String::new() });
                }
                act::RANDOM => delivered.effects.extend_from_slice(&world.random.next_u64().to_le_bytes()),
                _ => unreachable!("there are no more kinds of acts"),
            }
        }
        Ok(())
    }
}
