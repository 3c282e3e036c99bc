//! Has requests sent to the world outside and keeps a ledger of what came of each. Straight on `wit/immortal.wit`, so that it
//! shows what the host does and nothing of what an SDK adds.

#[cfg(target_arch = "wasm32")]
mod component {
    use std::{cell::RefCell, collections::BTreeMap};

    use ambrosia_core::{CallId, Message, MessageKind, Messages, MethodId, PeerIndex, Runs, push_effect};

    use self::bindings::ambrosia::runtime::description::{Argument, Kind};

    mod bindings {
        #![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, reason = "generated")]

        use super::Component;

        wit_bindgen::generate!({
            path: "../../wit",
            world: "immortal",
        });

        export!(Component);
    }

    /// Sends the request that is its argument, and gives back what came of it.
    const ASK: MethodId = MethodId::of("ask");
    /// Waits no longer for what comes of the request of that number.
    const FORGET: MethodId = MethodId::of("forget");
    /// All that came, as pairs of number and outcome.
    const LEDGER: MethodId = MethodId::of("ledger");

    /// Before the only argument of a method.
    const ARRAY_OF_ONE: u8 = 0x91;
    const NIL: u8 = 0xc0;

    #[derive(Default)]
    struct Payer {
        last: u64,
        /// Who asked for each request that has no outcome; 0 if nobody wants to hear of it.
        waiting: BTreeMap<u64, CallId>,
        ledger: Vec<(u64, Vec<u8>)>,
    }

    thread_local! {
        static PAYER: RefCell<Payer> = RefCell::default();
    }

    struct Component;

    impl bindings::Guest for Component {
        fn deliver(runs: Vec<u8>) -> Vec<u8> {
            let mut effects = Vec::new();
            let mut cause = 0;
            for run in Runs::new(&runs) {
                for message in Messages::new(run.expect("runs are sound").messages) {
                    let message = message.expect("messages are sound");
                    PAYER.with_borrow_mut(|payer| payer.handle(message, cause, &mut effects));
                    cause += 1;
                }
            }
            effects
        }

        fn describe() -> Vec<bindings::Method> {
            let method = |MethodId(id), name: &str, takes: &[&str]| bindings::Method {
                id,
                name: name.to_owned(),
                kind: Kind::Update,
                arguments: takes
                    .iter()
                    .map(|type_| Argument { name: "it".to_owned(), type_: (*type_).to_owned() })
                    .collect(),
                result: "any".to_owned(),
                docs: String::new(),
                formerly: Vec::new(),
            };
            vec![method(ASK, "ask", &["any"]), method(FORGET, "forget", &["u64"]), method(LEDGER, "ledger", &[])]
        }
    }

    impl Payer {
        fn handle(&mut self, message: Message<'_>, cause: u32, effects: &mut Vec<u8>) {
            let mut effect = |kind, call_id, arguments: &[u8]| {
                push_effect(effects, cause, PeerIndex(0), Message { kind, method: MethodId(0), call_id, arguments });
            };
            match (message.kind, message.method) {
                (MessageKind::Impulse, ASK) => {
                    let request = message.arguments.strip_prefix(&[ARRAY_OF_ONE]).expect("there is one argument");
                    self.last += 1;
                    self.waiting.insert(self.last, message.call_id);
                    println!("asks {}", self.last);
                    effect(MessageKind::Request, CallId(self.last), request);
                }
                (MessageKind::Impulse, FORGET) => {
                    let &[ARRAY_OF_ONE, id] = message.arguments else { panic!("a small number is expected") };
                    println!("forgets {id}");
                    effect(MessageKind::CancelRequest, CallId(u64::from(id)), &[]);
                    let asked = self.waiting.remove(&u64::from(id));
                    for call in [asked, Some(message.call_id)].into_iter().flatten().filter(|call| call.0 != 0) {
                        effect(MessageKind::Reply, call, &[NIL]);
                    }
                }
                (MessageKind::Impulse, LEDGER) => effect(MessageKind::Reply, message.call_id, &self.as_value()),
                (MessageKind::Outcome, _) => {
                    let id = message.call_id.0;
                    let asked = self.waiting.remove(&id).expect("an outcome comes once, and is waited for");
                    self.ledger.push((id, message.arguments.to_vec()));
                    println!("has {id}");
                    if asked.0 != 0 {
                        effect(MessageKind::Reply, asked, message.arguments);
                    }
                }
                _ => {} // it begins, or another replica reigns
            }
        }

        /// As MessagePack.
        fn as_value(&self) -> Vec<u8> {
            let mut value = vec![0xdd];
            value.extend_from_slice(&(self.ledger.len() as u32).to_be_bytes());
            for (id, outcome) in &self.ledger {
                value.extend_from_slice(&[0x92, 0xcf]);
                value.extend_from_slice(&id.to_be_bytes());
                value.extend_from_slice(outcome);
            }
            value
        }
    }
}
