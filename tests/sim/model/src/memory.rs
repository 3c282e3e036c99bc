//! The model as registers and a memory, so that simulations capture it as an engine captures a component.
//!
//! Each collection lies in a *strip*, and the pages of a strip are every [`STRIPS`]th of the memory: what one of them
//! grows by moves none of the others. All of it follows from the state alone, since replicas are captured by turns. As
//! that of a component, the memory never gets smaller.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{CallId, PAGE_BYTES, PeerIndex, page_hash};

use crate::{
    code::Code,
    model::{Model, Owed},
};

/// Collections.
const STRIPS: usize = 11;

/// Pages before the strips that never change: so a delta is much smaller than what it rests on from the first one on.
const CONSTANT_PAGES: usize = 8;
const CONSTANT_BYTES: usize = CONSTANT_PAGES * PAGE_BYTES;

/// What a model is between two deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Numbers, and how long each strip is.
    pub registers: Vec<u8>,
    /// What never changes, then the strips; whole pages.
    pub memory: Vec<u8>,
}

impl Model {
    /// All of it.
    ///
    /// # Panics
    /// If a promise was broken: such a model is of no more use.
    pub fn image(&self) -> Image {
        assert!(self.broken.is_none(), "nothing goes on from a guest that failed");
        let strips = self.strips();
        let mut registers = Vec::new();
        let lengths = strips.iter().map(|strip| strip.len() as u64);
        self.numbers().into_iter().chain(lengths).for_each(|number| put(&mut registers, number));
        let mut memory = vec![0; CONSTANT_BYTES + self.rows as usize * STRIPS * PAGE_BYTES];
        for (number, word) in (1..).zip(memory[..CONSTANT_BYTES].chunks_exact_mut(size_of::<u64>())) {
            // Nothing that can be compressed.
            word.copy_from_slice(&u64::wrapping_mul(number, 0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        for (number, strip) in strips.iter().enumerate() {
            for (row, page) in strip.chunks(PAGE_BYTES).enumerate() {
                let at = CONSTANT_BYTES + (row * STRIPS + number) * PAGE_BYTES;
                memory[at..at + page.len()].copy_from_slice(page);
            }
        }
        Image { registers, memory }
    }

    /// The model that [`Model::image`] shows.
    ///
    /// # Panics
    /// If none does.
    pub fn from_image(image: &Image) -> Model {
        let mut registers = Reader(&image.registers);
        let numbers: [u64; 13] = std::array::from_fn(|_| registers.number());
        let strips: [Vec<u8>; STRIPS] = std::array::from_fn(|number| {
            let bytes = registers.number() as usize;
            let pages = image.memory.chunks_exact(PAGE_BYTES).skip(CONSTANT_PAGES + number).step_by(STRIPS);
            let mut strip = pages.take(bytes.div_ceil(PAGE_BYTES)).collect::<Vec<_>>().concat();
            strip.truncate(bytes);
            strip
        });
        assert!(registers.0.is_empty(), "nothing is left over");
        let model = Model::from_parts(numbers, &strips);
        assert_eq!(model.image(), *image, "the bytes are those of a model, and what it does not use is zeros");
        model
    }

    /// Hash of all of it.
    pub fn digest(&self) -> u64 {
        let numbers = self.numbers().map(u64::to_le_bytes).concat();
        let parts: Vec<_> = self.strips().into_iter().chain([numbers]).map(|part| page_hash(&part)).collect();
        page_hash(&parts.iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<_>>())
    }

    fn numbers(&self) -> [u64; 13] {
        let Model {
            history, failed, strays, timers_fired, money, transfers, last_id, printed, emitted, ticked, ..
        } = *self;
        let (started, rows) = (u64::from(self.started), u64::from(self.rows));
        let code = self.code.number();
        [
            history,
            started,
            failed,
            strays,
            timers_fired,
            money,
            transfers,
            last_id,
            printed,
            rows,
            code,
            emitted,
            ticked,
        ]
    }

    fn strips(&self) -> [Vec<u8>; STRIPS] {
        let mut strips: [Vec<u8>; STRIPS] = Default::default();
        let [names, received, sent, pending, settled, timers, cancelled, owed, requests, outside, promises] =
            &mut strips;
        for (name, peer) in &self.names {
            put(names, u64::from(peer.0));
            put(names, name.len() as u64);
            names.extend_from_slice(name.as_bytes());
        }
        for (peer, segments) in &self.received {
            put(received, u64::from(peer.0));
            put(received, segments.len() as u64);
            segments.iter().for_each(|segment| put_all(received, segment));
        }
        for (peer, tokens) in &self.sent {
            put(sent, u64::from(peer.0));
            put_all(sent, tokens);
        }
        self.pending.iter().flat_map(|(call, token)| [call.0, *token]).for_each(|number| put(pending, number));
        self.settled.iter().for_each(|call| put(settled, call.0));
        self.timers.iter().flat_map(|(timer, due)| [timer.0, *due]).for_each(|number| put(timers, number));
        self.cancelled_now.iter().for_each(|timer| put(cancelled, timer.0));
        let of_owed = |it: &Owed| [u64::from(it.peer.0), it.call.0, it.token];
        self.owed.iter().flat_map(of_owed).for_each(|number| put(owed, number));
        self.requests_done.iter().for_each(|token| put(requests, *token));
        self.asked_outside.iter().flat_map(|(id, token)| [id.0, *token]).for_each(|number| put(outside, number));
        self.promises.iter().for_each(|promise| put(promises, promise.0));
        strips
    }

    fn from_parts(numbers: [u64; 13], strips: &[Vec<u8>; STRIPS]) -> Model {
        let [
            history,
            started,
            failed,
            strays,
            timers_fired,
            money,
            transfers,
            last_id,
            printed,
            rows,
            code,
            emitted,
            ticked,
        ] = numbers;
        let [names, received, sent, pending, settled, timers, cancelled, owed, requests, outside, promises] =
            strips.each_ref().map(|strip| Reader(strip));
        Model {
            history,
            started: started == 1,
            names: names.rest(|it| (it.peer(), it.text())).map(|(peer, name)| (name, peer)).collect(),
            received: received
                .rest(|it| (it.peer(), (0..it.number()).map(|_| it.numbers()).collect()))
                .collect::<BTreeMap<_, _>>(),
            sent: sent.rest(|it| (it.peer(), it.numbers())).collect(),
            pending: pending.rest(|it| (CallId(it.number()), it.number())).collect(),
            settled: settled.rest(|it| CallId(it.number())).collect::<BTreeSet<_>>(),
            failed,
            strays,
            timers: timers.rest(|it| (CallId(it.number()), it.number())).collect(),
            timers_fired,
            cancelled_now: cancelled.rest(|it| CallId(it.number())).collect(),
            owed: owed.rest(|it| Owed { peer: it.peer(), call: CallId(it.number()), token: it.number() }).collect(),
            requests_done: requests.rest(Reader::number).collect(),
            asked_outside: outside.rest(|it| (CallId(it.number()), it.number())).collect(),
            emitted,
            promises: promises.rest(|it| CallId(it.number())).collect(),
            ticked,
            money,
            transfers,
            last_id,
            printed,
            rows: rows as u32,
            code: Code::of_number(code),
            before: None,
            broken: None,
        }
    }

    /// Takes as much memory as the longest strip needs.
    pub(crate) fn reserve(&mut self) {
        let tokens = |segments: &Vec<Vec<u64>>| 2 + segments.iter().map(|tokens| tokens.len() + 1).sum::<usize>();
        let longest = [
            self.names.keys().map(|name| 2 + name.len().div_ceil(8)).sum(),
            self.received.values().map(tokens).sum(),
            self.sent.values().map(|tokens| 2 + tokens.len()).sum(),
            2 * self.pending.len(),
            self.settled.len(),
            2 * self.timers.len(),
            self.cancelled_now.len(),
            3 * self.owed.len(),
            self.requests_done.len(),
            2 * self.asked_outside.len(),
            self.promises.len(),
        ];
        let numbers = longest.into_iter().max().expect("there are strips");
        self.rows = self.rows.max((8 * numbers).div_ceil(PAGE_BYTES) as u32);
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_all(out: &mut Vec<u8>, numbers: &[u64]) {
    put(out, numbers.len() as u64);
    numbers.iter().for_each(|number| put(out, *number));
}

/// Reads what [`put`] wrote.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn numbers(&mut self) -> Vec<u64> {
        (0..self.number()).map(|_| self.number()).collect()
    }

    fn peer(&mut self) -> PeerIndex {
        PeerIndex(self.number() as u32)
    }

    fn text(&mut self) -> String {
        let bytes = self.number() as usize;
        String::from_utf8(self.take(bytes).to_vec()).expect("it was a text")
    }

    /// One after the other, until nothing is left.
    fn rest<T>(mut self, mut read: impl FnMut(&mut Self) -> T) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || (!self.0.is_empty()).then(|| read(&mut self)))
    }
}
