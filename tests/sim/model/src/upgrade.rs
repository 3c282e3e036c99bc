//! How a model is handed over to other code.

use ambrosia_core::{CallId, Delivered, Fault, HandoverError, MessageKind, PeerIndex, Upgrade, World};

use crate::{
    code::{Behaviour, Code},
    model::{Arguments, EXIT_CODE, Model, Turn},
};

impl Model {
    /// Hands over to the code of `upgrade`.
    ///
    /// # Errors
    /// As the code says; or if it is not this code that is to hand over.
    pub(crate) fn hand_over(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        assert!(self.before.is_none(), "an upgrade is kept or undone before the next one");
        assert_eq!(self.code.module(), upgrade.from, "the code that runs is to hand over");
        let refused = |reason: &str| Err(HandoverError::Refused(Fault::because(reason)));
        match self.code.behaviour {
            _ if upgrade.to == upgrade.from => {
                self.before = Some(Box::new(self.clone()));
                return Ok(()); // it only has other limits
            }
            Behaviour::NeverHandsOver => return refused("it traps when it is to hand over"),
            Behaviour::IsLost => {
                self.broken = Some("it was lost when it was to hand over");
                return Err(HandoverError::Lost(Fault::because("it is lost when it is to hand over")));
            }
            _ => {}
        }
        let code = Code::of(upgrade.to);
        match code.behaviour {
            Behaviour::Refuses => return refused("it refuses what it is handed"),
            Behaviour::Traps => {
                world.random.next_u64();
                world.peers.attach(&world.name.clone());
                return refused("it traps when it takes over");
            }
            Behaviour::TakesWithoutCalls if !self.pending.is_empty() && !upgrade.end_waiting => {
                return Err(HandoverError::Waits(format!("{} calls wait", self.pending.len())));
            }
            _ => {}
        }
        self.before = Some(Box::new(self.clone()));
        self.take_over(code, world, delivered);
        Ok(())
    }

    fn take_over(&mut self, code: Code, world: &mut World, delivered: &mut Delivered) {
        self.code = code;
        self.cancelled_now.clear();
        self.note(&code.module());
        self.note(&world.time.0.to_le_bytes());
        let mut turn = Turn { world, delivered, cause: 0 };
        // Timers of the old code: those that pay what is owed go on.
        let old: Vec<_> = self.timers.keys().filter(|timer| timer.0 & 1 == 1).copied().collect();
        for timer in old {
            self.timers.remove(&timer);
            self.cancelled_now.insert(timer);
            turn.effect(PeerIndex::OUTSIDE, MessageKind::CancelTimer, timer, &[]);
        }
        if self.started {
            self.set_timer(1, &mut turn);
            self.print(&mut turn);
            let myself = turn.world.name();
            let to = self.names.keys().nth(turn.dice(4) as usize).cloned().unwrap_or(myself);
            let asked = Arguments { token: 0, about: 0, money: 0, instances: 1, hops: 1 };
            self.send_to(&to, MessageKind::Fork, asked, &mut turn);
        }
        match code.behaviour {
            Behaviour::IsAtFault => turn.effect(PeerIndex(99), MessageKind::Fork, CallId(0), b"whom?"),
            Behaviour::Exits => {
                turn.effect(PeerIndex::OUTSIDE, MessageKind::Exit, CallId(0), &EXIT_CODE.to_le_bytes());
            }
            _ => {}
        }
        self.end_turn(turn);
    }

    /// Becomes again what it was before the last upgrade.
    pub(crate) fn undo(&mut self) {
        *self = *self.before.take().expect("there is an upgrade to be undone");
    }
}
