//! Golden files of entries of the registry in format 2, which know upgrades. Format 1 is in the golden stores. They are never
//! changed, only added to. `AMBROSIA_BLESS=1` writes those that are missing.

use std::{env, fs, path::PathBuf, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Timestamp};

use crate::{
    Answered, EntryError, InstanceEntry, RecordedOutcome, StandingWish, Upgrades, Waiting, Wanted, WantedLimits,
    WishAnswer,
};

fn entry(upgrades: Upgrades, outcome: Option<RecordedOutcome>) -> InstanceEntry {
    InstanceEntry {
        name: InstanceName::new("server").expect("plain"),
        uuid: InstanceUuid([0xa1; 16]),
        module: [0xc1; 32],
        replicas: [0, 3].into(),
        registered: Timestamp(1_700_000_000_000_000_001),
        outcome,
        upgrades,
    }
}

fn answered(attempt: u64, answer: WishAnswer) -> Option<Answered> {
    Some(Answered { attempt, to: [0xc2; 32], answer })
}

fn upgrades(attempts: u64, answered: Option<Answered>) -> Upgrades {
    let modules = vec![[0xc1; 32], [0xc2; 32]];
    Upgrades { current: [0xc1; 32], modules, attempts, wanted: None, answered }
}

/// One with a wish that stands, one with a wish that was claimed and taken back, and one with each answer.
fn entries() -> [(&'static str, InstanceEntry); 6] {
    let limits = WantedLimits { fuel: Some(40_000_000_000), memory_bytes: None };
    let waiting = Waiting { hold: true, end: false };
    let wanted = Wanted { limits, handover_fuel: 1_000_000_000, wait: Duration::from_secs(30), waiting };
    let made = Timestamp(1_700_000_001_000_000_002);
    let [from, to] = [[0xc1; 32], [0xc2; 32]];
    let wish = StandingWish { attempt: 1, from, to, wanted, made, claimed_by: None, is_cancelled: false };
    let claimed = StandingWish { claimed_by: Some(Epoch(7)), is_cancelled: true, ..wish.clone() };
    let done = upgrades(1, answered(1, WishAnswer::Done { lsn: Lsn(70_000) }));
    let finished = RecordedOutcome::Finished { code: 3, lsn: Lsn(70_001) };
    let [refused, given_up] = ["at src/lib.rs:31:9: no such account", "transfer awaits withdraw of anna"];
    let refused = WishAnswer::Refused { report: refused.to_owned() };
    let given_up = WishAnswer::GivenUp { report: given_up.to_owned() };
    [
        ("wanted", entry(Upgrades { wanted: Some(wish), ..upgrades(1, None) }, None)),
        ("claimed", entry(Upgrades { wanted: Some(claimed), ..upgrades(1, None) }, None)),
        ("done", entry(Upgrades { current: [0xc2; 32], ..done }, Some(finished))),
        ("refused", entry(upgrades(300, answered(300, refused)), None)),
        ("given-up", entry(upgrades(2, answered(2, given_up)), None)),
        ("cancelled", entry(upgrades(2, answered(1, WishAnswer::Cancelled)), None)),
    ]
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}; bless it with AMBROSIA_BLESS=1"))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/entry-v2/{name}.bin"))
}

#[test]
fn registry_entries_of_version_2_stay_readable() {
    for (name, entry) in entries() {
        if env::var_os("AMBROSIA_BLESS").is_some() && !path(name).exists() {
            fs::create_dir_all(path(name).parent().expect("it lies in a folder")).expect("writable");
            fs::write(path(name), entry.encode()).expect("writable");
        }
        assert_eq!(InstanceEntry::decode(&golden(name)), Ok(entry.clone()), "{name}");
        assert_eq!(
            entry.encode(),
            golden(name),
            "{name}: the format changed; raise its version and keep reading this one"
        );
    }
    assert_eq!(golden("wanted")[..8], *b"\x02\x06server");
}

#[test]
fn a_program_that_reads_version_1_only_is_told_so_by_the_first_byte() {
    // Every version begins with its number, so this is what such a program finds.
    assert_eq!(golden("done")[0], 2);
    let mut later = golden("done");
    later[0] = 3;
    let error = InstanceEntry::decode(&later).expect_err("a later version");
    assert_eq!(error, EntryError::Version(3));
    assert_eq!(error.to_string(), "the entry has format version 3, this program reads versions 1 and 2");
}
