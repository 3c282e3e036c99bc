//! The handles that a guest has of what the host gave it, as a model of the table in which wasmtime keeps them.
//!
//! A guest keeps the number of a handle in its memory, so a restored guest must find the same handles under the same
//! numbers. Wasmtime gives no look into its table, but one can be told from what goes in and out: a component instance
//! has one table for all resources, a new handle takes the place that was freed last, and else a new one at the end
//! (`vm/component/handle_table.rs`). Only the host makes handles, and it hears of each that is dropped.
//!
//! **Architecture Invariant:** two tables that will give the same numbers have the same model, whatever happened in
//! them before.

use std::collections::VecDeque;

/// What a handle is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum HandleKind {
    Stdin = 1,
    Stdout = 2,
    Stderr = 3,
    /// What `subscribe` gives for an output stream. Libraries keep it open as long as they keep the stream.
    OutputPollable = 4,
    /// The same for an input stream.
    InputPollable = 5,
    /// What libraries ask for before they ask for an address or a socket, which there are none of.
    Network = 6,
}

impl HandleKind {
    /// All of them in the order of layouts, those that are opened with the help of another one behind that.
    pub(crate) const ALL: [HandleKind; 6] = [
        HandleKind::Stdin,
        HandleKind::Stdout,
        HandleKind::Stderr,
        HandleKind::Network,
        HandleKind::OutputPollable,
        HandleKind::InputPollable,
    ];

    /// What it is, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            HandleKind::Stdin => "stdin",
            HandleKind::Stdout => "stdout",
            HandleKind::Stderr => "stderr",
            HandleKind::OutputPollable => "a pollable of an output stream",
            HandleKind::InputPollable => "a pollable of an input stream",
            HandleKind::Network => "a network",
        }
    }

    /// The kinds of which one must be at hand to open a handle of this one. Empty if it takes none.
    pub(crate) fn parents(self) -> &'static [HandleKind] {
        match self {
            HandleKind::Stdin | HandleKind::Stdout | HandleKind::Stderr | HandleKind::Network => &[],
            HandleKind::OutputPollable => &[HandleKind::Stdout, HandleKind::Stderr],
            HandleKind::InputPollable => &[HandleKind::Stdin],
        }
    }

    pub(crate) fn of_number(number: u32) -> Option<HandleKind> {
        HandleKind::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Bits of a rep that say which place in the table the handle has; wasmtime's tables have no more places. The kind is
/// above.
const PLACE_BITS: u32 = 28;

/// The model. Places are numbered from 0, and what the guest has is one more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Handles {
    places: Vec<Option<HandleKind>>,
    /// Free places, the one to be taken next at the end. The places behind the last one follow when there is none.
    free: VecDeque<u32>,
}

impl Handles {
    /// A table with those places, of which the free ones are taken from the end of `free` on. `None` if that can't be.
    pub(crate) fn new(places: Vec<Option<HandleKind>>, free: VecDeque<u32>) -> Option<Handles> {
        let mut missing: Vec<bool> = places.iter().map(Option::is_none).collect();
        for place in &free {
            // Free, and not listed before.
            if !std::mem::take(missing.get_mut(*place as usize)?) {
                return None;
            }
        }
        let mut handles = Handles { places, free };
        handles.trim();
        (!missing.contains(&true)).then_some(handles)
    }

    /// A new handle, as the rep that tells it from all others.
    pub(crate) fn open(&mut self, kind: HandleKind) -> u32 {
        let place = self.free.pop_back().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        assert!(self.places[place as usize].is_none(), "a free place holds nothing");
        self.places[place as usize] = Some(kind);
        (kind as u32) << PLACE_BITS | place
    }

    /// The handle with that rep is gone.
    pub(crate) fn close(&mut self, rep: u32) {
        let place = rep & ((1 << PLACE_BITS) - 1);
        let handle = &mut self.places[place as usize];
        assert_eq!(*handle, kind(rep), "a handle is dropped once");
        *handle = None;
        self.free.push_back(place);
        self.trim();
    }

    /// A free place at the end that would be taken after all other free ones is as if it were not there.
    fn trim(&mut self) {
        while self.free.front().is_some_and(|place| *place as usize + 1 == self.places.len()) {
            self.free.pop_front();
            self.places.pop();
        }
    }

    /// What each place holds.
    pub(crate) fn places(&self) -> &[Option<HandleKind>] {
        &self.places
    }

    /// The free places, the one to be taken next at the end.
    pub(crate) fn free(&self) -> impl ExactSizeIterator<Item = u32> {
        self.free.iter().copied()
    }

    /// The kind of a handle that is open and is none of `kinds`, if there is one.
    pub(crate) fn other_than(&self, kinds: &[HandleKind]) -> Option<HandleKind> {
        self.places.iter().flatten().copied().find(|kind| !kinds.contains(kind))
    }
}

/// What the handle with that rep is of.
pub(crate) fn kind(rep: u32) -> Option<HandleKind> {
    HandleKind::of_number(rep >> PLACE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_freed_last_is_taken_first() {
        let mut handles = Handles::default();
        let reps = [HandleKind::Stdin, HandleKind::Stdout, HandleKind::Stderr, HandleKind::Stdout]
            .map(|kind| handles.open(kind));
        handles.close(reps[0]);
        handles.close(reps[2]);
        assert_eq!(handles.open(HandleKind::OutputPollable), (HandleKind::OutputPollable as u32) << PLACE_BITS | 2);
        assert_eq!(handles.open(HandleKind::Stderr), (HandleKind::Stderr as u32) << PLACE_BITS);
        assert_eq!(handles.open(HandleKind::Stderr), (HandleKind::Stderr as u32) << PLACE_BITS | 4);
        assert_eq!(handles.other_than(&[HandleKind::Stdout, HandleKind::Stderr]), Some(HandleKind::OutputPollable));
        assert_eq!(handles.other_than(&HandleKind::ALL), None);
    }

    #[test]
    fn what_is_opened_and_closed_leaves_nothing_behind() {
        let mut handles = Handles::default();
        let kept = handles.open(HandleKind::Stdout);
        let before = handles.clone();
        for _ in 0..100 {
            let reps = [handles.open(HandleKind::Stderr), handles.open(HandleKind::InputPollable)];
            handles.close(reps[1]);
            handles.close(reps[0]);
        }
        assert_eq!(handles, before);
        handles.close(kept);
        assert_eq!(handles, Handles::default());
    }

    #[test]
    fn tables_that_can_not_be_are_refused() {
        let open = Some(HandleKind::Stdout);
        assert!(Handles::new(vec![None, open], [0].into()).is_some());
        assert!(Handles::new(vec![None, open], [].into()).is_none());
        assert!(Handles::new(vec![None, open], [1].into()).is_none());
        assert!(Handles::new(vec![None, open], [0, 0].into()).is_none());
        assert!(Handles::new(vec![None, open], [2].into()).is_none());
        assert_eq!(Handles::new(vec![None, None], [1, 0].into()), Some(Handles::default()));
    }
}
