//! A path at which a method is asked over HTTP.
//!
//! **Architecture Invariant:** a path that was written reads back as itself, and of each of its segments it is known whether it is a text
//! or stands for an argument.

use std::{fmt, str::FromStr};

use crate::method::{Method, MethodKind};

/// Most routes that one module may have.
pub const ROUTES_MAX: usize = 1024;

/// Longest path, in bytes, as it is written.
pub const PATH_BYTES_MAX: usize = 1024;

/// Most segments that a path may have.
pub const SEGMENTS_MAX: usize = 32;

/// Paths that begin with one of these segments are the host's own, and lead to no instance.
pub const OWN_SEGMENTS: [&str; 7] = ["docs", "healthz", "mcp", "metrics", "openapi.json", "readyz", "v1"];

/// A method of HTTP by which something is asked for at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// Changes nothing, so it is of queries alone.
    Get,
    /// As all further ones, it runs a method that is no query.
    Post,
    /// See [`Verb::Post`].
    Put,
    /// See [`Verb::Post`].
    Patch,
    /// See [`Verb::Post`].
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 5] = [Verb::Get, Verb::Post, Verb::Put, Verb::Patch, Verb::Delete];

    /// The word for it, as in `wit/immortal.wit`.
    pub const fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    /// As HTTP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    /// What that word stands for.
    pub fn of_word(word: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.word() == word)
    }

    /// What HTTP means by that name.
    pub fn of_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// A path of an instance at which a method of it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// By which method of HTTP.
    pub verb: Verb,
    /// Where, below what leads to the instance.
    pub path: RoutePath,
}

impl fmt::Display for Route {
    /// As `GET /counters/{name}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.path)
    }
}

/// A path with placeholders: `/counters/{name}`. `/` has no segments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoutePath(Vec<Segment>);

/// What stands between two slashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Segment {
    /// This text.
    Text(String),
    /// Any text but an empty one: a value of the argument of that name.
    Argument(String),
}

/// Why a text is no path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// It begins with something else.
    #[error("it does not begin with `/`")]
    NoSlash,
    /// Something is to be between two slashes, or behind the last one.
    #[error("it has an empty segment: two slashes next to each other, or one at its end")]
    EmptySegment,
    /// Whoever asks takes these out of a URL before.
    #[error("a segment can't be `{0}`")]
    Dots(String),
    /// A character that URLs have for something else.
    #[error("it has {0:?} in it: a segment has letters and digits of ASCII and -._~!$&'()*+,;=:@")]
    Character(char),
    /// A brace where no placeholder is.
    #[error("`{0}` is no placeholder: one is a whole segment, such as `{{name}}`")]
    Placeholder(String),
    /// Two placeholders of one name.
    #[error("the placeholder `{{{0}}}` stands in it twice")]
    Twice(String),
    /// More bytes than a path may have.
    #[error("it has {0} bytes, and {PATH_BYTES_MAX} are the most")]
    TooLong(usize),
    /// More segments than a path may have.
    #[error("it has {0} segments, and {SEGMENTS_MAX} are the most")]
    TooManySegments(usize),
}

impl RoutePath {
    /// What it consists of.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The names of its placeholders, in order.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Argument(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }
}

impl FromStr for RoutePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<RoutePath, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()));
        }
        let rest = text.strip_prefix('/').ok_or(PathError::NoSlash)?;
        if rest.is_empty() {
            return Ok(RoutePath(Vec::new()));
        }
        let segments = rest.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(PathError::TooManySegments(segments.len()));
        }
        for (at, segment) in segments.iter().enumerate() {
            if let Segment::Argument(name) = segment
                && segments[..at].contains(segment)
            {
                return Err(PathError::Twice(name.clone()));
            }
        }
        Ok(RoutePath(segments))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Segment, PathError> {
        if text.is_empty() {
            return Err(PathError::EmptySegment);
        }
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
            && !name.is_empty()
            && !name.contains(['{', '}'])
        {
            return Ok(Segment::Argument(name.to_owned()));
        }
        if text.contains(['{', '}']) {
            return Err(PathError::Placeholder(text.to_owned()));
        }
        check_text(text)?;
        Ok(Segment::Text(text.to_owned()))
    }
}

/// Refuses what can't stand in a URL as it is, or would not arrive.
pub(crate) fn check_text(segment: &str) -> Result<(), PathError> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(character);
    if let Some(character) = segment.chars().find(|character| !is_plain(*character)) {
        return Err(PathError::Character(character));
    }
    if matches!(segment, "." | "..") {
        return Err(PathError::Dots(segment.to_owned()));
    }
    Ok(())
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Text(text) => f.write_str(text),
            Segment::Argument(name) => write!(f, "{{{name}}}"),
        }
    }
}

/// Why a method can't be asked there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// There are too many.
    #[error("there are {0} routes, and {ROUTES_MAX} are the most that one module may have")]
    TooMany(usize),
    /// A path that is none.
    #[error("the route {verb} {path:?} of the method `{method}` has no path: {error}", verb = .verb.name())]
    Path {
        /// The method.
        method: String,
        /// By which method of HTTP.
        verb: Verb,
        /// What was to be the path.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// A placeholder stands for nothing.
    #[error("the route {route} has a placeholder `{{{argument}}}`, and the method {method} has no such argument")]
    NoArgument {
        /// The route.
        route: String,
        /// What the placeholder names.
        argument: String,
        /// The method as WIT would declare it.
        method: String,
    },
    /// What changes something is not asked by GET.
    #[error("the route {route} is asked by GET, which changes nothing, and the method `{method}` is no query")]
    NoQuery {
        /// The route.
        route: String,
        /// The method.
        method: String,
    },
    /// What changes nothing is asked by GET.
    #[error("the method `{method}` is a query, which is asked by GET alone, and not as the route {route} says")]
    Query {
        /// The route.
        route: String,
        /// The method.
        method: String,
    },
    /// Raw bytes are not what comes over HTTP.
    #[error("the method `{method}` of the route {route} takes raw bytes, and what comes over HTTP is JSON")]
    Raw {
        /// The route.
        route: String,
        /// The method.
        method: String,
    },
    /// The same requests are for two of them.
    #[error(
        "the routes {first} of the method `{first_method}` and {second} of the method `{second_method}` can't be told apart"
    )]
    Same {
        /// The route that is listed first.
        first: String,
        /// The method that it is of.
        first_method: String,
        /// The other route.
        second: String,
        /// The method that this is of.
        second_method: String,
    },
}

impl Route {
    /// Sees that a method can be asked so.
    ///
    /// # Errors
    /// If its kind is another one, or a placeholder is no argument of it.
    pub fn check(&self, method: &Method) -> Result<(), RouteError> {
        let (route, name) = (self.to_string(), method.name.clone());
        match (self.verb, method.kind) {
            (_, MethodKind::Raw) => return Err(RouteError::Raw { route, method: name }),
            (Verb::Get, MethodKind::Update) => return Err(RouteError::NoQuery { route, method: name }),
            (Verb::Post | Verb::Put | Verb::Patch | Verb::Delete, MethodKind::Query) => {
                return Err(RouteError::Query { route, method: name });
            }
            _ => {}
        }
        let known = |name: &str| method.arguments.iter().any(|argument| argument.name == name);
        match self.path.arguments().find(|name| !known(name)) {
            None => Ok(()),
            Some(argument) => {
                let (argument, method) = (argument.to_owned(), method.to_string());
                Err(RouteError::NoArgument { route, argument, method })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<RoutePath, PathError> {
        text.parse()
    }

    #[test]
    fn a_path_reads_back_as_it_was_written() {
        for text in ["/", "/total", "/counters/{name}", "/a/{b}/c/{d-e}", "/~a/b.c;v=1,2/@x:y", "/.well-known/x"] {
            assert_eq!(path(text).expect(text).to_string(), text);
        }
        let names: Vec<_> = path("/a/{b}/c/{d}").expect("a path").arguments().map(str::to_owned).collect();
        assert_eq!(names, ["b", "d"]);
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (text, said) in [
            ("", "does not begin with `/`"),
            ("total", "does not begin with `/`"),
            ("//", "an empty segment"),
            ("/a/", "an empty segment"),
            ("/a//b", "an empty segment"),
            ("/a/../b", "can't be `..`"),
            ("/a b", "' ' in it"),
            ("/a?b", "'?' in it"),
            ("/%61", "'%' in it"),
            ("/zähler", "'ä' in it"),
            ("/a-{b}", "`a-{b}` is no placeholder"),
            ("/{}", "`{}` is no placeholder"),
            ("/{{b}}", "`{{b}}` is no placeholder"),
            ("/{b", "`{b` is no placeholder"),
            ("/{b}/{b}", "`{b}` stands in it twice"),
        ] {
            let error = path(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        assert_eq!(path(&long), Err(PathError::TooLong(PATH_BYTES_MAX + 1)));
        assert!(path(&long[..PATH_BYTES_MAX]).is_ok());
        assert_eq!(path(&"/a".repeat(SEGMENTS_MAX + 1)), Err(PathError::TooManySegments(SEGMENTS_MAX + 1)));
        assert!(path(&"/a".repeat(SEGMENTS_MAX)).is_ok());
    }

    #[test]
    fn a_route_fits_its_method() {
        let mut find = Method::without_types("find".to_owned(), vec!["name".to_owned()], true);
        find.kind = MethodKind::Query;
        let add = Method::without_types("add".to_owned(), vec!["n".to_owned()], true);
        let raw = Method::without_types("swallow".to_owned(), vec!["bytes".to_owned()], false);
        let route = |verb, text: &str| Route { verb, path: path(text).expect("a path") };
        assert_eq!(route(Verb::Get, "/x/{name}").check(&find), Ok(()));
        assert_eq!(route(Verb::Delete, "/x/{n}").check(&add), Ok(()));
        for (route, method, said) in [
            (
                route(Verb::Get, "/"),
                &add,
                "GET / is asked by GET, which changes nothing, and the method `add` is no query",
            ),
            (route(Verb::Post, "/"), &find, "`find` is a query"),
            (route(Verb::Put, "/"), &raw, "takes raw bytes"),
            (route(Verb::Get, "/{n}"), &find, "a placeholder `{n}`, and the method find(name) has no such argument"),
        ] {
            let error = route.check(method).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
