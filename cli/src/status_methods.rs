//! What `status --methods` shows of a module.

use ambrosia_host::{Method, Route, without_controls};
use serde::Serialize;

/// One method for a person or a script.
#[derive(Serialize)]
pub(crate) struct ShownMethod {
    name: String,
    kind: &'static str,
    arguments: Vec<ShownArgument>,
    result: String,
    docs: String,
    formerly: Vec<String>,
    /// Where it is asked over HTTP, beside its name.
    routes: Vec<ShownRoute>,
    /// As WIT would declare it.
    #[serde(skip)]
    declaration: String,
}

/// A path below what leads to the instance, and the method of HTTP, such as "GET".
#[derive(Serialize)]
struct ShownRoute {
    verb: &'static str,
    path: String,
}

#[derive(Serialize)]
struct ShownArgument {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

impl ShownMethod {
    pub(crate) fn of(method: &Method) -> ShownMethod {
        let argument = |argument: &ambrosia_host::Argument| ShownArgument {
            name: argument.name.clone(),
            ty: argument.ty.to_string(),
        };
        let route = |route: &Route| ShownRoute { verb: route.verb.name(), path: route.path.to_string() };
        ShownMethod {
            name: method.name.clone(),
            kind: method.kind.word(),
            arguments: method.arguments.iter().map(argument).collect(),
            result: method.result.to_string(),
            docs: method.docs.clone(),
            formerly: method.formerly.clone(),
            routes: method.routes.iter().map(route).collect(),
            declaration: method.to_string(),
        }
    }

    /// A line, and one more for each line of its documentation.
    pub(crate) fn as_text(&self) -> String {
        let mut text = format!("  {:<6} {}", self.kind, without_controls(&self.declaration));
        if !self.formerly.is_empty() {
            text += &without_controls(&format!("  (formerly {})", self.formerly.join(", ")));
        }
        text.push('\n');
        for ShownRoute { verb, path } in &self.routes {
            text += &format!("         {verb} {}\n", without_controls(path));
        }
        for line in self.docs.lines() {
            text += &format!("         {}\n", without_controls(line));
        }
        text
    }
}
