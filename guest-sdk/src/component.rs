//! The component that an application becomes: the exports of `wit/immortal.wit`.

use std::{cell::RefCell, io::Write, marker::PhantomData, rc::Rc};

use crate::{
    Argument, Immortal, Method, MethodKind, Missed, Route, Schedule, State, Timestamp, TypeOf, Verb,
    bindings::{
        self, ambrosia::runtime::description::Kind, routed::exports::ambrosia::runtime::routing,
        scheduled::exports::ambrosia::runtime::scheduling, upgradable::exports::ambrosia::runtime::upgrade,
    },
    deliver::deliver,
    handover::{self, Refusal, Saved, Waiting},
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
        let effects = deliver::<S>(&runtime(), &runs);
        // A prompt without a newline belongs to this delivery too. Without a stdout there is nobody to read it.
        let _ = std::io::stdout().flush();
        effects
    }

    fn describe() -> Vec<bindings::Method> {
        S::METHODS.iter().map(description).collect()
    }
}

impl<S: Immortal> scheduling::Guest for Component<S> {
    fn schedules() -> Vec<scheduling::Schedule> {
        let schedule = |method: &Method| {
            let Schedule { cron, zone, missed } = method.schedule?;
            let missed = match missed {
                Missed::One => scheduling::Missed::One,
                Missed::All => scheduling::Missed::All,
                Missed::None => scheduling::Missed::None,
            };
            Some(scheduling::Schedule { method: method.id, cron: cron.to_string(), zone: zone.to_string(), missed })
        };
        S::METHODS.iter().filter_map(schedule).collect()
    }
}

impl<S: Immortal> routing::Guest for Component<S> {
    fn routes() -> Vec<routing::Route> {
        let routes = |method: &'static Method| {
            method.routes.iter().map(|Route { verb, path }| {
                let verb = match verb {
                    Verb::Get => routing::Verb::Get,
                    Verb::Post => routing::Verb::Post,
                    Verb::Put => routing::Verb::Put,
                    Verb::Patch => routing::Verb::Patch,
                    Verb::Delete => routing::Verb::Delete,
                };
                routing::Route { method: method.id, verb, path: path.to_string() }
            })
        };
        S::METHODS.iter().flat_map(routes).collect()
    }
}

impl<S: Immortal + State> upgrade::Guest for Component<S> {
    fn describe() -> upgrade::Description {
        let type_ = TypeOf::of::<S>().text();
        upgrade::Description { name: S::NAME.to_string(), version: S::VERSION, type_ }
    }

    fn save() -> upgrade::Saved {
        let Saved { version, state, waiting, runtime } = handover::save::<S>(&runtime());
        let waiting = waiting.into_iter().map(|Waiting { handler, awaits, since }| upgrade::Waiting {
            handler,
            awaits,
            since: since.as_nanos(),
        });
        upgrade::Saved { version, state, waiting: waiting.collect(), runtime }
    }

    fn load(saved: upgrade::Saved, end_waiting: bool) -> Result<Vec<u8>, upgrade::Refusal> {
        let upgrade::Saved { version, state, waiting, runtime: carried } = saved;
        let waiting = waiting.into_iter().map(|upgrade::Waiting { handler, awaits, since }| Waiting {
            handler,
            awaits,
            since: Timestamp::from_nanos(since),
        });
        let saved = Saved { version, state, waiting: waiting.collect(), runtime: carried };
        let effects = handover::load::<S>(&runtime(), &saved, end_waiting);
        // As after a delivery.
        let _ = std::io::stdout().flush();
        effects.map_err(|refusal| match refusal {
            Refusal::Waits(why) => upgrade::Refusal::Waits(why),
            Refusal::Unreadable(why) => upgrade::Refusal::Unreadable(why),
        })
    }
}

fn runtime() -> Rc<Runtime> {
    RUNTIME.with_borrow(Option::clone).unwrap_or_else(begin)
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
