//! Proxies as values, and what an immortal learns of the world.

use std::collections::BTreeSet;

use ambrosia::testing::Harness;

#[ambrosia::interface]
trait Listener {
    /// Documentation goes to both methods.
    fn heard(from: Hub, text: String, all: Vec<Listener>);
    fn nothing();
}

#[ambrosia::interface]
trait Hub {
    fn subscribe(listener: Listener);
}

#[ambrosia::state]
struct Station {
    listeners: Vec<Listener>,
}

#[ambrosia::immortal]
impl Station {
    fn subscribe(&mut self, listener: Listener) -> bool {
        let new = !self.listeners.contains(&listener);
        if new {
            self.listeners.push(listener);
        }
        new
    }

    fn say(&mut self, text: String) {
        for listener in &self.listeners {
            listener.fork().heard(Hub::me(), &text, self.listeners.clone());
            listener.fork().nothing();
        }
    }

    #[ambrosia(update)]
    fn debug(&self) -> String {
        format!("{:?}", self.listeners)
    }

    #[ambrosia(update)]
    fn dice(&self, throws: u32) -> BTreeSet<u64> {
        (0..throws).map(|_| ambrosia::random_range(1..7)).collect()
    }

    #[ambrosia(update)]
    fn peers(&self, name: String) -> (bool, bool) {
        let peer = ambrosia::Peer::attach(&name);
        peer.fork("hello", (1, "x"));
        peer.fork_raw("hello", b"raw");
        (peer == ambrosia::Peer::attach(&name), peer == ambrosia::Peer::me())
    }
}

#[test]
fn a_proxy_is_the_name_of_an_instance() {
    let mut station = Harness::<Station>::start("station");
    assert_eq!(station.ask(|station| station.subscribe(Listener::attach("anna"))), Ok(true));
    assert_eq!(station.ask(|station| station.subscribe(Listener::attach("anna"))), Ok(false));
    assert_eq!(station.ask(|station| station.subscribe(Listener::attach("bob"))), Ok(true));
    station.impulse("say", ("hi",));
    let heard = station.take_forks::<(String, String, Vec<String>)>("bob", "heard");
    let all = vec!["anna".to_string(), "bob".to_string()];
    assert_eq!(heard, [("station".to_string(), "hi".to_string(), all)]);
    assert_eq!(station.take_forks::<()>("bob", "nothing"), [()]);
    let debug = station.ask(|station| station.debug());
    assert_eq!(debug.as_deref(), Ok(r#"[Listener(Peer("anna")), Listener(Peer("bob"))]"#));
}

#[test]
fn random_numbers_stay_in_their_range() {
    let mut station = Harness::<Station>::start("station");
    assert_eq!(station.ask(|station| station.dice(200)), Ok(BTreeSet::from([1, 2, 3, 4, 5, 6])));
}

#[test]
fn peers_take_methods_by_name() {
    let mut station = Harness::<Station>::start("station");
    assert_eq!(station.ask(|station| station.peers("other")), Ok((true, false)));
    let sent = station.take_sent();
    assert!(sent.iter().all(|sent| sent.to() == "other" && sent.is("hello") && sent.open_call().is_none()));
    assert_eq!(sent[0].arguments::<(u32, String)>(), (1, "x".to_string()));
    assert_eq!(sent[1].bytes(), b"raw");
    assert_eq!(station.ask(|station| station.peers("station")), Ok((true, true)));
}

#[test]
#[should_panic(expected = "\"a b\" is not an instance name")]
fn a_name_is_checked() {
    Harness::<Station>::start("station").impulse("peers", ("a b",));
}

/// Tools show what brought an effect about, and a replay compares it.
#[test]
fn what_is_sent_names_the_message_that_caused_it() {
    let mut station = Harness::<Station>::start("station");
    station.impulse("subscribe", ("listener",));
    station.send("bob", |station| {
        station.fork().say("first");
        station.fork().subscribe(Listener::attach("listener"));
        station.fork().say("third");
    });
    let causes: Vec<u32> = station.sent().iter().map(|sent| sent.cause()).collect();
    assert_eq!(causes, [0, 0, 2, 2]);
}

#[test]
fn instances_on_one_thread_are_apart() {
    let mut one = Harness::<Station>::start("one");
    let mut two = Harness::<Station>::start("two");
    one.impulse("subscribe", ("two",));
    two.impulse("subscribe", ("x",));
    two.impulse("subscribe", ("one",));
    one.impulse("say", ("hi",));
    assert_eq!(one.sent().len(), 2);
    assert_eq!(two.sent().len(), 0);
    two.state(|two| assert_eq!(two.listeners[1].name(), "one"));
}
