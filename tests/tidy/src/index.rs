//! What is defined in the sources: members of types and modules, words, files.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    tokens::{Token, is_word, tokens},
    tree::{Source, Tree},
};

/// What stands in the sources.
pub struct Index {
    /// What each type, module and crate has.
    members: BTreeMap<String, BTreeSet<String>>,
    /// Every word outside of comments.
    words: BTreeSet<String>,
    /// Every file.
    files: Vec<String>,
}

/// What the braces around a place belong to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Scope {
    /// An enum: names at its front and behind commas are variants.
    Variants(String),
    /// A struct: names before colons are fields.
    Fields(String),
    /// An impl, trait or module: what it defines belongs to it.
    Items(String),
    /// Anything else, such as a function.
    Body,
}

impl Index {
    /// Reads all files.
    pub fn of(tree: &Tree) -> Index {
        let mut index = Index { members: BTreeMap::new(), words: BTreeSet::new(), files: Vec::new() };
        let crates = crates(tree);
        // This crate names what is not there, to see that it is not found.
        for source in tree.sources.iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
            index.files.push(format!("/{}", source.path));
            if source.path.ends_with(".rs") {
                index.add_rust(source, &crates);
            } else if !source.path.ends_with(".md") {
                index.words.extend(source.text.split(|c| !is_word(c)).map(str::to_owned));
            }
        }
        index
    }

    /// Whether `owner` has `member`.
    pub fn has(&self, owner: &str, member: &str) -> bool {
        self.members.get(owner).is_some_and(|members| members.contains(member))
    }

    /// Whether anything in the sources is called `word`.
    pub fn knows(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    /// Whether the path of a file ends with `path`.
    pub fn has_file(&self, path: &str) -> bool {
        let end = format!("/{path}");
        self.files.iter().any(|file| file.ends_with(&end))
    }

    fn add(&mut self, owner: &str, member: &str) {
        self.members.entry(owner.to_owned()).or_default().insert(member.to_owned());
    }

    fn add_rust(&mut self, source: &Source, crates: &[(String, String)]) {
        let tokens = tokens(&source.text);
        for token in &tokens {
            match token {
                Token::Word(word) => drop(self.words.insert(word.clone())),
                Token::Text(text) => self.words.extend(text.split(|c| !is_word(c)).map(str::to_owned)),
                Token::Mark(_) => {}
            }
        }
        let owners = owners_of(&source.path, crates);
        let mut scopes = Vec::new();
        let (mut begin, mut groups) = (0, 0_usize);
        for (at, token) in tokens.iter().enumerate() {
            let statement = &tokens[begin..at];
            // Braces of `use a::{b, c}` end nothing.
            if token.is("{") && (groups > 0 || statement.last().is_some_and(|last| last.is("::"))) {
                groups += 1;
                continue;
            }
            if token.is("}") && groups > 0 {
                groups -= 1;
                continue;
            }
            let ends = token.is("{") || token.is("}") || token.is(";");
            let is_part = token.is(",") && matches!(scopes.last(), Some(Scope::Variants(_) | Scope::Fields(_)));
            if !(ends || is_part && is_balanced(statement)) {
                continue;
            }
            self.add_statement(statement, scopes.last(), &owners);
            if token.is("{") {
                scopes.push(scope_of(statement));
            } else if token.is("}") {
                scopes.pop();
            }
            begin = at + 1;
        }
    }

    fn add_statement(&mut self, statement: &[Token], scope: Option<&Scope>, owners: &[String]) {
        let statement = without_attributes(statement);
        let owners = match scope {
            None => owners,
            Some(Scope::Items(owner)) => std::slice::from_ref(owner),
            Some(Scope::Variants(owner)) => {
                // Behind the braces of a variant comes a comma.
                if let Some(name) = statement.iter().find_map(Token::word) {
                    self.add(owner, name);
                }
                return;
            }
            Some(Scope::Fields(owner)) => {
                let colon = statement.iter().position(|token| token.is(":"));
                if let Some(name) = colon.and_then(|colon| statement[..colon].last()?.word()) {
                    self.add(owner, name);
                }
                return;
            }
            Some(Scope::Body) => return,
        };
        let names: Vec<&str> = match defined(&statement) {
            Some(name) => vec![name],
            None if is_public_use(&statement) => statement.iter().filter_map(Token::word).collect(),
            None => return,
        };
        for owner in owners {
            names.iter().for_each(|name| self.add(owner, name));
        }
    }
}

/// The folder of each crate, and the crate's name in paths.
fn crates(tree: &Tree) -> Vec<(String, String)> {
    let named = |source: &Source| {
        let folder = source.path.strip_suffix("Cargo.toml")?.to_owned();
        let name = source.text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))?;
        Some((folder, name.replace('-', "_")))
    };
    tree.ending("Cargo.toml").filter_map(named).collect()
}

/// The module that a file is, and its crate, of which the root says again what is in its modules.
fn owners_of(path: &str, crates: &[(String, String)]) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let mut owners: Vec<String> = Vec::new();
    let name = parts.last().copied().unwrap_or_default();
    if !["mod", "lib", "main"].contains(&name) {
        owners.push(name.to_owned());
    } else if parts.len() > 1 && name == "mod" {
        owners.push(parts[parts.len() - 2].to_owned());
    }
    let around = crates.iter().filter(|(folder, _)| !folder.is_empty() && path.starts_with(&folder[..]));
    if let Some((_, name)) = around.max_by_key(|(folder, _)| folder.len()) {
        owners.push(name.clone());
    }
    // Guests know the SDK by the name of the product.
    if path.starts_with("guest-sdk/") {
        owners.push("ambrosia".to_owned());
    }
    owners
}

/// Whether every bracket that opens in `statement` closes in it.
fn is_balanced(statement: &[Token]) -> bool {
    let count = |open: &str, close: &str| {
        let of = |mark: &str| statement.iter().filter(|token| token.is(mark)).count();
        of(open) == of(close)
    };
    count("(", ")") && count("[", "]") && count("<", ">")
}

/// `statement` without `#[…]` and `#![…]`.
fn without_attributes(statement: &[Token]) -> Vec<Token> {
    let mut left = Vec::new();
    let mut at = 0;
    while at < statement.len() {
        let open = at + 1 + usize::from(statement.get(at + 1).is_some_and(|token| token.is("!")));
        if !(statement[at].is("#") && statement.get(open).is_some_and(|token| token.is("["))) {
            left.push(statement[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0_usize;
        at = open;
        while at < statement.len() {
            depth += usize::from(statement[at].is("["));
            depth -= usize::from(statement[at].is("]"));
            at += 1;
            if depth == 0 {
                break;
            }
        }
    }
    left
}

const DEFINING: [&str; 10] =
    ["fn", "const", "static", "struct", "enum", "trait", "type", "mod", "union", "macro_rules"];

/// The name that a statement defines.
fn defined(statement: &[Token]) -> Option<&str> {
    let at = statement.iter().position(|token| token.word().is_some_and(|word| DEFINING.contains(&word)))?;
    // `const fn`, and what is no definition at all, such as `let x = y as fn()`.
    let before = statement[..at].iter().all(|token| {
        let known = ["pub", "crate", "super", "unsafe", "async", "extern", "default", "in", "self"];
        token.word().map_or(token.is("(") || token.is(")"), |word| known.contains(&word))
    });
    let name = statement[at + 1..].iter().find_map(Token::word).filter(|_| before)?;
    if name == "fn" || name == "unsafe" || name == "mut" { defined(&statement[at + 1..]) } else { Some(name) }
}

fn is_public_use(statement: &[Token]) -> bool {
    let words: Vec<&str> = statement.iter().filter_map(Token::word).take(3).collect();
    words.first() == Some(&"pub") && words.contains(&"use")
}

/// What the brace behind `statement` opens.
fn scope_of(statement: &[Token]) -> Scope {
    let statement = without_attributes(statement);
    let first = |keyword: &str| statement.iter().position(|token| token.word() == Some(keyword));
    let is_function = first("fn").is_some();
    let named = |keyword: &str| {
        let name = statement[first(keyword)? + 1..].iter().find_map(Token::word)?;
        Some(name.to_owned())
    };
    if let Some(at) = first("impl").filter(|_| !is_function) {
        return implemented(&statement[at + 1..]).map_or(Scope::Body, Scope::Items);
    }
    if is_function {
        return Scope::Body;
    }
    let enumerated = named("enum").map(Scope::Variants);
    let structured = || named("struct").or_else(|| named("union")).map(Scope::Fields);
    let grouped = || named("trait").or_else(|| named("mod")).map(Scope::Items);
    enumerated.or_else(structured).or_else(grouped).unwrap_or(Scope::Body)
}

/// The type that an impl is of, from what stands behind the keyword.
fn implemented(statement: &[Token]) -> Option<String> {
    let (mut depth, mut name, mut is_done) = (0_i32, None, false);
    for (at, token) in statement.iter().enumerate() {
        match token {
            Token::Mark("<") => depth += 1,
            Token::Mark(">") => depth -= 1,
            Token::Word(word) if depth == 0 && word == "where" => break,
            // Not the one of `for<'a>`.
            Token::Word(word) if depth == 0 && word == "for" => {
                is_done = statement.get(at + 1).is_some_and(|next| next.is("<")) && is_done;
                name = None;
            }
            Token::Word(word) if depth == 0 && word != "dyn" && word != "mut" && !is_done => name = Some(word.clone()),
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(path: &str, text: &str) -> Index {
        Index::of(&Tree { sources: vec![Source { path: path.to_owned(), text: text.to_owned() }] })
    }

    #[test]
    fn what_types_and_modules_have_is_found() {
        let source = "
            pub enum Kind { #[error(\"a, b\")] One(u8, u16),\n/// Two.\nTwo { field: u8 }, Three = 3, }
            numbered! { pub enum Other { First = 1, } }
            impl<T: Fn(u8) -> u8> Deref for Wrapped<'_, T> where T: Sized { fn deref(&self) { fn inner() {} } }
            impl Kind { pub(crate) const fn travels(self) {} pub const ALL: u8 = 1; }
            pub(crate) trait Part: Sized { fn decode() -> Option<Self>; fn given(&self) { let x = 1; } }
            struct Plain { pub(crate) first: BTreeMap<u8, u8>, second: u8 }
            mod inner { fn hidden() {} }
            pub use other::{Alpha, Beta};
            fn free() {}
        ";
        let index = index("host/core/src/calls.rs", source);
        for (owner, member) in [
            ("Kind", "One"),
            ("Kind", "Two"),
            ("Kind", "Three"),
            ("Other", "First"),
            ("Wrapped", "deref"),
            ("Kind", "travels"),
            ("Kind", "ALL"),
            ("Part", "decode"),
            ("Part", "given"),
            ("Plain", "first"),
            ("Plain", "second"),
            ("inner", "hidden"),
            ("calls", "Kind"),
            ("calls", "Alpha"),
            ("calls", "Beta"),
            ("calls", "free"),
        ] {
            assert!(index.has(owner, member), "{owner}::{member}");
        }
        for (owner, member) in [("Kind", "Four"), ("Wrapped", "inner"), ("Part", "x"), ("calls", "hidden")] {
            assert!(!index.has(owner, member), "{owner}::{member}");
        }
    }

    #[test]
    fn words_of_comments_are_not_known_and_those_of_strings_are() {
        let index = index("a/b.rs", "// gone_long_ago\nfn here() { env(\"NAMED_HERE\") }");
        assert!(index.knows("here") && index.knows("NAMED_HERE") && !index.knows("gone_long_ago"));
        assert!(index.has_file("b.rs") && index.has_file("a/b.rs") && !index.has_file("c.rs"));
        assert!(!index.has_file(".rs"));
    }
}
