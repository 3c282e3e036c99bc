//! Lines by the crates `log` and `tracing`.

use std::time::Duration;

use ambrosia::{This, log::Level, testing::Harness};
use tracing::Instrument;

#[ambrosia::state]
struct Clerk {
    orders: u64,
}

#[ambrosia::immortal(no_exports)]
impl Clerk {
    fn record(&mut self, value: u64) {
        self.orders += 1;
        log::warn!(target: "shop", value = value, who:% = "anna", paid = true, loss = -1, share = 0.5; "order {value}");
        log::debug!("too fine");
        tracing::debug!("too fine");
    }

    fn fine(&mut self, level: u8) {
        ambrosia::log::set_max_level(if level == 0 { Level::Error } else { Level::Trace });
        log::warn!("by log");
        tracing::warn!("by tracing");
        log::trace!("fine by log");
        tracing::trace!("fine by tracing");
        ambrosia::log::set_max_level(Level::Info);
    }

    /// Two of them are under way at once in the test, each within its spans.
    async fn event(_this: This<Self>, order: String) {
        async {
            tracing::info!(n = 1_u64, "begun");
            ambrosia::sleep(Duration::from_secs(1)).await;
            tracing::Span::current().record("late", true);
            let inner = tracing::info_span!("charge", n = 7, ratio = 0.5).entered();
            tracing::error!(n = 2, error = %"no money", "failed");
            drop(inner);
            tracing::info!("ended");
        }
        .instrument(tracing::info_span!("order", order, late = tracing::field::Empty))
        .await;
    }
}

#[test]
fn records_of_log_are_lines() {
    let mut clerk = Harness::<Clerk>::start("clerk");
    assert_eq!(clerk.ask(|clerk| clerk.record(5)), Ok(()));
    assert_eq!(
        clerk.log_lines(),
        ["warn order 5 loss=-1 paid=true share=0.5 value=5 who=\"anna\""],
        "and nothing that is finer than `info`"
    );
    log::error!("outside of any immortal, which is nobody's line");
    tracing::error!("outside of any immortal, which is nobody's line");
    assert_eq!(clerk.log_lines().len(), 1);
}

#[test]
fn events_of_tracing_have_the_fields_of_their_own_spans() {
    let mut clerk = Harness::<Clerk>::start("clerk");
    let waited = ["a", "b"].map(|order| clerk.call("anna", |clerk| clerk.event(order)));
    clerk.advance(Duration::from_secs(1));
    assert!(waited.iter().all(|one| clerk.answer(one) == Some(Ok(()))));
    let of = |order: &str| {
        [
            format!("info begun n=1 order=\"{order}\" span=\"order\""),
            format!("error failed error=\"no money\" late=true n=2 order=\"{order}\" ratio=0.5 span=\"order:charge\""),
            format!("info ended late=true order=\"{order}\" span=\"order\""),
        ]
    };
    let [begun_a, rest_a @ ..] = of("a");
    let [begun_b, rest_b @ ..] = of("b");
    let wanted = [vec![begun_a, begun_b], rest_a.to_vec(), rest_b.to_vec()].concat();
    assert_eq!(clerk.log_lines(), wanted);
}

#[test]
fn how_fine_lines_of_crates_may_be_can_be_said() {
    let mut clerk = Harness::<Clerk>::start("clerk");
    assert_eq!(clerk.ask(|clerk| clerk.fine(0)), Ok(()));
    assert_eq!(clerk.log_lines(), Vec::<String>::new());
    assert_eq!(clerk.ask(|clerk| clerk.fine(1)), Ok(()));
    assert_eq!(clerk.log_lines(), ["warn by log", "warn by tracing", "trace fine by log", "trace fine by tracing"]);
}
