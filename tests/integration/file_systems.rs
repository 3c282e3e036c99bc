//! A store on a file system behind which another machine may be.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use ambrosia_tests::skip;
use serde_json::json;

use crate::support::{cluster, fails};

/// A directory that is seen through FUSE.
struct Mounted {
    behind: PathBuf,
    path: PathBuf,
}

impl Mounted {
    /// `None` if this user may not mount, or has no program for it.
    fn try_new(parent: &Path) -> Option<Mounted> {
        let (behind, path) = (parent.join("behind"), parent.join("mounted"));
        std::fs::create_dir(&behind).expect("it is the test's own");
        std::fs::create_dir(&path).expect("it is the test's own");
        let mounted = Command::new("bindfs").args([&behind, &path]).output();
        mounted.is_ok_and(|ran| ran.status.success()).then_some(Mounted { behind, path })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The directory is removed with what it holds otherwise: say so where that can't be.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path.display());
        }
    }
}

#[test]
fn a_store_behind_fuse_is_refused_unless_somebody_knows_better() {
    let cluster = cluster();
    let Some(mounted) = Mounted::try_new(cluster.directory()) else {
        return skip("a store behind FUSE", "`bindfs` does not work here");
    };
    let store = mounted.path.join("store").display().to_string();
    let module = cluster.guest("counter").display().to_string();
    let register = ["--store", &store, "register-instance", "--instance", "counter", "--module", &module];
    let words = ["lies on a network file system (FUSE", "--allow-network-file-system"];
    fails(&cluster, &register, &words);
    assert_eq!(std::fs::read_dir(&mounted.behind).expect("it is there").count(), 0, "nothing is made there");

    let allowed = |verb: &[&'static str]| [&["--store", &store, "--allow-network-file-system"], verb].concat();
    cluster.must(&[&["--allow-network-file-system"], &register[..]].concat());
    for verb in [&["status"][..], &["run", "--instance", "counter"], &["log", "--instance", "counter"]] {
        fails(&cluster, &[&["--store", &store], verb].concat(), &words);
    }
    let host = ambrosia_tests::Host::start(cluster.command(&allowed(&["run", "--instance", "counter"])), |_| {});
    let mut host = host.expect("the program can be started");
    host.wait_until_primary();
    let send = ["send", "--instance", "counter", "--method", "add", "--args", "[1]"];
    assert_eq!(cluster.must(&allowed(&send)).trim(), json!(1).to_string());
    host.kill();
}
