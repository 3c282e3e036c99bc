//! Bits that flip at rest, and sectors of the log that turn to zeros.
//!
//! Only damage that can be told from a write cut short is made: of a record that something later says was durable, be
//! it a record behind it in the same segment, or a segment that follows. Of the very last record of a log nobody can
//! know that, unless the shared page is there, and a machine that lost its power may have lost that.
//!
//! A checkpoint may be damaged anywhere, if an older one or the log is kept to go back to. There is one wrong bit, or
//! sector, at a time.

use std::{ops::Range, path::PathBuf};

use ambrosia_core::{InstanceUuid, Lsn, RECORD_HEADER_BYTES, RecordHeader, RecordKind};

use crate::{
    agenda::Event,
    machine::Inode,
    options::MILLISECOND,
    sim::{Sim, log_directory},
};

/// Bytes of a segment before its first record.
const SEGMENT_HEADER_BYTES: usize = 4096;

/// Where a segment says what the first bytes of its records are mixed with.
const SALT: Range<usize> = 80..88;

const SECTOR_BYTES: usize = 512;

/// An operator notices and restores the file in this time.
const REPAIR: (u64, u64) = (10 * MILLISECOND, 1_000 * MILLISECOND);

/// The bits that are wrong.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    path: PathBuf,
    inode: Inode,
    offset: u64,
    bits: Vec<u8>,
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
    /// The first sector of a record, if what says that it was durable is not in it.
    sector: Option<Range<usize>>,
}

impl Sim {
    /// Flips a bit of the log or of a checkpoint of that instance, if one can be found, or all bits of a sector that are
    /// not zeros. An operator restores it later.
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
        let offset = target.offset + self.dice().below(target.bytes as u64) as usize;
        let bit = self.dice().below(16) as u8;
        let (offset, bits) = match &target.sector {
            Some(sector) if bit >= 8 => {
                let (_, bytes) = files.iter().find(|(name, _)| target.path.ends_with(name)).expect("it is one of them");
                (sector.start, bytes[sector.start..sector.end.min(bytes.len())].to_vec())
            }
            _ => (offset, vec![1 << (bit % 8)]),
        };
        let Some(inode) = machine.inode(&target.path) else { return };
        let flip = Flip { path: target.path.clone(), inode, offset: offset as u64, bits };
        self.note(|| format!("bits flip: {flip:?}"));
        machine.flip(inode, flip.offset, &flip.bits);
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
            it.machine.flip(flip.inode, flip.offset, &flip.bits);
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
            sector: None,
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
            let said = |from: usize| headers(bytes).any(|(at, later)| at >= from && later.durable >= header.lsn);
            if followed || said(offset + 1) {
                let path = log_directory(uuid).join(name);
                let sector = offset / SECTOR_BYTES * SECTOR_BYTES..(offset / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let sector = (followed || said(sector.end)).then_some(sector);
                targets.push(Target { path, offset, bytes: header.stored_bytes(), sector });
            }
        }
        targets
    }
}

/// The headers of the records of a segment, with their offsets, as far as they are readable.
fn headers(segment: &[u8]) -> impl Iterator<Item = (usize, RecordHeader)> {
    let mut offset = SEGMENT_HEADER_BYTES;
    std::iter::from_fn(move || {
        let mut bytes = *segment.get(offset..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
        bytes.iter_mut().zip(&segment[SALT]).for_each(|(byte, salt)| *byte ^= salt);
        let header = RecordHeader::decode(&bytes).ok()?;
        let at = offset;
        offset += header.stored_bytes();
        Some((at, header))
    })
}
