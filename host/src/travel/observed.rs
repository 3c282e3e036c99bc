//! The guest of a traveller: what it brings about at the record where the traveller stands is kept.
//!
//! **Architecture Invariant:** the guest can't tell that it is observed.

use ambrosia_core::{Delivered, Fault, Guest, HandoverError, Print, Upgrade, World};
use ambrosia_engine::WasmGuest;

/// What the guest did with one delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Execution {
    /// The runs that it got, as in `wit/LAYOUT.md`. None in an upgrade.
    pub runs: Vec<u8>,
    /// Effects, as in `wit/LAYOUT.md`: [`ambrosia_core::Effects`] reads them. They did not count if there was a fault.
    pub effects: Vec<u8>,
    /// What it printed, in order.
    pub prints: Vec<Print>,
    /// Fuel that it took.
    pub fuel: u64,
    /// What it did wrong, if it did.
    pub fault: Option<Fault>,
}

/// A guest, and what it did last if somebody wants to know.
pub(super) struct Observed {
    pub(super) guest: WasmGuest,
    /// Whether the next delivery is kept.
    pub(super) is_observed: bool,
    pub(super) execution: Option<Execution>,
    /// The world behind the last upgrade that was kept.
    pub(super) upgraded_world: Option<World>,
}

impl Observed {
    pub(super) fn new(guest: WasmGuest) -> Observed {
        Observed { guest, is_observed: false, execution: None, upgraded_world: None }
    }

    fn note(&mut self, runs: &[u8], delivered: &Delivered, fault: Option<&Fault>) {
        if self.is_observed {
            self.execution = Some(Execution {
                runs: runs.to_vec(),
                effects: delivered.effects.clone(),
                prints: delivered.prints.clone(),
                fuel: self.guest.fuel_used(),
                fault: fault.cloned(),
            });
        }
    }
}

impl Guest for Observed {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        let result = self.guest.deliver(runs, world, delivered);
        self.note(runs, delivered, result.as_ref().err());
        result
    }

    fn digest(&mut self) -> u64 {
        self.guest.digest()
    }

    fn cannot_capture(&self) -> Option<String> {
        self.guest.cannot_capture()
    }

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        let result = self.guest.upgrade(upgrade, world, delivered);
        self.note(&[], delivered, None);
        self.upgraded_world = self.is_observed.then(|| world.clone());
        result
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        self.guest.undo_upgrade()
    }

    fn keep_upgrade(&mut self) {
        self.guest.keep_upgrade();
    }
}
