//! Several at once, one at a time, again, once, or undone.

use std::time::Duration;

use ambrosia::{Either, Mutex, OnceMap, Retry, Saga, This, testing::Harness};

#[ambrosia::interface]
trait Bank {
    fn charge(order: String) -> Result<u64, String>;
    fn refund(receipt: u64);
}

#[ambrosia::state]
struct Shop {
    turn: Mutex<Vec<String>>,
    charged: OnceMap<String, u64, 2>,
    tried: Vec<u64>,
}

async fn charge(bank: Bank, order: &str) -> Result<u64, String> {
    bank.charge(order).await.map_err(|error| error.to_string())?
}

#[ambrosia::immortal]
impl Shop {
    async fn charge_all(_this: This<Self>, bank: Bank) -> (Vec<u64>, (u64, u64)) {
        let all = ambrosia::join_all(["a", "b"].map(|order| charge(bank, order))).await;
        let pair = ambrosia::join((charge(bank, "c"), charge(bank, "d"))).await;
        (all.into_iter().flatten().collect(), (pair.0.unwrap_or(0), pair.1.unwrap_or(0)))
    }

    async fn charge_fastest(_this: This<Self>, bank: Bank) -> String {
        let (at, receipt) = ambrosia::select_all(["a", "b"].map(|order| charge(bank, order))).await;
        match ambrosia::select(charge(bank, "c"), ambrosia::sleep(Duration::from_secs(1))).await {
            Either::First(next) => format!("{at} {receipt:?} {next:?}"),
            Either::Second(()) => format!("{at} {receipt:?} too late"),
        }
    }

    async fn in_turn(this: This<Self>, bank: Bank, order: String) -> u64 {
        let turn = this.with(|shop| shop.turn.lock()).await;
        let receipt = charge(bank, &order).await.unwrap_or(0);
        turn.with(|done| done.push(order));
        receipt
    }

    async fn in_turn_or_never(this: This<Self>, bank: Bank, order: String) -> bool {
        let turn = ambrosia::timeout(Duration::from_secs(1), Shop::in_turn(this, bank, order)).await;
        turn.is_ok()
    }

    async fn again(this: This<Self>, bank: Bank, passing: bool) -> Result<u64, String> {
        let start = ambrosia::now();
        let retry = Retry::times(4).pause(Duration::from_secs(1)).longest_pause(Duration::from_secs(3));
        let once = || {
            this.with(|shop| shop.tried.push((ambrosia::now() - start).as_secs()));
            charge(bank, "again")
        };
        ambrosia::retry_if(retry, once, |_| passing).await
    }

    async fn once(this: This<Self>, bank: Bank, order: String) -> Result<u64, String> {
        let charged = this.with(|shop| shop.charged.clone());
        charged.try_once(order.clone(), || async move { charge(bank, &order).await }).await
    }

    async fn saga(_this: This<Self>, bank: Bank, forgets: bool) -> Result<u64, String> {
        let mut saga = Saga::new();
        for order in ["a", "b"] {
            saga.step(charge(bank, order), move |receipt| async move { bank.fork().refund(receipt) }).await?;
        }
        if forgets {
            return Ok(0);
        }
        saga.last_step(charge(bank, "c")).await
    }
}

const BANK: &str = "bank";

/// Answers the calls that are under way, each by its order.
fn answer(shop: &mut Harness<Shop>, by: impl Fn(&str) -> Result<u64, String>) -> Vec<String> {
    let calls = shop.take_calls::<(String,)>(BANK, "charge");
    calls
        .into_iter()
        .map(|(call, (order,))| {
            shop.reply(call, &by(&order));
            order
        })
        .collect()
}

fn receipt(order: &str) -> Result<u64, String> {
    Ok(u64::from(order.as_bytes()[0]))
}

#[test]
fn all_are_under_way_at_once() {
    let mut shop = Harness::<Shop>::start("shop");
    let done = shop.call("alice", |shop| shop.charge_all(Bank::attach(BANK)));
    assert_eq!(answer(&mut shop, receipt), ["a", "b"]);
    assert_eq!(answer(&mut shop, receipt), ["c", "d"]);
    assert_eq!(shop.answer(&done), Some(Ok((vec![97, 98], (99, 100)))));
}

#[test]
fn the_first_to_end_is_taken_and_the_others_are_dropped() {
    let mut shop = Harness::<Shop>::start("shop");
    let done = shop.call("alice", |shop| shop.charge_fastest(Bank::attach(BANK)));
    let calls = shop.take_calls::<(String,)>(BANK, "charge");
    shop.reply(calls[1].0, &receipt("b"));
    shop.reply(calls[0].0, &receipt("a"));
    assert!(shop.next_timer().is_some());
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.answer(&done), Some(Ok("1 Ok(98) too late".to_string())));
    let done = shop.call("alice", |shop| shop.charge_fastest(Bank::attach(BANK)));
    answer(&mut shop, receipt);
    answer(&mut shop, receipt);
    assert_eq!(shop.answer(&done), Some(Ok("0 Ok(97) Ok(99)".to_string())));
    assert_eq!(shop.next_timer(), None, "the sleep is dropped");
}

#[test]
fn a_mutex_lets_one_in_at_a_time_in_the_order_of_asking() {
    let mut shop = Harness::<Shop>::start("shop");
    let calls = ["a", "b", "c"].map(|order| shop.call("alice", |shop| shop.in_turn(Bank::attach(BANK), order)));
    for (at, order) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(answer(&mut shop, receipt), [order]);
        assert_eq!(shop.answer(&calls[at]), Some(Ok(97 + at as u64)));
    }
    shop.state(|shop| {
        assert!(!shop.turn.is_locked());
        assert_eq!(shop.turn.peek(|done| done.clone()), ["a", "b", "c"]);
    });
}

#[test]
fn whoever_gives_up_waiting_for_a_mutex_leaves_the_queue() {
    let mut shop = Harness::<Shop>::start("shop");
    let first = shop.call("alice", |shop| shop.in_turn(Bank::attach(BANK), "a"));
    let second = shop.call("alice", |shop| shop.in_turn_or_never(Bank::attach(BANK), "b"));
    let third = shop.call("alice", |shop| shop.in_turn(Bank::attach(BANK), "c"));
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.answer(&second), Some(Ok(false)));
    assert_eq!(answer(&mut shop, receipt), ["a"]);
    assert_eq!(answer(&mut shop, receipt), ["c"]);
    assert_eq!(shop.answer(&first), Some(Ok(97)));
    assert_eq!(shop.answer(&third), Some(Ok(99)));
    let second = shop.call("alice", |shop| shop.in_turn_or_never(Bank::attach(BANK), "b"));
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.answer(&second), Some(Ok(false)));
    shop.state(|shop| assert!(!shop.turn.is_locked(), "a guard that is dropped at an await opens it"));
}

#[test]
fn the_pauses_between_tries_double() {
    let mut shop = Harness::<Shop>::start("shop");
    let done = shop.call("alice", |shop| shop.again(Bank::attach(BANK), true));
    for _ in 0..4 {
        answer(&mut shop, |_| Err("no".to_string()));
        if let Some(due) = shop.next_timer() {
            shop.advance(due - shop.now());
        }
    }
    assert_eq!(shop.answer(&done), Some(Ok(Err("no".to_string()))));
    shop.state(|shop| assert_eq!(shop.tried, [0, 1, 3, 6]));
    let done = shop.call("alice", |shop| shop.again(Bank::attach(BANK), false));
    answer(&mut shop, |_| Err("never".to_string()));
    assert_eq!(shop.answer(&done), Some(Ok(Err("never".to_string()))));
}

#[test]
fn a_key_is_done_once_also_for_who_asks_meanwhile() {
    let mut shop = Harness::<Shop>::start("shop");
    let asked = [(); 3].map(|()| shop.call("alice", |shop| shop.once(Bank::attach(BANK), "a")));
    assert_eq!(answer(&mut shop, |_| Err("not now".to_string())), ["a"]);
    assert_eq!(shop.answer(&asked[0]), Some(Ok(Err("not now".to_string()))));
    assert_eq!(answer(&mut shop, receipt), ["a"], "the next one that asked tries");
    assert_eq!(shop.answer(&asked[1]), Some(Ok(Ok(97))));
    assert_eq!(shop.answer(&asked[2]), Some(Ok(Ok(97))));
    assert_eq!(shop.ask(|shop| shop.once(Bank::attach(BANK), "a")), Ok(Ok(97)));
}

#[test]
fn results_go_over_to_other_code_and_the_oldest_are_forgotten() {
    let mut shop = Harness::<Shop>::start("shop");
    for order in ["a", "b", "c"] {
        shop.call("alice", |shop| shop.once(Bank::attach(BANK), order));
        answer(&mut shop, receipt);
    }
    let mut shop = shop.upgrade::<Shop>();
    shop.state(|shop| {
        let kept = ["a", "b", "c"].map(|order| shop.charged.get(&order.to_string()));
        assert_eq!(kept, [None, Some(98), Some(99)]);
        assert_eq!(shop.charged.forget(&"b".to_string()), Some(98));
        assert_eq!(shop.charged.len(), 1);
    });
}

#[test]
fn a_saga_that_fails_is_undone_in_reverse() {
    let mut shop = Harness::<Shop>::start("shop");
    let done = shop.call("alice", |shop| shop.saga(Bank::attach(BANK), false));
    answer(&mut shop, receipt);
    answer(&mut shop, receipt);
    answer(&mut shop, |_| Err("no".to_string()));
    assert_eq!(shop.take_forks::<(u64,)>(BANK, "refund"), [(98,), (97,)]);
    assert_eq!(shop.answer(&done), Some(Ok(Err("no".to_string()))));
}

#[test]
fn a_saga_that_is_dropped_is_undone_and_one_that_ends_is_not() {
    let mut shop = Harness::<Shop>::start("shop");
    let done = shop.call("alice", |shop| shop.saga(Bank::attach(BANK), true));
    answer(&mut shop, receipt);
    answer(&mut shop, receipt);
    assert_eq!(shop.answer(&done), Some(Ok(Ok(0))));
    assert_eq!(shop.take_forks::<(u64,)>(BANK, "refund"), [(98,), (97,)]);
    let done = shop.call("alice", |shop| shop.saga(Bank::attach(BANK), false));
    (0..3).for_each(|_| drop(answer(&mut shop, receipt)));
    assert_eq!(shop.answer(&done), Some(Ok(Ok(99))));
    assert_eq!(shop.sent(), []);
}
