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
    /// What is around it, if it lies in another component: fields of that, and further arguments that it is given.
    around: Option<(String, String)>,
}

impl Wat {
    /// One whose `deliver` has that body. `$at` and `$length` are the runs, and `$i` is free.
    pub(crate) fn deliver(body: &str) -> Wat {
        Wat {
            deliver: body.into(),
            describe: NO_METHODS.into(),
            more: String::new(),
            changes: Vec::new(),
            around: None,
        }
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

    /// Inside of another component, which has nothing but those fields, hands on its own imports unless those arguments
    /// are other ones, and exports what this one does.
    #[allow(dead_code, reason = "the benchmark lies in no other component")]
    pub(crate) fn inside(mut self, fields: &str, arguments: &str) -> Wat {
        self.around = Some((fields.into(), arguments.into()));
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
        let text = format!("(component\n{text}");
        let text = match &self.around {
            Some((fields, arguments)) => around(&text, fields, arguments),
            None => text,
        };
        wat::parse_str(text).expect("the bodies are valid")
    }
}

/// A component with the same imports, in which the other one lies.
fn around(inner: &str, fields: &str, arguments: &str) -> String {
    let (imports, _) = inner.split_once("\n\n  ;; The memory").expect("the kit begins with its imports");
    let named = imports.split("(import \"").skip(1).filter_map(|import| {
        let (name, rest) = import.split_once("\" (instance $")?;
        Some((name, rest.split([' ', '\n']).next()?))
    });
    let given = named.filter(|(name, _)| !arguments.contains(&format!("\"{name}\"")));
    let given: String = given.map(|(name, id)| format!("(with \"{name}\" (instance ${id}))")).collect();
    format!(
        r#"{imports} {fields} (component $inner {}
           (instance $inner (instantiate $inner {given} {arguments}))
           (export "deliver" (func $inner "deliver")) (export "describe" (func $inner "describe")))"#,
        inner.strip_prefix("(component").expect("it is one")
    )
}
