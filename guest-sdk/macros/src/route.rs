//! `#[ambrosia(get = "..")]`, and the same with the other methods of HTTP.
//!
//! What is wrong with a path is told where it stands. The host, which has to believe nobody, reads it once more when a module is
//! registered.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, LitStr, Result};

use crate::{
    attribute::MethodOptions,
    method_set::combined,
    signature::{Argument, Method},
};

/// Longest path, and most segments of it, that a host takes.
const PATH_BYTES_MAX: usize = 1024;
const SEGMENTS_MAX: usize = 32;

/// The methods of HTTP that the attribute knows.
pub(crate) const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A path at which a method is asked.
pub(crate) struct Route {
    verb: Ident,
    path: LitStr,
    segments: Vec<Segment>,
}

/// What stands between two slashes.
#[derive(PartialEq, Eq)]
enum Segment {
    Text(String),
    Argument(String),
}

impl Route {
    /// What the attributes of a method say.
    pub(crate) fn read_all(
        ident: &Ident,
        options: &MethodOptions,
        is_query: bool,
        arguments: &[Argument],
    ) -> Result<Vec<Route>> {
        let (mut routes, mut errors) = (Vec::new(), Vec::new());
        for (verb, path) in &options.routes {
            match Route::read(ident, (options.raw, is_query), arguments, verb, path) {
                Ok(route) => routes.push(route),
                Err(error) => errors.push(error),
            }
        }
        errors.into_iter().reduce(combined).map_or(Ok(routes), Err)
    }

    fn read(
        ident: &Ident,
        (is_raw, is_query): (bool, bool),
        arguments: &[Argument],
        verb: &Ident,
        path: &LitStr,
    ) -> Result<Route> {
        let refuse = |text: String| Err(Error::new(verb.span(), text));
        if is_raw {
            return refuse(format!("`{ident}` is raw: what comes over HTTP is JSON, so it has no path there"));
        }
        match (verb == "get", is_query) {
            (true, false) => {
                return refuse(format!(
                    "who asks by GET changes nothing, and `{ident}` is no query: write `fn {ident}(&self, ..) -> ..`, or `post` in the place of \
                     `get` if it changes something"
                ));
            }
            (false, true) => {
                return refuse(format!(
                    "`{ident}` is a query, which changes nothing and is asked by GET: write `get = ..`, or `fn {ident}(&mut self, ..)` if it \
                     changes something (`#[ambrosia(update)]` with `&self`)"
                ));
            }
            _ => {}
        }
        let segments = segments(path)?;
        check_arguments(ident, path, &segments, arguments)?;
        Ok(Route { verb: verb.clone(), path: path.clone(), segments })
    }

    /// As `Method` has it.
    pub(crate) fn description(&self) -> TokenStream {
        let Route { verb, path, .. } = self;
        let mut name = verb.to_string();
        name[..1].make_ascii_uppercase();
        let verb = format_ident!("{name}");
        quote!(::ambrosia::Route { verb: ::ambrosia::Verb::#verb, path: #path })
    }

    /// Whether the same requests are for both.
    fn is_same_as(&self, other: &Route) -> bool {
        let is_same = |(one, other): (&Segment, &Segment)| match (one, other) {
            (Segment::Argument(_), Segment::Argument(_)) => true,
            (one, other) => one == other,
        };
        self.verb == other.verb
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(is_same)
    }
}

/// Refuses two routes for the same requests.
pub(crate) fn check_all(methods: &[&Method]) -> Result<()> {
    let mut known: Vec<(&Method, &Route)> = Vec::new();
    let mut errors = Vec::new();
    for &method in methods {
        for route in &method.routes {
            // With conditions the compiler decides which of the two there is.
            let are_both_there = |other: &Method| {
                std::ptr::eq(other, method) || (other.conditions.is_empty() && method.conditions.is_empty())
            };
            let other = known.iter().find(|(other, known)| known.is_same_as(route) && are_both_there(other));
            if let Some((other, known)) = other {
                let text = format!(
                    "`{}` has a route for the same requests, {} {}",
                    other.ident,
                    known.verb.to_string().to_ascii_uppercase(),
                    known.path.value()
                );
                errors.push(Error::new(route.path.span(), text));
            }
            known.push((method, route));
        }
    }
    errors.into_iter().reduce(combined).map_or(Ok(()), Err)
}

fn segments(path: &LitStr) -> Result<Vec<Segment>> {
    let text = path.value();
    let refuse = |text: String| Err(Error::new(path.span(), text));
    let Some(rest) = text.strip_prefix('/') else {
        return refuse(format!("a path begins with `/`: write \"/{text}\""));
    };
    if text.len() > PATH_BYTES_MAX {
        return refuse(format!("a path has {PATH_BYTES_MAX} bytes at most, and this one has {}", text.len()));
    }
    let parts: Vec<_> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
    if parts.len() > SEGMENTS_MAX {
        return refuse(format!("a path has {SEGMENTS_MAX} segments at most, and this one has {}", parts.len()));
    }
    parts.into_iter().map(|part| segment(part).map_err(|text| Error::new(path.span(), text))).collect()
}

fn segment(text: &str) -> std::result::Result<Segment, String> {
    if text.is_empty() {
        return Err("a path has something between two slashes, and behind the last one".to_owned());
    }
    if matches!(text, "." | "..") {
        return Err(format!("a path has no segment `{text}`, which is taken out before it is asked for"));
    }
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains(['{', '}'])) {
        return Ok(Segment::Argument(name.to_owned()));
    }
    if text.contains(['{', '}']) {
        return Err(format!(
            "`{text}` is no placeholder: one is a whole segment between two slashes, such as `/{{name}}/`"
        ));
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(character);
    match text.chars().find(|character| !is_plain(*character)) {
        Some(character) => Err(format!(
            "a path can't have {character:?} in it: a segment has letters and digits of ASCII and -._~!$&'()*+,;=:@"
        )),
        None => Ok(Segment::Text(text.to_owned())),
    }
}

fn check_arguments(ident: &Ident, path: &LitStr, segments: &[Segment], arguments: &[Argument]) -> Result<()> {
    for (at, segment) in segments.iter().enumerate() {
        let Segment::Argument(name) = segment else { continue };
        if segments[..at].contains(segment) {
            let text = format!("the placeholder `{{{name}}}` stands in the path twice, and an argument has one value");
            return Err(Error::new(path.span(), text));
        }
        if !arguments.iter().any(|argument| argument.name() == *name) {
            let names: Vec<_> = arguments.iter().map(|argument| format!("`{}`", argument.name())).collect();
            let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let text = format!("`{ident}` has no argument `{name}` for the placeholder `{{{name}}}`: it has {has}");
            return Err(Error::new(path.span(), text));
        }
    }
    Ok(())
}
