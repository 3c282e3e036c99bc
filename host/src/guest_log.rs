//! What guests log, on its way out of the process: a JSON object a line, into a file or to stderr.
//!
//! A line is written behind the record that it is of, once that is durable. A primary that dies may not have written its last lines, so the
//! next one begins with the last lines of before, those that it does not find in the file: each line is written at least once, and has an id.
//!
//! **Architecture Invariant:** no member waits for the file. What it does not take in time is left out, counted, and said in its place.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambrosia_client::{decode_value, without_controls};
use ambrosia_core::{EventId, InstanceName, InstanceUuid, Timestamp};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::diagnostics::Diagnostics;

/// Lines that may wait to be written, in bytes. More are left out.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// What a line takes in memory beside its text, about.
const LINE_OVERHEAD_BYTES: usize = 128;

/// Lines of the reign before that a replica keeps, to write them again.
const KEPT_MAX: usize = 4096;
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A line is written within this, so what is older than the last line of a reign by more was written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// So much of the end of a file is read to see what was written.
const TAIL_BYTES: u64 = 1 << 20;

/// Lines that are written at once, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// A file that takes nothing is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// At the end of the process, lines have this long to be written.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestLogPlace {
    /// Beside the messages of the host.
    Stderr,
    /// At the end of that file, which is made if it is not there. Several processes may write into it. Whoever moves it away gets a new one.
    File(PathBuf),
}

impl fmt::Display for GuestLogPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuestLogPlace::Stderr => out.write_str("stderr"),
            GuestLogPlace::File(path) => path.display().fmt(out),
        }
    }
}

/// The thread that writes, for all members of a process.
pub(crate) struct GuestLog(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    bytes: usize,
    /// Something was taken from the queue and is not written yet.
    is_writing: bool,
    /// Lines that were left out: how many, and the first of them.
    lost: BTreeMap<Arc<Whose>, (u64, EventId)>,
    is_closing: bool,
}

enum Job {
    Write(Line),
    /// The last lines of the reign before, of one instance.
    Repeat(Vec<Line>),
}

/// Whose a line is.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Whose {
    pub(crate) name: InstanceName,
    pub(crate) uuid: InstanceUuid,
}

/// A line as the guest wrote it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Line {
    whose: Arc<Whose>,
    id: EventId,
    time: Timestamp,
    text: Bytes,
}

/// The lines of one replica.
pub(crate) struct Lines {
    whose: Arc<Whose>,
    log: Option<Arc<GuestLog>>,
    /// The last ones that others were to write.
    kept: VecDeque<Line>,
    kept_bytes: usize,
}

impl Lines {
    pub(crate) fn new(whose: Whose, log: Option<Arc<GuestLog>>) -> Lines {
        Lines { whose: Arc::new(whose), log, kept: VecDeque::new(), kept_bytes: 0 }
    }

    /// The guest has logged that, and its record is durable. A standby keeps it, for its primary may not have written it.
    pub(crate) fn on_line(&mut self, id: EventId, time: Timestamp, text: Bytes, is_primary: bool) {
        let Some(log) = &self.log else { return };
        let line = Line { whose: Arc::clone(&self.whose), id, time, text };
        if is_primary {
            return log.push(Job::Write(line));
        }
        self.kept_bytes += line.bytes();
        self.kept.push_back(line);
        while self.kept.len() > KEPT_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let oldest = self.kept.pop_front().expect("there are more than the limit");
            self.kept_bytes -= oldest.bytes();
        }
    }

    /// This replica writes from here on, and first what others may not have written.
    pub(crate) fn begin_reign(&mut self) {
        let kept = Vec::from(self.take());
        if let (Some(log), false) = (&self.log, kept.is_empty()) {
            log.push(Job::Repeat(kept));
        }
    }

    /// The replica begins anew, and hears of them once more.
    pub(crate) fn forget(&mut self) {
        self.take();
    }

    fn take(&mut self) -> VecDeque<Line> {
        self.kept_bytes = 0;
        std::mem::take(&mut self.kept)
    }
}

impl GuestLog {
    /// Writes to that place from now on.
    ///
    /// # Errors
    /// If the file can't be opened, or the system has no more threads.
    pub(crate) fn open(place: &GuestLogPlace) -> io::Result<GuestLog> {
        let sink: Box<dyn Sink> = match place {
            GuestLogPlace::Stderr => Box::new(Stderr),
            GuestLogPlace::File(path) => Box::new(Rotated::open(path)?),
        };
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let there = Arc::clone(&shared);
        std::thread::Builder::new().name("guest log".to_owned()).spawn(move || there.write_all(sink))?;
        Ok(GuestLog(shared))
    }

    fn push(&self, job: Job) {
        let Some(first) = job.lines().first() else { return };
        let mut state = self.0.lock();
        if state.bytes + job.bytes() > WAITING_BYTES_MAX {
            let lost = state.lost.entry(Arc::clone(&first.whose)).or_insert((0, first.id));
            lost.0 += job.lines().len() as u64;
            return;
        }
        state.bytes += job.bytes();
        state.waiting.push_back(job);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all is written, but not for long. Nothing is written after that.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        self.0.changed.notify_all();
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty() || !state.lost.is_empty();
        let (state, waited) =
            self.0.changed.wait_timeout_while(state, CLOSING_PATIENCE, is_busy).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let bytes = state.bytes;
            tracing::warn!(
                bytes,
                "not all that guests have logged was written in time; the next primary writes it again"
            );
        }
    }
}

impl Job {
    fn lines(&self) -> &[Line] {
        match self {
            Job::Write(line) => std::slice::from_ref(line),
            Job::Repeat(lines) => lines,
        }
    }

    fn bytes(&self) -> usize {
        self.lines().iter().map(Line::bytes).sum()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, until it is closed.
    fn write_all(&self, mut sink: Box<dyn Sink>) {
        while let Some((jobs, lost)) = self.next() {
            let mut text = Vec::new();
            for job in jobs {
                match job {
                    Job::Write(line) => line.write(&mut text),
                    Job::Repeat(lines) => {
                        let last = lines.first().and_then(|line| sink.last(line.whose.uuid));
                        to_repeat(&lines, last).iter().for_each(|line| line.write(&mut text));
                    }
                }
            }
            for (whose, (count, first)) in lost {
                write_lost(&whose, count, first, &mut text);
            }
            self.write(&mut *sink, &text);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// What is to be written next; `None` if nothing follows.
    #[allow(clippy::type_complexity, reason = "it is what one step of the thread works on")]
    fn next(&self) -> Option<(Vec<Job>, BTreeMap<Arc<Whose>, (u64, EventId)>)> {
        let mut state = self.lock();
        loop {
            let mut jobs = Vec::new();
            let mut bytes = 0;
            while bytes < WRITE_BYTES
                && let Some(job) = state.waiting.pop_front()
            {
                bytes += job.bytes();
                jobs.push(job);
            }
            // What was left out came behind what waited.
            let lost = if state.waiting.is_empty() { std::mem::take(&mut state.lost) } else { BTreeMap::new() };
            if !jobs.is_empty() || !lost.is_empty() {
                state.bytes -= bytes;
                state.is_writing = true;
                return Some((jobs, lost));
            }
            if state.is_closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a text, as often as it takes.
    fn write(&self, sink: &mut dyn Sink, text: &[u8]) {
        let mut is_told = false;
        while let Err(error) = sink.write(text) {
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!("what guests log can't be written, trying again: {error}");
            }
            let state = self.lock();
            let pause = self.changed.wait_timeout_while(state, RETRY_PAUSE, |state| !state.is_closing);
            let (state, _) = pause.unwrap_or_else(PoisonError::into_inner);
            if state.is_closing {
                return;
            }
        }
    }
}

/// Those of the last lines of a reign that may not have been written, where `last` is the last that is known to have been.
fn to_repeat(lines: &[Line], last: Option<EventId>) -> &[Line] {
    let Some((first, newest)) = lines.first().zip(lines.last()) else { return lines };
    let from = match last {
        // Whoever wrote before wrote into this file.
        Some(last) if last >= first.id => lines.partition_point(|line| line.id <= last),
        _ => {
            let within = WRITTEN_WITHIN.as_nanos() as u64;
            lines.partition_point(|line| line.time.0.saturating_add(within) < newest.time.0)
        }
    };
    &lines[from..]
}

/// A line as it is written.
#[derive(Serialize)]
struct Written<'a> {
    time: String,
    level: &'a str,
    instance: &'a str,
    id: String,
    target: &'a str,
    message: &'a str,
    fields: &'a Map<String, Value>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.text.len() + LINE_OVERHEAD_BYTES
    }

    /// Appends it as JSON. What is no line as the SDK makes it is a field of one.
    fn write(&self, out: &mut Vec<u8>) {
        let mut said = match decode_value(&self.text) {
            Value::Object(said) => said,
            other => Map::from_iter([("fields".to_owned(), json!({ "value": other }))]),
        };
        let fields = match said.remove("fields") {
            Some(Value::Object(fields)) => fields,
            Some(other) => Map::from_iter([("value".to_owned(), other)]),
            None => Map::new(),
        };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        let level = ["error", "warn", "debug", "trace"].into_iter().find(|level| *level == text("level"));
        let written = Written {
            time: shown_time(self.time),
            level: level.unwrap_or("info"),
            instance: self.whose.name.as_str(),
            id: shown_id(self.whose.uuid, self.id),
            target: text("target"),
            message: text("message"),
            fields: &fields,
        };
        push_line(&json_of(&written), out);
    }
}

fn write_lost(whose: &Whose, count: u64, first: EventId, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Lost<'a> {
        instance: &'a str,
        /// The first of them.
        id: String,
        lost: u64,
    }
    let lost = Lost { instance: whose.name.as_str(), id: shown_id(whose.uuid, first), lost: count };
    push_line(&json_of(&lost), out);
}

fn json_of(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("keys are texts, and nothing fails by itself")
}

fn push_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(without_controls(line).as_bytes());
    out.push(b'\n');
}

fn shown_id(uuid: InstanceUuid, id: EventId) -> String {
    format!("{uuid}/{}/{}", id.lsn, id.index)
}

fn shown_time(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.6}")
}

/// Where lines are written.
trait Sink: Send {
    /// Writes whole lines.
    fn write(&mut self, text: &[u8]) -> io::Result<()>;

    /// The last line of an instance that is there, if that can be found.
    fn last(&mut self, uuid: InstanceUuid) -> Option<EventId>;
}

/// stderr, where nobody finds what was written.
struct Stderr;

impl Sink for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        text.split_inclusive(|byte| *byte == b'\n').for_each(Diagnostics::say_all_of);
        Ok(())
    }

    fn last(&mut self, _: InstanceUuid) -> Option<EventId> {
        None
    }
}

/// A file that may be moved away, as those do who rotate logs: then there is a new one.
struct Rotated {
    path: PathBuf,
    file: File,
    /// A write has failed in the middle of a line.
    is_torn: bool,
}

impl Rotated {
    fn open(path: &Path) -> io::Result<Rotated> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let is_torn = ends_within_a_line(&mut file)?;
        Ok(Rotated { path: path.to_owned(), file, is_torn })
    }

    /// The file that has the name now.
    fn renew(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = |there: &std::fs::Metadata| (there.dev(), there.ino()) == (own.dev(), own.ino());
        match std::fs::metadata(&self.path) {
            Ok(there) if is_own(&there) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => *self = Rotated::open(&self.path)?,
        }
        Ok(())
    }
}

impl Sink for Rotated {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.renew()?;
        if std::mem::replace(&mut self.is_torn, true) {
            self.file.write_all(b"\n")?;
        }
        // Several processes may write into it: lines that are written at once stay together.
        self.file.write_all(text)?;
        self.is_torn = false;
        Ok(())
    }

    fn last(&mut self, uuid: InstanceUuid) -> Option<EventId> {
        let found = self.renew().and_then(|()| last_in(&mut self.file, uuid));
        found.inspect_err(|error| tracing::warn!("what was logged before can't be read: {error}")).ok()?
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The last line of an instance in the last part of a file.
fn last_in(file: &mut File, uuid: InstanceUuid) -> io::Result<Option<EventId>> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    // Within a text of the guest the quotes would have a backslash before them.
    let front = format!("\"id\":\"{uuid}/");
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &tail[..end]);
    let found = whole.rsplit(|byte| *byte == b'\n').find_map(|line| id_in(&String::from_utf8_lossy(line), &front));
    Ok(found)
}

fn id_in(line: &str, front: &str) -> Option<EventId> {
    let (_, behind) = line.split_once(front)?;
    behind.split('"').next()?.replace('/', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use ambrosia_core::Lsn;

    use super::*;

    fn whose() -> Arc<Whose> {
        Arc::new(Whose { name: InstanceName::new("shop").expect("plain"), uuid: InstanceUuid([0xa1; 16]) })
    }

    fn line(lsn: u64, seconds: u64, text: &'static [u8]) -> Line {
        let (id, time) = (EventId { lsn: Lsn(lsn), index: 1 }, Timestamp(seconds * 1_000_000_000));
        Line { whose: whose(), id, time, text: Bytes::from_static(text) }
    }

    fn written(line: &Line) -> String {
        let mut text = Vec::new();
        line.write(&mut text);
        String::from_utf8(text).expect("it is text")
    }

    #[test]
    fn a_line_is_an_object_with_its_id_whatever_the_guest_wrote() {
        let uuid = whose().uuid;
        let front = format!(
            "{{\"time\":\"1970-01-01T00:00:07.000000Z\",\"level\":\"LEVEL\",\"instance\":\"shop\",\"id\":\"{uuid}/5/1\","
        );
        let of_sdk = b"\x84\xa5level\xa4warn\xa6target\xa4shop\xa7message\xa4late\xa6fields\x81\xa1n\x07";
        assert_eq!(
            written(&line(5, 7, of_sdk)),
            front.replace("LEVEL", "warn") + "\"target\":\"shop\",\"message\":\"late\",\"fields\":{\"n\":7}}\n"
        );
        for (text, fields) in [(&b"\x07"[..], "{\"value\":7}"), (b"\x80", "{}"), (b"\x81\xa5level\xa1x", "{}")] {
            let expected =
                format!("{}\"target\":\"\",\"message\":\"\",\"fields\":{fields}}}\n", front.replace("LEVEL", "info"));
            assert_eq!(written(&line(5, 7, text)), expected);
        }
        assert_eq!(written(&line(5, 7, b"")).lines().count(), 1);
    }

    #[test]
    fn what_the_file_has_is_not_repeated_and_else_what_is_not_old() {
        let lines: Vec<_> = [(2, 1), (3, 4), (4, 6), (5, 9)].map(|(lsn, at)| line(lsn, at, b"")).into();
        let lsns = |last: Option<u64>| {
            let last = last.map(|lsn| EventId { lsn: Lsn(lsn), index: 1 });
            to_repeat(&lines, last).iter().map(|line| line.id.lsn.0).collect::<Vec<_>>()
        };
        assert_eq!(lsns(Some(2)), [3, 4, 5]);
        assert_eq!(lsns(Some(4)), [5]);
        assert_eq!((lsns(Some(5)), lsns(Some(9))), (vec![], vec![]));
        assert_eq!(lsns(None), [3, 4, 5], "the first is older than the last by more than five seconds");
        assert_eq!(lsns(Some(1)), [3, 4, 5], "that file is not the one that was written into");
        assert!(to_repeat(&[], None).is_empty());
    }

    #[test]
    fn a_file_goes_on_where_it_ends_and_a_new_one_begins_when_it_is_moved_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        std::fs::write(&path, "torn").expect("it is writable");
        let mut sink = Rotated::open(&path).expect("it is writable");
        let lines = [line(5, 1, b"\x80"), line(7, 1, b"\xd9\x30\"id\":\"a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1/9/9\"..")];
        assert_eq!(sink.last(whose().uuid), None);
        let text: String = lines.iter().map(written).collect();
        sink.write(text.as_bytes()).expect("there is room");
        assert_eq!(read(&path), format!("torn\n{text}"));
        assert_eq!(sink.last(whose().uuid), Some(lines[1].id), "what a guest writes is no id");
        assert_eq!(sink.last(InstanceUuid([0xb2; 16])), None);
        std::fs::rename(&path, &moved).expect("it is there");
        sink.write(b"next\n").expect("there is room");
        assert_eq!((read(&path).as_str(), read(&moved)), ("next\n", format!("torn\n{text}")));
        assert_eq!(sink.last(whose().uuid), None);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_said_where_it_is_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let log = GuestLog(Arc::clone(&shared));
        static LARGE: [u8; 3 << 20] = [0x07; 3 << 20];
        for lsn in 2..=6 {
            log.push(Job::Write(line(lsn, 1, if lsn < 6 { &LARGE } else { b"\x07" })));
        }
        let sink = Box::new(Rotated::open(&path).expect("it is writable"));
        let thread = std::thread::spawn(move || shared.write_all(sink));
        log.close();
        thread.join().expect("it ends");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let ids: Vec<_> = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect();
        let uuid = whose().uuid;
        let id = |lsn: u64| json!(format!("{uuid}/{lsn}/1"));
        assert_eq!(ids.iter().map(|line| line["id"].clone()).collect::<Vec<_>>(), [id(2), id(3), id(6), id(4)]);
        assert_eq!(ids[3], json!({ "instance": "shop", "id": id(4), "lost": 2 }));
    }

    #[test]
    fn a_standby_keeps_the_last_lines_only_and_gives_them_away_once() {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let log = Arc::new(GuestLog(Arc::clone(&shared)));
        let Ok(whose) = Arc::try_unwrap(whose()) else { panic!("nobody else has it") };
        let mut lines = Lines::new(whose, Some(log));
        let of = |lsn| EventId { lsn: Lsn(lsn), index: 0 };
        (1..=KEPT_MAX as u64 + 3).for_each(|lsn| lines.on_line(of(lsn), Timestamp(1), Bytes::new(), false));
        lines.begin_reign();
        lines.on_line(of(9999), Timestamp(1), Bytes::new(), true);
        lines.begin_reign();
        let state = shared.lock();
        let jobs: Vec<_> = state.waiting.iter().map(|job| (job.lines().len(), job.lines()[0].id)).collect();
        assert_eq!(jobs, [(KEPT_MAX, of(4)), (1, of(9999))]);
    }
}
