//! A browser without a window, told what to do through a pipe (Chrome DevTools Protocol).

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use ambrosia_tests::PATIENCE;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Chromium, if there is one.
pub(crate) fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// One page in a browser. Dropped, it is closed.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    last: u64,
    session: Option<String>,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, and waits until it says that it is ready.
    pub(crate) fn open(chromium: PathBuf, url: &str) -> Browser {
        let profile = tempfile::tempdir().expect("there is room");
        let pipes = ["commands", "answers"].map(|name| profile.path().join(name));
        let made = Command::new("mkfifo").args(&pipes).status().expect("mkfifo is there");
        assert!(made.success(), "pipes can be made");
        // It takes commands from descriptor 3 and answers on 4.
        let child = Command::new("bash")
            .args(["-c", "commands=$1 answers=$2; shift 2; exec \"$@\" 3<\"$commands\" 4>\"$answers\"", "bash"])
            .args(&pipes)
            .arg(chromium)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--window-size=1200,900")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash is there");
        // In the order in which the shell opens them.
        let commands = File::options().write(true).open(&pipes[0]).expect("it was made");
        let answers = BufReader::new(File::open(&pipes[1]).expect("it was made"));
        let (told, heard) = channel();
        thread::spawn(move || {
            let messages = answers.split(0).map_while(Result::ok);
            for message in messages.filter_map(|message| serde_json::from_slice::<Value>(&message).ok()) {
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser { child, commands, answers: heard, last: 0, session: None, _profile: profile };
        let target = browser.command("Target.createTarget", json!({ "url": url }))["targetId"].clone();
        let attached = browser.command("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.wait_until("document.body.dataset.ready === \"true\"");
        browser
    }

    /// The value of an expression on the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        self.command("Runtime.evaluate", parameters)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.evaluate(expression) != true {
            let page = self.evaluate("document.documentElement.outerHTML");
            assert!(began.elapsed() < PATIENCE, "{expression} has not become true: {page}");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the browser listens");
        loop {
            let message = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{command}: {message}");
                return message["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
