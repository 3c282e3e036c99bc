//! Captures and compares a guest between two deliveries.
//!
//! **Architecture Invariant:** the guest can't tell that it was captured: nothing of its state changes, and no fuel is
//! used. A guest that is neither captured nor compared pays nothing for it.

use ambrosia_core::{Capture, MemoryCapture, page_hash};
use wasmtime::component::Instance;

use crate::{
    accessor::Accessors,
    error::{CaptureError, NotNow},
    fault,
    guest::WasmGuest,
    layout::Layout,
    registers::{HANDLES_MAX, Registers},
    verdict::Finding,
    watched::WatchedMemory,
};

/// Name of the export by which a component gives its state itself, and what it returns.
pub(crate) const SAVE: &str = "save";
type SaveResults = (Vec<u8>,);

/// What a guest has for captures, from the first one on.
pub(crate) struct Capturer {
    pub(crate) accessors: Accessors,
    pub(crate) memories: Vec<WatchedMemory>,
    /// If there was a capture or a restore, from which changes are counted.
    pub(crate) based: bool,
}

impl Capturer {
    pub(crate) fn accessors(guest: &mut WasmGuest, layout: &Layout) -> Accessors {
        let instance: Instance = guest.instance;
        Accessors::of(&mut guest.store, &instance, layout)
    }
}

impl WasmGuest {
    /// All pages that are not zeros, and the registers. Changes are counted from here on.
    ///
    /// Of a component whose state can't be captured ([`Module::captures`](crate::Module::captures)) it is what its
    /// export `save` gives.
    ///
    /// # Errors
    /// Any [`CaptureError`] but [`CaptureError::NoBase`]. The guest goes on, unless it is [`CaptureError::Save`].
    pub fn capture_all(&mut self) -> Result<Capture, CaptureError> {
        let Some(registers) = self.registers()? else { return self.save() };
        let WasmGuest { store, capturer, .. } = self;
        let capturer = capturer.as_mut().expect("the registers are read by it");
        capturer.based = true;
        let memories = capturer.memories.iter_mut().map(|memory| memory.capture_all(store)).collect();
        Ok(Capture { registers, memories })
    }

    /// What has changed since the last capture or the restore.
    ///
    /// # Errors
    /// Any [`CaptureError`]. The guest goes on, unless it is [`CaptureError::Save`].
    pub fn capture_changes(&mut self) -> Result<Capture, CaptureError> {
        let Some(registers) = self.registers()? else { return self.save() };
        let WasmGuest { store, capturer, .. } = self;
        let capturer = capturer.as_mut().expect("the registers are read by it");
        if !capturer.based {
            return Err(CaptureError::NoBase);
        }
        let memories = capturer.memories.iter_mut().map(|memory| memory.capture_changes(store)).collect();
        Ok(Capture { registers, memories })
    }

    /// Copies the next part of memory ahead of a [`Self::capture_all`], `bytes` at most; true once all is copied. That
    /// capture then copies only what has changed since, so that the guest never stands still for long. It may run, and
    /// grow, in between.
    ///
    /// # Errors
    /// [`CaptureError::Poisoned`]. A guest that can't be captured has nothing to copy.
    pub fn copy_ahead(&mut self, bytes: usize) -> Result<bool, CaptureError> {
        self.check_alive()?;
        if self.verdict.is_err() {
            return Ok(true);
        }
        self.arm();
        let WasmGuest { store, capturer, .. } = self;
        let capturer = capturer.as_mut().expect("it was just made");
        let mut left = bytes;
        for memory in &mut capturer.memories {
            left -= memory.copy_ahead(left, store).min(left);
            if left == 0 {
                break;
            }
        }
        Ok(capturer.memories.iter().all(|memory| memory.is_copied()))
    }

    /// Digest of memories and registers: equal on every replica, whether it ran through or was restored. 0 for a guest
    /// that can't be captured, or that had a fault.
    pub fn digest(&mut self) -> u64 {
        if self.poisoned || self.verdict.is_err() {
            return 0;
        }
        self.arm();
        let mut bytes = self.state().encode();
        let WasmGuest { store, capturer, .. } = self;
        for memory in &mut capturer.as_mut().expect("it was just made").memories {
            let (length, digest) = memory.digest(store);
            bytes.extend(length.to_le_bytes());
            bytes.extend(digest.to_le_bytes());
        }
        page_hash(&bytes)
    }

    /// Hashes of all pages by memory, for telling which pages differ. Empty where the digest is 0.
    pub fn page_hashes(&mut self) -> Vec<Vec<u64>> {
        if self.poisoned || self.verdict.is_err() {
            return Vec::new();
        }
        self.arm();
        let WasmGuest { store, capturer, .. } = self;
        let capturer = capturer.as_mut().expect("it was just made");
        capturer.memories.iter_mut().map(|memory| memory.hashes(store)).collect()
    }

    /// Begins to watch the memories, if nobody has yet.
    fn arm(&mut self) {
        if self.capturer.is_some() {
            return;
        }
        let verdict = self.verdict.clone();
        let layout = verdict.as_ref().as_ref().expect("only what can be captured is watched");
        assert_eq!(self.mappings.len(), layout.memories.len(), "all memories are reached");
        let accessors = Capturer::accessors(self, layout);
        let watch = |mapping| WatchedMemory::new(mapping, &self.tracker, &self.store);
        let memories = self.mappings.iter().cloned().map(watch).collect();
        self.capturer = Some(Capturer { accessors, memories, based: false });
    }

    fn check_alive(&self) -> Result<(), CaptureError> {
        if self.poisoned { Err(CaptureError::Poisoned) } else { Ok(()) }
    }

    /// The registers, if the guest can be captured at all.
    fn registers(&mut self) -> Result<Option<Vec<u8>>, CaptureError> {
        self.check_alive()?;
        if self.verdict.is_err() {
            return Ok(None);
        }
        let layout = self.verdict.as_ref().as_ref().expect("only what can be captured gets here");
        let handles = &self.store.data().handles;
        // All that is open was opened by a function that the component imports, so this is a detector.
        if let Some(kind) = handles.other_than(&layout.handles) {
            return Err(CaptureError::NotNow(NotNow::Unknown(kind.name())));
        }
        if handles.places().len() > HANDLES_MAX {
            return Err(CaptureError::NotNow(NotNow::TooMany { places: handles.places().len(), max: HANDLES_MAX }));
        }
        self.arm();
        Ok(Some(self.state().encode()))
    }

    /// The registers as they are.
    fn state(&mut self) -> Registers {
        let layout = self.verdict.as_ref().as_ref().expect("only of what can be captured");
        let accessors = &self.capturer.as_ref().expect("it is made first").accessors;
        let bits = accessors.globals(&mut self.store, layout);
        let bits = bits.expect("reading a global does nothing that could fail");
        let globals = layout.globals().zip(bits).collect();
        Registers::State { globals, handles: self.store.data().handles.clone() }
    }

    /// Asks the component itself.
    fn save(&mut self) -> Result<Capture, CaptureError> {
        let Ok(save) = self.instance.get_typed_func::<(), SaveResults>(&mut self.store, SAVE) else {
            return Err(CaptureError::Refused(self.findings()));
        };
        let fuel_left = self.store.get_fuel().expect("the configuration counts fuel");
        self.store.set_fuel(self.limits.fuel).expect("the configuration counts fuel");
        let saved = save.call(&mut self.store, ());
        let (saved,) = saved.map_err(|error| {
            self.poisoned = true;
            CaptureError::Save(fault::before_delivery(error, &mut self.store, &self.limits))
        })?;
        self.store.data_mut().prints.end(&mut Vec::new());
        self.store.set_fuel(fuel_left).expect("the configuration counts fuel");
        Ok(Capture { registers: Registers::Saved(saved).encode(), memories: Vec::<MemoryCapture>::new() })
    }

    fn findings(&self) -> Vec<Finding> {
        self.verdict.as_ref().as_ref().err().cloned().unwrap_or_default()
    }
}
