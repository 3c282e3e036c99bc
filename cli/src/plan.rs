//! What an upgrade would change, told before it does.
//!
//! **Architecture Invariant:** a plan is made of what two modules describe; nothing is run and nothing is changed for it.

use ambrosia_core::{InstanceName, Limits};
use ambrosia_host::{
    Change, Methods, StateDifference, StateType, methods_difference, state_difference, without_controls,
};
use ambrosia_storage::BlobHash;
use serde::Serialize;

/// Characters of a hash that people are shown.
pub(crate) const HASH_SHOWN: usize = 8;

/// One side of an upgrade.
pub(crate) struct Side {
    pub(crate) module: BlobHash,
    pub(crate) methods: Methods,
    /// What the module hands over, if it hands over anything.
    pub(crate) state: Option<StateType>,
    pub(crate) limits: Limits,
}

/// What an upgrade would change. Its JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct Plan {
    instance: String,
    from: String,
    to: String,
    state: StateDifference,
    methods: Vec<Change>,
    limits: Vec<LimitChange>,
}

#[derive(Serialize)]
struct LimitChange {
    limit: &'static str,
    before: u64,
    after: u64,
}

impl Plan {
    pub(crate) fn new(instance: &InstanceName, before: &Side, after: &Side) -> Plan {
        let limits = [
            ("fuel", before.limits.fuel, after.limits.fuel),
            ("memory_bytes", before.limits.memory_bytes, after.limits.memory_bytes),
        ];
        let limits = limits.into_iter().filter(|(_, before, after)| before != after);
        Plan {
            instance: instance.to_string(),
            from: before.module.to_string(),
            to: after.module.to_string(),
            state: state_difference(before.state.as_ref(), after.state.as_ref()),
            methods: methods_difference(&before.methods, &after.methods),
            limits: limits.map(|(limit, before, after)| LimitChange { limit, before, after }).collect(),
        }
    }

    /// For people, some lines.
    pub(crate) fn as_text(&self) -> String {
        let Plan { instance: _, from, to, state, methods, limits } = self;
        let mut text = match from == to {
            true => format!("plan     the module stays, {}, with its memory and handlers\n", shown(from)),
            false => format!("plan     {} -> {}\n", shown(from), shown(to)),
        };
        if from != to {
            text += &told("state", state_lines(state));
            text += &told("method", changes(methods));
        }
        let limits = limits.iter().map(|LimitChange { limit, before, after }| format!("{limit}: {before} => {after}"));
        text += &told("limit", limits.collect());
        text
    }
}

/// As much of a hash as people need.
pub(crate) fn shown(hash: &str) -> &str {
    &hash[..HASH_SHOWN]
}

/// Lines with a word in front of the first.
fn told(word: &str, lines: Vec<String>) -> String {
    let words = std::iter::once(word).chain(std::iter::repeat(""));
    let lines = words.zip(&lines);
    lines.map(|(word, line)| format!("  {word:<6} {}\n", without_controls(line))).collect()
}

fn changes(changes: &[Change]) -> Vec<String> {
    changes.iter().map(Change::to_string).collect()
}

fn state_lines(state: &StateDifference) -> Vec<String> {
    let StateDifference { before, after, changes: fields } = state;
    let head = match (before, after) {
        (None, None) => "neither module says what it hands over".to_owned(),
        (None, Some(after)) => format!("the module that runs does not say what it hands over; {} takes it", after.name),
        (Some(before), None) => format!("{} is handed over; the new module does not say what it takes", before.name),
        (Some(before), Some(after)) => {
            let name = if before.name == after.name {
                after.name.clone()
            } else {
                format!("{} => {}", before.name, after.name)
            };
            match (before.version == after.version, fields.is_empty()) {
                (true, true) => format!("{name}, as it is"),
                (true, false) => format!("{name}; a field that is new has its default"),
                (false, _) if after.version < before.version => format!(
                    "{name}, version {} => {}, which the new module will refuse: it knows no version above its own",
                    before.version, after.version
                ),
                (false, _) => format!("{name}, version {} => {}, by code", before.version, after.version),
            }
        }
    };
    std::iter::once(head).chain(changes(fields)).collect()
}

#[cfg(test)]
mod tests {
    use ambrosia_host::Method;

    use super::*;

    fn side(module: u8, methods: &[&str], state: Option<(u32, &str)>, fuel: u64) -> Side {
        let methods = methods.iter().map(|name| Method::without_types((*name).to_owned(), Vec::new(), true));
        let state = state.map(|(version, ty)| StateType {
            name: "Server".to_owned(),
            version,
            ty: ty.parse().expect("a type"),
        });
        let limits = Limits { fuel, memory_bytes: 1 << 20 };
        Side { module: BlobHash([module; 32]), methods: Methods::new(methods.collect()), state, limits }
    }

    fn text(before: &Side, after: &Side) -> String {
        Plan::new(&InstanceName::new("server").expect("plain"), before, after).as_text()
    }

    #[test]
    fn a_plan_says_that_an_older_module_will_not_read_a_newer_state() {
        let ty = "record { received: u32 }";
        let (before, after) = (side(2, &[], Some((2, ty)), 5), side(1, &[], Some((1, ty)), 5));
        let expected = "Server, version 2 => 1, which the new module will refuse: it knows no version above its own";
        assert!(text(&before, &after).contains(expected), "{}", text(&before, &after));
    }

    #[test]
    fn a_plan_says_what_is_another_one() {
        let before = side(0xa7, &["add", "forget"], Some((1, "record { received: u32 }")), 5);
        let after = side(0x91, &["add", "report"], Some((2, "record { received: map<string, u64>, limit: u32 }")), 7);
        let expected = "plan     a7a7a7a7 -> 91919191\n  \
                        state  Server, version 1 => 2, by code\n         \
                        ~ received: u32 => map<string, u64>\n         + limit: u32\n  \
                        method + report()\n         - forget()\n  \
                        limit  fuel: 5 => 7\n";
        assert_eq!(text(&before, &after), expected);
    }

    #[test]
    fn a_plan_says_when_a_module_does_not_hand_over_and_when_nothing_changes() {
        let (silent, other) = (side(1, &["add"], None, 5), side(2, &["add"], Some((1, "u64")), 5));
        assert!(text(&silent, &other).contains("the module that runs does not say what it hands over"));
        assert!(text(&other, &silent).contains("the new module does not say what it takes"));
        let same = side(3, &["add"], Some((1, "u64")), 5);
        assert_eq!(text(&other, &same), "plan     02020202 -> 03030303\n  state  Server, as it is\n");
        let stays = text(&other, &side(2, &["add"], Some((1, "u64")), 6));
        assert_eq!(stays, "plan     the module stays, 02020202, with its memory and handlers\n  limit  fuel: 5 => 6\n");
    }

    #[test]
    fn a_plan_is_json_for_scripts() {
        let plan = Plan::new(
            &InstanceName::new("server").expect("plain"),
            &side(1, &["add"], None, 5),
            &side(2, &[], Some((1, "u64")), 5),
        );
        let json = serde_json::to_value(&plan).expect("plain data");
        assert_eq!(json["to"], "02".repeat(32));
        assert_eq!(json["methods"][0]["change"], "removed");
        assert_eq!(json["state"]["after"]["version"], 1);
    }
}
