//! What is known of a type as text.

use std::fmt::Write;

use super::node::{Case, Node, What};

/// More elements of one type than this are an array, and not a tuple.
const TUPLE_MAX: usize = 4;

/// The text of a type; what is not known is `any`.
pub(crate) fn of(node: &Node) -> String {
    Writer { around: Vec::new() }.text(node)
}

struct Writer {
    /// The records and variants around, and the names of those that have one.
    around: Vec<(Node, String)>,
}

impl Writer {
    fn text(&mut self, node: &Node) -> String {
        match node.what() {
            What::Unknown => "any".to_string(),
            What::Plain(word) => word.to_string(),
            What::Thin(of) => self.text(&of),
            What::Option(of) => format!("option<{}>", self.text(&of)),
            What::List(of) => format!("list<{}>", self.text(&of)),
            What::Tuple(of) => self.tuple(&of),
            What::Map(key, value) => format!("map<{}, {}>", self.text(&key), self.text(&value)),
            What::Record { name, fields } => {
                let head = self.enter("record", node, name);
                let fields: Vec<_> =
                    fields.iter().map(|(name, field)| format!("{}: {}", label(name), self.text(field))).collect();
                self.leave(&head, &fields)
            }
            What::Variant { name: "Result", cases } if is_result(&cases) => {
                let held: Vec<_> = cases.iter().map(|(_, case)| self.held(case)).collect();
                format!("result<{}, {}>", held[0], held[1])
            }
            What::Variant { cases, .. } if cases.iter().all(|(_, case)| matches!(case, Case::Nothing)) => {
                let cases: Vec<_> = cases.iter().map(|(name, _)| label(name)).collect();
                block("enum", &cases)
            }
            What::Variant { name, cases } => {
                let head = self.enter("variant", node, name);
                let cases: Vec<_> = cases
                    .iter()
                    .map(|(name, case)| match case {
                        Case::Nothing => label(name),
                        case => format!("{}({})", label(name), self.held(case)),
                    })
                    .collect();
                self.leave(&head, &cases)
            }
            What::Reference(to) => self.reference(&to),
        }
    }

    fn held(&mut self, case: &Case) -> String {
        match case {
            Case::Nothing => "_".to_string(),
            Case::Unknown => "any".to_string(),
            Case::Holds(of) => self.text(of),
        }
    }

    fn tuple(&mut self, of: &[Node]) -> String {
        let texts: Vec<_> = of.iter().map(|element| self.text(element)).collect();
        match &texts[..] {
            [first, rest @ ..] if texts.len() > TUPLE_MAX && rest.iter().all(|text| text == first) => {
                format!("list<{first}, {}>", texts.len())
            }
            _ => format!("tuple<{}>", texts.join(", ")),
        }
    }

    /// Begins a record or variant, with a name if something within refers to it.
    fn enter(&mut self, keyword: &str, node: &Node, name: &str) -> String {
        if !node.is_named() {
            self.around.push((node.clone(), String::new()));
            return keyword.to_string();
        }
        let name = self.free_name(name);
        self.around.push((node.clone(), name.clone()));
        format!("{keyword} %{name}")
    }

    /// A name that nothing around has.
    fn free_name(&self, name: &str) -> String {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let base =
            if plain.starts_with(|first: char| first.is_ascii_alphabetic()) { plain } else { format!("T{plain}") };
        let numbered = (2..).map(|number| format!("{base}{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(|name| self.around.iter().all(|(_, other)| other != name)).expect("numbers do not end")
    }

    fn leave(&mut self, head: &str, items: &[String]) -> String {
        self.around.pop();
        block(head, items)
    }

    fn reference(&self, to: &Node) -> String {
        match self.around.iter().find(|(node, _)| node.is(to)) {
            Some((_, name)) => format!("%{name}"),
            None => "any".to_string(),
        }
    }
}

fn is_result(cases: &[(&str, Case)]) -> bool {
    matches!(cases, [("Ok", _), ("Err", _)])
}

fn block(head: &str, items: &[String]) -> String {
    if items.is_empty() { format!("{head} {{}}") } else { format!("{head} {{ {} }}", items.join(", ")) }
}

/// A name of a field or case, as JSON writes texts if it can't stand as it is.
fn label(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
    if is_plain {
        return name.to_string();
    }
    let mut quoted = String::from('"');
    for character in name.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                // Characters beyond the first plane are no controls.
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a string takes all");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
