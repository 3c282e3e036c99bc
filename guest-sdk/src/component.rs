//! The component that an application becomes: the exports of `wit/immortal.wit`.

use std::{cell::RefCell, io::Write, marker::PhantomData, rc::Rc};

use crate::{
    Argument, Immortal, Method, MethodKind,
    bindings::{self, ambrosia::runtime::description::Kind},
    deliver::deliver,
    panics,
    runtime::{self, Runtime},
};

/// Exports `S`.
#[doc(hidden)]
pub struct Component<S>(PhantomData<S>);

thread_local! {
    static RUNTIME: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

impl<S: Immortal> bindings::Guest for Component<S> {
    fn deliver(runs: Vec<u8>) -> Vec<u8> {
        let runtime = RUNTIME.with_borrow(Option::clone).unwrap_or_else(begin);
        let effects = deliver::<S>(&runtime, &runs);
        // A prompt without a newline belongs to this delivery too. Without a stdout there is nobody to read it.
        let _ = std::io::stdout().flush();
        effects
    }

    fn describe() -> Vec<bindings::Method> {
        S::METHODS.iter().map(description).collect()
    }
}

fn begin() -> Rc<Runtime> {
    panics::install();
    let runtime = Rc::new(Runtime::new());
    RUNTIME.replace(Some(Rc::clone(&runtime)));
    runtime::enter(Some(Rc::clone(&runtime)));
    runtime
}

fn description(method: &Method) -> bindings::Method {
    let argument = |argument: &Argument| bindings::ambrosia::runtime::description::Argument {
        name: argument.name.to_string(),
        type_: argument.ty.text(),
    };
    bindings::Method {
        id: method.id,
        name: method.name.to_string(),
        kind: match method.kind {
            MethodKind::Update => Kind::Update,
            MethodKind::Query => Kind::Query,
            MethodKind::Raw => Kind::Raw,
        },
        arguments: method.arguments.iter().map(argument).collect(),
        result: method.result.text(),
        docs: method.docs.to_string(),
        formerly: method.formerly.iter().map(|name| name.to_string()).collect(),
    }
}
