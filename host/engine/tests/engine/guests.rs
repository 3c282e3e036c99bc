//! Components for tests, written in the text format: `kit.wat` with the bodies that a test needs.

/// Answers with what it was given.
#[allow(dead_code, reason = "one benchmark has a body of its own")]
pub(crate) const ECHO: &str = "(call $answer (local.get $at) (local.get $length))";

/// Lists no methods.
const NO_METHODS: &str = "(i64.store (i32.const 8) (i64.const 0)) (i32.const 8)";

/// A component in the making.
pub(crate) struct Wat {
    deliver: String,
    describe: String,
    more: String,
    changes: Vec<(String, String)>,
}

impl Wat {
    /// One whose `deliver` has that body. `$at` and `$length` are the runs, and `$i` is free.
    pub(crate) fn deliver(body: &str) -> Wat {
        Wat { deliver: body.into(), describe: NO_METHODS.into(), more: String::new(), changes: Vec::new() }
    }

    /// One that does that and answers with nothing.
    #[allow(dead_code, reason = "the benchmark answers")]
    pub(crate) fn silent(body: &str) -> Wat {
        Wat::deliver(&format!("{body} (call $answer (i32.const 0) (i32.const 0))"))
    }

    /// With that body of `describe`.
    #[allow(dead_code, reason = "the benchmark lists no methods")]
    pub(crate) fn describe(mut self, body: &str) -> Wat {
        self.describe = body.into();
        self
    }

    /// With further fields of the core module.
    #[allow(dead_code, reason = "the benchmark needs none")]
    pub(crate) fn more(mut self, fields: &str) -> Wat {
        self.more.push_str(fields);
        self
    }

    /// With `to` for `from` in the text of the kit.
    #[allow(dead_code, reason = "the benchmark takes the kit as it is")]
    pub(crate) fn change(mut self, from: &str, to: &str) -> Wat {
        self.changes.push((from.into(), to.into()));
        self
    }

    /// As the binary that a compiler would have made.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let kit = include_str!("kit.wat");
        let (_comment, kit) = kit.split_once("(component\n").expect("the kit is a component");
        let mut text = kit.to_owned();
        for (from, to) in &self.changes {
            assert!(text.contains(from), "the kit has no {from}");
            text = text.replacen(from, to, 1);
        }
        let text =
            text.replace("DELIVER", &self.deliver).replace("DESCRIBE", &self.describe).replace("MORE", &self.more);
        wat::parse_str(format!("(component\n{text}")).expect("the bodies are valid")
    }
}
