//! Which part of a state is meant: `.accounts["anna"].orders[3]`.
//!
//! **Architecture Invariant:** what is written by `Display` is read as the same path.

use std::fmt;

use serde_json::Value;

/// What can be written.
const FORMS: &str = "`.name`, `[3]` or `[\"a key\"]` for each step, such as `.accounts[\"anna\"].orders[3]`";
/// Names of parts that are told where one is not there.
const NAMED_MAX: usize = 8;

/// The way from the state to one of its parts; empty, it is all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Path(Vec<Step>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// A field of a struct, or the key of a map.
    Key(String),
    /// An element of a list; of a map the key that reads like the number.
    Number(u64),
}

impl Path {
    /// Reads a path; nothing, or a dot, is all of the state. Behind a space and a `#` there may be a comment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Path, String> {
        let (mut steps, mut rest) = (Vec::new(), text.trim());
        if rest == "." || rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_whitespace)) {
            rest = rest[1..].trim_start();
            return if is_comment(rest) { Ok(Path::default()) } else { Err(unexpected(rest)) };
        }
        while !is_comment(rest) {
            let (step, behind) = match rest.as_bytes()[0] {
                b'.' => field(&rest[1..])?,
                b'[' => bracket(&rest[1..])?,
                _ if steps.is_empty() => {
                    return Err(format!("a path begins with a dot, and `{rest}` does not: write {FORMS}"));
                }
                _ => return Err(unexpected(rest)),
            };
            steps.push(step);
            rest = behind;
            let after_space = rest.trim_start();
            if after_space.len() < rest.len() {
                return if is_comment(after_space) { Ok(Path(steps)) } else { Err(unexpected(after_space)) };
            }
            if rest.starts_with('#') {
                return Err(unexpected(rest));
            }
        }
        Ok(Path(steps))
    }

    /// Whether it is all of the state.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of `state` that is meant.
    ///
    /// # Errors
    /// Where it ends, and what is there.
    pub(crate) fn find<'a>(&self, state: &'a Value) -> Result<&'a Value, String> {
        let mut part = state;
        for (at, step) in self.0.iter().enumerate() {
            part = step.of(part).ok_or_else(|| {
                let (there, wanted) = (Path(self.0[..at].to_vec()), Path(self.0[..=at].to_vec()));
                format!("there is no `{wanted}`: {}", described(&there, part))
            })?;
        }
        Ok(part)
    }

    /// The path to the field or key of that name of what this one leads to.
    pub(crate) fn key(&self, key: &str) -> Path {
        self.and(Step::Key(key.to_owned()))
    }

    /// The path to the element of that number of what this one leads to.
    pub(crate) fn element(&self, number: usize) -> Path {
        self.and(Step::Number(number as u64))
    }

    fn and(&self, step: Step) -> Path {
        Path(self.0.iter().cloned().chain([step]).collect())
    }
}

impl Step {
    fn of<'a>(&self, part: &'a Value) -> Option<&'a Value> {
        match (self, part) {
            (Step::Key(key), Value::Object(fields)) => fields.get(key),
            (Step::Number(number), Value::Object(fields)) => fields.get(&number.to_string()),
            (Step::Number(number), Value::Array(elements)) => elements.get(usize::try_from(*number).ok()?),
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str(".");
        }
        self.0.iter().try_for_each(|step| match step {
            Step::Key(key) if !key.is_empty() && key.chars().all(is_of_a_name) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{}]", Value::from(key.as_str())),
            Step::Number(number) => write!(f, "[{number}]"),
        })
    }
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

fn is_comment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('#')
}

fn unexpected(rest: &str) -> String {
    format!("`{rest}` does not belong to a path: write {FORMS}")
}

fn field(rest: &str) -> Result<(Step, &str), String> {
    let end = rest.find(|letter| !is_of_a_name(letter)).unwrap_or(rest.len());
    match rest.split_at(end) {
        ("", _) => Err(format!("a name must follow the dot of a path: write {FORMS}")),
        (name, behind) => Ok((Step::Key(name.to_owned()), behind)),
    }
}

fn bracket(rest: &str) -> Result<(Step, &str), String> {
    let wrong =
        || "`[` needs a number or a text in quotation marks, and `]`: such as `[3]` or `[\"a key\"]`".to_owned();
    let (step, behind) = if rest.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let key = texts.next().and_then(Result::ok).ok_or_else(wrong)?;
        (Step::Key(key), &rest[texts.byte_offset()..])
    } else {
        let end = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
        (Step::Number(rest[..end].parse().map_err(|_| wrong())?), &rest[end..])
    };
    Ok((step, behind.strip_prefix(']').ok_or_else(wrong)?))
}

/// What there is, where something else was looked for.
fn described(path: &Path, part: &Value) -> String {
    let holder = if path.is_all() { "the state".to_owned() } else { format!("`{path}`") };
    match part {
        Value::Array(elements) => match elements.len() {
            0 => format!("{holder} is an empty list"),
            1 => format!("{holder} is a list of 1 element, [0]"),
            count => format!("{holder} is a list of {count} elements, [0] to [{}]", count - 1),
        },
        Value::Object(fields) if fields.is_empty() => format!("{holder} is an empty map"),
        Value::Object(fields) => {
            let names: Vec<_> = fields.keys().take(NAMED_MAX).map(|key| Path::default().key(key).to_string()).collect();
            let more = fields.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{holder} has {}{more}", names.join(", "))
        }
        _ => format!("{holder} has no parts"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Path {
        Path::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn paths_are_read_and_written_alike() {
        for (text, written) in [
            ("", "."),
            (".", "."),
            (" .  # all", "."),
            ("# all", "."),
            (".total", ".total"),
            (".a.b-c.d_1.é", ".a.b-c.d_1.é"),
            (".accounts[\"anna\"]", ".accounts.anna"),
            (".accounts[\"a b\\n\\\"]#\"].x  # hers", ".accounts[\"a b\\n\\\"]#\"].x"),
            ("[3][0].name", "[3][0].name"),
            (".a[\"\"]", ".a[\"\"]"),
            (".7", ".7"),
        ] {
            assert_eq!(read(text).to_string(), written, "{text}");
            assert_eq!(read(written), read(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (text, word) in [
            ("total", "a path begins with a dot"),
            (".a..b", "a name must follow the dot"),
            (".a.", "a name must follow the dot"),
            (".a[", "`[` needs a number"),
            (".a[x]", "`[` needs a number"),
            (".a[-1]", "`[` needs a number"),
            (".a[\"x]", "`[` needs a number"),
            (".a[\"x\"", "`[` needs a number"),
            (".a[99999999999999999999]", "`[` needs a number"),
            (".a b", "`b` does not belong to a path"),
            (". b", "`b` does not belong to a path"),
            (".a#b", "`#b` does not belong to a path"),
            (".a=3", "`=3` does not belong to a path"),
        ] {
            let error = Path::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn parts_are_found_or_it_is_told_what_there_is() {
        let state = json!({ "total": 3, "of": { "7": true, "a b": [1, [2]] }, "none": [], "no": {} });
        for (path, part) in [
            (".", state.clone()),
            (".total", json!(3)),
            (".of[7]", json!(true)),
            (".of.7", json!(true)),
            (".of[\"a b\"][1][0]", json!(2)),
        ] {
            assert_eq!(read(path).find(&state), Ok(&part), "{path}");
        }
        for (path, words) in [
            (".totl", "there is no `.totl`: the state has .no, .none, .of, .total"),
            ("[0]", "there is no `[0]`: the state has"),
            (".total.x.y", "there is no `.total.x`: `.total` has no parts"),
            (".of[\"a b\"][2]", "`.of[\"a b\"]` is a list of 2 elements, [0] to [1]"),
            (".of[\"a b\"].x", "is a list of 2 elements"),
            (".of[\"a b\"][1][1]", "is a list of 1 element, [0]"),
            (".none[0]", "`.none` is an empty list"),
            (".no.x", "`.no` is an empty map"),
        ] {
            let error = read(path).find(&state).expect_err(path);
            assert!(error.contains(words), "{path}: {error}");
        }
        let many: serde_json::Map<_, _> = (10..30).map(|n| (n.to_string(), json!(n))).collect();
        let error = read(".x").find(&Value::Object(many)).expect_err("it is not there");
        assert!(error.ends_with(".17 and 12 more"), "{error}");
    }
}
