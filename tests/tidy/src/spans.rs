//! What documents and comments set between backticks.

/// A text between backticks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its line, from 1.
    pub line: usize,
    /// What stands between the backticks.
    pub text: String,
}

impl Span {
    /// The paths with `::` in it, each as its last two names: what has something, and what it has.
    pub fn paths(&self) -> Vec<(String, String)> {
        let mut plain = String::new();
        let mut depth = 0_usize;
        for c in self.text.replace("::<", "<").chars() {
            match c {
                '<' => depth += 1,
                '>' => depth = depth.saturating_sub(1),
                c if depth == 0 => plain.push(c),
                _ => {}
            }
        }
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let mut found = Vec::new();
        for path in plain.split(|c| !is_path(c)) {
            let names: Vec<&str> = path.split("::").filter(|name| !name.is_empty()).collect();
            if let [.., owner, member] = names[..]
                && !owner.ends_with(':')
                && !EXTERNAL.contains(&names[0])
            {
                found.push((owner.to_owned(), member.to_owned()));
            }
        }
        found
    }

    /// Whether it is the name of a file that is written by people.
    pub fn is_file(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
        let ending = [".rs", ".sh", ".wit", ".md", ".toml"].iter().any(|ending| self.text.ends_with(ending));
        ending && self.text.chars().all(plain) && !self.text.contains("..")
    }

    /// The name of a type, constant or function, if it is nothing but that and can't be a word of English.
    pub fn name(&self) -> Option<&str> {
        let name = self.text.strip_suffix("()").unwrap_or(&self.text);
        let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        (is_word && !is_plain && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
    }
}

/// Crates of others.
const EXTERNAL: [&str; 4] = ["std", "core", "wasmtime", "libc"];

/// All spans of a document, without those in blocks of code.
pub fn of_markdown(text: &str) -> Vec<Span> {
    let mut in_block = false;
    let lines = text.lines().map(|line| {
        in_block ^= line.trim_start().starts_with("```");
        if in_block || line.trim_start().starts_with("```") { "" } else { line }
    });
    spans(lines)
}

/// All spans of the comments of a source in Rust.
pub fn of_comments(text: &str) -> Vec<Span> {
    let mut in_block = false;
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        let comment = line.strip_prefix("//").map(|comment| comment.trim_start_matches(['/', '!']).trim_start());
        in_block = comment.is_some_and(|comment| in_block ^ comment.starts_with("```"));
        comment.filter(|comment| !in_block && !comment.starts_with("```")).unwrap_or_default()
    });
    spans(lines)
}

fn spans<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Span> {
    let mut found = Vec::new();
    for (at, line) in lines.enumerate() {
        let texts = line.split('`').skip(1).step_by(2);
        found.extend(texts.map(|text| Span { line: at + 1, text: text.to_owned() }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        Span { line: 1, text: text.to_owned() }
    }

    #[test]
    fn spans_are_found_outside_of_blocks() {
        let text = "a `B::c` d\n```text\n`E::f`\n```\n`g`";
        let expected = [Span { line: 1, text: "B::c".to_owned() }, Span { line: 5, text: "g".to_owned() }];
        assert_eq!(of_markdown(text), expected);
        assert_eq!(of_comments("/// a `B::c` d\nlet x = `y`;\n    // ```\n    // `E::f`\n    // ```\n//! `g`"), {
            let mut moved = expected;
            moved[1].line = 6;
            moved
        });
    }

    #[test]
    fn paths_are_their_last_two_names() {
        let paths = |text: &str| span(text).paths();
        let path = |owner: &str, member: &str| (owner.to_owned(), member.to_owned());
        assert_eq!(paths("State::apply"), [path("State", "apply")]);
        assert_eq!(paths("Event::Log(LogEvent::Durable)"), [path("Event", "Log"), path("LogEvent", "Durable")]);
        assert_eq!(paths("This::<Self>::current()"), [path("This", "current")]);
        assert_eq!(paths("this: ambrosia::This<Self>"), [path("ambrosia", "This")]);
        assert_eq!(paths("ambrosia::testing::Harness"), [path("testing", "Harness")]);
        assert_eq!(paths("std::thread::sleep"), []);
        assert_eq!(paths("::ambrosia"), []);
        assert_eq!(paths("a: b"), []);
    }

    #[test]
    fn files_and_names_are_told_from_what_is_written_in_a_shell() {
        for (text, is_file, name) in [
            ("record.rs", true, None),
            ("host/core/src/record.rs", true, None),
            ("kill *.rs", false, None),
            ("LOG_QUEUE_BYTES_MAX", false, Some("LOG_QUEUE_BYTES_MAX")),
            ("page_digest", false, Some("page_digest")),
            ("Held", false, Some("Held")),
            ("random_range()", false, Some("random_range")),
            ("status", false, None),
            ("--strict", false, None),
            ("64", false, None),
        ] {
            let span = span(text);
            assert_eq!((span.is_file(), span.name()), (is_file, name), "{text}");
        }
    }
}
