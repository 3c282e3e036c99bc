//! The routes of a module, and which of them a path is for.
//!
//! **Architecture Invariant:** of the routes by which a method of HTTP is answered at a path, the one wins that has a text where the
//! others first have a placeholder; so which one that is does not depend on their order.

use std::cmp::Ordering;

use crate::{
    method::Method,
    route::{ROUTES_MAX, Route, RouteError, Segment, Verb},
};

/// The routes of a module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteTable(Vec<Entry>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    route: Route,
    /// The place of its method among all.
    method: usize,
    /// For each placeholder the place of its argument.
    arguments: Vec<usize>,
}

/// The route that a path is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundRoute<'t, 'p> {
    /// The route.
    pub route: &'t Route,
    /// The place of the method among all.
    pub method: usize,
    /// What stands in the place of placeholders: places of arguments, and their texts.
    pub arguments: Vec<(usize, &'p str)>,
}

impl RouteTable {
    /// The routes of these methods.
    ///
    /// # Errors
    /// If there are too many, one does not fit its method, or two can't be told apart.
    pub fn new(methods: &[Method]) -> Result<RouteTable, RouteError> {
        let mut entries = Vec::new();
        for (place, method) in methods.iter().enumerate() {
            for route in &method.routes {
                entries.push(Entry::new(place, method, route)?);
            }
        }
        if entries.len() > ROUTES_MAX {
            return Err(RouteError::TooMany(entries.len()));
        }
        entries.sort_by(Entry::order);
        let same = entries.windows(2).find(|pair| pair[0].order(&pair[1]) == Ordering::Equal);
        if let Some([first, second]) = same {
            return Err(RouteError::Same {
                first: first.route.to_string(),
                first_method: methods[first.method].name.clone(),
                second: second.route.to_string(),
                second_method: methods[second.method].name.clone(),
            });
        }
        Ok(RouteTable(entries))
    }

    /// The route that a request is for, by the segments of its path, decoded. A segment that is empty is for none.
    pub fn find<'t, 'p>(&'t self, verb: Verb, segments: &'p [String]) -> Option<FoundRoute<'t, 'p>> {
        let entry = self.0.iter().find(|entry| entry.route.verb == verb && entry.matches(segments))?;
        let pattern = entry.route.path.segments().iter().zip(segments);
        let texts = pattern.filter(|(segment, _)| matches!(segment, Segment::Argument(_)));
        let arguments = entry.arguments.iter().copied().zip(texts.map(|(_, text)| text.as_str())).collect();
        Some(FoundRoute { route: &entry.route, method: entry.method, arguments })
    }

    /// By which methods of HTTP something is asked for there, in their order.
    pub fn verbs_at(&self, segments: &[String]) -> Vec<Verb> {
        let mut verbs: Vec<_> =
            self.0.iter().filter(|entry| entry.matches(segments)).map(|entry| entry.route.verb).collect();
        verbs.dedup();
        verbs
    }

    /// All of them, by their methods of HTTP.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter().map(|entry| &entry.route)
    }
}

impl Entry {
    fn new(place: usize, method: &Method, route: &Route) -> Result<Entry, RouteError> {
        route.check(method)?;
        let place_of = |name: &str| method.arguments.iter().position(|argument| argument.name == name);
        let arguments = route.path.arguments().filter_map(place_of).collect();
        Ok(Entry { route: route.clone(), method: place, arguments })
    }

    fn matches(&self, segments: &[String]) -> bool {
        let pattern = self.route.path.segments();
        let fits = |(segment, text): (&Segment, &String)| match segment {
            Segment::Text(wanted) => wanted == text,
            Segment::Argument(_) => !text.is_empty(),
        };
        pattern.len() == segments.len() && pattern.iter().zip(segments).all(fits)
    }

    /// Those that win come first; those that can't be told apart are equal.
    fn order(&self, other: &Entry) -> Ordering {
        let (mine, others) = (self.route.path.segments(), other.route.path.segments());
        let by_segments = mine.iter().zip(others).map(|pair| match pair {
            (Segment::Text(mine), Segment::Text(other)) => mine.cmp(other),
            (Segment::Text(_), Segment::Argument(_)) => Ordering::Less,
            (Segment::Argument(_), Segment::Text(_)) => Ordering::Greater,
            (Segment::Argument(_), Segment::Argument(_)) => Ordering::Equal,
        });
        let by_segments = by_segments.fold(Ordering::Equal, Ordering::then);
        (self.route.verb.cmp(&other.route.verb)).then(mine.len().cmp(&others.len())).then(by_segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::MethodKind;

    /// A method for each, which takes `a` and `b`: `get` is a query, and what it is called is its path.
    fn methods(routes: &[(Verb, &str)]) -> Vec<Method> {
        let method = |(at, (verb, path)): (usize, &(Verb, &str))| {
            let arguments = vec!["a".to_owned(), "b".to_owned()];
            let mut method = Method::without_types(format!("method_{at}"), arguments, true);
            if *verb == Verb::Get {
                method.kind = MethodKind::Query;
            }
            method.routes = vec![Route { verb: *verb, path: path.parse().expect("a path") }];
            method
        };
        routes.iter().enumerate().map(method).collect()
    }

    fn segments(path: &str) -> Vec<String> {
        let rest = path.strip_prefix('/').expect("it begins with a slash");
        if rest.is_empty() { Vec::new() } else { rest.split('/').map(str::to_owned).collect() }
    }

    /// Which of the routes is found, and what with.
    fn found(routes: &[(Verb, &str)], verb: Verb, path: &str) -> Option<(usize, Vec<(usize, String)>)> {
        let table = RouteTable::new(&methods(routes)).expect("they can be told apart");
        let path = segments(path);
        let found = table.find(verb, &path)?;
        Some((found.method, found.arguments.into_iter().map(|(at, text)| (at, text.to_owned())).collect()))
    }

    #[test]
    fn a_placeholder_is_one_whole_segment_and_is_told_by_its_argument() {
        let routes = [(Verb::Get, "/x/{b}/y/{a}"), (Verb::Get, "/"), (Verb::Get, "/x")];
        let find = |path: &str| found(&routes, Verb::Get, path);
        let texts = |a: &str, b: &str| vec![(1, b.to_owned()), (0, a.to_owned())];
        assert_eq!(find("/x/1/y/2"), Some((0, texts("2", "1"))));
        assert_eq!(find("/x/a b/y/ä/"), None, "a segment more, though it is empty");
        assert_eq!(find("/x/a b/y/ä"), Some((0, texts("ä", "a b"))));
        assert_eq!((find("/"), find("/x")), (Some((1, Vec::new())), Some((2, Vec::new()))));
        for path in ["/x/", "/y", "/X", "/x/1/y/", "/x//y/2", "/x/1/z/2", "/x/1/y"] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn a_text_wins_over_a_placeholder_and_the_first_of_them_decides() {
        let mut routes =
            vec![(Verb::Get, "/{a}/{b}"), (Verb::Get, "/{a}/y"), (Verb::Get, "/x/{a}"), (Verb::Get, "/x/y")];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let path_of = |path: &str| found(&routes, Verb::Get, path).map(|(at, _)| routes[at].1);
            assert_eq!(path_of("/x/y"), Some("/x/y"));
            assert_eq!(path_of("/x/z"), Some("/x/{a}"));
            assert_eq!(path_of("/z/y"), Some("/{a}/y"));
            assert_eq!(path_of("/z/z"), Some("/{a}/{b}"));
        }
    }

    #[test]
    fn each_method_of_http_has_routes_of_its_own() {
        let routes = [(Verb::Post, "/x/{a}"), (Verb::Get, "/{a}/y"), (Verb::Delete, "/x/y"), (Verb::Post, "/x/y")];
        let table = RouteTable::new(&methods(&routes)).expect("they can be told apart");
        let at = |verb, path: &str| found(&routes, verb, path).map(|(at, _)| at);
        assert_eq!(
            (at(Verb::Get, "/x/y"), at(Verb::Post, "/x/y"), at(Verb::Post, "/x/z")),
            (Some(1), Some(3), Some(0))
        );
        assert_eq!(at(Verb::Put, "/x/y"), None);
        assert_eq!(table.verbs_at(&segments("/x/y")), [Verb::Get, Verb::Post, Verb::Delete]);
        assert_eq!((table.verbs_at(&segments("/x/z")), table.verbs_at(&segments("/z"))), (vec![Verb::Post], vec![]));
        assert_eq!(table.iter().count(), 4);
    }

    #[test]
    fn routes_that_can_not_be_told_apart_are_refused() {
        let clash = RouteTable::new(&methods(&[(Verb::Post, "/x/{a}"), (Verb::Put, "/y"), (Verb::Post, "/x/{b}")]));
        let expected = "the routes POST /x/{a} of the method `method_0` and POST /x/{b} of the method `method_2` can't be told apart";
        assert_eq!(clash.expect_err("they are the same").to_string(), expected);
        assert!(RouteTable::new(&methods(&[(Verb::Post, "/x/{a}"), (Verb::Put, "/x/{a}")])).is_ok());
    }

    #[test]
    fn there_is_a_most_of_routes() {
        let texts: Vec<_> = (0..=ROUTES_MAX).map(|at| format!("/{at}")).collect();
        let routes: Vec<_> = texts.iter().map(|path| (Verb::Post, path.as_str())).collect();
        assert_eq!(RouteTable::new(&methods(&routes)), Err(RouteError::TooMany(ROUTES_MAX + 1)));
        assert!(RouteTable::new(&methods(&routes[1..])).is_ok());
    }
}
