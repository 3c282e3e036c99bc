//! What holds of every depot.

use std::{
    io::{self, Read},
    sync::Arc,
};

use ambrosia_shared_log::{Depot, DepotError, Listing, Seal};
use ambrosia_test_database::Objects;
use uuid::Uuid;

use crate::grounds::{AsOfGoogle, Ground};

/// More than one part of an upload.
const LARGE_BYTES: usize = (20 << 20) + 7;

macro_rules! on_all {
    ($($name:ident)*) => {
        mod in_a_directory {
            $(#[test] fn $name() { super::$name(&tempfile::tempdir().expect("there is room")); })*
        }
        mod in_an_object_store {
            $(#[test] fn $name() {
                if let Some(objects) = super::Objects::begin() {
                    super::$name(&objects);
                }
            })*
        }
        mod in_one_that_is_asked_as_google_is {
            $(#[test] fn $name() {
                if let Some(objects) = super::AsOfGoogle::begin() {
                    super::$name(&objects);
                }
            })*
        }
    };
}

on_all! {
    what_was_put_is_there_and_may_be_put_again
    what_is_large_comes_out_as_it_went_in
    what_was_removed_is_gone_and_may_be_removed_again
    an_upload_that_is_broken_off_leaves_nothing
    contents_that_are_not_what_they_were_are_refused
    folders_hold_what_lies_in_them_however_much
    a_depot_is_that_of_its_store_alone
}

fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 + at / 4096) as u8).collect()
}

fn get(depot: &dyn Depot, name: &str) -> Result<Vec<u8>, DepotError> {
    let mut out = Vec::new();
    depot.get(name, &mut out).map(|()| out)
}

fn sorted(depot: &dyn Depot, folder: &str) -> Listing {
    let mut listing = depot.list(folder).expect("it can be seen");
    listing.files.sort();
    listing.folders.sort();
    listing
}

fn what_was_put_is_there_and_may_be_put_again(ground: &dyn Ground) {
    let depot = ground.depot();
    for bytes in [0, 1, 100_000] {
        let (name, contents) = (format!("a/b/{bytes}"), contents(bytes));
        for _ in 0..2 {
            let seal = depot.put_sealed(&name, &mut &contents[..]).expect("there is room");
            assert_eq!(seal.bytes, bytes as u64);
            let mut out = Vec::new();
            depot.get_sealed(&name, seal, &mut out).expect("it is there");
            assert!(out == contents, "{bytes}");
        }
    }
    assert_eq!(ground.count(), 3);
}

fn what_is_large_comes_out_as_it_went_in(ground: &dyn Ground) {
    let depot = ground.depot();
    let contents = contents(LARGE_BYTES);
    let seal = depot.put_sealed("large", &mut &contents[..]).expect("there is room");
    let mut out = Vec::new();
    depot.get_sealed("large", seal, &mut out).expect("it is there");
    assert!(out == contents, "it is as it was");
    assert_eq!(ground.count(), 1, "parts are nothing of their own");
}

fn what_was_removed_is_gone_and_may_be_removed_again(ground: &dyn Ground) {
    let depot = ground.depot();
    depot.put("a/b/c", &mut &b"c"[..]).expect("there is room");
    depot.put("a/d", &mut &b"d"[..]).expect("there is room");
    for _ in 0..2 {
        depot.remove("a/b/c").expect("it can be removed");
    }
    let missing = get(&*depot, "a/b/c").expect_err("it is gone");
    assert!(matches!(missing, DepotError::Missing { .. }), "{missing:?}");
    assert_eq!(sorted(&*depot, "a").files, ["d"], "its folder may stay for a while");
    depot.put("a/b/c", &mut &b"new"[..]).expect("its folder is made again");
    assert_eq!(get(&*depot, "a/b/c").expect("it is there"), b"new");
}

/// Contents that end in an error.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = buffer.len().min(self.0);
        self.0 -= read;
        if read > 0 { Ok(read) } else { Err(io::Error::other("the disk is broken")) }
    }
}

fn an_upload_that_is_broken_off_leaves_nothing(ground: &dyn Ground) {
    let depot = ground.depot();
    for bytes in [0, 100, LARGE_BYTES] {
        let broken = depot.put("a/b", &mut Broken(bytes)).expect_err("they can't be read");
        assert!(matches!(&broken, DepotError::Contents(error) if error.to_string().contains("broken")), "{broken:?}");
        let missing = get(&*depot, "a/b").expect_err("it never came to be");
        assert!(matches!(missing, DepotError::Missing { .. }), "{missing:?}");
    }
    depot.put("a/b", &mut &b"whole"[..]).expect("there is room");
    assert_eq!(get(&*depot, "a/b").expect("it is there"), b"whole");
}

fn contents_that_are_not_what_they_were_are_refused(ground: &dyn Ground) {
    let depot = ground.depot();
    let seal = depot.put_sealed("a", &mut &b"contents"[..]).expect("there is room");
    for wrong in [
        Seal { sha256: [0; 32], ..seal },
        Seal { bytes: seal.bytes - 1, ..seal },
        Seal { bytes: seal.bytes + 1, ..seal },
        Seal { bytes: 0, ..seal },
    ] {
        let damaged = depot.get_sealed("a", wrong, &mut Vec::new()).expect_err("it is something else");
        assert!(matches!(damaged, DepotError::Damaged { .. }), "{damaged:?}");
    }
    depot.get_sealed("a", seal, &mut Vec::new()).expect("it is itself");
}

fn folders_hold_what_lies_in_them_however_much(ground: &dyn Ground) {
    const MANY: usize = 1100;
    let depot = ground.depot();
    assert_eq!(depot.list("").expect("it can be seen"), Listing::default(), "the mark is nothing");
    assert_eq!(depot.list("none").expect("it can be seen"), Listing::default());
    let names: Vec<_> = (0..MANY).map(|number| format!("{number:04}")).collect();
    std::thread::scope(|scope| {
        for part in names.chunks(MANY / 8) {
            let depot = Arc::clone(&depot);
            scope.spawn(move || {
                for name in part {
                    depot.put(&format!("many/{name}"), &mut name.as_bytes()).expect("there is room");
                }
            });
        }
    });
    depot.put("more/deep/a", &mut &b"a"[..]).expect("there is room");
    depot.put("top", &mut &b"a"[..]).expect("there is room");
    assert_eq!(sorted(&*depot, "many"), Listing { files: names, folders: Vec::new() });
    let folders = vec!["many".to_owned(), "more".to_owned()];
    assert_eq!(sorted(&*depot, ""), Listing { files: vec!["top".to_owned()], folders });
    assert_eq!(sorted(&*depot, "more"), Listing { files: Vec::new(), folders: vec!["deep".to_owned()] });
}

fn a_depot_is_that_of_its_store_alone(ground: &dyn Ground) {
    let (depot, store) = (ground.depot(), Uuid::new_v4());
    depot.check().expect("it was marked");
    let other = ground.place().depot(store).expect("a place of the test's own");
    let refused = other.check().expect_err("it was not");
    assert!(matches!(&refused, DepotError::Unusable { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("store init") && said.contains("blobs=") && said.contains(&store.to_string()), "{said}");
    depot.put("a", &mut &b"a"[..]).expect("there is room");
    other.make().expect("a place of the test's own");
    other.make().expect("once more it is the same");
    other.check().expect("it is marked now");
    assert_eq!(other.list("").expect("it can be seen"), Listing::default());
}
