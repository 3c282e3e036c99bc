//! In what two states differ.
//!
//! **Architecture Invariant:** whoever applies all changes to the first state comes to the second.

use std::io::Write;

use ambrosia_host::without_controls;
use serde::Serialize;
use serde_json::Value;

use super::path::Path;
use crate::{
    shortened::shortened,
    style::{Style, Tone},
};

/// Lines of a text; of the others only the count is told.
const SHOWN_MAX: usize = 20;
/// Letters of a value in a line.
const LETTERS_MAX: usize = 120;

/// A part that differs. The JSON is an interface for scripts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Change {
    /// Where it is.
    pub(crate) path: String,
    /// What it was; none if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) was: Option<Value>,
    /// What it is; none if it is there no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is: Option<Value>,
}

/// All parts in which a state differs from what it was, the smallest ones that tell it.
pub(crate) fn changes(was: &Value, is: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(&Path::default(), Some(was), Some(is), &mut changes);
    changes
}

fn compare(path: &Path, was: Option<&Value>, is: Option<&Value>, changes: &mut Vec<Change>) {
    match (was, is) {
        (was, is) if was == is => {}
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            let gone = was.keys().filter(|key| !is.contains_key(*key));
            gone.for_each(|key| compare(&path.key(key), was.get(key), None, changes));
            is.iter().for_each(|(key, value)| compare(&path.key(key), was.get(key), Some(value), changes));
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) => compare_lists(path, was, is, changes),
        _ => changes.push(Change { path: path.to_string(), was: was.cloned(), is: is.cloned() }),
    }
}

/// What both begin and end with is the same; of the rest each element is compared with that of its place. What is gone has its
/// number in the first list, all else that in the second.
fn compare_lists(path: &Path, was: &[Value], is: &[Value], changes: &mut Vec<Change>) {
    let begin = was.iter().zip(is).take_while(|(was, is)| was == is).count();
    let (was, is) = (&was[begin..], &is[begin..]);
    let end = was.iter().rev().zip(is.iter().rev()).take_while(|(was, is)| was == is).count();
    let (was, is) = (&was[..was.len() - end], &is[..is.len() - end]);
    for at in 0..was.len().max(is.len()) {
        compare(&path.element(begin + at), was.get(at), is.get(at), changes);
    }
}

/// As text, a line each, as far as they are not too many.
pub(crate) fn print(out: &mut dyn Write, changes: &[Change], style: Style) -> std::io::Result<()> {
    for Change { path, was, is } in changes.iter().take(SHOWN_MAX) {
        let path = style.paint(Tone::Method, without_controls(path));
        match (was, is) {
            (None, Some(is)) => writeln!(out, "  + {path} {}", shown(Some(is)))?,
            (Some(was), None) => writeln!(out, "  - {path} {}", shown(Some(was)))?,
            (was, is) => writeln!(out, "  ~ {path} {} -> {}", shown(was.as_ref()), shown(is.as_ref()))?,
        }
    }
    match changes.len().saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} changes more: `--json` has all of them"),
    }
}

/// A value in a line.
pub(crate) fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| without_controls(&shortened(value, LETTERS_MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(was: &Value, is: &Value) -> String {
        let mut out = Vec::new();
        print(&mut out, &changes(was, is), Style::plain()).expect("memory takes all");
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn the_smallest_parts_that_differ_are_told() {
        for (was, is, lines) in [
            (json!({ "a": 1 }), json!({ "a": 1 }), ""),
            (json!(1), json!("1"), "  ~ . 1 -> \"1\"\n"),
            (json!({ "a": 1, "b": { "c": 2 } }), json!({ "a": 1, "b": { "c": 3 } }), "  ~ .b.c 2 -> 3\n"),
            (json!({ "a": null }), json!({ "b": null }), "  - .a null\n  + .b null\n"),
            (json!({ "a b": [] }), json!({ "a b": {} }), "  ~ [\"a b\"] [] -> {}\n"),
            (json!([1, 2]), json!([1, 2, 3, 4]), "  + [2] 3\n  + [3] 4\n"),
            (json!([1, 2, 3]), json!([2, 3]), "  - [0] 1\n"),
            (json!([1, 2, 3]), json!([1, 9, 3]), "  ~ [1] 2 -> 9\n"),
            (json!([1, 3]), json!([1, 2, 3]), "  + [1] 2\n"),
            (json!([{ "n": 1 }, { "n": 2 }]), json!([{ "n": 5 }]), "  ~ [0].n 1 -> 5\n  - [1] {\"n\":2}\n"),
            (json!([7, 7]), json!([7, 7, 7]), "  + [2] 7\n"),
        ] {
            assert_eq!(text(&was, &is), lines, "{was} {is}");
        }
    }

    #[test]
    fn what_is_long_is_cut_and_counted() {
        let lines = text(&json!([]), &json!((0..25).collect::<Vec<_>>()));
        assert!(lines.ends_with("  + [19] 19\n  and 5 changes more: `--json` has all of them\n"), "{lines}");
        let line = shown(Some(&json!("é".repeat(500))));
        assert!(line.ends_with("é…") && line.chars().count() == LETTERS_MAX + 1, "{line}");
        assert_eq!(shown(Some(&json!("\u{9b}"))), "\"\\u009b\"");
        assert_eq!(shown(None), "nothing");
    }
}
