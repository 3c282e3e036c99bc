//! Golden files of entries of the registry in format 2, which know upgrades, and 3, which know messages that are skipped. Format 1 is in the golden stores. They are never
//! changed, only added to. `AMBROSIA_BLESS=1` writes those that are missing.

use std::{env, fs, path::PathBuf, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Timestamp};

use crate::{
    Answered, EntryError, InstanceEntry, RecordedOutcome, StandingWish, Upgrades, Waiting, Wanted, WantedLimits,
    WantedSkip, WishAnswer,
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
    Some(Answered { attempt, to: [0xc2; 32], answer, skip: None })
}

fn upgrades(attempts: u64, answered: Option<Answered>) -> Upgrades {
    let modules = vec![[0xc1; 32], [0xc2; 32]];
    Upgrades { current: [0xc1; 32], modules, attempts, wanted: None, answered, mended_at: Lsn(0) }
}

/// One with a wish that stands, one with a wish that was claimed and taken back, and one with each answer.
fn entries() -> [(&'static str, InstanceEntry); 6] {
    let limits = WantedLimits { fuel: Some(40_000_000_000), memory_bytes: None };
    let waiting = Waiting { hold: true, end: false };
    let wanted = Wanted { limits, handover_fuel: 1_000_000_000, wait: Duration::from_secs(30), waiting };
    let made = Timestamp(1_700_000_001_000_000_002);
    let [from, to] = [[0xc1; 32], [0xc2; 32]];
    let wish = StandingWish { attempt: 1, from, to, skip: None, wanted, made, claimed_by: None, is_cancelled: false };
    let claimed = StandingWish { claimed_by: Some(Epoch(7)), is_cancelled: true, ..wish.clone() };
    let done = upgrades(1, answered(1, WishAnswer::Done { lsn: Lsn(70_000) }));
    let finished = RecordedOutcome::Finished { code: 3, lsn: Lsn(70_001) };
    let [refused, given_up] = ["at src/lib.rs:31:9: no such account", "transfer awaits withdraw of anna"];
    let refused = WishAnswer::Refused { report: refused.to_owned() };
    let given_up = WishAnswer::GivenUp { report: given_up.to_owned() };
    [
        ("wanted", entry(Upgrades { wanted: Some(wish), ..upgrades(1, None) }, None)),
        ("claimed", entry(Upgrades { wanted: Some(claimed), ..upgrades(1, None) }, None)),
        ("done", entry(Upgrades { current: [0xc2; 32], mended_at: Lsn(70_000), ..done }, Some(finished))),
        ("refused", entry(upgrades(300, answered(300, refused)), None)),
        ("given-up", entry(upgrades(2, answered(2, given_up)), None)),
        ("cancelled", entry(upgrades(2, answered(1, WishAnswer::Cancelled)), None)),
    ]
}

/// One with a skip that stands, one with a skip that was done, and one that went on before its last wish was refused.
fn entries_of_version_3() -> [(&'static str, InstanceEntry); 3] {
    let skip = WantedSkip { lsn: Lsn(70_007), messages: vec![0, 2, 300] };
    let limits = WantedLimits { fuel: None, memory_bytes: None };
    let wanted = Wanted { limits, handover_fuel: 0, wait: Duration::ZERO, waiting: Waiting::default() };
    let made = Timestamp(1_700_000_001_000_000_002);
    let (from, to, claimed_by) = ([0xc1; 32], [0xc1; 32], Some(Epoch(9)));
    let wish =
        StandingWish { attempt: 2, from, to, skip: Some(skip.clone()), wanted, made, claimed_by, is_cancelled: false };
    let reason = "panicked in message 2".to_owned();
    let halted = RecordedOutcome::Halted { lsn: Lsn(70_007), reason, backtrace: String::new() };
    let done = answered(2, WishAnswer::Done { lsn: Lsn(70_010) });
    let done = done.map(|answered| Answered { to: [0xc1; 32], skip: Some(skip), ..answered });
    let refused = WishAnswer::Refused { report: "no such account".to_owned() };
    let gone_on = upgrades(300, answered(300, refused));
    [
        ("skip", entry(Upgrades { wanted: Some(wish), ..upgrades(2, None) }, Some(halted))),
        ("skipped", entry(Upgrades { mended_at: Lsn(70_010), ..upgrades(2, done) }, None)),
        ("gone-on", entry(Upgrades { mended_at: Lsn(70_010), ..gone_on }, None)),
    ]
}

fn golden(version: u32, name: &str) -> Vec<u8> {
    fs::read(path(version, name)).unwrap_or_else(|error| panic!("{name}: {error}; bless it with AMBROSIA_BLESS=1"))
}

fn path(version: u32, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/entry-v{version}/{name}.bin"))
}

fn check(version: u32, name: &str, entry: InstanceEntry) {
    let path = path(version, name);
    if env::var_os("AMBROSIA_BLESS").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("writable");
        fs::write(&path, entry.encode()).expect("writable");
    }
    let golden = golden(version, name);
    assert_eq!(InstanceEntry::decode(&golden), Ok(entry.clone()), "{name}");
    assert_eq!(entry.encode(), golden, "{name}: the format changed; raise its version and keep reading this one");
}

#[test]
fn registry_entries_of_version_2_stay_readable() {
    entries().into_iter().for_each(|(name, entry)| check(2, name, entry));
    assert_eq!(golden(2, "wanted")[..8], *b"\x02\x06server");
}

#[test]
fn registry_entries_of_version_3_stay_readable() {
    entries_of_version_3().into_iter().for_each(|(name, entry)| check(3, name, entry));
    assert_eq!(golden(3, "skip")[..8], *b"\x03\x06server");
}

#[test]
fn a_program_that_reads_version_1_only_is_told_so_by_the_first_byte() {
    // Every version begins with its number, so this is what such a program finds.
    assert_eq!(golden(2, "done")[0], 2);
    let mut later = golden(2, "done");
    later[0] = 4;
    let error = InstanceEntry::decode(&later).expect_err("a later version");
    assert_eq!(error, EntryError::Version(4));
    assert_eq!(error.to_string(), "the entry has format version 4, this program reads versions 1 to 3");
}
