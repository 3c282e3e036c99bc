//! Damaged files, full disks, and disks that fail.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Lsn, Record, RecordHeader, RecordKind};
use ambrosia_storage::{FileStore, ScannedRecord};
use ambrosia_tests::{Cluster, Lines, PATIENCE, skip};
use serde_json::json;

use crate::support::{Replicas, Session, begin, cluster, fails};

/// All records of a log with their places.
fn scan(cluster: &Cluster, instance: &str) -> Vec<ScannedRecord> {
    let store = FileStore::open(cluster.store()).expect("it is a store");
    let scan = store.scan_log(&InstanceName::new(instance).expect("a plain name"), Lsn(1)).expect("it is registered");
    scan.map(|record| record.expect("it is whole")).collect()
}

/// A counter that counted to ten and runs no more.
fn counted_to_ten(cluster: &Cluster) {
    let mut counter = Replicas::of(cluster, "counter", "counter", 1);
    let mut session = Session::new(cluster, "counter");
    (1..=10).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
    wait_for_mark(&scan(cluster, "counter").pop().expect("there are records"));
    counter.kill_all();
}

/// An idle log says on the disk that its last record is durable. Waits for that, which nothing announces.
fn wait_for_mark(last: &ScannedRecord) {
    let end = last.offset as usize + last.record.stored().len();
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read(&last.file).expect("it is there")[end..].iter().all(|byte| *byte == 0) {
        assert!(Instant::now() < deadline, "the idle log did not say what is durable");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn flip_bit(file: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("it is that long");
    file.write_all_at(&[byte[0] ^ 4], offset).expect("it can be written");
}

#[test]
fn a_store_of_another_format_version_is_refused_by_every_verb() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    std::fs::write(cluster.store().join("FORMAT"), "ambrosia-store 2\n").expect("it can be written");
    let module = cluster.guest("counter").display().to_string();
    for verb in [
        &["run", "--instance", "counter"][..],
        &["status"],
        &["log", "--instance", "counter"],
        &["send", "--instance", "counter", "--method", "add"],
        &["add-replica", "--instance", "counter", "--replica", "1"],
        &["deregister-instance", "--instance", "counter", "--yes"],
        &["register-instance", "--instance", "b", "--module", &module],
    ] {
        fails(&cluster, verb, &["FORMAT says \"ambrosia-store 2\", this program needs \"ambrosia-store 1\""]);
    }
    std::fs::write(cluster.store().join("FORMAT"), "ambrosia-store 1\n").expect("it can be written");
    assert_eq!(cluster.log("counter").len(), 1, "nothing was lost");
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_named_with_file_and_offset_and_nothing_is_cut() {
    let cluster = cluster();
    counted_to_ten(&cluster);
    let records = scan(&cluster, "counter");
    for inside in [0, 20, 64] {
        let ScannedRecord { file, offset, .. } = &records[records.len() / 2];
        let whole = std::fs::read(file).expect("it is there");
        flip_bit(file, offset + inside);
        let damaged = std::fs::read(file).expect("it is there");
        let place = format!("{}, offset {offset}", file.display());
        for verb in [&["run", "--instance", "counter"][..], &["log", "--instance", "counter", "--json"]] {
            let ran = cluster.run(verb);
            assert_eq!(ran.code, 1, "{verb:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("the log is damaged") && ran.stderr.contains(&place), "{}", ran.stderr);
        }
        assert!(std::fs::read(file).expect("it is there") == damaged, "the file is as it was");
        std::fs::write(file, whole).expect("it can be written");
    }
    let _host = cluster.start("counter", 0);
    assert_eq!(cluster.send("counter", "total", json!([])), 10);
}

#[test]
fn a_flipped_bit_in_the_last_durable_record_is_damage_and_not_a_torn_tail() {
    let cluster = cluster();
    counted_to_ten(&cluster);
    let last = scan(&cluster, "counter").pop().expect("there are records");
    flip_bit(&last.file, last.offset + 70);
    // As after a restart of the machine: only the files tell.
    std::fs::remove_file(last.file.with_file_name("control")).expect("it was there");
    let place = format!("{}, offset {}", last.file.display(), last.offset);
    fails(&cluster, &["run", "--instance", "counter"], &["the log is damaged", &place]);
    flip_bit(&last.file, last.offset + 70);
    let _host = cluster.start("counter", 0);
    assert_eq!(cluster.send("counter", "total", json!([])), 10);
}

#[test]
fn a_torn_last_record_is_cut_which_is_said_and_the_instance_goes_on() {
    let cluster = cluster();
    counted_to_ten(&cluster);
    let records = scan(&cluster, "counter");
    let (file, offset) = tear(records.last().expect("there are records"));
    let host = cluster.start("counter", 0);
    host.wait_for_word("the last write was cut short before it was acknowledged");
    assert!(host.said().contains(&format!("offset={offset}")), "{}", host.said());
    assert!(host.said().contains(&file.display().to_string()), "{}", host.said());
    assert_eq!(cluster.send("counter", "add", json!([1])), 11);
    assert_eq!(cluster.log("counter").len(), records.len() + 3, "epoch, the word to the guest, and the request");
}

/// Writes the beginning of one more record behind `last`, as a machine does that loses power. Where it stands.
fn tear(last: &ScannedRecord) -> (PathBuf, u64) {
    let before = last.record.header();
    let mut header = RecordHeader::new(RecordKind::Deliver, before.epoch, before.lsn.next(), before.time);
    header.previous = before.link();
    header.durable = before.lsn;
    let torn = Record::seal(header, &[7; 200]);
    write_behind(last, &torn.stored()[..100])
}

/// Writes the front of a record behind all that stands in the file of `last`, as its primary does. Where it stands.
fn write_behind(last: &ScannedRecord, record: &[u8]) -> (PathBuf, u64) {
    let bytes = std::fs::read(&last.file).expect("it is there");
    // The first bytes of a record are mixed with the salt of its segment (docs/formats.md).
    let mut added = record.to_vec();
    added.iter_mut().zip(&bytes[80..88]).for_each(|(byte, salt)| *byte ^= salt);
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("it holds records") + 1;
    let offset = used.next_multiple_of(8) as u64;
    let file = std::fs::File::options().write(true).open(&last.file).expect("it is there");
    file.write_all_at(&added, offset).expect("it can be written");
    (last.file.clone(), offset)
}

/// An upgrade or a mend that this program can't read: which modules the records behind it need is not known.
#[test]
fn a_change_of_the_code_that_can_not_be_read_is_told_by_whoever_needs_it() {
    for kind in [RecordKind::Upgrade, RecordKind::Mend] {
        let cluster = cluster();
        counted_to_ten(&cluster);
        let last = scan(&cluster, "counter").pop().expect("there are records");
        let before = *last.record.header();
        let mut header = RecordHeader::new(kind, before.epoch, before.lsn.next(), before.time);
        (header.previous, header.durable) = (before.link(), before.lsn);
        write_behind(&last, Record::seal(header, b"of a later version").stored());
        let named = format!("record {} ", header.lsn.0);
        let words = [named.as_str(), "does not have the shape"];
        fails(&cluster, &["run", "--instance", "counter"], &words);
        let copy = cluster.file("copy");
        fails(&cluster, &["export", "--instance", "counter", "--output", copy.to_str().expect("text")], &words);
    }
}

/// What a program writes that keeps several instances in one log, which this one does not know.
#[test]
fn a_log_with_several_instances_is_refused_as_too_new_and_nothing_is_cut() {
    let cluster = cluster();
    counted_to_ten(&cluster);
    let last = scan(&cluster, "counter").pop().expect("there are records");
    let mut body = last.record.body().to_vec();
    assert_eq!(body[12..16], [0; 4], "the one instance of a log has number 0");
    body[12] = 1;
    let mut header = RecordHeader { lsn: last.record.lsn().next(), ..*last.record.header() };
    header.previous = last.record.header().link();
    let later = Record::seal(header, &body);
    let (file, offset) = write_behind(&last, later.stored());
    let lsn = header.lsn.0;
    let text = format!(
        "record {lsn} of the log can't be applied: the record is for instance number 1 of the log: this program is too \
         old for a log with several instances"
    );
    fails(&cluster, &["run", "--instance", "counter"], &[&text]);
    fails(&cluster, &["run", "--instance", "counter"], &[&text]);
    let shown = cluster.run(&["log", "--instance", "counter"]);
    assert_eq!(shown.code, 1, "{}", shown.stderr);
    assert!(
        shown.stderr.contains(&format!("record {lsn} of the log can't be shown: the record is for instance")),
        "{}",
        shown.stderr
    );
    let before = format!(" {} ", lsn - 1);
    assert!(shown.stdout.lines().any(|line| line.contains(&before)), "what comes before is shown: {}", shown.stdout);
    let bytes = std::fs::read(file).expect("it is there");
    let stands = &bytes[offset as usize..][..later.stored().len()];
    assert_eq!(stands[8..], later.stored()[8..], "it is as it was");
}

#[test]
fn a_damaged_module_is_an_error_and_a_damaged_compiled_one_is_made_again() {
    let cluster = cluster();
    counted_to_ten(&cluster);
    let only = |folder: &str| {
        let files = std::fs::read_dir(cluster.store().join(folder)).expect("it is there");
        let mut files = files.map(|file| file.expect("it can be listed").path());
        // What is written down of a module lies beside it, with an ending.
        files.find(|path| path.is_file() && (folder == "compiled" || path.extension().is_none())).expect("there is one")
    };
    flip_bit(&only("compiled"), 5000);
    let mut host = cluster.start("counter", 0);
    host.wait_for_word("a cached module is damaged; it is compiled again");
    assert_eq!(cluster.send("counter", "total", json!([])), 10);
    host.kill();

    flip_bit(&only("blobs"), 5000);
    fails(&cluster, &["run", "--instance", "counter"], &["is damaged", "restore it from a copy"]);
    cluster.register("counter", "counter", 1); // which puts the module back
    let _host = cluster.start("counter", 0);
    assert_eq!(cluster.send("counter", "total", json!([])), 10);
}

#[test]
fn a_full_disk_stops_the_primary_and_loses_nothing_acknowledged() {
    let cluster = cluster();
    let Some(disk) = Disk::mount(&cluster, "12m") else { return };
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let mut session = Session::new(&cluster, "counter");
    let text = "x".repeat(200_000);
    let mut acknowledged = 0;
    let limit = Duration::from_secs(2);
    while session.try_call(&ambrosia_host::fresh_request_id(), "add", &json!([1]), limit).is_ok() {
        acknowledged += 1;
        if session.try_call(&ambrosia_host::fresh_request_id(), "echo", &json!([text]), limit).is_err() {
            break;
        }
    }
    let (code, said) = counter.wait_for_end(0);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the log can't be written, so this replica stops"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(acknowledged > 5, "{acknowledged}");
    disk.enlarge("64m");
    counter.start(0);
    let total = session.call("total", json!([])).as_u64().expect("a number");
    assert!((acknowledged..=acknowledged + 1).contains(&total), "{acknowledged} were acknowledged, {total} are there");
}

/// A small disk of its own for the store.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with a message, where mounting is not allowed.
    fn mount(cluster: &Cluster, size: &str) -> Option<Disk> {
        let path = cluster.store();
        std::fs::create_dir(&path).expect("the directory is there");
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(path));
        }
        skip("a full disk", "mounting a tmpfs is not allowed here");
        None
    }

    fn enlarge(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().expect("it was there before");
        assert!(status.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: hosts that the test has not ended yet still use it.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_failed_fdatasync_stops_the_primary_before_it_acknowledges() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let mut session = Session::new(&cluster, "counter");
    (1..=5).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
    let Some(_strace) = Strace::fail_syncs(counter.host(0).pid()) else { return };
    let send = ["send", "--instance", "counter", "--method", "add", "--args", "[1]", "--request-id", "sixth"];
    let mut pending = begin(&cluster, &send);
    let (code, said) = counter.wait_for_end(0);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the log can't be written, so this replica stops"), "{said}");
    assert!(said.contains("Input/output error"), "{said}");
    assert!(!pending.has_ended(), "what is not durable is not acknowledged");
    counter.start(0);
    assert_eq!(pending.end().stdout, "6", "done once, and answered once it is durable");
    assert_eq!(session.call("total", json!([])), 6);
}

/// A tracer that makes system calls of a process fail. Dropped, it lets go of it.
struct Strace(std::process::Child);

impl Strace {
    /// Every fdatasync fails from now on. `None`, with a message, where there is no strace or it may not trace.
    fn fail_syncs(pid: u32) -> Option<Strace> {
        let inject = "inject=fdatasync:error=EIO";
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fdatasync", "-e", inject, "-p", &pid.to_string()]);
        let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() else {
            skip("a failing fdatasync", "there is no strace");
            return None;
        };
        let said = Lines::of(child.stderr.take().expect("piped above"), |_| {});
        let strace = Strace(child);
        if said.wait_for(0, PATIENCE, |line| line.contains("attached")).is_some() {
            return Some(strace);
        }
        skip("a failing fdatasync", &format!("strace may not trace here: {:?}", said.all()));
        None
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
