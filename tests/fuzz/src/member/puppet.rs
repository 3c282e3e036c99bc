//! The guest of the target: its messages tell it what to do.

use ambrosia_core::{
    CallId, Delivered, Fault, Guest, HandoverError, Message, MessageKind, Messages, MethodId, PeerIndex, Print,
    PrintStream, Runs, Seq, Upgrade, World, push_effect,
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

/// What the code of a module does in an upgrade to it, by the first byte of its hash; the rest of the hash are acts.
pub(super) mod code {
    pub(in super::super) const TAKES: u8 = 0;
    pub(in super::super) const REFUSES: u8 = 1;
    pub(in super::super) const WAITS: u8 = 2;
    pub(in super::super) const IS_LOST: u8 = 3;
    pub(in super::super) const KINDS: u8 = 4;
}

/// A guest whose messages tell it what to do.
#[derive(Default)]
pub(super) struct Puppet {
    poisoned: bool,
    /// The upgrade at hand is neither kept nor undone.
    is_upgrading: bool,
}

impl Guest for Puppet {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        assert!(!self.poisoned && !self.is_upgrading, "a guest is not called again after a fault, nor in an upgrade");
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

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        assert!(!self.poisoned && !self.is_upgrading, "an upgrade is tried between two deliveries");
        let (does, acts) = upgrade.to.split_first().expect("a hash has 32 bytes");
        let kind = MessageKind::Start;
        let all = Message { kind, method: MethodId(0), call_id: CallId(1), arguments: acts };
        match *does {
            code::TAKES => match self.obey(0, all, world, delivered) {
                Ok(()) => {
                    self.is_upgrading = true;
                    Ok(())
                }
                Err(fault) => {
                    self.poisoned = false; // it is put back
                    Err(HandoverError::Refused(fault))
                }
            },
            code::WAITS => Err(HandoverError::Waits("something waits".to_owned())),
            code::IS_LOST => {
                self.poisoned = true;
                Err(HandoverError::Lost(Fault::because("told to")))
            }
            _ => Err(HandoverError::Refused(Fault::because("told to"))),
        }
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        assert!(std::mem::take(&mut self.is_upgrading), "there is an upgrade to be undone");
        Ok(())
    }

    fn keep_upgrade(&mut self) {
        assert!(std::mem::take(&mut self.is_upgrading), "there is an upgrade that stands");
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
