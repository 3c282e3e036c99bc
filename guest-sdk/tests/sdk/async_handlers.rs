//! Handlers that await: they interleave, and the state is theirs for moments only.

use ambrosia::{CallError, This, testing::Harness};

#[ambrosia::interface]
trait Bank {
    fn withdraw(amount: u64) -> Result<u64, String>;
}

#[ambrosia::state]
struct Till {
    cash: u64,
    log: Vec<String>,
}

#[ambrosia::immortal]
impl Till {
    async fn fetch(this: This<Self>, bank: Bank, amount: u64) -> Result<u64, String> {
        this.with(|till| till.log.push(format!("want {amount}")));
        match bank.withdraw(amount).await {
            Ok(Ok(amount)) => Ok(this.with(|till| till.take_in(amount))),
            Ok(Err(reason)) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn fetch_two(this: This<Self>, left: Bank, right: Bank) -> Result<u64, CallError> {
        let (first, second) = (left.withdraw(1), right.withdraw(2));
        let second = second.await?.unwrap_or_default();
        let first = first.await?.unwrap_or_default();
        Ok(this.with(|till| till.take_in(first + second)))
    }

    fn background(&mut self, bank: Bank) -> bool {
        let task = ambrosia::spawn(async move { bank.withdraw(9).await });
        ambrosia::spawn(async move {
            let answer = task.await;
            This::<Till>::current().with(|till| till.log.push(format!("{answer:?}")));
        });
        self.log.push("returned".to_string());
        true
    }

    fn forget(&mut self, bank: Bank) {
        drop(bank.withdraw(5));
    }

    #[ambrosia(update)]
    fn cash(&self) -> u64 {
        self.cash
    }

    fn reenter(this: This<Self>) {
        this.with(|_| This::<Till>::current().with(|till| till.cash));
    }

    #[ambrosia(helper)]
    fn take_in(&mut self, amount: u64) -> u64 {
        self.cash += amount;
        self.log.push(format!("got {amount}"));
        self.cash
    }
}

type Withdrawn = Result<u64, String>;

#[test]
fn handlers_interleave_at_their_awaits() {
    let mut till = Harness::<Till>::start("till");
    let small = till.call("alice", |till| till.fetch(Bank::attach("bank"), 1));
    let large = till.call("bob", |till| till.fetch(Bank::attach("bank"), 2));
    assert_eq!(till.ask(|till| till.cash()), Ok(0));
    assert!(till.answer(&small).is_none());

    let calls = till.take_calls::<(u64,)>("bank", "withdraw");
    assert_eq!(calls.iter().map(|(_, arguments)| *arguments).collect::<Vec<_>>(), [(1,), (2,)]);
    till.reply(calls[1].0, &Withdrawn::Ok(2));
    assert_eq!(till.answer(&large), Some(Ok(Ok(2))));
    till.reply(calls[0].0, &Withdrawn::Err("closed".to_string()));
    assert_eq!(till.answer(&small), Some(Ok(Err("closed".to_string()))));
    till.state(|till| assert_eq!(till.log, ["want 1", "want 2", "got 2"]));
}

#[test]
fn calls_are_under_way_before_they_are_awaited() {
    let mut till = Harness::<Till>::start("till");
    let answer = till.call("alice", |till| till.fetch_two(Bank::attach("left"), Bank::attach("right")));
    let left = till.take_calls::<(u64,)>("left", "withdraw");
    let right = till.take_calls::<(u64,)>("right", "withdraw");
    till.reply(left[0].0, &Withdrawn::Ok(1));
    assert!(till.answer(&answer).is_none());
    till.reply(right[0].0, &Withdrawn::Ok(2));
    assert_eq!(till.answer(&answer), Some(Ok(Ok(3))));
}

#[test]
fn errors_tell_who_failed() {
    let mut till = Harness::<Till>::start("till");
    let answer = till.call("alice", |till| till.fetch_two(Bank::attach("left"), Bank::attach("right")));
    let right = till.take_calls::<(u64,)>("right", "withdraw");
    till.lose(right[0].0, "it was registered again");
    let lost = CallError::Lost { method: "withdraw".to_string(), reason: "it was registered again".to_string() };
    assert_eq!(till.answer(&answer), Some(Ok(Err(lost))));

    let answer = till.call("alice", |till| till.fetch(Bank::attach("bank"), 1));
    let calls = till.take_calls::<(u64,)>("bank", "withdraw");
    till.refuse(calls[0].0, "no such method");
    let text = "the call of `withdraw` was refused: no such method".to_string();
    assert_eq!(till.answer(&answer), Some(Ok(Err(text))));
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut till = Harness::<Till>::start("till");
    till.send("alice", |till| till.fork().forget(Bank::attach("bank")));
    let calls = till.take_calls::<(u64,)>("bank", "withdraw");
    till.reply(calls[0].0, &Withdrawn::Ok(5));
    till.reply(calls[0].0, &Withdrawn::Ok(5));
    till.lose(calls[0].0, "whatever");
    assert_eq!(till.ask(|till| till.cash()), Ok(0));
}

#[test]
fn a_spawned_future_runs_when_the_handler_has_returned() {
    let mut till = Harness::<Till>::start("till");
    assert_eq!(till.ask(|till| till.background(Bank::attach("bank"))), Ok(true));
    let calls = till.take_calls::<(u64,)>("bank", "withdraw");
    till.reply(calls[0].0, &Withdrawn::Ok(9));
    till.state(|till| assert_eq!(till.log, ["returned", "Ok(Ok(9))"]));
}

#[test]
#[should_panic(expected = "the state is in use")]
fn the_state_is_borrowed_once() {
    let mut till = Harness::<Till>::start("till");
    till.send("alice", |till| till.fork().reenter());
}

#[test]
fn many_handlers_wait_at_once() {
    let mut till = Harness::<Till>::start("till");
    for _ in 0..3 {
        till.send("alice", |till| {
            (1..=1000).for_each(|amount| till.fork().fetch(Bank::attach("bank"), amount));
        });
        for (call, (amount,)) in till.take_calls::<(u64,)>("bank", "withdraw") {
            till.reply(call, &Withdrawn::Ok(amount));
        }
    }
    assert_eq!(till.ask(|till| till.cash()), Ok(3 * 500_500));
}
