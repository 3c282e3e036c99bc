//! Two ends, and the bytes between them, through whatever is asked of them in whatever order: each message that is not of a
//! stream that was dropped arrives once and in order, and neither end finds a fault with the other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::frame::FrameDecoder;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Open,
    /// Messages on one of the streams, so many of so many bytes.
    Send(Index, u32, usize),
    /// The side that receives lets go of what it holds of a stream.
    Use(Index),
    /// One of the sides closes a stream: in order, or at once.
    End(Index, bool),
    Drop(Index, bool),
    Acknowledge(Index),
    /// A side writes for one turn, and the other reads.
    Carry(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let of = any::<Index>;
    let step = prop_oneof![
        2 => Just(Step::Open),
        6 => (of(), 1..20_u32, prop_oneof![0..100_usize, 1000..30_000_usize]).prop_map(|(s, n, b)| Step::Send(s, n, b)),
        3 => of().prop_map(Step::Use),
        1 => (of(), any::<bool>()).prop_map(|(s, side)| Step::End(s, side)),
        1 => (of(), any::<bool>()).prop_map(|(s, side)| Step::Drop(s, side)),
        2 => of().prop_map(Step::Acknowledge),
        10 => any::<bool>().prop_map(Step::Carry),
    ];
    vec(step, 0..200)
}

/// One end.
struct End {
    table: Table<u64>,
    outgoing: Outgoing,
    grants: Arc<Mutex<VecDeque<Command>>>,
}

impl End {
    fn new(side: Side) -> End {
        let grants = Arc::<Mutex<VecDeque<Command>>>::default();
        let there = Arc::clone(&grants);
        let grant = move |stream, until| there.lock().expect("nobody panics").push_back(Command::Grant(stream, until));
        End { table: Table::new(side, STREAMS_MAX, Arc::new(grant)), outgoing: Outgoing::default(), grants }
    }

    fn command(&mut self, command: Command) {
        self.take_grants();
        self.outgoing.on_command(command);
    }

    fn take_grants(&mut self) {
        for grant in self.grants.lock().expect("nobody panics").drain(..) {
            self.outgoing.on_command(grant);
        }
    }

    fn write(&mut self) -> Vec<(StreamNumber, Frame)> {
        self.take_grants();
        let mut bytes = Vec::new();
        self.outgoing.write_turn(&mut bytes);
        let mut received = BytesMut::from(&bytes[..]);
        let mut frames = Vec::new();
        while let Some(frame) = FrameDecoder::of_streams().next(&mut received).expect("frames are written") {
            let Frame::OfStream { stream, frame } = frame else { panic!("all belong to a stream") };
            frames.push((stream, *frame));
        }
        frames
    }
}

struct Pair {
    dials: End,
    accepts: End,
    opened: u64,
    /// Streams of which the side that accepts knows.
    greeted: u64,
    /// What was sent and what came, the last of each, by stream.
    sent: BTreeMap<StreamNumber, u64>,
    came: BTreeMap<StreamNumber, u64>,
    held: BTreeMap<StreamNumber, Vec<(Share, u64)>>,
    /// Streams that somebody closed, so that not all that is sent needs to come.
    closed: BTreeSet<StreamNumber>,
    ended: [Vec<StreamNumber>; 2],
}

impl Pair {
    fn new() -> Pair {
        Pair {
            dials: End::new(Side::Dials),
            accepts: End::new(Side::Accepts),
            opened: 0,
            greeted: 0,
            sent: BTreeMap::new(),
            came: BTreeMap::new(),
            held: BTreeMap::new(),
            closed: BTreeSet::new(),
            ended: [Vec::new(), Vec::new()],
        }
    }

    fn pick(&self, index: Index) -> Option<StreamNumber> {
        (self.opened > 0).then(|| stream(index.index(self.opened as usize) as u64 + 1))
    }

    /// One that this side knows of.
    fn pick_known(&self, index: Index, is_dialing: bool) -> Option<StreamNumber> {
        self.pick(index).filter(|number| is_dialing || number.0 <= self.greeted)
    }

    fn end(&mut self, is_dialing: bool) -> &mut End {
        if is_dialing { &mut self.dials } else { &mut self.accepts }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open => {
                let number = self.dials.table.open().expect("there is room");
                self.opened += 1;
                assert_eq!(number, stream(self.opened));
                self.dials.table.set_taker(number, number.0);
                self.dials.command(Command::Open(number, hello()));
            }
            Step::Send(index, count, bytes) => {
                let Some(number) = self.pick(index).filter(|number| !self.closed.contains(number)) else { return };
                let sent = self.sent.entry(number).or_default();
                let frame = messages(*sent + 1, count, bytes);
                *sent += u64::from(count);
                self.dials.command(Command::Send(number, frame));
            }
            Step::Use(index) => {
                if let Some(number) = self.pick(index) {
                    self.held.remove(&number);
                }
            }
            Step::End(index, is_dialing) => {
                let Some(number) = self.pick_known(index, is_dialing) else { return };
                self.closed.insert(number);
                self.end(is_dialing).command(Command::End(number, None));
            }
            Step::Drop(index, is_dialing) => {
                let Some(number) = self.pick_known(index, is_dialing) else { return };
                self.closed.insert(number);
                let end = self.end(is_dialing);
                end.table.take_taker(number);
                end.command(Command::Drop(number));
            }
            Step::Acknowledge(index) => {
                let Some(number) = self.pick(index) else { return };
                let came = self.came.get(&number).copied().unwrap_or_default();
                self.accepts.command(Command::Send(number, Frame::Acknowledge(Seq(came))));
            }
            Step::Carry(from_dialing) => self.carry(from_dialing),
        }
    }

    fn carry(&mut self, from_dialing: bool) {
        for (number, frame) in self.end(from_dialing).write() {
            let end = if from_dialing { &mut self.accepts } else { &mut self.dials };
            match end.table.on_frame(number, frame).expect("each end keeps to the rules") {
                Arrived::Hello(_) => {
                    self.greeted = number.0;
                    end.outgoing.on_command(Command::Begin(number));
                    end.table.begin(number);
                    end.table.set_taker(number, number.0);
                    end.command(Command::Send(number, welcome()));
                }
                Arrived::For(taker, frame, share) => {
                    assert_eq!(*taker, number.0);
                    if let (Frame::Messages { first_seq, count, .. }, Some(share)) = (&frame, share) {
                        let came = self.came.entry(number).or_default();
                        assert_eq!(first_seq.0, *came + 1, "in order, and each once");
                        *came += u64::from(*count);
                        let held = self.held.entry(number).or_default();
                        let before: u64 = held.iter().map(|(_, cost)| cost).sum();
                        assert!(before < WINDOW_BYTES_MAX, "no more than a window and a frame is held");
                        held.push((share, cost_of(&frame)));
                    }
                }
                Arrived::Credit(until) => end.command(Command::Credit(number, until)),
                Arrived::Closed(_) => {
                    end.command(Command::Drop(number));
                    self.ended[usize::from(from_dialing)].push(number);
                    self.closed.insert(number);
                }
                Arrived::Nothing => {}
            }
        }
    }

    /// Uses all that is held and carries all that there is, until nothing moves any more.
    fn settle(&mut self) {
        loop {
            self.held.clear();
            self.dials.take_grants();
            self.accepts.take_grants();
            if !self.dials.outgoing.has_turn() && !self.accepts.outgoing.has_turn() {
                return;
            }
            self.carry(true);
            self.carry(false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_once_and_in_order_and_streams_that_were_closed_are_gone(steps in steps()) {
        let mut pair = Pair::new();
        steps.into_iter().for_each(|step| pair.step(step));
        pair.settle();
        for (number, sent) in &pair.sent {
            let came = pair.came.get(number).copied().unwrap_or_default();
            prop_assert!(came <= *sent);
            prop_assert!(came == *sent || pair.closed.contains(number), "{number} lacks messages");
        }
        let open = pair.opened as usize - pair.closed.len();
        prop_assert_eq!((pair.dials.table.len(), pair.accepts.table.len()), (open, open));
        for ended in &mut pair.ended {
            ended.sort();
            prop_assert!(ended.is_sorted_by(|one, next| one < next), "a stream ends once");
        }
    }
}
