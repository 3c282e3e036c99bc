//! `docs/tutorial.md`, walked: its commands are run as they are written, and what they print is what it says.
//!
//! A block of code is by its first line:
//! * `sh`: commands of the reader's second terminal, in one shell. What they print is compared with the block `text` behind it, if there is one: `…` stands
//!   for anything in a line, and alone for any lines.
//! * `sh up`: those of the first terminal, which go on until the end.
//! * `sh build`: what `make test` has done before.
//! * `rust`: lines of the shop.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ambrosia_tests::{Cluster, Lines, skip};
use serde_json::Value;

use crate::support::{cluster, wait_for_status, way_apart};

/// The first build has crates to compile, on a machine that may be busy.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);
/// All else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says that a block has ended, and how. Nothing that the tutorial runs prints that.
const END: &str = "@@ended ";

#[derive(PartialEq, Eq, Debug)]
enum Block {
    /// For the first terminal.
    Up(String),
    /// For the second one; what it prints, if that is said.
    Run(String, Option<String>),
    /// Of the shop.
    Source(String),
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = text.join("\n");
        match info {
            "sh" => blocks.push(Block::Run(text, None)),
            "sh up" => blocks.push(Block::Up(text)),
            "rust" => blocks.push(Block::Source(text)),
            "sh build" => {}
            "text" => match blocks.last_mut() {
                Some(Block::Run(_, expected @ None)) => *expected = Some(text),
                _ => panic!("nothing prints this:\n{text}"),
            },
            other => panic!("what is a block of `{other}`?"),
        }
    }
    blocks
}

/// If these lines are those, where `…` stands for what differs from time to time.
fn is_like(printed: &[&str], expected: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, printed) => printed.is_none(),
        (Some((&"…", rest)), _) => (0..=printed.len()).any(|from| is_like(&printed[from..], rest)),
        (Some(_), None) => false,
        (Some((wanted, rest)), Some((line, others))) => is_line_like(line, wanted) && is_like(others, rest),
    }
}

fn is_line_like(line: &str, wanted: &str) -> bool {
    match wanted.split_once('…') {
        None => line == wanted,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.into_iter().any(|at| is_line_like(&rest[at..], tail))
        }),
    }
}

/// The two terminals, in one shell of the machine. It ends with what it has started.
struct Terminals {
    shell: Child,
    input: ChildStdin,
    output: Lines,
    complaints: Lines,
    /// Lines of the output that belong to blocks before.
    seen: usize,
    /// The process group of the first terminal, while something runs there.
    up: Option<String>,
}

impl Terminals {
    /// `None` if the ports of the tutorial can't be had here, which is said.
    fn open(cluster: &Cluster) -> Option<Terminals> {
        // A network of its own has all ports free, whoever else runs a project on this machine.
        let Some(way) = way_apart().filter(|way| brings_loopback_up(way)) else {
            skip("the tutorial", "there is no network of its own here, by `unshare -n` and `ip link`");
            return None;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let programs = cluster.program().parent().expect("it lies in the build directory").to_owned();
        let target = programs.parent().expect("the profile's directory lies in it").join("new-project");
        let path = std::env::var("PATH").expect("there is one");
        let mut shell = Command::new("unshare");
        shell.args(way).args(["bash", "--noprofile", "--norc"]);
        shell.current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell.env("PATH", format!("{}:{path}", programs.display())).env("CARGO_TARGET_DIR", target);
        // Where the reader has it in the project, a test has it in a directory of its own.
        shell.env("AMBROSIA_STORE", cluster.store());
        let mut shell = shell.spawn().expect("it worked a moment ago");
        let output = Lines::of(shell.stdout.take().expect("it is piped"), |_| {});
        let complaints = Lines::of(shell.stderr.take().expect("it is piped"), |_| {});
        let input = shell.stdin.take().expect("it is piped");
        let mut terminals = Terminals { shell, input, output, complaints, seen: 0, up: None };
        // With job control what runs in the background has a process group of its own, as in a terminal of its own.
        terminals.run("set -m; ip link set lo up");
        Some(terminals)
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("the shell runs");
    }

    /// Runs a block, and returns the lines that it prints.
    fn run(&mut self, block: &str) -> Vec<String> {
        // The newline in front ends a line that a command has left open.
        self.write(&format!("{block}\nprintf '\\n{END}%s\\n' $?\n"));
        let ended = self.output.wait_for(self.seen, PATIENCE, |line| line.starts_with(END));
        let Some((end, _)) = ended else {
            panic!("this does not end:\n{block}\n{:?}\n{:?}", self.output.all(), self.complaints.all())
        };
        let lines = self.output.all();
        let mut printed = lines[self.seen..end].to_vec();
        while printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        assert_eq!(lines[end], format!("{END}0"), "{block}\n{printed:?}\n{:?}", self.complaints.all());
        self.seen = end + 1;
        printed
    }

    /// Begins the block of the first terminal, which is to write into that file.
    fn begin(&mut self, block: &str, log: &Path) {
        let began = self.run(&format!("( {block} ) >'{}' 2>&1 </dev/null &\necho $!", log.display()));
        self.up = began.first().cloned();
    }

    /// Ctrl-C in the first terminal.
    fn interrupt(&self) {
        if let Some(up) = &self.up {
            let sent = Command::new("kill").args(["-INT", "--", &format!("-{up}")]).status();
            assert!(sent.is_ok_and(|status| status.success()), "process group {up} is there");
        }
    }

    /// Ends it as a reader does, and says how it ended.
    fn close(mut self) {
        self.interrupt();
        // A block that ends with another code than 0 fails.
        self.run(&format!("wait {}", self.up.clone().expect("it was begun")));
        self.up = None;
    }
}

impl Drop for Terminals {
    fn drop(&mut self) {
        if self.up.is_some() {
            self.interrupt();
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn brings_loopback_up(way: &[&str]) -> bool {
    let tried =
        Command::new("unshare").args(way).args(["ip", "link", "set", "lo", "up"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// A reader who sees that something is not there yet looks again.
fn only_looks(commands: &str) -> bool {
    ["-X POST", "send ", "kill "].iter().all(|word| !commands.contains(word))
}

fn has_roles(status: &Value) -> bool {
    let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
    let has = |role: &str| replicas.iter().any(|replica| replica["role"] == role);
    status["primary"].is_object() && has("primary") && has("standby")
}

fn wait_for_up(cluster: &Cluster, log: &Path) {
    let began = Instant::now();
    let said = || fs::read_to_string(log).unwrap_or_default();
    while said().matches("became primary").count() < 2 {
        assert!(began.elapsed() < BUILD_PATIENCE && !said().contains("ambrosia-host: "), "it does not run: {}", said());
        thread::park_timeout(Duration::from_millis(50));
    }
    wait_for_replicas(cluster);
}

/// A reader takes longer than a replica that was killed.
fn wait_for_replicas(cluster: &Cluster) {
    ["shop", "bank"].iter().for_each(|name| drop(wait_for_status(cluster, name, has_roles)));
}

#[test]
fn the_tutorial_does_what_it_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(here.join("../docs/tutorial.md")).expect("it is in the repository");
    let blocks = blocks(&document);
    let said = blocks.iter().filter(|block| matches!(block, Block::Run(_, Some(_)))).count();
    assert!(blocks.len() > 15 && said > 10, "the document is understood");
    let shop = here.join("../examples/shop/src/lib.rs");
    let shop = fs::read_to_string(shop).expect("it is in the repository");
    let cluster = cluster();
    let log = cluster.file("up.log");
    let Some(mut terminals) = Terminals::open(&cluster) else { return };
    for block in &blocks {
        match block {
            Block::Source(lines) => {
                let others = lines.lines().find(|line| !shop.contains(&format!("{}\n", line.trim_start())));
                assert_eq!(others, None, "the shop has no such line");
            }
            Block::Up(commands) => {
                terminals.begin(commands, &log);
                wait_for_up(&cluster, &log);
            }
            Block::Run(commands, expected) => {
                if commands.contains("ambrosia-host kill") {
                    wait_for_replicas(&cluster);
                }
                let began = Instant::now();
                loop {
                    let printed = terminals.run(commands);
                    let printed: Vec<_> = printed.iter().map(String::as_str).collect();
                    let Some(expected) = expected else { break };
                    if is_like(&printed, &expected.lines().collect::<Vec<_>>()) {
                        break;
                    }
                    let printed = printed.join("\n");
                    let is_over = began.elapsed() > PATIENCE || !only_looks(commands);
                    assert!(!is_over, "{commands}\nprints\n{printed}\nand not\n{expected}");
                    thread::park_timeout(Duration::from_millis(50));
                }
            }
        }
    }
    terminals.close();
}

#[test]
fn what_differs_is_not_compared_and_all_else_is() {
    let is_like = |printed: &str, expected: &str| {
        is_like(&printed.lines().collect::<Vec<_>>(), &expected.lines().collect::<Vec<_>>())
    };
    for expected in ["a 1 b\nc", "a … b\nc", "…", "a…\n…", "…\nc", "a 1 b\n…c", "…1…b…\n…\nc"] {
        assert!(is_like("a 1 b\nc", expected), "{expected}");
    }
    for expected in ["a 1 b", "a … c\nc", "a 1 b\nc\nd", "c\n…", "…d", ""] {
        assert!(!is_like("a 1 b\nc", expected), "{expected}");
    }
}

#[test]
fn blocks_are_what_their_first_lines_say() {
    let document = "text\n```sh build\nmake\n```\n```sh up\nup\n```\n```sh\none\ntwo\n```\nprints\n```text\n1\n```\n```rust\nx\n```\n```sh\nthree\n```\n";
    let run = |text: &str, printed: Option<&str>| Block::Run(text.to_owned(), printed.map(str::to_owned));
    assert_eq!(
        blocks(document),
        [Block::Up("up".to_owned()), run("one\ntwo", Some("1")), Block::Source("x".to_owned()), run("three", None)]
    );
}
