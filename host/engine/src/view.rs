//! A view of a guest between two deliveries, of which a query may read, and write, what it likes: nothing of it is kept.
//!
//! ```text
//! the guest        its memory ─── shared ──► memory of the kernel
//! another instance its memory ─── private ──► the same: what it writes to is copied, and undone behind each query
//! ```
//!
//! Both are instances of one module. What else a guest is, its globals and its handles, is put into the other one as for a
//! restore (`restore.rs`). A guest that was never asked anything has no view and pays nothing.
//!
//! **Architecture Invariant:** what a query does is seen by no delivery, no capture and no other query.

use std::fs::File;

use ambrosia_core::{Delivered, Fault, Genesis, World, limits::QUERY_FUEL_SHARE};

use crate::{
    accessor::Accessors, capture::Capturer, fault, faults::Faults, guest::WasmGuest, guest::append, handles::Handles,
    private_pages::PrivatePages,
};

/// What a guest has for queries, from the first one on.
pub(crate) struct View {
    /// Of the guest itself.
    accessors: Accessors,
    /// Its globals, when it was looked last.
    globals: Vec<u64>,
    /// It may have changed since.
    is_behind: bool,
    /// Tells what a query has written to; `None` if the kernel can't.
    pagemap: Option<File>,
    /// The other instance; `None` if a query has left something that can't be taken back.
    twin: Option<Twin>,
}

/// The other instance.
struct Twin {
    guest: Box<WasmGuest>,
    accessors: Accessors,
    /// What of each memory is not that of the guest.
    private: Vec<PrivatePages>,
    /// The faults of the thread that ran the last query, when that was found.
    faults: Option<Faults>,
}

impl View {
    /// The guest is about to change.
    pub(crate) fn fall_behind(&mut self) {
        self.is_behind = true;
    }
}

impl WasmGuest {
    /// See [`Guest::query`](ambrosia_core::Guest::query).
    pub(crate) fn ask(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        if self.poisoned {
            return Err(fault::poisoned());
        }
        let mut view = match self.view.take() {
            Some(view) => view,
            None => self.begin_view()?,
        };
        let asked = self.ask_in(&mut view, runs, world, delivered);
        self.view = Some(view);
        asked
    }

    fn ask_in(&mut self, view: &mut View, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        // Whatever goes wrong on the way, another instance is made then.
        let (mut twin, is_new) = match view.twin.take() {
            Some(twin) => (twin, false),
            None => (self.twin(world)?, true),
        };
        if view.is_behind || is_new {
            view.globals = self.globals_by(&view.accessors)?;
            if !self.bring_memories_up_to_date(&mut twin, is_new)? {
                twin = self.twin(world)?;
                self.bring_memories_up_to_date(&mut twin, true)?;
            }
            view.is_behind = false;
        }
        twin.put(&view.globals, &self.store.data().handles)?;
        twin.refresh(self);
        twin.guest.ask_itself(runs, world, delivered)?;
        if twin.forget(self, &mut view.pagemap)? {
            view.twin = Some(twin);
        }
        Ok(())
    }

    fn begin_view(&mut self) -> Result<View, Fault> {
        let verdict = self.verdict.clone();
        let layout = verdict.as_ref().as_ref().map_err(|findings| {
            let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
            Fault::because(format!(
                "this component can't be asked queries, for its memory is not all there is of it ({}): run the method as an \
                 update, which `send --logged` does",
                findings.join("; ")
            ))
        })?;
        let WasmGuest { capturer, store, tracker, mappings, .. } = self;
        match capturer {
            Some(capturer) => capturer.memories.iter_mut().try_for_each(|memory| memory.share(tracker, store)),
            None => mappings.iter().try_for_each(|mapping| mapping.share(store)),
        }
        .map_err(no_view)?;
        let accessors = Capturer::accessors(self, layout);
        Ok(View {
            accessors,
            globals: Vec::new(),
            is_behind: true,
            pagemap: File::open("/proc/self/pagemap").ok(),
            twin: None,
        })
    }

    fn globals_by(&mut self, accessors: &Accessors) -> Result<Vec<u64>, Fault> {
        let verdict = self.verdict.clone();
        let layout = verdict.as_ref().as_ref().expect("only of what can be captured");
        accessors.globals(&mut self.store, layout).map_err(no_view)
    }

    /// Another instance of the module, whose memories are its own still.
    fn twin(&self, world: &World) -> Result<Twin, Fault> {
        let genesis = Genesis { limits: self.limits, ..self.genesis.clone() };
        let mut guest = self.module.instantiate(&genesis).map_err(no_view)?;
        guest.store.data_mut().world = world.clone();
        let accessors = Capturer::accessors(&mut guest, self.module.layout());
        let private = guest.mappings.iter().map(|_| PrivatePages::default()).collect();
        Ok(Twin { guest: Box::new(guest), accessors, private, faults: None })
    }

    /// Has the memories of the twin be as large as these, and have the same contents. False if one is larger already.
    fn bring_memories_up_to_date(&self, twin: &mut Twin, is_new: bool) -> Result<bool, Fault> {
        let layout = self.module.layout();
        for (number, mine) in (0..).zip(&self.mappings) {
            let guest = &mut *twin.guest;
            let its = guest.mappings[number as usize].clone();
            let Some(grown) = mine.bytes().checked_sub(its.bytes()) else { return Ok(false) };
            if grown == 0 && !is_new {
                continue; // it sees what is written
            }
            let has_grown = twin.accessors.grow(&mut guest.store, layout, number, grown as u64).map_err(no_view)?;
            assert!(has_grown && its.bytes() == mine.bytes(), "what one instance has, another one can have");
            let file = mine.file().expect("the memories were shared before there was a twin");
            its.map(&mut guest.store, file, 0, mine.bytes()).map_err(no_view)?;
            twin.private[number as usize].clear();
            twin.faults = None;
        }
        Ok(true)
    }

    /// One query to an instance that is there for nothing else.
    fn ask_itself(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        let printed_before = delivered.prints.len();
        let limits = ambrosia_core::Limits { fuel: self.limits.fuel / QUERY_FUEL_SHARE, ..self.limits };
        self.store.set_fuel(limits.fuel).expect("the configuration counts fuel");
        self.store.data_mut().begin_query(world, delivered);
        let answer = self.deliver.call(&mut self.store, (runs,));
        self.store.data_mut().end_query(delivered);
        let (effects,) = answer.map_err(|error| {
            let printed = &delivered.prints[printed_before..];
            fault::of(&error, printed, &limits, &self.store.data().source)
        })?;
        append(&mut delivered.effects, effects);
        Ok(())
    }
}

impl Twin {
    /// Has it be what the guest is, but for its memories.
    fn put(&mut self, globals: &[u64], handles: &Handles) -> Result<(), Fault> {
        let guest = &mut *self.guest;
        let layout = guest.module.layout();
        if !self.accessors.restore_handles(&mut guest.store, layout, handles).map_err(no_view)? {
            return Err(no_view("its handles can't be opened anew"));
        }
        self.accessors.set_globals(&mut guest.store, layout, globals).map_err(no_view)
    }

    /// Has what an earlier query has written to be what the guest has there.
    fn refresh(&mut self, of: &WasmGuest) {
        let WasmGuest { store, mappings, .. } = &mut *self.guest;
        for ((its, mine), private) in mappings.iter().zip(&of.mappings).zip(&self.private) {
            private.refresh((mine, &of.store), (its, store));
        }
    }

    /// Finds, or throws away, what the query has written. False if that can't be undone: it has grown.
    fn forget(&mut self, of: &WasmGuest, pagemap: &mut Option<File>) -> Result<bool, Fault> {
        let WasmGuest { store, mappings, .. } = &mut *self.guest;
        if mappings.iter().zip(&of.mappings).any(|(its, mine)| its.bytes() > mine.bytes()) {
            return Ok(false);
        }
        if pagemap.is_some() && self.faults.is_some() && self.faults == Faults::so_far() {
            return Ok(true); // it has written to what is listed, and to nothing else
        }
        let mut each = mappings.iter().zip(&mut self.private);
        each.try_for_each(|(mapping, private)| private.find(pagemap, mapping, store)).map_err(no_view)?;
        self.faults = Faults::so_far();
        Ok(true)
    }
}

fn no_view(why: impl std::fmt::Display) -> Fault {
    Fault::because(format!("there is no view of the guest for queries: {why}"))
}
