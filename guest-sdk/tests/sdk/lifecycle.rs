//! The first start, becoming primary, and the exit.

use std::time::Duration;

use ambrosia::{This, testing::Harness};

#[ambrosia::state]
struct Diary {
    lines: Vec<String>,
}

#[ambrosia::interface]
trait Reader {
    fn note(text: String);
}

#[ambrosia::immortal]
impl Diary {
    fn on_first_start(&mut self) {
        self.lines.push(format!("born as {}", ambrosia::instance_name()));
    }

    async fn on_becoming_primary(this: This<Self>) {
        this.with(|diary| diary.lines.push("primary".to_string()));
        ambrosia::sleep(Duration::from_secs(1)).await;
        this.with(|diary| diary.lines.push("awake".to_string()));
    }

    fn leave(&mut self, code: i32) -> String {
        ambrosia::exit(code);
        ambrosia::exit(code + 1);
        Reader::attach("reader").fork().note("left");
        "bye".to_string()
    }

    async fn leave_and_stay(_this: This<Self>) -> u32 {
        ambrosia::exit(0);
        ambrosia::sleep(Duration::ZERO).await;
        1
    }

    fn write(&mut self, text: String) {
        self.lines.push(text);
    }
}

#[ambrosia::state]
struct Quiet;

#[ambrosia::immortal(no_exports)]
impl Quiet {}

#[test]
fn hooks_run_in_order() {
    let mut diary = Harness::<Diary>::start("diary");
    diary.state(|diary| assert_eq!(diary.lines, ["born as diary", "primary"]));
    diary.advance(Duration::from_secs(1));
    diary.become_primary();
    diary.state(|diary| assert_eq!(diary.lines[2..], ["awake", "primary"]));
}

#[test]
fn an_immortal_without_methods_is_one() {
    let mut quiet = Harness::<Quiet>::start("quiet");
    quiet.impulse("anything", ());
    assert_eq!(quiet.sent(), []);
}

#[test]
fn an_exit_comes_after_what_the_handler_sends() {
    let mut diary = Harness::<Diary>::start("diary");
    let answer = diary.call("client", |diary| diary.leave(3));
    assert_eq!(diary.answer(&answer), Some(Ok("bye".to_string())));
    assert_eq!(diary.take_forks::<(String,)>("reader", "note"), [("left".to_string(),)]);
    assert_eq!(diary.exit_code(), Some(3));
}

#[test]
fn nothing_is_handled_after_an_exit() {
    let mut diary = Harness::<Diary>::start("diary");
    diary.send("client", |diary| {
        diary.fork().leave_and_stay();
        diary.fork().write("too late");
    });
    assert_eq!(diary.exit_code(), Some(0));
    diary.state(|diary| assert_eq!(diary.lines.last().map(String::as_str), Some("primary")));
}

#[test]
#[should_panic(expected = "finished with code 0")]
fn nothing_is_delivered_after_an_exit() {
    let mut diary = Harness::<Diary>::start("diary");
    diary.send("client", |diary| diary.fork().leave(0));
    diary.become_primary();
}
