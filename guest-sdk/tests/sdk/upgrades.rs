//! Two builds of one application, and what goes over from the one to the other.

use std::{collections::BTreeMap, time::Duration};

use ambrosia::{CallError, This, testing::Harness};

#[ambrosia::interface]
trait Bank {
    fn withdraw(amount: u64) -> Result<u64, String>;
}

/// The first build.
mod v1 {
    use super::*;

    #[ambrosia::state]
    pub(crate) struct Server {
        pub(crate) received: u32,
        pub(crate) banks: Vec<Bank>,
        pub(crate) gone: String,
    }

    #[ambrosia::immortal(no_exports)]
    impl Server {
        fn receive(&mut self, text: String) -> u32 {
            self.gone += &text;
            self.received += 1;
            self.received
        }

        fn add_bank(&mut self, bank: Bank) {
            self.banks.push(bank);
        }

        /// Waits, and can't go on in any build.
        async fn transfer(_this: This<Self>, bank: Bank, amount: u64) -> Result<u64, String> {
            bank.withdraw(amount).await.map_err(|error| error.to_string())?
        }

        /// Waits; the second build begins it again.
        async fn poll(_this: This<Self>, bank: Bank, amount: u64) -> Result<u64, String> {
            bank.withdraw(amount).await.map_err(|error| error.to_string())?
        }

        /// Gone in the second build.
        async fn linger(_this: This<Self>, seconds: u64) -> u64 {
            ambrosia::sleep(Duration::from_secs(seconds)).await;
            seconds
        }

        /// Takes something else in the second build.
        async fn wide(this: This<Self>, seconds: u64) -> u32 {
            ambrosia::sleep(Duration::from_secs(seconds)).await;
            this.with(|server| server.received)
        }

        fn tick(&mut self) {
            ambrosia::spawn(async {
                loop {
                    ambrosia::sleep(Duration::from_secs(1)).await;
                    This::<Server>::current().with(|server| server.received += 1);
                }
            })
            .until_upgrade();
        }

        fn background(&mut self) {
            ambrosia::spawn(ambrosia::sleep(Duration::from_secs(5)));
        }
    }
}

/// The second: fields added and removed, methods renamed, removed and marked.
mod v2 {
    use super::*;

    #[ambrosia::state]
    pub(crate) struct Server {
        pub(crate) banks: Vec<Bank>,
        pub(crate) received: u64,
        pub(crate) limit: Option<u32>,
        pub(crate) upgrades: Vec<String>,
    }

    #[ambrosia::immortal(no_exports)]
    impl Server {
        fn on_upgrade(&mut self) {
            self.upgrades.push(format!("{} banks", self.banks.len()));
            for bank in &self.banks {
                bank.fork().withdraw(0);
            }
        }

        fn receive(&mut self, text: String) -> String {
            self.received += 1;
            format!("{text} {}", self.received)
        }

        #[ambrosia(restart, formerly = "poll")]
        async fn poll_again(this: This<Self>, bank: Bank, amount: u64) -> Result<u64, String> {
            let got = bank.withdraw(amount + 1000).await.map_err(|error| error.to_string())??;
            Ok(this.with(|server| server.received + got))
        }

        async fn transfer(_this: This<Self>, _bank: Bank, _amount: u64) -> Result<u64, String> {
            Err("never".to_string())
        }

        #[ambrosia(restart)]
        async fn wide(_this: This<Self>, _text: Vec<String>) -> u32 {
            0
        }
    }
}

type Withdrawn = Result<u64, String>;

fn bank() -> Bank {
    Bank::attach("bank")
}

#[test]
fn the_state_goes_over_by_the_names_of_its_fields() {
    let mut old = Harness::<v1::Server>::start("server");
    old.send("client", |server| {
        server.fork().receive("one");
        server.fork().receive("two");
        server.fork().add_bank(bank());
    });
    let mut new = old.upgrade::<v2::Server>();
    assert_eq!(new.take_forks::<(u64,)>("bank", "withdraw"), [(0,)], "on_upgrade sends");
    new.state(|server| {
        assert_eq!((server.received, server.limit), (2, None));
        assert_eq!(server.banks.iter().map(Bank::name).collect::<Vec<_>>(), ["bank"]);
        assert_eq!(server.upgrades, ["1 banks"]);
    });
    assert_eq!(new.ask(|server| server.receive("three")), Ok("three 3".to_string()));
    // And back.
    let mut old = new.upgrade::<v1::Server>();
    old.state(|server| assert_eq!((server.received, server.gone.as_str()), (3, "")));
}

#[test]
fn an_upgrade_before_anything_has_happened_is_one() {
    let mut new = Harness::<v1::Server>::new("server").upgrade::<v2::Server>();
    new.become_primary();
    new.state(|server| assert_eq!(server.upgrades, ["0 banks"]));
}

#[test]
fn a_handler_that_waits_is_named_and_nothing_has_happened() {
    let mut old = Harness::<v1::Server>::start("server");
    let transfer = old.call("client", |server| server.transfer(bank(), 5));
    old.advance(Duration::from_millis(3100));
    old.impulse("background", ());
    let waiting: Vec<_> = old.waiting().into_iter().map(|waiting| (waiting.handler, waiting.awaits)).collect();
    let named = |handler: &str, awaits: &str| (handler.to_string(), awaits.to_string());
    assert_eq!(waiting, [named("transfer", "withdraw of bank"), named("spawned future", "a timer")]);
    let refused = old.try_upgrade::<v2::Server>().expect_err("two wait");
    let expected = "2 handlers wait and can't go on in the new code: transfer awaits withdraw of bank (3.1 s), \
                    spawned future awaits a timer (0.0 s). ";
    assert!(refused.reason.starts_with(expected), "{}", refused.reason);
    let mut old = refused.harness;
    let (open, _) = old.take_calls::<(u64,)>("bank", "withdraw")[0];
    old.reply(open, &Withdrawn::Ok(5));
    assert_eq!(old.answer(&transfer), Some(Ok(Ok(5))));
    old.advance(Duration::from_secs(5));
    assert_eq!(old.waiting(), []);
    old.upgrade::<v2::Server>();
}

#[test]
fn a_handler_begins_again_for_its_caller_and_old_answers_are_ignored() {
    let mut old = Harness::<v1::Server>::start("server");
    let poll = old.call("client", |server| server.poll(bank(), 5));
    let asked = old.call("other", |server| server.poll(bank(), 6));
    let before = old.take_calls::<(u64,)>("bank", "withdraw");
    let mut new = old.upgrade::<v2::Server>();
    let after = new.take_calls::<(u64,)>("bank", "withdraw");
    assert_eq!(after.iter().map(|(_, amount)| amount.0).collect::<Vec<_>>(), [1005, 1006]);
    for (open, _) in before {
        new.reply(open, &Withdrawn::Ok(1));
    }
    assert!(new.answer(&poll).is_none(), "the old answer is none");
    new.reply(after[1].0, &Withdrawn::Ok(7));
    new.reply(after[0].0, &Withdrawn::Ok(8));
    assert_eq!((new.answer(&poll), new.answer(&asked)), (Some(Ok(Ok(8))), Some(Ok(Ok(7)))));
    // Marked, and so no reason to wait.
    let again = new.call("client", |server| server.poll_again(bank(), 1));
    let mut newer = new.upgrade::<v2::Server>();
    let calls = newer.take_calls::<(u64,)>("bank", "withdraw");
    newer.reply(calls[1].0, &Withdrawn::Ok(9));
    assert_eq!(newer.answer(&again), Some(Ok(Ok(9))));
}

#[test]
fn an_id_is_never_used_twice() {
    let mut old = Harness::<v1::Server>::start("server");
    let _poll = old.call("client", |server| server.poll(bank(), 5));
    let before = old.take_calls::<(u64,)>("bank", "withdraw");
    let mut new = old.upgrade::<v2::Server>();
    let after = new.take_calls::<(u64,)>("bank", "withdraw");
    assert_ne!(before[0].0, after[0].0);
}

#[test]
fn what_can_not_go_on_is_ended_and_its_callers_told() {
    let mut old = Harness::<v1::Server>::start("server");
    let transfer = old.call("client", |server| server.transfer(bank(), 5));
    let linger = old.call("client", |server| server.linger(9));
    old.send("client", |server| server.fork().linger(8));
    let refused = old.try_upgrade::<v2::Server>().expect_err("three wait");
    assert!(refused.reason.contains("the new code has no such method"), "{}", refused.reason);
    assert!(refused.harness.next_timer().is_some());
    let mut new = refused.harness.upgrade_ending_waiting::<v2::Server>();
    let ended =
        |method: &str| CallError::Refused { method: method.to_string(), reason: "ended by an upgrade".to_string() };
    assert_eq!(new.answer(&transfer), Some(Err(ended("transfer"))));
    assert_eq!(new.answer(&linger), Some(Err(ended("linger"))));
    assert_eq!((new.next_timer(), new.waiting()), (None, Vec::new()), "no timer of the old code is left");
}

#[test]
fn what_no_longer_decodes_is_answered_with_an_error() {
    let mut old = Harness::<v1::Server>::start("server");
    let wide = old.call("client", |server| server.wide(9));
    let mut new = old.upgrade::<v2::Server>();
    let error = new.answer(&wide).expect("an answer").expect_err("a number is no list");
    assert!(error.to_string().contains("its argument `_text: Vec<String>` doesn't decode"), "{error}");
}

#[test]
fn a_ticker_ends_with_its_code() {
    let mut old = Harness::<v1::Server>::start("server");
    old.impulse("tick", ());
    old.advance(Duration::from_secs(2));
    assert_eq!(old.waiting(), [], "no upgrade waits for it");
    let mut new = old.upgrade::<v2::Server>();
    assert_eq!(new.next_timer(), None);
    new.advance(Duration::from_secs(5));
    new.state(|server| assert_eq!(server.received, 2));
}

/// Versions with a chain of conversions, of which one can't be read.
mod versions {
    use super::*;

    #[ambrosia::state]
    pub(crate) struct One {
        pub(crate) total: u32,
    }

    #[ambrosia::state(version = 2, from = One)]
    pub(crate) struct Two {
        pub(crate) total: String,
    }

    #[ambrosia::state(version = 4, from = Two)]
    pub(crate) struct Four {
        pub(crate) total: BTreeMap<String, u64>,
    }

    #[ambrosia::state(version = 3)]
    pub(crate) struct Three;

    impl From<One> for Two {
        fn from(old: One) -> Self {
            Two { total: old.total.to_string() }
        }
    }

    impl From<Two> for Four {
        fn from(old: Two) -> Self {
            Four { total: BTreeMap::from([(old.total, 2)]) }
        }
    }

    #[ambrosia::immortal(no_exports)]
    impl One {}
    #[ambrosia::immortal(no_exports)]
    impl Two {}
    #[ambrosia::immortal(no_exports)]
    impl Three {}
    #[ambrosia::immortal(no_exports)]
    impl Four {}
}

#[test]
fn any_chain_of_versions_is_followed() {
    use versions::{Four, One, Three, Two};
    let one = || {
        let mut one = Harness::<One>::start("it");
        one.state(|one| one.total = 7);
        one
    };
    one().upgrade::<Two>().state(|two| assert_eq!(two.total, "7"));
    one().upgrade::<Four>().state(|four| assert_eq!(four.total, BTreeMap::from([("7".to_string(), 2)])));
    let mut four = one().upgrade::<Two>().upgrade::<Four>();
    four.state(|four| assert_eq!(four.total.len(), 1));
    let newer = four.try_upgrade::<Two>().expect_err("it is newer").reason;
    assert!(newer.contains("the state has version 4, and `Two` of this module has version 2"), "{newer}");
    let between = Harness::<Three>::start("it").try_upgrade::<Four>().expect_err("nobody knows it").reason;
    assert!(between.contains("version 3, and `Four` of this module reads only 4 2 1"), "{between}");
}

#[test]
fn a_field_of_another_meaning_is_refused_by_name() {
    mod changed {
        #[ambrosia::state]
        pub(crate) struct Changed {
            pub(crate) total: String,
        }

        #[ambrosia::immortal(no_exports)]
        impl Changed {}
    }
    let mut one = Harness::<versions::One>::start("it");
    one.state(|one| one.total = 7);
    let refused = one.try_upgrade::<changed::Changed>().expect_err("a number is no text");
    assert!(refused.reason.contains("the state of version 1 can't be read as `Changed`"), "{}", refused.reason);
}

/// A struct without fields may get some, and lose them.
mod shapes {
    #[ambrosia::state]
    pub(crate) struct Nothing;

    #[ambrosia::state]
    #[derive(PartialEq, Debug)]
    pub(crate) struct Something {
        pub(crate) total: u32,
    }

    #[ambrosia::state(own_default)]
    pub(crate) enum Either {
        Left(u32),
        Right { text: String },
    }

    impl Default for Either {
        fn default() -> Self {
            Either::Left(1)
        }
    }

    #[ambrosia::immortal(no_exports)]
    impl Nothing {}
    #[ambrosia::immortal(no_exports)]
    impl Something {}
    #[ambrosia::immortal(no_exports)]
    impl Either {}
}

#[test]
fn structs_without_fields_and_enums_go_over() {
    use shapes::{Either, Nothing, Something};
    let mut something = Harness::<Nothing>::start("it").upgrade::<Something>();
    something.state(|something| assert_eq!(*something, Something { total: 0 }));
    something.state(|something| something.total = 3);
    something.upgrade::<Nothing>().upgrade::<Nothing>();
    let mut either = Harness::<Either>::start("it");
    either.state(|either| *either = Either::Right { text: "x".to_string() });
    let mut either = either.upgrade::<Either>();
    either.state(|either| assert!(matches!(either, Either::Right { text } if text == "x")));
    let mut either = Harness::<Either>::start("it").upgrade::<Either>();
    either.state(|either| assert!(matches!(either, Either::Left(1))));
}

#[test]
fn a_state_in_a_file_is_loaded_by_a_later_build() {
    let mut old = Harness::<v1::Server>::start("server");
    old.send("client", |server| {
        server.fork().receive("one");
        server.fork().add_bank(bank());
    });
    let mut new = Harness::<v2::Server>::load("server", &old.save());
    new.state(|server| assert_eq!((server.received, server.banks[0].name()), (1, "bank".to_string())));
    assert_eq!(new.take_forks::<(u64,)>("bank", "withdraw"), [(0,)]);
}

#[test]
#[should_panic(expected = "this is no file with a state")]
fn what_is_no_state_is_told() {
    Harness::<v2::Server>::load("server", b"MZ");
}

/// Hooks that wait.
mod hooks {
    use super::*;

    #[ambrosia::state]
    pub(crate) struct Hooked {
        pub(crate) begun: u32,
    }

    #[ambrosia::immortal(no_exports)]
    impl Hooked {
        async fn on_first_start(_this: This<Self>) {
            ambrosia::sleep(Duration::from_secs(1)).await;
        }

        #[ambrosia(restart)]
        async fn on_becoming_primary(this: This<Self>) {
            this.with(|hooked| hooked.begun += 1);
            ambrosia::sleep(Duration::from_secs(9)).await;
            this.with(|hooked| hooked.begun += 100);
        }
    }
}

#[test]
fn a_hook_begins_again() {
    let hooked = Harness::<hooks::Hooked>::start("it");
    let refused = hooked.try_upgrade::<hooks::Hooked>().expect_err("the first start waits");
    assert!(refused.reason.contains("1 handler waits") && refused.reason.contains("on_first_start"));
    let mut hooked = refused.harness;
    hooked.advance(Duration::from_secs(2));
    let mut hooked = hooked.upgrade::<hooks::Hooked>();
    hooked.advance(Duration::from_secs(9));
    hooked.state(|hooked| assert_eq!(hooked.begun, 102));
}
