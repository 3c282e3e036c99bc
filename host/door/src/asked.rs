//! What a URL asks for: a method by its name, or whatever has a route there.
//!
//! **Architecture Invariant:** nothing is said of an instance, nor looked up, to whoever may not ask it: to them its routes are not there.

use std::sync::Arc;

use ambrosia_core::InstanceName;
use ambrosia_methods::{OWN_SEGMENTS, Route, SEGMENTS_MAX, Verb};

use crate::{
    access::{Bearer, Deed},
    arguments::FromPath,
    calls::{FoundMethod, unknown_instance},
    door::House,
    instances::Instance,
    problem::{Problem, ProblemKind},
    query_string::{percent_decoded, text_in_path},
};

/// Where something is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A method of an instance, by their names.
    Named {
        /// The instance.
        instance: &'a str,
        /// The method.
        method: &'a str,
    },
    /// Whatever has a route there.
    Routed {
        /// The method of HTTP; `None` if routes have no such.
        verb: Option<Verb>,
        /// The path, as it stands in the URL.
        path: &'a str,
    },
}

/// Who is asked, and for what.
pub(crate) struct Asked {
    pub(crate) name: InstanceName,
    pub(crate) method: FoundMethod,
    /// What the path has given; `None` where the method was named, which takes all of its arguments from elsewhere.
    pub(crate) from_path: Option<FromPath>,
}

/// What an instance has at a path.
enum There {
    Route(Asked),
    /// Something, by other methods of HTTP.
    Other(Vec<Verb>),
    Nothing(Arc<Instance>),
}

impl House {
    /// Finds out who is asked for what, if whoever asks may do that.
    pub(crate) async fn asked(&self, place: Place<'_>, bearer: &Bearer, deed: Deed) -> Result<Asked, Problem> {
        match place {
            Place::Named { instance, method } => {
                let name = InstanceName::new(instance).map_err(|_| unknown_instance(instance))?;
                self.check(bearer, deed, Some(&name)).await?;
                let (name, method) = self.find(instance, method).await?;
                Ok(Asked { name, method, from_path: None })
            }
            Place::Routed { verb, path } => self.routed(verb, &segments(path)?, bearer, deed).await,
        }
    }

    /// Looks for a route: below the prefixes that the operator has set, the longest first, and then below the name of the instance.
    async fn routed(
        &self,
        verb: Option<Verb>,
        segments: &[String],
        bearer: &Bearer,
        deed: Deed,
    ) -> Result<Asked, Problem> {
        if segments.first().is_some_and(|first| OWN_SEGMENTS.contains(&first.as_str())) {
            return Err(nothing());
        }
        let named = segments.split_first().and_then(|(first, rest)| Some((InstanceName::new(first).ok()?, rest, true)));
        let mounted = self.mounts.above(segments).map(|(name, rest)| (name.clone(), rest, false));
        // Why not, by the first of those who may be asked.
        let mut why = None;
        for (name, rest, is_named) in mounted.chain(named) {
            // What leads to an instance is its `/`, with or without a slash behind.
            let rest = if rest == [""] { &[] } else { rest };
            let there = match self.check(bearer, deed, Some(&name)).await {
                Ok(()) => self.there(&name, verb, rest).await,
                Err(problem) => Err(problem),
            };
            let problem = match there {
                Ok(There::Route(asked)) => return Ok(asked),
                Ok(There::Other(verbs)) => return Err(Problem::not_allowed(allowed(&verbs))),
                Ok(There::Nothing(instance)) => {
                    let problem = no_route(&name, &instance, rest);
                    // Whoever names an instance is told of that one.
                    if is_named {
                        return Err(problem);
                    }
                    problem
                }
                Err(problem) if problem.kind == ProblemKind::UnknownInstance => continue,
                Err(problem) if problem.kind == ProblemKind::Forbidden => problem,
                Err(problem) => return Err(problem),
            };
            why.get_or_insert(problem);
        }
        Err(why.unwrap_or_else(nothing))
    }

    async fn there(&self, name: &InstanceName, verb: Option<Verb>, rest: &[String]) -> Result<There, Problem> {
        if let Some(known) = self.instances.known(name)
            && let there @ (There::Route(_) | There::Other(_)) = look(known, name, verb, rest)
        {
            return Ok(there);
        }
        Ok(look(self.look_up(name).await?, name, verb, rest))
    }
}

fn look(instance: Arc<Instance>, name: &InstanceName, verb: Option<Verb>, rest: &[String]) -> There {
    if let Some(found) = verb.and_then(|verb| instance.routes().find(verb, rest)) {
        let arguments = &instance.methods().at(found.method).arguments;
        let value = |(place, text): (usize, &str)| (place, text_in_path(text, &arguments[place].ty));
        let from_path = Some(FromPath(found.arguments.into_iter().map(value).collect()));
        let method = FoundMethod::at(Arc::clone(&instance), found.method);
        return There::Route(Asked { name: name.clone(), method, from_path });
    }
    match instance.routes().verbs_at(rest) {
        verbs if verbs.is_empty() => There::Nothing(instance),
        verbs => There::Other(verbs),
    }
}

/// The segments of a path, decoded.
fn segments(path: &str) -> Result<Vec<String>, Problem> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    // A prefix, or a name, and a route.
    if rest.split('/').count() > 2 * SEGMENTS_MAX {
        return Err(nothing());
    }
    let decoded = |segment: &str| {
        let text = percent_decoded(segment).and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| {
            let detail = format!("{segment:?} in the path is no text when it is decoded");
            Problem::new(ProblemKind::BadArguments, detail).with("at", segment)
        })
    };
    rest.split('/').map(decoded).collect()
}

/// What is allowed, as a header has it.
fn allowed(verbs: &[Verb]) -> String {
    let names = verbs.iter().map(|verb| if *verb == Verb::Get { "GET, HEAD" } else { verb.name() });
    names.collect::<Vec<_>>().join(", ")
}

fn no_route(name: &InstanceName, instance: &Instance, rest: &[String]) -> Problem {
    let routes: Vec<_> = instance.routes().iter().map(Route::to_string).collect();
    let has = match routes.as_slice() {
        [] => format!("it has none: its methods are at POST /v1/{name}/METHOD"),
        routes => format!("it has {}", routes.join(", ")),
    };
    let detail = format!("instance {name} has no route for /{}: {has}", rest.join("/"));
    Problem::new(ProblemKind::NotFound, detail).with("routes", routes)
}

/// That neither the host nor an instance has anything there.
pub(crate) fn nothing() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "there is nothing here: methods are at POST /v1/INSTANCE/METHOD, paths of their own below /INSTANCE, and all of it is described at /docs \
         and /openapi.json",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_segment_by_segment() {
        let read = |path: &str| segments(path).map_err(|problem| problem.kind);
        assert_eq!(read("/"), Ok(vec![]));
        assert_eq!(read("/a/b%2Fc/%c3%A4+%20/"), Ok(["a", "b/c", "ä+ ", ""].map(str::to_owned).to_vec()));
        for bad in ["/%", "/a/%f", "/%fg", "/%ff"] {
            assert_eq!(read(bad), Err(ProblemKind::BadArguments), "{bad}");
        }
        assert!(read(&"/x".repeat(2 * SEGMENTS_MAX)).is_ok());
        assert_eq!(read(&"/x".repeat(2 * SEGMENTS_MAX + 1)), Err(ProblemKind::NotFound));
    }

    #[test]
    fn whoever_may_get_may_ask_for_the_head_alone() {
        assert_eq!(allowed(&[Verb::Get, Verb::Delete]), "GET, HEAD, DELETE");
    }
}
