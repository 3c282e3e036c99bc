//! The cache of compiled components.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    ENGINE, genesis,
    guests::{ECHO, Wat},
    world,
};
use ambrosia_core::{Delivered, Guest};

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<_> =
        fs::read_dir(directory).expect("it exists").map(|entry| entry.expect("readable").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().expect("one")
}

fn works(directory: &Path, component: &[u8]) {
    let module = ENGINE.load_cached(component, directory).expect("it loads");
    let mut guest = module.instantiate(&genesis(1)).expect("it starts");
    let mut delivered = Delivered::default();
    guest.deliver(b"echo", &mut world(1), &mut delivered).expect("an echo");
    assert_eq!(delivered.effects, b"echo");
}

#[test]
fn the_second_load_takes_the_file_of_the_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let nested = directory.path().join("made/as/needed");
    let component = Wat::deliver(ECHO).bytes();
    works(&nested, &component);
    let file = only_file(&nested);
    let written = fs::metadata(&file).expect("a file").modified().expect("a time");
    works(&nested, &component);
    assert_eq!(fs::metadata(only_file(&nested)).expect("a file").modified().expect("a time"), written);
}

#[test]
fn what_was_compiled_is_kept_once_it_is_wanted_and_not_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let component = Wat::deliver(ECHO).bytes();
    let module = ENGINE.load_known(&component, directory.path()).expect("it loads");
    assert_eq!(fs::read_dir(directory.path()).expect("it exists").count(), 0, "nobody wants it yet");
    ENGINE.keep(&component, &module, directory.path());
    let file = only_file(directory.path());
    let written = fs::metadata(&file).expect("a file").modified().expect("a time");
    works(directory.path(), &component);
    ENGINE.load_known(&component, directory.path()).expect("it loads from the file");
    ENGINE.keep(&component, &module, directory.path());
    assert_eq!(fs::metadata(only_file(directory.path())).expect("a file").modified().expect("a time"), written);
}

#[test]
fn a_file_is_named_by_component_and_engine() {
    let directory = tempfile::tempdir().expect("a directory");
    works(directory.path(), &Wat::deliver(ECHO).bytes());
    let name = only_file(directory.path()).file_name().expect("a name").to_string_lossy().into_owned();
    let engine: String = ENGINE.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(name.len(), 64 + 1 + 64 + ".cwasm".len());
    assert!(name.ends_with(&format!("-{engine}.cwasm")));
}

#[test]
fn a_damaged_file_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let component = Wat::deliver(ECHO).bytes();
    works(directory.path(), &component);
    let file = only_file(directory.path());
    let whole = fs::read(&file).expect("a file");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[..whole.len() - 1], &whole[..20], b""] {
        fs::write(&file, damaged).expect("writable");
        works(directory.path(), &component);
        assert_eq!(fs::read(&file).expect("a file"), whole);
    }
}

#[test]
fn a_file_of_another_engine_is_not_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let component = Wat::deliver(ECHO).bytes();
    works(directory.path(), &component);
    let ours = only_file(directory.path());
    let name = ours.file_name().expect("a name").to_string_lossy().into_owned();
    let foreign = directory.path().join(format!("{}-{}.cwasm", &name[..64], "0".repeat(64)));
    fs::rename(&ours, &foreign).expect("the same directory");
    works(directory.path(), &component);
    assert!(ours.exists() && foreign.exists());
}

#[test]
fn whole_files_that_wasmtime_did_not_write_are_replaced() {
    use sha2::{Digest, Sha256};
    let directory = tempfile::tempdir().expect("a directory");
    let component = Wat::deliver(ECHO).bytes();
    works(directory.path(), &component);
    let file = only_file(directory.path());
    let whole = fs::read(&file).expect("a file");
    let foreign = b"code of another version";
    fs::write(&file, [&b"AMBCWSM2"[..], &Sha256::digest(foreign), foreign].concat()).expect("writable");
    works(directory.path(), &component);
    assert_eq!(fs::read(&file).expect("a file"), whole);
}

#[test]
fn a_directory_that_can_not_be_written_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("writable");
    works(&file, &Wat::deliver(ECHO).bytes());
}
