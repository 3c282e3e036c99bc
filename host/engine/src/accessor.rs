//! The functions that the rewriter has added to a component, as the host calls them.
//!
//! **Architecture Invariant:** a call here leaves no trace in the guest: what it takes of fuel is given back.

use wasmtime::{
    Store,
    component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc},
};

use crate::{
    accessor_module::{DROP, GET, GROW, OPEN, SET, export_name},
    handles::{HandleKind, Handles},
    layout::Layout,
    state::GuestState,
};

/// Bytes by which memories grow.
pub(crate) const WASM_PAGE_BYTES: u64 = 64 << 10;

/// What `memory.grow` returns if it fails.
const FAILED: u32 = u32::MAX;

/// Calls into all parts of one instance.
pub(crate) struct Accessors {
    parts: Vec<Accessor>,
}

/// Calls into one part.
struct Accessor {
    get: TypedFunc<(u32,), (u64,)>,
    set: TypedFunc<(u32, u64), ()>,
    grow: TypedFunc<(u32, u32), (u32,)>,
    open: TypedFunc<(u32, u32), (u32,)>,
    drop: TypedFunc<(u32, u32), ()>,
}

impl Accessors {
    /// The functions of `instance`, whose component was rewritten if it has parts.
    pub(crate) fn of(store: &mut Store<GuestState>, instance: &Instance, layout: &Layout) -> Accessors {
        let parts = 0..layout.parts.len() as u32;
        Accessors { parts: parts.map(|part| Accessor::of(store, instance, part)).collect() }
    }

    /// The bits of all globals.
    pub(crate) fn globals(&self, store: &mut Store<GuestState>, layout: &Layout) -> Result<Vec<u64>, wasmtime::Error> {
        let numbers = |globals: &Vec<_>| 0..globals.len() as u32;
        let each = self.parts.iter().zip(&layout.parts);
        let mut each = each.flat_map(|(part, globals)| numbers(globals).map(move |number| (part, number)));
        beside_the_fuel(store, |store| {
            each.try_fold(Vec::new(), |mut all, (part, number)| {
                let (bits,) = call(&part.get, store, (number,))?;
                all.push(bits);
                Ok(all)
            })
        })
    }

    /// Sets all globals.
    pub(crate) fn set_globals(
        &self,
        store: &mut Store<GuestState>,
        layout: &Layout,
        bits: &[u64],
    ) -> Result<(), wasmtime::Error> {
        let mut bits = bits.iter();
        beside_the_fuel(store, |store| {
            for (part, globals) in self.parts.iter().zip(&layout.parts) {
                for (number, bits) in (0..).zip(bits.by_ref().take(globals.len())) {
                    call(&part.set, store, (number, *bits))?;
                }
            }
            Ok(())
        })
    }

    /// Grows a memory by that many bytes. False if its type or the limit forbids it.
    pub(crate) fn grow(
        &self,
        store: &mut Store<GuestState>,
        layout: &Layout,
        memory: u32,
        bytes: u64,
    ) -> Result<bool, wasmtime::Error> {
        let Ok(pages) = u32::try_from(bytes / WASM_PAGE_BYTES) else { return Ok(false) };
        let (number, part) = layout.within_part(memory);
        let grow = &self.parts[part as usize].grow;
        let (before,) = beside_the_fuel(store, |store| call(grow, store, (number, pages)))?;
        Ok(before != FAILED)
    }

    /// Brings the instance's table of handles into the state of `target`. False if that can't be.
    pub(crate) fn restore_handles(
        &self,
        store: &mut Store<GuestState>,
        layout: &Layout,
        target: &Handles,
    ) -> Result<bool, wasmtime::Error> {
        if store.data().handles == *target {
            return Ok(true);
        }
        let Some(holder) = self.parts.get(layout.handles_part as usize) else { return Ok(false) };
        beside_the_fuel(store, |store| holder.replay(store, layout, target).map(|done| done.is_some()))?;
        Ok(store.data().handles == *target)
    }
}

impl Accessor {
    fn of(store: &mut Store<GuestState>, instance: &Instance, part: u32) -> Accessor {
        Accessor {
            get: function(store, instance, GET, part),
            set: function(store, instance, SET, part),
            grow: function(store, instance, GROW, part),
            open: function(store, instance, OPEN, part),
            drop: function(store, instance, DROP, part),
        }
    }

    /// Takes every place, frees them all in a known order, and takes and frees again what `target` has. `None` if a
    /// handle can't be opened or dropped, or is not the one that it should be.
    ///
    /// What has parents is opened with the help of a stream that stands behind all places of `target`. Those helpers are
    /// dropped before any place of `target` is freed, the last one first: so they end as free places at the end that are
    /// taken after all others, which is as if they were not there.
    fn replay(
        &self,
        store: &mut Store<GuestState>,
        layout: &Layout,
        target: &Handles,
    ) -> Result<Option<()>, wasmtime::Error> {
        let number_of =
            |kind: HandleKind| layout.handles.iter().position(|known| *known == kind).map(|number| number as u32);
        let before = store.data().handles.places().to_vec();
        let count = before.len().max(target.places().len()) as u32;
        for (kind, handle) in before.into_iter().zip(1..) {
            let Some(kind) = kind else { continue };
            let Some(number) = number_of(kind) else { return Ok(None) };
            call(&self.drop, store, (number, handle))?;
        }
        let Some(filler) = layout.handles.iter().position(|kind| kind.parents().is_empty()) else { return Ok(None) };
        let (filler, no_parent) = (filler as u32, 0);
        for _ in 0..count {
            call(&self.open, store, (filler, no_parent))?;
        }
        let Some(helpers) = Helper::needed(layout, target) else { return Ok(None) };
        for (helper, expected) in helpers.iter().zip(count + 1..) {
            let (handle,) = call(&self.open, store, (helper.stream, no_parent))?;
            if handle != expected {
                return Ok(None);
            }
        }
        for handle in (1..=count).rev() {
            call(&self.drop, store, (filler, handle))?;
        }
        for (kind, expected) in target.places().iter().zip(1..) {
            let Some(number) = kind.map_or(Some(filler), number_of) else { return Ok(None) };
            let helper = helpers.iter().position(|helper| Some(helper.of) == *kind);
            let parent = helper.map_or(no_parent, |at| count + 1 + at as u32);
            let (handle,) = call(&self.open, store, (number, parent))?;
            if handle != expected {
                return Ok(None);
            }
        }
        for (at, helper) in helpers.iter().enumerate().rev() {
            call(&self.drop, store, (helper.stream, count + 1 + at as u32))?;
        }
        for place in target.free() {
            call(&self.drop, store, (filler, place + 1))?;
        }
        Ok(Some(()))
    }
}

/// A stream that is opened to open handles of a kind with parents.
struct Helper {
    of: HandleKind,
    /// Number of the stream in the layout.
    stream: u32,
}

impl Helper {
    /// One for each kind in `target` that has parents. `None` if the component opens no stream for one of them.
    fn needed(layout: &Layout, target: &Handles) -> Option<Vec<Helper>> {
        let kinds = HandleKind::ALL
            .into_iter()
            .filter(|kind| !kind.parents().is_empty() && target.places().contains(&Some(*kind)));
        let helper = |of: HandleKind| {
            let stream = layout.handles.iter().position(|kind| of.parents().contains(kind))?;
            Some(Helper { of, stream: stream as u32 })
        };
        kinds.map(helper).collect()
    }
}

fn function<Parameters, Results>(
    store: &mut Store<GuestState>,
    instance: &Instance,
    name: &str,
    part: u32,
) -> TypedFunc<Parameters, Results>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    instance.get_typed_func(store, export_name(name, part)).expect("the rewriter exports it with that type")
}

fn call<Parameters, Results>(
    function: &TypedFunc<Parameters, Results>,
    store: &mut Store<GuestState>,
    parameters: Parameters,
) -> Result<Results, wasmtime::Error>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    function.call(&mut *store, parameters)
}

fn beside_the_fuel<T>(store: &mut Store<GuestState>, work: impl FnOnce(&mut Store<GuestState>) -> T) -> T {
    let fuel = store.get_fuel().expect("the configuration counts fuel");
    store.set_fuel(u64::MAX).expect("the configuration counts fuel");
    let result = work(store);
    store.set_fuel(fuel).expect("the configuration counts fuel");
    result
}
