//! Puts many mistakes into one text, each behind a switch, so that one program has them all.
//!
//! A function in which a mistake stands becomes a choice between its body with the mistake and its body without:
//!
//! ```text
//! fn first(&self) -> Lsn {            fn first(&self) -> Lsn {
//!     self.after.next()                   if crate::deliberate::is_in(17) {
//! }                                           self.after
//!                                         } else {
//!                                             self.after.next()
//!                                         }
//!                                     }
//! ```
//!
//! **Architecture Invariant:** it knows of Rust only how `rustfmt` lays out a function: its closing brace is the first one that
//! stands where the function begins.

use std::{collections::BTreeMap, ops::Range};

/// Replacements: what stands there, and what is put in its place.
pub(crate) type Changes = [(&'static str, &'static str)];

/// What a switch asks.
pub(crate) const SWITCH: &str = "//! Which mistake is made.\n\nuse std::sync::LazyLock;\n\n\
    static BUG: LazyLock<Option<usize>> = LazyLock::new(|| {\n    \
        let number = std::env::var(\"DELIBERATE_BUG\").ok()?;\n    \
        Some(number.parse().expect(\"a mistake has a number\"))\n});\n\n\
    /// Whether it is that one.\npub fn is_in(number: usize) -> bool {\n    *BUG == Some(number)\n}\n";

/// A text with switches.
pub(crate) struct Switched {
    pub(crate) text: String,
    /// Mistakes that are not in it, since they do not stand in functions.
    pub(crate) left_out: Vec<usize>,
}

/// Puts the mistakes into the text of a file. `asks` is the function that tells whether a number is that of the mistake to be made.
///
/// # Errors
/// If something that is to be replaced does not stand there once.
pub(crate) fn switched(text: &str, asks: &str, bugs: &[(usize, &Changes)]) -> Result<Switched, String> {
    let bodies = bodies(text);
    let mut mistaken: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (number, changes) in bugs {
        match mistaken_bodies(text, &bodies, changes)? {
            None => left_out.push(*number),
            Some(of) => of.into_iter().for_each(|(at, body)| mistaken.entry(at).or_default().push((*number, body))),
        }
    }
    let (mut switched, mut end) = (String::new(), 0);
    for (at, wrong) in mistaken {
        let body = bodies[at].clone();
        switched.push_str(&text[end..body.start]);
        for (number, body) in wrong {
            switched.push_str(&format!("if {asks}({number}) {{\n{body}}} else "));
        }
        switched.push_str(&format!("{{\n{}}}\n", &text[body.clone()]));
        end = body.end;
    }
    switched.push_str(&text[end..]);
    Ok(Switched { text: switched, left_out })
}

/// Where something stands that is to be replaced.
///
/// # Errors
/// If it does not stand there once.
pub(crate) fn place(text: &str, right: &str) -> Result<Range<usize>, String> {
    match text.matches(right).count() {
        1 => Ok(text.find(right).map(|begin| begin..begin + right.len()).expect("it was found")),
        times => Err(format!("{right:?} occurs {times} times: move the entry along")),
    }
}

/// The bodies that a mistake changes, by their numbers; `None` if it changes anything else.
fn mistaken_bodies(
    text: &str,
    bodies: &[Range<usize>],
    changes: &Changes,
) -> Result<Option<BTreeMap<usize, String>>, String> {
    let mut of = BTreeMap::new();
    for (right, wrong) in changes {
        let place = place(text, right)?;
        let around = |body: &Range<usize>| body.start <= place.start && place.end <= body.end;
        let Some(at) = bodies.iter().position(around) else { return Ok(None) };
        let body = of.entry(at).or_insert_with(|| text[bodies[at].clone()].to_owned());
        *body = body.replace(right, wrong);
    }
    Ok(Some(of))
}

/// The lines between the braces of each function, but of those that lie in another one. Functions are not among them of which the
/// two branches of a choice may be of different types, or that run when the program is compiled.
fn bodies(text: &str) -> Vec<Range<usize>> {
    let (mut bodies, mut begun, mut at) = (Vec::new(), None::<Begun>, 0);
    for line in text.split_inclusive('\n') {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        at += line.len();
        let begins = begun.is_none() && is_function(code);
        if begins {
            begun = Some(Begun { indent, can_choose: !code.contains("const fn "), body: None });
        }
        let Some(function) = begun.as_mut().filter(|function| begins || function.indent == indent) else { continue };
        let code = code.trim_end();
        if function.body.is_none() {
            function.can_choose &= !code.contains("-> impl ");
            match code.chars().last() {
                Some('{') => function.body = Some(at),
                Some(';' | '}') => begun = None,
                _ => {}
            }
        } else if code == "}" {
            let Begun { can_choose, body: Some(body), .. } = *function else { unreachable!("it has a body") };
            bodies.extend(can_choose.then_some(body..at - line.len()));
            begun = None;
        }
    }
    bodies
}

/// A function whose end is to be found.
struct Begun {
    indent: usize,
    can_choose: bool,
    /// Where its body begins, once that is known.
    body: Option<usize>,
}

fn is_function(code: &str) -> bool {
    let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "];
    let mut rest = code;
    while let Some(after) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = after;
    }
    rest.starts_with("fn ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "const FEW: u32 = 3;\n\nimpl Few {\n    pub(crate) fn first(\n        &self,\n    ) -> u32 {\n        \
        if self.0 {\n            return 1;\n        }\n        FEW + 1\n    }\n\n    fn all(&self) -> impl Iterator {\n        \
        0..FEW\n    }\n\n    fn none(&self);\n}\n\nfn last() {\n    let x = 5;\n}\n";

    fn switch(bugs: &[(usize, &Changes)]) -> Switched {
        switched(TEXT, "is_in", bugs).expect("all stands there once")
    }

    #[test]
    fn a_body_is_chosen_by_the_number_of_the_mistake() {
        let switched = switch(&[(7, &[("return 1", "return 2"), ("x = 5", "x = 6")]), (9, &[("FEW + 1", "FEW")])]);
        assert!(switched.left_out.is_empty());
        let first = "    ) -> u32 {\nif is_in(7) {\n        if self.0 {\n            return 2;\n        }\n        FEW + 1\n\
            } else if is_in(9) {\n        if self.0 {\n            return 1;\n        }\n        FEW\n\
            } else {\n        if self.0 {\n            return 1;\n        }\n        FEW + 1\n}\n    }\n";
        let last = "fn last() {\nif is_in(7) {\n    let x = 6;\n} else {\n    let x = 5;\n}\n}\n";
        assert!(switched.text.contains(first) && switched.text.ends_with(last), "{}", switched.text);
    }

    #[test]
    fn what_does_not_stand_in_a_body_that_can_be_chosen_is_left_out() {
        let switched = switch(&[(1, &[("u32 = 3", "u32 = 4")]), (2, &[("0..FEW", "1..FEW")])]);
        assert_eq!((switched.text.as_str(), switched.left_out), (TEXT, vec![1, 2]));
    }

    #[test]
    fn a_place_that_is_not_one_is_an_error() {
        assert!(switched(TEXT, "is_in", &[(1, &[("FEW", "MANY")])]).is_err());
        assert!(switched(TEXT, "is_in", &[(1, &[("SEVERAL", "MANY")])]).is_err());
    }
}
