//! What is another one in a module than in the module before it: methods, and the state.
//!
//! **Architecture Invariant:** it is what the two modules describe, compared as text is: whether the one takes the state of
//! the other is known once it has done so.

use std::fmt;

use serde::Serialize;

use crate::{
    method::Method,
    route::Route,
    state_type::StateType,
    table::Methods,
    types::{Field, Type},
};

/// What one module has and another one has not, or has otherwise. As text, a line each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// The new module has it.
    Added {
        /// What it is called.
        name: String,
        /// As it is declared.
        after: String,
    },
    /// The new module does not have it.
    Removed {
        /// What it was called.
        name: String,
        /// As it was declared.
        before: String,
    },
    /// The new module has it otherwise.
    Changed {
        /// What it is called.
        name: String,
        /// As it was declared.
        before: String,
        /// As it is declared.
        after: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added { after, .. } => write!(f, "+ {after}"),
            Change::Removed { before, .. } => write!(f, "- {before}"),
            Change::Changed { before, after, .. } => write!(f, "~ {before} => {after}"),
        }
    }
}

/// What becomes of the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StateDifference {
    /// Name and version of the state before; `None` if the module says nothing of it.
    pub before: Option<StateVersion>,
    /// Name and version behind the upgrade.
    pub after: Option<StateVersion>,
    /// Fields, or the whole type if it has none.
    pub changes: Vec<Change>,
}

/// What a state is called, and which version of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StateVersion {
    /// As in the source.
    pub name: String,
    /// From 1.
    pub version: u32,
}

/// What is another one in the methods `after`, in the order in which they are listed; those that are gone come last.
pub fn methods_difference(before: &Methods, after: &Methods) -> Vec<Change> {
    let find = |methods: &Methods, name: &str| methods.iter().find(|method| method.name == name).cloned();
    // The one of that name, or one that had it and is there under no other.
    let old_of = |new: &Method| {
        let renamed = || before.iter().find(|old| new.answers_to(old.id) && find(after, &old.name).is_none());
        find(before, &new.name).or_else(|| renamed().cloned())
    };
    let there = after.iter().filter_map(|new| match old_of(new) {
        None => Some(Change::Added { name: new.name.clone(), after: declared(new) }),
        Some(old) if is_same(&old, new) => None,
        Some(old) => Some(Change::Changed { name: new.name.clone(), before: declared(&old), after: declared(new) }),
    });
    let gone = before.iter().filter(|old| after.by_id(old.id).is_none());
    let gone = gone.map(|old| Change::Removed { name: old.name.clone(), before: declared(old) });
    there.chain(gone).collect()
}

/// Whether neither callers, nor the calendar, nor who asks by a path see a difference.
fn is_same(old: &Method, new: &Method) -> bool {
    (&old.name, old.kind, &old.arguments, &old.result) == (&new.name, new.kind, &new.arguments, &new.result)
        && (&old.schedule, &old.routes) == (&new.schedule, &new.routes)
}

/// As WIT would declare it, with the kind if that is no update, when it runs by itself, and where it is asked over HTTP.
fn declared(method: &Method) -> String {
    let declared = match method.kind {
        crate::MethodKind::Update => method.to_string(),
        kind => format!("{} {method}", kind.word()),
    };
    let declared = match &method.schedule {
        Some(schedule) => format!("{declared} at {schedule}"),
        None => declared,
    };
    let routes: Vec<_> = method.routes.iter().map(Route::to_string).collect();
    if routes.is_empty() { declared } else { format!("{declared}, {}", routes.join(", ")) }
}

/// What becomes of the state of a module when another one takes it.
pub fn state_difference(before: Option<&StateType>, after: Option<&StateType>) -> StateDifference {
    let version = |state: &StateType| StateVersion { name: state.name.clone(), version: state.version };
    let changes = match (before, after) {
        (Some(before), Some(after)) => type_changes(&before.name, &before.ty, &after.ty),
        _ => Vec::new(),
    };
    StateDifference { before: before.map(version), after: after.map(version), changes }
}

fn type_changes(name: &str, before: &Type, after: &Type) -> Vec<Change> {
    match (before, after) {
        (Type::Record(_, before), Type::Record(_, after)) => field_changes(before, after),
        (before, after) if before == after => Vec::new(),
        (before, after) => {
            let (before, after) = (before.to_string(), after.to_string());
            vec![Change::Changed { name: name.to_owned(), before, after }]
        }
    }
}

fn field_changes(before: &[Field], after: &[Field]) -> Vec<Change> {
    let find = |fields: &[Field], name: &str| fields.iter().find(|field| field.name == name).cloned();
    let there = after.iter().filter_map(|new| match find(before, &new.name) {
        None => Some(Change::Added { name: new.name.clone(), after: format!("{}: {}", new.name, new.ty) }),
        Some(old) if old.ty == new.ty => None,
        Some(old) => {
            let before = format!("{}: {}", old.name, old.ty);
            Some(Change::Changed { name: new.name.clone(), before, after: new.ty.to_string() })
        }
    });
    let gone = before.iter().filter(|old| find(after, &old.name).is_none());
    let gone = gone.map(|old| Change::Removed { name: old.name.clone(), before: format!("{}: {}", old.name, old.ty) });
    there.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use ambrosia_core::MethodId;

    use super::*;
    use crate::{Argument, Method, MethodKind, Missed, Schedule, Verb};

    fn method(name: &str, arguments: &[(&str, &str)], result: &str) -> Method {
        let argument =
            |(name, ty): &(&str, &str)| Argument { name: (*name).to_owned(), ty: ty.parse().expect("a type") };
        Method {
            id: MethodId::of(name),
            name: name.to_owned(),
            kind: MethodKind::Update,
            arguments: arguments.iter().map(argument).collect(),
            result: result.parse().expect("a type"),
            docs: String::new(),
            formerly: Vec::new(),
            schedule: None,
            routes: Vec::new(),
        }
    }

    fn told(before: &[&Method], after: &[&Method]) -> Vec<String> {
        let of = |methods: &[&Method]| Methods::new(methods.iter().copied().cloned().collect());
        let changes = methods_difference(&of(before), &of(after));
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn methods_that_are_new_gone_or_other_ones_are_told() {
        let message = method("receive_message", &[("text", "string")], "u32");
        let urgent = method("receive_message", &[("text", "string"), ("urgent", "bool")], "u32");
        let (add, forget) =
            (method("add_respondee", &[("name", "string")], "_"), method("forget", &[("name", "string")], "_"));
        let total = method("total", &[], "u64");
        let expected = [
            "+ forget(name: string)",
            "~ receive_message(text: string) -> u32 => receive_message(text: string, urgent: bool) -> u32",
            "- add_respondee(name: string)",
        ];
        assert_eq!(told(&[&message, &add, &total], &[&forget, &urgent, &total]), expected);
        assert_eq!(told(&[&message], &[&message]), [""; 0]);
    }

    #[test]
    fn what_callers_see_is_a_difference_and_what_they_do_not_see_is_none() {
        let add = method("add", &[("n", "u64")], "_");
        let documented = Method { docs: "Adds.".to_owned(), ..add.clone() };
        assert_eq!(told(&[&add], &[&documented]), [""; 0]);
        let query = Method { kind: MethodKind::Query, ..add.clone() };
        assert_eq!(told(&[&add], &[&query]), ["~ add(n: u64) => query add(n: u64)"]);
        let wider = method("add", &[("n", "u128")], "_");
        assert_eq!(told(&[&add], &[&wider]), ["~ add(n: u64) => add(n: u128)"]);
        assert_eq!(told(&[&add], &[&method("add", &[("by", "u64")], "_")]), ["~ add(n: u64) => add(by: u64)"]);
    }

    #[test]
    fn when_a_method_runs_by_itself_is_a_difference() {
        let report = method("report", &[], "_");
        let at = |cron: &str, missed| {
            let schedule = Schedule { cron: cron.to_owned(), zone: String::new(), missed };
            Method { schedule: Some(schedule), ..report.clone() }
        };
        let (daily, hourly) = (at("0 3 * * *", Missed::One), at("0 * * * *", Missed::All));
        let expected = ["~ report() at 0 3 * * * UTC => report() at 0 * * * * UTC, missed: all"];
        assert_eq!(told(&[&daily], &[&hourly]), expected);
        assert_eq!(told(&[&daily], &[&report]), ["~ report() at 0 3 * * * UTC => report()"]);
        assert_eq!(told(&[&daily], &[&daily]), [""; 0]);
    }

    #[test]
    fn where_a_method_is_asked_is_a_difference() {
        let add = method("add", &[("n", "u64")], "u64");
        let at = |verb, path: &str| {
            let routes = vec![Route { verb, path: path.parse().expect("a path") }];
            Method { routes, ..add.clone() }
        };
        let (post, put) = (at(Verb::Post, "/numbers"), at(Verb::Put, "/numbers/{n}"));
        let expected = ["~ add(n: u64) -> u64, POST /numbers => add(n: u64) -> u64, PUT /numbers/{n}"];
        assert_eq!(told(&[&post], &[&put]), expected);
        assert_eq!(told(&[&post], &[&add]), ["~ add(n: u64) -> u64, POST /numbers => add(n: u64) -> u64"]);
        assert_eq!(told(&[&post], &[&post]), [""; 0]);
    }

    #[test]
    fn a_method_under_another_name_is_neither_new_nor_gone() {
        let plus = method("plus", &[("n", "u64")], "_");
        let add = Method { formerly: vec!["plus".to_owned()], ..method("add", &[("n", "u64")], "_") };
        assert_eq!(told(&[&plus], &[&add]), ["~ plus(n: u64) => add(n: u64)"]);
        assert_eq!(told(&[&add], &[&plus]), ["+ plus(n: u64)", "- add(n: u64)"]);
        // One of its own beside the one that had its name is another method.
        assert_eq!(told(&[&plus], &[&add, &plus]), ["+ add(n: u64)"]);
    }

    fn state(name: &str, version: u32, ty: &str) -> StateType {
        StateType { name: name.to_owned(), version, ty: ty.parse().expect("a type") }
    }

    #[test]
    fn fields_of_the_state_that_are_new_gone_or_other_ones_are_told() {
        let before = state("Server", 1, "record { received: u32, respondees: list<string>, name: string }");
        let after = state("Server", 2, "record { name: string, received: map<string, u64>, limit: u32 }");
        let difference = state_difference(Some(&before), Some(&after));
        let told: Vec<_> = difference.changes.iter().map(Change::to_string).collect();
        assert_eq!(told, ["~ received: u32 => map<string, u64>", "+ limit: u32", "- respondees: list<string>"]);
        assert_eq!(difference.before, Some(StateVersion { name: "Server".to_owned(), version: 1 }));
        assert_eq!(difference.after.map(|after| after.version), Some(2));
        assert_eq!(state_difference(Some(&before), Some(&before)).changes, []);
    }

    #[test]
    fn a_state_without_fields_or_of_a_module_that_says_nothing_is_told_too() {
        let (number, text) = (state("Counter", 1, "u64"), state("Counter", 1, "string"));
        let told: Vec<_> = state_difference(Some(&number), Some(&text)).changes.iter().map(Change::to_string).collect();
        assert_eq!(told, ["~ u64 => string"]);
        let difference = state_difference(None, Some(&number));
        assert_eq!((difference.before, difference.changes), (None, Vec::new()));
    }

    #[test]
    fn changes_are_json_for_scripts() {
        let added = Change::Added { name: "limit".to_owned(), after: "limit: u32".to_owned() };
        let json = serde_json::to_string(&added).expect("plain data");
        assert_eq!(json, r#"{"change":"added","name":"limit","after":"limit: u32"}"#);
    }
}
