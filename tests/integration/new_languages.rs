//! `new --lang js` and `new --lang python`: what a stranger does with such a project, and the SDK that is in it.
//!
//! The tools of a language are fetched from its registry. Where there are none, or there is no registry, its tests are skipped, and say so.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use ambrosia_tests::{Cluster, Host, Signal, skip};
use serde_json::{Value, json};

use crate::support::{cluster, curl, http_address, post, succeeds, wait_for_status};

/// Python is compiled for a quarter of a minute, on a machine that is not busy.
const BUILD_PATIENCE: Duration = Duration::from_secs(300);

/// What differs between the languages.
struct Language {
    word: &'static str,
    /// Its tests, in a project.
    tests: &'static [&'static str],
    /// The tests of its SDK: the program, and the file.
    sdk_tests: (&'static [&'static str], &'static str),
    /// Where the application is, and what it does.
    source: (&'static str, &'static str),
    /// The type of a whole number there.
    number: &'static str,
}

const JAVASCRIPT: Language = Language {
    word: "js",
    tests: &["npm", "test"],
    sdk_tests: (&["node", "--test"], "sdk.test.js"),
    source: ("src/app.js", "this.sum += n"),
    number: "u64",
};

const PYTHON: Language = Language {
    word: "python",
    tests: &["python3", "-m", "unittest"],
    sdk_tests: (&["python3"], "sdk_test.py"),
    source: ("app.py", "self.sum += n"),
    number: "s64",
};

/// A project that `new` has made in the directory of a cluster.
struct Project {
    cluster: Cluster,
    directory: PathBuf,
}

impl Project {
    fn new(language: &Language) -> Project {
        let cluster = cluster();
        let directory = cluster.file("made");
        let arguments = ["new", "my-counter", "--lang", language.word, "--directory"];
        let words = ["made the project my-counter", "to build it takes", "ambrosia-host up"];
        succeeds(&cluster, &[&arguments[..], &[text(&directory)]].concat(), &words);
        Project { cluster, directory }
    }

    /// Runs something in it.
    fn run(&self, command: &[&str], more: impl FnOnce(&mut Command)) -> Output {
        let mut made = Command::new(command[0]);
        made.args(&command[1..]).current_dir(&self.directory).env("PYTHONDONTWRITEBYTECODE", "1");
        more(&mut made);
        made.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Builds it. `None` where what it takes is not here, and `build.sh` says so, or there is no registry.
    fn build(&self, what: &str) -> Option<()> {
        let output = self.run(&["sh", "build.sh"], |_| {});
        if output.status.success() {
            return Some(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = said.lines().rfind(|line| line.starts_with("build.sh: "));
        skip(what, reason.unwrap_or_else(|| panic!("it can't be built: {said}")));
        None
    }

    fn up(&self, more: &[&str]) -> Host {
        let mut command = self.cluster.command(&[&["up", "--http", "127.0.0.1:0"], more].concat());
        command.current_dir(&self.directory).env("AMBROSIA_STORE", self.cluster.store());
        let up = Host::start(command, |_| {}).expect("the program can be started");
        let became = up.stderr.wait_for(0, BUILD_PATIENCE, |line| line.contains("became primary"));
        assert!(became.is_some(), "it was not built: {}", up.said());
        up
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// Whether that can be run here.
fn is_here(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn wait_for_roles(cluster: &Cluster) {
    wait_for_status(cluster, "my-counter", |status| {
        let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
        let has = |role: &str| replicas.iter().any(|replica| replica["role"] == role);
        has("primary") && has("standby")
    });
}

#[test]
fn a_new_project_in_javascript_keeps_its_total_through_kills_starts_and_swaps() {
    walk(&JAVASCRIPT);
}

#[test]
fn a_new_project_in_python_keeps_its_total_through_kills_starts_and_swaps() {
    walk(&PYTHON);
}

/// What a reader of the project's README does.
fn walk(language: &Language) {
    let project = Project::new(language);
    let cluster = &project.cluster;
    let Some(()) = project.build(&format!("new projects with --lang {}", language.word)) else { return };
    let tested = project.run(language.tests, |_| {});
    assert!(tested.status.success(), "{tested:?}");

    let mut up = project.up(&["--watch"]);
    let address = http_address(&up);
    let add = |key: Option<&str>, body: &str| post(address, "/v1/my-counter/add", key, body);
    let total = || curl(address, "/v1/my-counter/total", &[]).json();
    assert_eq!((add(Some("order-1"), "[2]").json(), add(Some("order-1"), "[2]").json()), (json!(2), json!(2)));
    assert_eq!(add(None, r#"{"n": 3}"#).json(), json!(5), "arguments have names");
    let refused = add(None, r#"["much"]"#);
    assert!(refused.status == 400 && refused.body.contains(&format!("n: {}", language.number)), "{refused:?}");
    assert_eq!(cluster.send("my-counter", "add", json!([0])), 5);
    assert_eq!(total(), json!(5));
    check_documents(&curl(address, "/openapi.json", &[]).json());

    wait_for_roles(cluster);
    succeeds(cluster, &["kill", "my-counter", "--primary"], &["of my-counter, the primary", "took over in"]);
    assert_eq!((add(Some("order-1"), "[2]").json(), total()), (json!(2), json!(5)), "it was done before the kill");
    assert_eq!(add(Some("order-2"), "[1]").json(), json!(6));
    up.wait_for_print("the total is 6");
    wait_for_roles(cluster);

    up.wait_for_word("watches the sources");
    let (file, old) = language.source;
    let source = project.directory.join(file);
    let written = fs::read_to_string(&source).expect("it was made");
    assert!(written.contains(old), "{written}");
    fs::write(&source, written.replace(old, &old.replace("+= ", "+= 10 * "))).expect("it can be written");
    let swapped = up.stdout.wait_for(0, BUILD_PATIENCE, |line| line.contains("runs the new module since lsn"));
    assert!(swapped.is_some(), "it was not swapped: {}", up.said());
    assert_eq!(add(Some("order-3"), "[1]").json(), json!(16));
    assert_eq!(add(Some("order-2"), "[1]").json(), json!(6), "it was done by the old code");
    up.signal(Signal::Interrupt);
    assert_eq!(up.exit_code(), 0, "{}", up.said());

    // The same again, of which nothing is built and nothing swapped.
    let mut again = project.up(&[]);
    let address = http_address(&again);
    assert_eq!(curl(address, "/v1/my-counter/total", &[]).json(), json!(16));
    again.signal(Signal::Interrupt);
    assert_eq!(again.exit_code(), 0, "{}", again.said());
    assert!(!again.said().contains("swaps the code"), "a build of the same sources is the same: {}", again.said());
}

/// What tools know of the methods.
fn check_documents(described: &Value) {
    let paths = &described["paths"];
    assert!(paths["/v1/my-counter/total"]["get"].is_object(), "a query is asked by GET: {described}");
    let add = &paths["/v1/my-counter/add"]["post"];
    assert!(add.to_string().contains("Adds to the total, and returns it."), "{described}");
}

#[test]
fn the_sdk_for_javascript_is_what_the_specification_says() {
    check_sdk(&JAVASCRIPT);
}

#[test]
fn the_sdk_for_python_is_what_the_specification_says() {
    check_sdk(&PYTHON);
}

/// Without a host and without any tool but the language itself.
fn check_sdk(language: &Language) {
    let (program, file) = language.sdk_tests;
    if !is_here(program[0]) {
        return skip(&format!("the SDK of --lang {}", language.word), &format!("there is no {}", program[0]));
    }
    let project = Project::new(language);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = here.join("templates").join(file);
    let ran = project.run(&[program, &[text(&tests)]].concat(), |command| {
        command.env("AMBROSIA_WIT", here.join("../wit")).env("PYTHONPATH", &project.directory);
    });
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && !said.contains("Ran 0 tests") && !said.contains("\n# tests 0"), "{said}");
}

#[test]
fn a_tool_that_is_missing_is_named_with_what_to_install() {
    for (language, words) in [
        (JAVASCRIPT, ["there is no `node`", "install Node.js 20 or newer, with npm"]),
        (PYTHON, ["there is no `python3`", "install Python 3.10 or newer, with venv and pip"]),
    ] {
        let project = Project::new(&language);
        // Where nothing is but what every system has.
        let bin = project.cluster.file("bin");
        fs::create_dir(&bin).expect("the directory is new");
        for tool in ["sh", "dirname"] {
            let there = ["/bin", "/usr/bin"].iter().map(|directory| Path::new(directory).join(tool));
            let tool_file = there.into_iter().find(|path| path.exists()).expect("every system has it");
            symlink(tool_file, bin.join(tool)).expect("the link is new");
        }
        let mut command = project.cluster.command(&["up"]);
        let ran = command.current_dir(&project.directory).env("PATH", &bin).output().expect("it can be started");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        for word in words.iter().chain(&["`sh build.sh` failed with exit code 1"]) {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn a_language_that_is_not_there_is_told_which_ones_are() {
    let ran = cluster().run(&["new", "shop", "--lang", "cobol"]);
    assert!(ran.code == 2 && ran.stderr.contains("rust, js, python"), "{}", ran.stderr);
}
