//! The shop without a host: the test is its customers and its bank.

use std::time::Duration;

use ambrosia::{http::HttpError, http::Response, testing::Harness};
use shop::{Charge, Order, Receipt, Report, Sales, Shop, Verdict};

fn open() -> Harness<Shop> {
    let mut shop = Harness::<Shop>::start("shop");
    shop.ask(|shop| shop.set_bank("https://bank.example/charges")).expect("it is a text");
    shop.ask(|shop| shop.stock_up("tea", 5, 300)).expect("it fits");
    shop
}

fn order(number: &str, pieces: u64) -> Order {
    Order { number: number.to_string(), item: "tea".to_string(), pieces }
}

fn receipt(cents: u64) -> Receipt {
    Receipt { id: "r-1".to_string(), cents }
}

fn in_stock(shop: &mut Harness<Shop>) -> u64 {
    shop.query(|shop| shop.in_stock("tea")).expect("it is a number")
}

#[test]
fn an_order_is_charged_and_leaves_the_shelf() {
    let mut shop = open();
    let placed = shop.call("alice", |shop| shop.place(order("o-1", 2)));
    let request = shop.requests()[0].clone();
    let callback = shop.promises().remove(0);
    assert_eq!(request.json::<Charge>(), Charge { order: "o-1".to_string(), cents: 600, callback: callback.clone() });
    assert!(request.headers[0].1.starts_with("Bearer {{secret:BANK:"), "no secret is in the guest");
    shop.respond_json(request.id, 201, &Verdict::Paid(receipt(600)));
    assert_eq!(shop.answer(&placed), Some(Ok(Ok(receipt(600)))));
    assert_eq!(in_stock(&mut shop), 3);
    assert!(!shop.resolve(&callback, &Verdict::Refused("too late".to_string())), "nobody waits for that any more");
}

/// A bank that has to think, with its order under way: what `place` answers, and where it is to call back.
fn thinking(shop: &mut Harness<Shop>) -> (ambrosia::testing::Pending<Result<Receipt, String>>, String) {
    let placed = shop.call("alice", |shop| shop.place(order("o-1", 2)));
    let request = shop.requests()[0].clone();
    shop.respond(request.id, Response { status: 202, headers: Vec::new(), body: Vec::new() });
    assert!(shop.answer(&placed).is_none(), "the bank thinks");
    (placed, request.json::<Charge>().callback)
}

#[test]
fn a_bank_that_has_to_think_calls_back() {
    let mut shop = open();
    let (placed, callback) = thinking(&mut shop);
    shop.become_primary();
    shop.advance(Duration::from_secs(3600));
    assert!(shop.resolve(&callback, &Verdict::Paid(receipt(600))));
    assert_eq!(shop.answer(&placed), Some(Ok(Ok(receipt(600)))));
    assert_eq!(in_stock(&mut shop), 3);
}

#[test]
fn what_a_bank_refuses_later_or_forgets_comes_back() {
    let mut shop = open();
    let (placed, callback) = thinking(&mut shop);
    assert!(shop.resolve(&callback, &Verdict::Refused("no money".to_string())));
    assert_eq!(shop.answer(&placed), Some(Ok(Err("the bank refuses it: no money".to_string()))));
    assert_eq!(in_stock(&mut shop), 5);

    let (placed, callback) = thinking(&mut shop);
    shop.advance(Duration::from_secs(24 * 3600));
    assert_eq!(shop.answer(&placed), Some(Ok(Err("the bank has not called back".to_string()))));
    assert!(!shop.resolve(&callback, &Verdict::Paid(receipt(600))), "it is too late");
    assert_eq!(in_stock(&mut shop), 5);
}

#[test]
fn each_morning_there_is_a_report_of_what_was_sold() {
    let mut shop = open();
    for (number, status) in [("o-1", 200), ("o-2", 402), ("o-3", 200)] {
        let placed = shop.call("alice", |shop| shop.place(order(number, 1)));
        shop.respond_json(shop.requests()[0].id, status, &Verdict::Paid(receipt(300)));
        assert!(shop.answer(&placed).is_some());
    }
    let morning = shop.now() + Duration::from_secs(3600);
    shop.advance_to_cron("report", morning);
    let next = morning + Duration::from_secs(24 * 3600);
    shop.advance_to_cron("report", next);
    let reports = shop.query(|shop| shop.reports()).expect("they are there");
    let sales = Sales { orders: 2, cents: 600 };
    assert_eq!(reports, [Report { until: morning, sales }, Report { until: next, sales: Sales::default() }]);
    (0..40).for_each(|_| shop.run_cron("report"));
    assert_eq!(shop.query(|shop| shop.reports()).expect("they are there").len(), 31);
}

#[test]
fn an_order_that_is_placed_again_is_charged_once() {
    let mut shop = open();
    let twice = [(); 2].map(|()| shop.call("alice", |shop| shop.place(order("o-1", 2))));
    assert_eq!(shop.requests().len(), 1);
    shop.respond_json(shop.requests()[0].id, 200, &Verdict::Paid(receipt(600)));
    for placed in &twice {
        assert_eq!(shop.answer(placed), Some(Ok(Ok(receipt(600)))));
    }
    assert_eq!(shop.ask(|shop| shop.place(order("o-1", 2))), Ok(Ok(receipt(600))));
    assert_eq!((shop.requests().len(), in_stock(&mut shop)), (0, 3));
}

#[test]
fn what_the_bank_does_not_charge_for_comes_back() {
    let mut shop = open();
    let placed = shop.call("alice", |shop| shop.place(order("o-1", 2)));
    assert_eq!(in_stock(&mut shop), 3, "it is reserved while the bank thinks");
    let refused = Response { status: 402, headers: Vec::new(), body: b"no money".to_vec() };
    shop.respond(shop.requests()[0].id, refused);
    let text = "the bank refuses it, with status 402: no money".to_string();
    assert_eq!(shop.answer(&placed), Some(Ok(Err(text))));
    assert_eq!(in_stock(&mut shop), 5);

    let placed = shop.call("alice", |shop| shop.place(order("o-1", 2)));
    let error = HttpError::Failed { reason: "no route".to_string(), tries: 5 };
    shop.fail(shop.requests()[0].id, &error);
    assert_eq!(shop.answer(&placed), Some(Ok(Err(error.to_string()))));
    assert_eq!(in_stock(&mut shop), 5);
}

#[test]
fn what_is_not_there_is_not_sold() {
    let mut shop = open();
    assert_eq!(shop.ask(|shop| shop.place(order("o-1", 6))), Ok(Err("only 5 of tea are left".to_string())));
    assert_eq!(shop.requests(), []);
}

#[test]
fn the_bank_is_the_one_that_the_operator_has_set_unless_the_shop_was_told_another() {
    let mut shop = Harness::<Shop>::start("shop");
    shop.ask(|shop| shop.stock_up("tea", 5, 300)).expect("it fits");
    let refused = shop.ask(|shop| shop.place(order("o-1", 1)));
    let text = "the shop has no bank: set `bank` in its [config], or call set_bank".to_string();
    assert_eq!((refused, in_stock(&mut shop)), (Ok(Err(text)), 5));
    shop.configure("bank", &"https://first.example/charges");
    let _waits = shop.call("alice", |shop| shop.place(order("o-1", 1)));
    assert_eq!(shop.requests()[0].url, "https://first.example/charges");
    shop.ask(|shop| shop.set_bank("https://other.example/charges")).expect("it is a text");
    let _waits = shop.call("alice", |shop| shop.place(order("o-2", 1)));
    assert_eq!(shop.requests()[1].url, "https://other.example/charges");
}
