//! Everything that the documents name is there: files, types, functions, constants. A sentence about what is gone is a trap
//! for whoever builds on it.

use ambrosia_tidy::{Index, Source, Span, Tree, of_comments, of_markdown};

/// Documents that speak of the sources as they are.
const DOCUMENTS: [&str; 14] = [
    "ARCHITECTURE.md",
    "README.md",
    "docs/conformance.md",
    "docs/formats.md",
    "docs/guide.md",
    "docs/http.md",
    "docs/outgoing.md",
    "docs/project.md",
    "docs/reliability.md",
    "docs/time-travel.md",
    "docs/tutorial.md",
    "docs/upgrade.md",
    "wit/LAYOUT.md",
    "CONTRIBUTING.md",
];

/// What is named and is not in the sources, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("counter/Cargo.toml", "a file that the reader writes"),
    ("counter/src/lib.rs", "a file that the reader writes"),
    ("vm/component/handle_table.rs", "a file of wasmtime"),
    ("_Test", "a part of names in Microsoft's AMBROSIA"),
    ("TCP_NODELAY", "an option of the system"),
    ("INSTANCE__METHOD", "stands for names"),
    ("Allow", "a header of HTTP"),
    ("Trailer", "a header of HTTP"),
    ("SSL_CERT_DIR", "a variable of the environment"),
    ("ServerProxy", "made by a macro"),
    ("DirectoryProxy", "made by a macro"),
    ("Component", "a type of wasmtime"),
    ("process", "a module of the standard library"),
    ("abort", "a function in a backtrace"),
    ("io", "a module of the standard library"),
    ("Set", "a class of JavaScript"),
    ("Uint8Array", "a class of JavaScript"),
];

fn is_elsewhere(text: &str) -> bool {
    ELSEWHERE.iter().any(|(known, _)| *known == text)
}

/// What is wrong with a span, if anything is.
fn fault(index: &Index, span: &Span) -> Option<String> {
    if is_elsewhere(&span.text) {
        return None;
    }
    if span.is_file() {
        return (!index.has_file(&span.text)).then(|| format!("there is no file {}", span.text));
    }
    if let Some(name) = span.name() {
        return (!index.knows(name)).then(|| format!("nothing is called {name}"));
    }
    path_fault(index, span)
}

fn path_fault(index: &Index, span: &Span) -> Option<String> {
    let missing = |(owner, member): &(String, String)| {
        !is_elsewhere(owner) && !matches!(&owner[..], "Self" | "crate" | "super") && !index.has(owner, member)
    };
    let (owner, member) = span.paths().into_iter().find(missing)?;
    Some(format!("{owner} has no {member}"))
}

fn faults(source: &Source, spans: &[Span], fault: impl Fn(&Span) -> Option<String>) -> Vec<String> {
    let found = spans.iter().filter_map(|span| Some(format!("{}:{}: {}", source.path, span.line, fault(span)?)));
    found.collect()
}

#[test]
fn what_the_documents_name_is_there() {
    let tree = Tree::read();
    let index = Index::of(&tree);
    let mut found = Vec::new();
    for path in DOCUMENTS {
        let source = tree.sources.iter().find(|source| source.path == path);
        let source = source.unwrap_or_else(|| panic!("{path} is a document of the project"));
        let spans = of_markdown(&source.text);
        assert!(!spans.is_empty(), "{path} is understood");
        found.extend(faults(source, &spans, |span| fault(&index, span)));
    }
    assert!(found.is_empty(), "documents name what is not there:\n{}", found.join("\n"));
}

#[test]
fn what_the_comments_of_the_sources_name_is_there() {
    let tree = Tree::read();
    let index = Index::of(&tree);
    let (mut found, mut invariants) = (Vec::new(), 0);
    for source in tree.ending(".rs") {
        invariants += source.text.matches("**Architecture Invariant:**").count();
        found.extend(faults(source, &of_comments(&source.text), |span| {
            if span.is_file() { fault(&index, span) } else { path_fault(&index, span) }
        }));
    }
    assert!(invariants > 100, "the comments are understood");
    assert!(found.is_empty(), "comments name what is not there:\n{}", found.join("\n"));
}

#[test]
fn what_is_named_as_being_elsewhere_is_not_here() {
    let tree = Tree::read();
    let index = Index::of(&tree);
    for (name, why) in ELSEWHERE.iter().filter(|(name, _)| name.contains('.')) {
        assert!(!index.has_file(name), "{name} is here, and not only {why}");
    }
    for (name, why) in ELSEWHERE.iter().filter(|(name, _)| name.ends_with("Proxy")) {
        assert!(!index.has(name, "me"), "{name} is here, and not only {why}");
    }
}

/// The test would be no test if it knew everything.
#[test]
fn what_is_not_there_is_not_found() {
    let tree = Tree::read();
    let index = Index::of(&tree);
    for text in ["State::applied_twice", "state::appli", "NO_SUCH_LIMIT_MAX", "no_such_file.rs", "Held::push_twice"] {
        let span = Span { line: 1, text: text.to_owned() };
        assert!(fault(&index, &span).is_some(), "{text}");
    }
    for text in ["State::apply", "Held::pop", "RECORD_MESSAGES_MAX", "host/core/src/record.rs", "MessageKind::Fork"] {
        let span = Span { line: 1, text: text.to_owned() };
        assert_eq!(fault(&index, &span), None, "{text}");
    }
}
