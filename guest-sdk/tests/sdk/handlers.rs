//! Sync handlers: arguments, results, and what an unfit message gets.

use ambrosia::{CallError, Immortal, Method, testing::Harness};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Item {
    name: String,
    price: Option<f64>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Refusal {
    Unknown(String),
    Sold,
}

#[ambrosia::state]
struct Shop {
    items: Vec<Item>,
}

#[ambrosia::immortal]
impl Shop {
    /// Puts an item onto the shelf.
    ///
    ///     let indented = 1;
    ///
    /// That is "all".
    fn put(&mut self, item: Item, times: u8) -> usize {
        (0..times).for_each(|_| self.items.push(item.clone()));
        self.items.len()
    }

    #[ambrosia(formerly = "purchase", formerly = "take")]
    fn buy(&mut self, name: String) -> Result<Item, Refusal> {
        let at = self.items.iter().position(|item| item.name == name);
        at.map(|at| self.items.remove(at)).ok_or(Refusal::Unknown(name))
    }

    fn clear(&mut self) {
        self.items.clear();
    }

    #[ambrosia(name = "name", query)]
    fn name_of(&self, at: usize) -> Option<String> {
        self.items.get(at).map(|item| item.name.clone())
    }

    #[ambrosia(helper)]
    fn count(&self) -> usize {
        self.items.len()
    }
}

fn tea() -> Item {
    Item { name: "tea".to_string(), price: Some(1.5) }
}

fn refusal<R: std::fmt::Debug>(answer: Result<R, CallError>) -> String {
    match answer.expect_err("the call is refused") {
        CallError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// A shop as a caller has it who is mistaken about it.
#[ambrosia::interface]
trait MistakenShop {
    fn put(item: u64, times: u8) -> usize;
    fn buy(name: String) -> u64;
    fn clear(all: bool);
    fn sell();
}

/// As it was before methods got other names.
#[ambrosia::interface]
trait FormerShop {
    fn take(name: u64) -> Item;
}

#[test]
fn arguments_and_results_travel() {
    let mut shop = Harness::<Shop>::start("shop");
    assert_eq!(shop.ask(|shop| shop.put(tea(), 2)), Ok(2));
    assert_eq!(shop.ask(|shop| shop.buy("tea")), Ok(Ok(tea())));
    assert_eq!(shop.ask(|shop| shop.buy(String::from("milk"))), Ok(Err(Refusal::Unknown("milk".to_string()))));
    assert_eq!(shop.ask(|shop| shop.name_of(0)), Ok(Some("tea".to_string())));
    assert_eq!(shop.ask(|shop| shop.clear()), Ok(()));
    assert_eq!(shop.state(|shop| shop.count()), 0);
}

#[test]
fn structs_are_maps_with_names() {
    let mut shop = Harness::<Shop>::start("shop");
    // [{"price": 2.0, "name": "ink"}, 1], with the fields in the other order.
    let arguments = b"\x92\x82\xa5price\xcb\x40\0\0\0\0\0\0\0\xa4name\xa3ink\x01";
    shop.impulse_raw("put", arguments);
    shop.state(|shop| assert_eq!(shop.items, [Item { name: "ink".to_string(), price: Some(2.0) }]));
}

#[test]
fn methods_are_described() {
    let signature = |method: &Method| {
        let arguments: Vec<_> =
            method.arguments.iter().map(|argument| format!("{}: {}", argument.name, argument.ty.text())).collect();
        format!("{:?} {}({}) -> {}", method.kind, method.name, arguments.join(", "), method.result.text())
    };
    let item = "record { name: string, price: option<f64> }";
    let expected = [
        format!("Update put(item: {item}, times: u8) -> u64"),
        format!("Update buy(name: string) -> result<{item}, variant {{ Unknown(string), Sold }}>"),
        "Update clear() -> _".to_string(),
        "Query name(at: u64) -> option<string>".to_string(),
    ];
    assert_eq!(Shop::METHODS.iter().map(signature).collect::<Vec<_>>(), expected);
    assert!(Shop::METHODS.iter().all(|method| method.id == ambrosia::method_id(method.name)));
    let said: Vec<_> = Shop::METHODS.iter().map(|method| (method.docs, method.formerly)).collect();
    let none: &[&str] = &[];
    let put = "Puts an item onto the shelf.\n\n    let indented = 1;\n\nThat is \"all\".";
    assert_eq!(said, [(put, none), ("", &["purchase", "take"]), ("", none), ("", none)]);
}

#[test]
fn messages_may_name_a_method_as_it_was_called_before() {
    let mut shop = Harness::<Shop>::start("shop");
    shop.send("client", |shop| shop.fork().put(tea(), 3));
    shop.impulse("purchase", ("tea",));
    shop.impulse("take", ("tea",));
    assert_eq!(shop.state(|shop| shop.count()), 1);
    // An error names the method as it is called now.
    let text = refusal(shop.ask(|shop| FormerShop::attach(&shop.name()).take(7)));
    assert!(text.starts_with("method `buy`: its argument `name: String` doesn't decode: "), "{text}");
}

#[test]
fn an_unfit_call_is_refused_with_method_and_argument() {
    let mut shop = Harness::<Shop>::start("shop");
    let mut ask = |call: &dyn Fn(MistakenShop) -> ambrosia::Call<usize>| {
        refusal(shop.ask(|shop| call(MistakenShop::attach(&shop.name()))))
    };
    let text = ask(&|shop| shop.put(1, 1));
    assert!(text.starts_with("method `put`: its argument `item: Item` doesn't decode: "), "{text}");
    let text = refusal(shop.ask(|shop| MistakenShop::attach(&shop.name()).clear(true)));
    assert_eq!(text, "method `clear`: it takes no arguments, not 1");
    let text = refusal(shop.ask(|shop| MistakenShop::attach(&shop.name()).sell()));
    let id = ambrosia::method_id("sell");
    assert_eq!(text, format!("there is no method with the id {id:#010x}; the methods are: put, buy, clear, name"));
}

#[test]
fn an_answer_of_another_type_is_the_callers_error() {
    let mut shop = Harness::<Shop>::start("shop");
    let answer = shop.ask(|shop| MistakenShop::attach(&shop.name()).buy("tea"));
    let error = answer.expect_err("the answer is no number");
    assert!(matches!(&error, CallError::Codec { method, .. } if method == "buy"), "{error}");
    assert!(error.to_string().starts_with("the call of `buy` failed: its answer doesn't decode: "), "{error}");
}

#[test]
fn an_unfit_fork_is_passed_over() {
    let mut shop = Harness::<Shop>::start("shop");
    shop.send("client", |shop| {
        shop.fork().put(tea(), 1);
        MistakenShop::attach(&shop.name()).fork().sell();
        MistakenShop::attach(&shop.name()).fork().clear(true);
        shop.fork().put(tea(), 1);
    });
    assert_eq!(shop.state(|shop| shop.count()), 2);
    assert_eq!(shop.sent(), []);
}
