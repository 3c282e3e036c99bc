//! `ambrosia:runtime/routing`, which a component exports or not (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** what a path means, and which of several a request is for, is not known here.

use ambrosia_core::MethodId;
use ambrosia_methods::{Method, ROUTES_MAX, Route, RouteError, RouteTable, Verb};
use wasmtime::{
    Store,
    component::{ComponentType, Instance, Lift},
};

use crate::{error::ModuleError, state::GuestState};

/// The interface of components whose methods are asked over HTTP at paths of their own.
const ROUTING: &str = "ambrosia:runtime/routing@0.2.0";
/// Its function.
const ROUTES: &str = "routes";

/// Record `route` of the interface.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RouteRecord {
    method: u32,
    verb: VerbRecord,
    path: String,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[allow(dead_code, reason = "made by what is lifted")]
#[component(enum)]
#[repr(u8)]
pub(crate) enum VerbRecord {
    #[component(name = "get")]
    Get,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "patch")]
    Patch,
    #[component(name = "delete")]
    Delete,
}

/// Asks an instance that has just described itself. Nothing if it exports no such interface.
///
/// # Errors
/// The first is a trap. [`ModuleError::WrongExport`] if the function has another type.
pub(crate) fn ask(
    store: &mut Store<GuestState>,
    instance: &Instance,
) -> Result<Result<Vec<RouteRecord>, ModuleError>, wasmtime::Error> {
    let Some(interface) = instance.get_export_index(&mut *store, None, ROUTING) else { return Ok(Ok(Vec::new())) };
    let wrong = |why: String| Ok(Err(ModuleError::WrongExport { name: ROUTING, why }));
    let Some(routes) = instance.get_export_index(&mut *store, Some(&interface), ROUTES) else {
        return wrong(format!("it has no function `{ROUTES}`"));
    };
    let routes = match instance.get_typed_func::<(), (Vec<RouteRecord>,)>(&mut *store, routes) {
        Ok(routes) => routes,
        Err(error) => return wrong(format!("`{ROUTES}`: {error}")),
    };
    let (records,) = routes.call(&mut *store, ())?;
    Ok(Ok(records))
}

/// Notes beside each method where it is asked.
///
/// # Errors
/// [`ModuleError::UnknownRoute`] if there is no such method, [`ModuleError::WrongRoute`] if it can't be asked there, or two can't be told
/// apart.
pub(crate) fn note(methods: &mut [Method], records: Vec<RouteRecord>) -> Result<(), ModuleError> {
    if records.len() > ROUTES_MAX {
        return Err(RouteError::TooMany(records.len()).into());
    }
    for RouteRecord { method: id, verb, path } in records {
        let verb = match verb {
            VerbRecord::Get => Verb::Get,
            VerbRecord::Post => Verb::Post,
            VerbRecord::Put => Verb::Put,
            VerbRecord::Patch => Verb::Patch,
            VerbRecord::Delete => Verb::Delete,
        };
        let id = MethodId(id);
        let Some(method) = methods.iter_mut().find(|method| method.id == id) else {
            return Err(ModuleError::UnknownRoute { route: format!("{} {path:?}", verb.name()), id });
        };
        match path.parse() {
            Ok(path) => method.routes.push(Route { verb, path }),
            Err(error) => return Err(RouteError::Path { method: method.name.clone(), verb, path, error }.into()),
        }
    }
    RouteTable::new(methods)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::MethodKind;

    use super::*;

    fn record(name: &str, verb: VerbRecord, path: &str) -> RouteRecord {
        RouteRecord { method: MethodId::of(name).0, verb, path: path.to_owned() }
    }

    fn methods() -> Vec<Method> {
        let add = Method::without_types("add".to_owned(), vec!["n".to_owned()], true);
        let total = Method { kind: MethodKind::Query, ..Method::without_types("total".to_owned(), Vec::new(), true) };
        vec![add, total]
    }

    #[test]
    fn routes_are_noted_beside_their_methods() {
        let records = [
            record("add", VerbRecord::Put, "/numbers/{n}"),
            record("total", VerbRecord::Get, "/"),
            record("add", VerbRecord::Post, "/"),
        ];
        let mut methods = methods();
        note(&mut methods, records.to_vec()).expect("they are right");
        let routes: Vec<Vec<_>> =
            methods.iter().map(|method| method.routes.iter().map(Route::to_string).collect()).collect();
        assert_eq!(routes, [vec!["PUT /numbers/{n}", "POST /"], vec!["GET /"]]);
    }

    #[test]
    fn routes_that_can_not_be_are_refused() {
        use VerbRecord::{Get, Post};
        let many: Vec<_> = (0..=ROUTES_MAX).map(|at| record("add", Post, &format!("/{at}"))).collect();
        for (records, said) in [
            (vec![record("gone", Post, "/gone")], "POST \"/gone\" is for a method with the id"),
            (
                vec![record("add", Post, "numbers")],
                "POST \"numbers\" of the method `add` has no path: it does not begin",
            ),
            (vec![record("add", Get, "/")], "the method `add` is no query"),
            (vec![record("total", Post, "/")], "the method `total` is a query"),
            (vec![record("add", Post, "/{m}")], "a placeholder `{m}`, and the method add(n) has no such argument"),
            (vec![record("add", Post, "/{n}"), record("add", Post, "/{n}")], "can't be told apart"),
            (many, "there are 1025 routes, and 1024 are the most"),
        ] {
            let error = note(&mut methods(), records).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
