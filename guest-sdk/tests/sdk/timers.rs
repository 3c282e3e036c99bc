//! Sleeping, delaying, and giving up after a while.

use std::time::Duration;

use ambrosia::{This, Timestamp, testing::Harness};

#[ambrosia::interface]
trait Slow {
    fn work() -> u32;
}

#[ambrosia::state]
struct Clock {
    ticks: Vec<Timestamp>,
    outcome: String,
}

#[ambrosia::immortal]
impl Clock {
    async fn tick(this: This<Self>, every_ms: u64, count: u32) {
        for _ in 0..count {
            ambrosia::sleep(Duration::from_millis(every_ms)).await;
            this.with(|clock| clock.ticks.push(ambrosia::now()));
        }
    }

    fn later(this: This<Self>, delays_ms: Vec<u64>) {
        for delay in delays_ms {
            ambrosia::after(Duration::from_millis(delay), async move {
                this.with(|clock| clock.outcome += &format!("{delay} "));
            });
        }
    }

    fn never(this: This<Self>) {
        let task = ambrosia::after(Duration::from_secs(1), async move {
            this.with(|clock| clock.outcome = "never".to_string());
        });
        ambrosia::spawn(async move { task.cancel() });
    }

    async fn ask_for_a_second(this: This<Self>) {
        let outcome = match ambrosia::timeout(Duration::from_secs(1), Slow::attach("slow").work()).await {
            Ok(answer) => format!("{answer:?}"),
            Err(ambrosia::TimedOut) => "too slow".to_string(),
        };
        this.with(|clock| clock.outcome = outcome);
    }
}

#[test]
fn a_loop_sleeps_between_its_ticks() {
    let mut clock = Harness::<Clock>::start("clock");
    let start = clock.now();
    let done = clock.call("tester", |clock| clock.tick(100, 3));
    clock.advance(Duration::from_millis(250));
    let after = |ms| start + Duration::from_millis(ms);
    clock.state(|clock| assert_eq!(clock.ticks, [after(100), after(200)]));
    assert_eq!(clock.now(), after(250));
    assert!(clock.answer(&done).is_none());
    clock.advance(Duration::from_millis(50));
    assert_eq!(clock.answer(&done), Some(Ok(())));
    assert_eq!(clock.next_timer(), None);
}

#[test]
fn timers_fire_in_the_order_of_their_time() {
    let mut clock = Harness::<Clock>::start("clock");
    clock.impulse("later", (vec![30, 10, 20, 10],));
    clock.advance(Duration::from_secs(1));
    clock.state(|clock| assert_eq!(clock.outcome, "10 10 20 30 "));
}

#[test]
fn a_cancelled_timer_is_gone() {
    let mut clock = Harness::<Clock>::start("clock");
    clock.impulse("never", ());
    assert_eq!(clock.next_timer(), None);
    clock.advance(Duration::from_secs(2));
    clock.state(|clock| assert_eq!(clock.outcome, ""));
}

#[test]
fn a_call_can_take_too_long() {
    let mut clock = Harness::<Clock>::start("clock");
    clock.impulse("ask_for_a_second", ());
    let (call, ()) = clock.take_calls("slow", "work")[0];
    clock.advance(Duration::from_secs(1));
    clock.state(|clock| assert_eq!(clock.outcome, "too slow"));
    clock.reply(call, &1);
    clock.state(|clock| assert_eq!(clock.outcome, "too slow"));
}

#[test]
fn an_answer_in_time_cancels_the_timer() {
    let mut clock = Harness::<Clock>::start("clock");
    clock.impulse("ask_for_a_second", ());
    let (call, ()) = clock.take_calls("slow", "work")[0];
    assert!(clock.next_timer().is_some());
    clock.reply(call, &7);
    assert_eq!(clock.next_timer(), None);
    clock.state(|clock| assert_eq!(clock.outcome, "Ok(7)"));
}
