//! The exports, and the model's surroundings from the imports.

use std::{
    cell::RefCell,
    io::{self, Write},
};

use ambrosia_core::{
    CallId, Delivered, InstanceName, MethodId, PeerIndex, Print, PrintStream, PromiseToken, Timestamp,
};
use ambrosia_sim_model::{EXIT, Model, Surroundings, WORK};

use crate::bindings::{
    self,
    ambrosia::runtime::{
        description::{Argument, Kind},
        host,
    },
    beside::ambrosia::runtime::{configuration, promises},
};

thread_local! {
    static MODEL: RefCell<Model> = RefCell::default();
}

/// What is exported.
pub(crate) struct Component;

impl bindings::Guest for Component {
    fn deliver(runs: Vec<u8>) -> Vec<u8> {
        let mut delivered = Delivered::default();
        let handled = MODEL.with_borrow_mut(|model| model.handle(&runs, &mut Imports, &mut delivered));
        delivered.prints.iter().for_each(|print| show(print).expect("the host takes what is printed"));
        // A component has no other way to say that it failed than a trap.
        handled.unwrap_or_else(|broken| panic!("{broken}"));
        delivered.effects
    }

    fn describe() -> Vec<bindings::Method> {
        let method = |MethodId(id), name: &str| bindings::Method {
            id,
            name: name.to_owned(),
            kind: Kind::Raw,
            arguments: vec![Argument { name: "bytes".to_owned(), type_: "list<u8>".to_owned() }],
            result: "list<u8>".to_owned(),
            docs: String::new(),
            formerly: Vec::new(),
        };
        vec![method(WORK, "work"), method(EXIT, "exit")]
    }
}

fn show(print: &Print) -> io::Result<()> {
    match print.stream {
        // The model prints whole lines, and each goes to the host at its end: the two streams keep their order.
        PrintStream::Stdout => io::stdout().write_all(&print.bytes),
        PrintStream::Stderr => io::stderr().write_all(&print.bytes),
    }
}

/// What the host offers.
struct Imports;

impl Surroundings for Imports {
    fn time(&self) -> Timestamp {
        let time = host::now();
        Timestamp(time.seconds * 1_000_000_000 + u64::from(time.nanoseconds))
    }

    fn random(&mut self) -> u64 {
        host::random()
    }

    fn attach(&mut self, name: &InstanceName) -> PeerIndex {
        PeerIndex(host::attach(name.as_str()))
    }

    fn name(&self) -> String {
        host::instance_name()
    }

    fn peer_name(&self, peer: PeerIndex) -> Option<InstanceName> {
        let name = host::peer_name(peer.0);
        (!name.is_empty()).then(|| InstanceName::new(name).expect("the host gives names of instances"))
    }

    fn token_of(&self, promise: CallId) -> PromiseToken {
        let token = promises::token(promise.0);
        u128::from_str_radix(&token, 16).expect("a token is hexadecimal").to_be_bytes()
    }

    fn configured(&self, name: &str) -> Vec<u8> {
        configuration::get(name).unwrap_or_default()
    }
}
