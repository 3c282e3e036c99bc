//! One checkpoint in a file: all of it (a base), or what has changed since another one (a delta).
//!
//! ```text
//! name: {lsn, 20 digits}.base   or   {lsn, 20 digits}-{lsn of the parent, 20 digits}.delta
//!   0 magic "AMBRCKPT"        8 format version, u32      12 bytes of this block, u32
//!  16 uuid of the instance   32 lsn, u64                 40 lsn of the parent, u64; 0 for a base
//!  48 module, 32 bytes       80 engine, 32 bytes
//! 112 digest of the state   120 digest of the memory    128 bytes of the file, u64
//! 136 bytes of the index as stored, u64                 144 bytes of the index, u64
//! 152 CRC-32C of the index as stored, u32    156 reserved, zeros  4092 CRC-32C of all before, u32
//! 4096 the index, an LZ4 block; then, from the next multiple of 4096 on, the pages
//!
//! index: u64 bytes, state; u64 bytes, registers; u32 memories; of each:
//!   u64 bytes; u8 form; u64 offset of its pages in the file; u32 ranges, each u32 first page, u32 behind the last;
//!   u64 hash of each page; if the form is 0: u32 blocks, each u32 bytes as stored
//! ```
//!
//! Form 0: the pages in blocks of 64, each an LZ4 block. Form 1: the memory as it is, each page at its place, so that
//! it can be mapped; what is not in a range is a hole. Each page is checked against its hash.
//!
//! **Architecture Invariant:** a file once named is never changed: it may be mapped by any process.

use std::{ops::Range, path::Path};

use ambrosia_core::{InstanceUuid, Lsn, MemoryCapture, PAGE_BYTES, page_hash};

use super::{log_directory::read_up_to, machine::MachineFile};
use crate::{CheckpointError, CheckpointHead, CheckpointName, IoError, io_error::IoContext};

/// Bytes before the index.
const HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"AMBRCKPT";
const VERSION: u32 = 1;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const HEADER_BYTES_AT: usize = VERSION_AT + 4;
const UUID_AT: usize = HEADER_BYTES_AT + 4;
const LSN_AT: usize = UUID_AT + 16;
const PARENT_AT: usize = LSN_AT + 8;
const MODULE_AT: usize = PARENT_AT + 8;
const ENGINE_AT: usize = MODULE_AT + 32;
const STATE_DIGEST_AT: usize = ENGINE_AT + 32;
const MEMORY_DIGEST_AT: usize = STATE_DIGEST_AT + 8;
const FILE_BYTES_AT: usize = MEMORY_DIGEST_AT + 8;
const INDEX_STORED_AT: usize = FILE_BYTES_AT + 8;
const INDEX_BYTES_AT: usize = INDEX_STORED_AT + 8;
const INDEX_CHECKSUM_AT: usize = INDEX_BYTES_AT + 8;
/// Written as zeros up to the checksum, and refused if they are not: a later version means something by them.
const RESERVED_AT: usize = INDEX_CHECKSUM_AT + 4;
const CHECKSUM_AT: usize = HEADER_BYTES - 4;
const _: () = assert!(RESERVED_AT == 156);

/// Pages that are compressed together.
const BLOCK_PAGES: usize = 64;

/// LZ4 makes nothing smaller than this part of it, so nothing that claims more is believed.
const LZ4_RATIO_MAX: u64 = 256;

/// A base whose memory has this much that is not zero is kept as it is, to be mapped: reading it in would take longer.
/// Below, compressed pages are read faster than a file is mapped and checked, and take less of the disk.
pub(crate) const MAPPED_BYTES_MIN: u64 = 16 << 20;

/// All memories of a checkpoint together have no more, so that no few bytes make a reader list the pages of more.
const MEMORIES_BYTES_MAX: u64 = 64 << 30;

/// Bytes read or written at once.
pub(crate) const PIECE_PAGES: u32 = 256;

/// How the pages of a memory are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Bytes of each block.
    Blocks(Vec<u32>),
    AsItIs,
}

/// The pages of one memory in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MemoryIndex {
    pub(crate) bytes: u64,
    pub(crate) form: Form,
    pub(crate) offset: u64,
    pub(crate) pages: Vec<Range<u32>>,
    pub(crate) hashes: Vec<u64>,
}

impl MemoryIndex {
    /// Where the page stands among those of the file.
    pub(crate) fn pages_with_hashes(&self) -> impl Iterator<Item = (u32, u64)> {
        self.pages.iter().cloned().flatten().zip(self.hashes.iter().copied())
    }
}

/// All of a file but the pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckpointIndex {
    pub(crate) uuid: InstanceUuid,
    pub(crate) head: CheckpointHead,
    pub(crate) parent: Option<Lsn>,
    pub(crate) state: Vec<u8>,
    pub(crate) registers: Vec<u8>,
    pub(crate) memories: Vec<MemoryIndex>,
}

/// Where the pages of one memory come from when a file is written.
pub(crate) trait PageSource {
    /// Bytes of the memory.
    fn bytes(&self) -> u64;
    /// The pages to be written.
    fn pages(&self) -> Vec<Range<u32>>;
    /// Their hashes.
    fn hashes(&self) -> Vec<u64>;
    /// Appends the contents of some of them, which lie in one range.
    fn read(&self, pages: Range<u32>, out: &mut Vec<u8>) -> Result<(), CheckpointError>;
}

impl PageSource for MemoryCapture {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn pages(&self) -> Vec<Range<u32>> {
        self.pages.clone()
    }

    fn hashes(&self) -> Vec<u64> {
        self.hashes.clone()
    }

    fn read(&self, pages: Range<u32>, out: &mut Vec<u8>) -> Result<(), CheckpointError> {
        let mut before = 0;
        for range in &self.pages {
            if range.contains(&pages.start) {
                let from = (before + (pages.start - range.start) as usize) * PAGE_BYTES;
                out.extend_from_slice(&self.contents[from..from + pages.len() * PAGE_BYTES]);
                return Ok(());
            }
            before += range.len();
        }
        unreachable!("only pages that are held are asked for")
    }
}

/// Writes a whole checkpoint into an empty file and syncs it. A base is kept as it is from so many bytes on that are not
/// zeros.
pub(crate) fn write(
    file: &dyn MachineFile,
    path: &Path,
    index: &mut CheckpointIndex,
    sources: &[&dyn PageSource],
    mapped_bytes_min: u64,
) -> Result<(), CheckpointError> {
    if sources.iter().map(|source| source.bytes()).sum::<u64>() > MEMORIES_BYTES_MAX {
        let reason = "the guest has more memory than a checkpoint can hold";
        let refused = std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason);
        return Err(refused).context("write", path)?;
    }
    let mapped_bytes_min = if index.parent.is_none() { mapped_bytes_min } else { u64::MAX };
    // The blocks come first, since the index holds their sizes; how large the index is, is known before.
    let blocks = sources.iter().map(|source| blocks_of(*source, mapped_bytes_min)).collect::<Result<Vec<_>, _>>()?;
    index.memories = sources.iter().zip(&blocks).map(|(source, blocks)| memory_index(*source, blocks)).collect();
    let index_room = lz4_flex::block::get_maximum_output_size(index.encoded_bytes()) as u64;
    let mut offset = (HEADER_BYTES as u64 + index_room).next_multiple_of(PAGE_BYTES as u64);
    for (memory, blocks) in index.memories.iter_mut().zip(&blocks) {
        memory.offset = offset;
        let bytes = blocks.as_ref().map_or(memory.bytes, |blocks| blocks.iter().map(|block| block.len() as u64).sum());
        offset = (offset + bytes).next_multiple_of(PAGE_BYTES as u64);
    }
    file.set_bytes(offset).context("extend", path)?;
    for ((source, memory), blocks) in sources.iter().zip(&index.memories).zip(blocks) {
        match blocks {
            Some(blocks) => write_blocks(file, path, memory.offset, &blocks)?,
            None => write_as_it_is(file, path, memory.offset, *source)?,
        }
    }
    let encoded = index.encode();
    let stored = lz4_flex::block::compress(&encoded);
    file.write_all_at(&stored, HEADER_BYTES as u64).context("write", path)?;
    file.write_all_at(&index.header(offset, encoded.len(), &stored), 0).context("write", path)?;
    Ok(file.sync_all().context("sync", path)?)
}

/// The compressed pages; `None` if they are to be stored as they are.
fn blocks_of(source: &dyn PageSource, mapped_bytes_min: u64) -> Result<Option<Vec<Vec<u8>>>, CheckpointError> {
    let ranges = source.pages();
    let pages: u64 = ranges.iter().map(|range| range.len() as u64).sum();
    if pages * PAGE_BYTES as u64 >= mapped_bytes_min {
        return Ok(None);
    }
    let (mut blocks, mut open) = (Vec::new(), Vec::new());
    for range in ranges {
        let mut from = range.start;
        while from < range.end {
            let room = (BLOCK_PAGES - open.len() / PAGE_BYTES) as u32;
            let to = range.end.min(from + room);
            source.read(from..to, &mut open)?;
            if open.len() == BLOCK_PAGES * PAGE_BYTES {
                blocks.push(lz4_flex::block::compress(&open));
                open.clear();
            }
            from = to;
        }
    }
    if !open.is_empty() {
        blocks.push(lz4_flex::block::compress(&open));
    }
    Ok(Some(blocks))
}

fn memory_index(source: &dyn PageSource, blocks: &Option<Vec<Vec<u8>>>) -> MemoryIndex {
    let form = match blocks {
        Some(blocks) => Form::Blocks(blocks.iter().map(|block| block.len() as u32).collect()),
        None => Form::AsItIs,
    };
    MemoryIndex { bytes: source.bytes(), form, offset: 0, pages: source.pages(), hashes: source.hashes() }
}

fn write_blocks(file: &dyn MachineFile, path: &Path, offset: u64, blocks: &[Vec<u8>]) -> Result<(), IoError> {
    let mut at = offset;
    for block in blocks {
        file.write_all_at(block, at).context("write", path)?;
        at += block.len() as u64;
    }
    Ok(())
}

fn write_as_it_is(
    file: &dyn MachineFile,
    path: &Path,
    offset: u64,
    source: &dyn PageSource,
) -> Result<(), CheckpointError> {
    let mut piece = Vec::new();
    for range in source.pages() {
        for from in range.clone().step_by(PIECE_PAGES as usize) {
            piece.clear();
            source.read(from..range.end.min(from + PIECE_PAGES), &mut piece)?;
            let at = offset + u64::from(from) * PAGE_BYTES as u64;
            file.write_all_at(&piece, at).context("write", path)?;
        }
    }
    Ok(())
}

impl CheckpointIndex {
    /// How long [`CheckpointIndex::encode`] will be; offsets don't change it.
    fn encoded_bytes(&self) -> usize {
        let of_memory = |memory: &MemoryIndex| {
            let blocks = if let Form::Blocks(blocks) = &memory.form { 4 + 4 * blocks.len() } else { 0 };
            21 + 8 * memory.pages.len() + 8 * memory.hashes.len() + blocks
        };
        20 + self.state.len() + self.registers.len() + self.memories.iter().map(of_memory).sum::<usize>()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        for part in [&self.state, &self.registers] {
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&(self.memories.len() as u32).to_le_bytes());
        for memory in &self.memories {
            out.extend_from_slice(&memory.bytes.to_le_bytes());
            out.push(u8::from(memory.form == Form::AsItIs));
            out.extend_from_slice(&memory.offset.to_le_bytes());
            out.extend_from_slice(&(memory.pages.len() as u32).to_le_bytes());
            for range in &memory.pages {
                out.extend_from_slice(&range.start.to_le_bytes());
                out.extend_from_slice(&range.end.to_le_bytes());
            }
            memory.hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            if let Form::Blocks(blocks) = &memory.form {
                out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
                blocks.iter().for_each(|bytes| out.extend_from_slice(&bytes.to_le_bytes()));
            }
        }
        assert_eq!(out.len(), self.encoded_bytes(), "as long as room was kept for");
        out
    }

    fn header(&self, file_bytes: u64, index_bytes: usize, stored: &[u8]) -> Vec<u8> {
        let mut block = vec![0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(MAGIC_AT, &MAGIC);
        put(VERSION_AT, &VERSION.to_le_bytes());
        put(HEADER_BYTES_AT, &(HEADER_BYTES as u32).to_le_bytes());
        put(UUID_AT, &self.uuid.0);
        put(LSN_AT, &self.head.lsn.0.to_le_bytes());
        put(PARENT_AT, &self.parent.map_or(0, |parent| parent.0).to_le_bytes());
        put(MODULE_AT, &self.head.module);
        put(ENGINE_AT, &self.head.engine);
        put(STATE_DIGEST_AT, &self.head.state_digest.to_le_bytes());
        put(MEMORY_DIGEST_AT, &self.head.memory_digest.to_le_bytes());
        put(FILE_BYTES_AT, &file_bytes.to_le_bytes());
        put(INDEX_STORED_AT, &(stored.len() as u64).to_le_bytes());
        put(INDEX_BYTES_AT, &(index_bytes as u64).to_le_bytes());
        put(INDEX_CHECKSUM_AT, &crc32c::crc32c(stored).to_le_bytes());
        let checksum = crc32c::crc32c(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

/// A checkpoint in an open file.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    pub(crate) index: CheckpointIndex,
    file: Box<dyn MachineFile>,
    path: std::path::PathBuf,
}

impl CheckpointFile {
    /// Reads and checks all but the pages.
    pub(crate) fn open(
        file: Box<dyn MachineFile>,
        path: &Path,
        uuid: InstanceUuid,
        name: CheckpointName,
    ) -> Result<CheckpointFile, CheckpointError> {
        let damaged =
            |reason: &str| CheckpointError::Damaged { place: path.display().to_string(), reason: reason.to_owned() };
        let block = read(&*file, path, 0, HEADER_BYTES)?.ok_or_else(|| damaged("it is cut short"))?;
        let u32_at = |at: usize| u32::from_le_bytes(*block[at..].first_chunk().expect("inside the block"));
        let u64_at = |at: usize| u64::from_le_bytes(*block[at..].first_chunk().expect("inside the block"));
        if block[..MAGIC.len()] != MAGIC || crc32c::crc32c(&block[..CHECKSUM_AT]) != u32_at(CHECKSUM_AT) {
            return Err(damaged("its first block is not that of a checkpoint"));
        }
        let other_version =
            |reason: String| CheckpointError::OtherVersion { place: path.display().to_string(), reason };
        if u32_at(VERSION_AT) != VERSION {
            let found = u32_at(VERSION_AT);
            return Err(other_version(format!("has format version {found}, this program reads version {VERSION}")));
        }
        if block[RESERVED_AT..CHECKSUM_AT].iter().any(|byte| *byte != 0) {
            return Err(other_version("has a reserved byte in its first block that is not zero".to_owned()));
        }
        let parent = (u64_at(PARENT_AT) != 0).then_some(Lsn(u64_at(PARENT_AT)));
        let found = InstanceUuid(*block[UUID_AT..].first_chunk().expect("inside the block"));
        if found != uuid || name != (CheckpointName { lsn: Lsn(u64_at(LSN_AT)), parent }) {
            return Err(damaged("it belongs to another place or instance"));
        }
        let length = file.bytes().context("examine", path)?;
        if length != u64_at(FILE_BYTES_AT) {
            return Err(damaged(&format!("it has {length} bytes, not {}", u64_at(FILE_BYTES_AT))));
        }
        let (stored_bytes, bytes) = (u64_at(INDEX_STORED_AT), u64_at(INDEX_BYTES_AT));
        if stored_bytes > length || bytes > stored_bytes.saturating_mul(LZ4_RATIO_MAX) {
            return Err(damaged("the size of its index can't be"));
        }
        let stored = read(&*file, path, HEADER_BYTES as u64, stored_bytes as usize)?;
        let stored = stored.ok_or_else(|| damaged("it is cut short"))?;
        if crc32c::crc32c(&stored) != u32_at(INDEX_CHECKSUM_AT) {
            return Err(damaged("the checksum of its index does not match"));
        }
        let index =
            lz4_flex::block::decompress(&stored, bytes as usize).map_err(|error| damaged(&error.to_string()))?;
        let head = CheckpointHead {
            lsn: name.lsn,
            module: *block[MODULE_AT..].first_chunk().expect("inside the block"),
            engine: *block[ENGINE_AT..].first_chunk().expect("inside the block"),
            state_digest: u64_at(STATE_DIGEST_AT),
            memory_digest: u64_at(MEMORY_DIGEST_AT),
        };
        if index.len() as u64 != bytes {
            return Err(damaged(&format!("its index has {} bytes, not {bytes}", index.len())));
        }
        let mut reader = IndexReader {
            rest: &index,
            is_base: parent.is_none(),
            free: HEADER_BYTES as u64 + stored_bytes,
            file_bytes: length,
            memory_bytes_left: MEMORIES_BYTES_MAX,
        };
        let (state, registers, memories) = reader.read().ok_or_else(|| damaged("its index makes no sense"))?;
        let index = CheckpointIndex { uuid, head, parent, state, registers, memories };
        Ok(CheckpointFile { index, file, path: path.to_path_buf() })
    }

    pub(crate) fn damaged(&self, reason: String) -> CheckpointError {
        CheckpointError::Damaged { place: self.path.display().to_string(), reason }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &dyn MachineFile {
        &*self.file
    }

    /// The pages of a memory that is stored in blocks, checked.
    pub(crate) fn read_blocks(&self, at: usize) -> Result<MemoryCapture, CheckpointError> {
        let memory = &self.index.memories[at];
        let Form::Blocks(blocks) = &memory.form else { unreachable!("the caller has looked at the form") };
        let mut contents = Vec::new();
        let (mut offset, mut left) = (memory.offset, memory.hashes.len());
        for stored in blocks {
            let pages = left.min(BLOCK_PAGES);
            let block = read(&*self.file, &self.path, offset, *stored as usize)?;
            let block = block.ok_or_else(|| self.damaged("it is cut short".to_owned()))?;
            let wrong = |reason: String| self.damaged(format!("the block at offset {offset}: {reason}"));
            let start = contents.len();
            contents.resize(start + pages * PAGE_BYTES, 0);
            let bytes = lz4_flex::block::decompress_into(&block, &mut contents[start..])
                .map_err(|error| wrong(error.to_string()))?;
            if bytes != pages * PAGE_BYTES {
                return Err(wrong(format!("it holds {bytes} bytes, not {}", pages * PAGE_BYTES)));
            }
            offset += u64::from(*stored);
            left -= pages;
        }
        let (pages, hashes) = (memory.pages.clone(), memory.hashes.clone());
        let capture = MemoryCapture { bytes: memory.bytes, pages, hashes, contents };
        for (page, hash, contents) in capture.iter() {
            if page_hash(contents) != hash {
                return Err(self.damaged(format!("the contents of page {page} of memory {at} have changed")));
            }
        }
        Ok(capture)
    }

    /// Contents of some pages of a memory that is stored as it is, not checked.
    pub(crate) fn read_pages(&self, at: usize, pages: Range<u32>, out: &mut Vec<u8>) -> Result<(), CheckpointError> {
        let offset = self.index.memories[at].offset + u64::from(pages.start) * PAGE_BYTES as u64;
        let (start, bytes) = (out.len(), pages.len() * PAGE_BYTES);
        out.resize(start + bytes, 0);
        let read = read_up_to(&*self.file, &mut out[start..], offset).context("read", &self.path)?;
        if read < bytes { Err(self.damaged("it is cut short".to_owned())) } else { Ok(()) }
    }

    /// Checks the pages of a memory that is stored as it is.
    pub(crate) fn check_pages(&self, at: usize) -> Result<(), CheckpointError> {
        let memory = &self.index.memories[at];
        let mut pieces = Vec::new();
        let mut hashes = memory.hashes.as_slice();
        for range in &memory.pages {
            for from in range.clone().step_by(PIECE_PAGES as usize) {
                let piece = from..range.end.min(from + PIECE_PAGES);
                let (of_piece, rest) = hashes.split_at(piece.len());
                pieces.push((piece, of_piece));
                hashes = rest;
            }
        }
        let check = |pieces: &[(Range<u32>, &[u64])]| -> Result<(), CheckpointError> {
            let mut contents = Vec::new();
            for (piece, hashes) in pieces {
                contents.clear();
                self.read_pages(at, piece.clone(), &mut contents)?;
                for ((page, hash), contents) in piece.clone().zip(*hashes).zip(contents.chunks_exact(PAGE_BYTES)) {
                    if page_hash(contents) != *hash {
                        return Err(self.damaged(format!("the contents of page {page} of memory {at} have changed")));
                    }
                }
            }
            Ok(())
        };
        // Checking is most of what a restore of a large memory has to do, so it is done by halves at once.
        let (first, second) = pieces.split_at(pieces.len() / 2);
        std::thread::scope(|scope| {
            let half = scope.spawn(|| check(first));
            let other = check(second);
            half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(other)
        })
    }
}

/// Reads an index. Every method says `None` if the bytes can't be what it reads.
struct IndexReader<'a> {
    rest: &'a [u8],
    is_base: bool,
    /// Where the pages of the next memory may begin: no bytes of a file stand for two things.
    free: u64,
    file_bytes: u64,
    memory_bytes_left: u64,
}

impl<'a> IndexReader<'a> {
    #[allow(clippy::type_complexity, reason = "the three parts of an index")]
    fn read(&mut self) -> Option<(Vec<u8>, Vec<u8>, Vec<MemoryIndex>)> {
        let (state, registers) = (self.part()?.to_vec(), self.part()?.to_vec());
        let mut memories = Vec::new();
        for _ in 0..self.u32()? {
            memories.push(self.memory()?);
        }
        self.rest.is_empty().then_some((state, registers, memories))
    }

    fn memory(&mut self) -> Option<MemoryIndex> {
        let bytes = self.u64()?;
        let form = self.take(1)?[0];
        let offset = self.u64()?;
        let last_page = u32::try_from(bytes / PAGE_BYTES as u64).ok()?;
        let whole_pages = bytes.is_multiple_of(PAGE_BYTES as u64) && offset.is_multiple_of(PAGE_BYTES as u64);
        (whole_pages && offset >= self.free).then_some(())?;
        self.memory_bytes_left = self.memory_bytes_left.checked_sub(bytes)?;
        let (mut pages, mut count, mut behind) = (Vec::new(), 0, None);
        for _ in 0..self.u32()? {
            let range = self.u32()?..self.u32()?;
            let apart = behind.is_none_or(|behind| range.start > behind);
            (apart && range.start < range.end && range.end <= last_page).then_some(())?;
            behind = Some(range.end);
            count += range.len();
            pages.push(range);
        }
        let hashes = self.take(count.checked_mul(8)?)?.as_chunks::<8>().0;
        let hashes = hashes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let form = match form {
            0 => Form::Blocks(self.blocks(count, offset)?),
            // Changes can't lie under what is mapped.
            1 if self.is_base => {
                self.take_up(offset, bytes)?;
                Form::AsItIs
            }
            _ => return None,
        };
        Some(MemoryIndex { bytes, form, offset, pages, hashes })
    }

    /// The bytes of the file from `offset` on belong to a memory.
    fn take_up(&mut self, offset: u64, bytes: u64) -> Option<()> {
        self.free = offset.checked_add(bytes)?;
        (self.free <= self.file_bytes).then_some(())
    }

    fn blocks(&mut self, pages: usize, offset: u64) -> Option<Vec<u32>> {
        let largest = lz4_flex::block::get_maximum_output_size(BLOCK_PAGES * PAGE_BYTES);
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        for _ in 0..self.u32()? {
            let block = self.u32()?;
            (block as usize <= largest).then_some(())?;
            blocks.push(block);
            bytes += u64::from(block);
        }
        self.take_up(offset, bytes)?;
        (blocks.len() == pages.div_ceil(BLOCK_PAGES)).then_some(blocks)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let bytes = usize::try_from(self.u64()?).ok()?;
        self.take(bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }
}

/// That many bytes at `offset`; `None` if the file has fewer.
fn read(file: &dyn MachineFile, path: &Path, offset: u64, bytes: usize) -> Result<Option<Vec<u8>>, IoError> {
    let mut buffer = vec![0; bytes];
    let read = read_up_to(file, &mut buffer, offset).context("read", path)?;
    Ok((read == bytes).then_some(buffer))
}
