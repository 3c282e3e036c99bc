//! Bits that flip at rest.
//!
//! Only damage that can be told from a write cut short is made: of a record that something later says was durable, be
//! it a record behind it in the same segment, or a segment that follows. Of the very last record of a log nobody can
//! know that, unless the shared page is there, and a machine that lost its power may have lost that.
//!
//! A checkpoint may be damaged anywhere, if an older one or the log is kept to go back to. There is one wrong bit at a
//! time.

use std::path::PathBuf;

use ambrosia_core::{InstanceUuid, Lsn, RECORD_HEADER_BYTES, RecordHeader, RecordKind};

use crate::{
    agenda::Event,
    machine::Inode,
    options::MILLISECOND,
    sim::{Sim, log_directory},
};

/// Bytes of a segment before its first record.
const SEGMENT_HEADER_BYTES: usize = 4096;

/// An operator notices and restores the file in this time.
const REPAIR: (u64, u64) = (10 * MILLISECOND, 1_000 * MILLISECOND);

/// The bit that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    path: PathBuf,
    inode: Inode,
    offset: u64,
    bit: u8,
}

impl Flip {
    /// Whether it is in the log, and not in a checkpoint.
    pub(crate) fn is_log(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "seg")
    }
}

/// When a wrong bit was restored last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) log: u64,
    pub(crate) checkpoint: u64,
}

/// A stretch of a file that may be damaged.
struct Target {
    path: PathBuf,
    offset: usize,
    bytes: usize,
}

impl Sim {
    /// Flips a bit of the log or of a checkpoint of that instance, if one can be found. An operator restores it later.
    pub(crate) fn flip(&self, instance: usize) {
        let (uuid, machine, flipped) = {
            let instances = self.instances.borrow();
            let it = &instances[instance];
            (it.uuid, it.machine.clone(), it.flip.is_some())
        };
        if flipped {
            return;
        }
        let files = machine.files_on_disk(&log_directory(uuid));
        let of_checkpoints = self.checkpoint_targets(uuid, &files);
        let checkpoint = !of_checkpoints.is_empty() && self.dice().percent(50);
        let targets = if checkpoint { of_checkpoints } else { self.targets(uuid, &files) };
        if targets.is_empty() {
            return;
        }
        let target = &targets[self.dice().below(targets.len() as u64) as usize];
        let offset = target.offset as u64 + self.dice().below(target.bytes as u64);
        let bit = self.dice().below(8) as u8;
        let Some(inode) = machine.inode(&target.path) else { return };
        let flip = Flip { path: target.path.clone(), inode, offset, bit };
        self.note(|| format!("a bit flips: {flip:?}"));
        machine.flip(inode, flip.offset, flip.bit);
        self.instances.borrow_mut()[instance].flip = Some(flip);
        let mut witness = self.witness.borrow_mut();
        witness.counts.flips += u64::from(!checkpoint);
        witness.counts.checkpoint_flips += u64::from(checkpoint);
        drop(witness);
        if checkpoint {
            self.check_damaged(uuid);
        }
        self.put_in(REPAIR, Event::Restore(instance));
    }

    /// The operator restores the file.
    pub(crate) fn restore(&self, instance: usize) {
        let mut instances = self.instances.borrow_mut();
        let it = &mut instances[instance];
        if let Some(flip) = it.flip.take() {
            it.machine.flip(flip.inode, flip.offset, flip.bit);
            *(if flip.is_log() { &mut it.restored.log } else { &mut it.restored.checkpoint }) = self.now.get();
            drop(instances);
            self.note(|| format!("{} is restored", flip.path.display()));
        }
    }

    /// All of each file up to its last bit.
    fn checkpoint_targets(&self, uuid: InstanceUuid, files: &[(String, Vec<u8>)]) -> Vec<Target> {
        let Some(options) = self.options.checkpoints else { return Vec::new() };
        if options.keep == 1 && !options.keep_log {
            return Vec::new();
        }
        let named = files.iter().filter(|(name, _)| name.ends_with(".base") || name.ends_with(".delta"));
        let target = |(name, contents): &(String, Vec<u8>)| Target {
            path: log_directory(uuid).join(name),
            offset: 0,
            bytes: contents.len() - contents.iter().rev().take_while(|byte| **byte == 0).count(),
        };
        named.map(target).collect()
    }

    fn targets(&self, uuid: InstanceUuid, files: &[(String, Vec<u8>)]) -> Vec<Target> {
        let witness = self.witness.borrow();
        let mut targets = Vec::new();
        // Where each record of the log stands: the last segment of the log has the last of them.
        let mut last = (Lsn(0), 0);
        let mut found = Vec::new();
        for (number, (_, bytes)) in files.iter().enumerate().filter(|(_, (name, _))| name.ends_with(".seg")) {
            for (offset, header) in headers(bytes) {
                let durable = witness.logs.link(uuid, header.lsn) == Some(header.link());
                if durable && header.kind != RecordKind::Mark {
                    last = last.max((header.lsn, number));
                    found.push((number, offset, header));
                }
            }
        }
        for (number, offset, header) in found {
            let (name, bytes) = &files[number];
            let followed = number != last.1;
            let said = || headers(bytes).any(|(at, later)| at > offset && later.durable >= header.lsn);
            if followed || said() {
                let path = log_directory(uuid).join(name);
                targets.push(Target { path, offset, bytes: header.stored_bytes() });
            }
        }
        targets
    }
}

/// The headers of the records of a segment, with their offsets, as far as they are readable.
fn headers(segment: &[u8]) -> impl Iterator<Item = (usize, RecordHeader)> {
    let mut offset = SEGMENT_HEADER_BYTES;
    std::iter::from_fn(move || {
        let rest = segment.get(offset..).filter(|rest| rest.len() >= RECORD_HEADER_BYTES)?;
        let header = RecordHeader::decode(rest).ok()?;
        let at = offset;
        offset += header.stored_bytes();
        Some((at, header))
    })
}
