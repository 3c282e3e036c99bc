//! The methods of a module by name and by id, and how they are written down beside it (`docs/formats.md`).
//!
//! **Architecture Invariant:** bytes are believed only if they are what was written, by this version or an earlier one.

use std::sync::Arc;

use ambrosia_core::MethodId;
use serde::{Deserialize, Serialize};

use crate::{
    method::{Argument, Method, MethodKind},
    route::{Route, Verb},
    schedule::{Missed, Schedule},
    types::Type,
};

/// First word and version of what is written down. The checksum of the rest follows, as eight hexadecimal digits.
const FORMAT: &str = "ambrosia-methods 2 ";
/// The version of modules that describe no types.
const FORMAT_1: &str = "ambrosia-methods 1 ";

/// What a module's `describe` listed. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Methods(Arc<[Method]>);

/// The module has no such method.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no method {name:?}; the module has {}", listed(.known))]
pub struct UnknownMethod {
    /// The name asked for.
    pub name: String,
    /// The names there are.
    pub known: Vec<String>,
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
}

impl Methods {
    /// Wraps a list.
    pub fn new(methods: Vec<Method>) -> Self {
        Methods(methods.into())
    }

    /// The method `name`, or the one that had that name before.
    ///
    /// # Errors
    /// If there is none; the error lists those that there are.
    pub fn find(&self, name: &str) -> Result<&Method, UnknownMethod> {
        self.place(name).map(|place| self.at(place))
    }

    /// The method in that place, which [`Methods::place`] has told.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, place: usize) -> &Method {
        &self.0[place]
    }

    /// The place of the method [`Methods::find`] finds, for whoever keeps all of them and not a copy of one.
    ///
    /// # Errors
    /// As [`Methods::find`].
    pub fn place(&self, name: &str) -> Result<usize, UnknownMethod> {
        let by_name = self.0.iter().position(|method| method.name == name);
        let found = by_name.or_else(|| self.0.iter().position(|method| method.formerly.iter().any(|old| old == name)));
        found.ok_or_else(|| UnknownMethod {
            name: name.to_owned(),
            known: self.0.iter().map(|method| method.name.clone()).collect(),
        })
    }

    /// The method that messages with that id are for, if it is one of these.
    pub fn by_id(&self, id: MethodId) -> Option<&Method> {
        self.0.iter().find(|method| method.answers_to(id))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }

    /// The same, in places as [`Methods::place`] tells them.
    pub fn as_slice(&self) -> &[Method] {
        &self.0
    }

    /// The bytes to be written down.
    pub fn encode(&self) -> Vec<u8> {
        let written: Vec<_> = self.0.iter().map(Written::of).collect();
        let json = serde_json::to_string(&written).expect("texts are always JSON");
        format!("{FORMAT}{:08x}\n{json}\n", crc32c::crc32c(json.as_bytes())).into_bytes()
    }

    /// Reads back what was written down. `None` if that is of a later version, or not what was written.
    pub fn decode(contents: &[u8]) -> Option<Methods> {
        let text = std::str::from_utf8(contents).ok()?;
        let (rest, is_first) = match text.strip_prefix(FORMAT) {
            Some(rest) => (rest, false),
            None => (text.strip_prefix(FORMAT_1)?, true),
        };
        let (checksum, json) = rest.split_once('\n')?;
        let json = json.strip_suffix('\n')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(json.as_bytes()) {
            return None;
        }
        let methods = if is_first {
            let written: Vec<Written1> = serde_json::from_str(json).ok()?;
            let method =
                |written: Written1| Method::without_types(written.name, written.arguments, written.message_pack);
            Some(written.into_iter().map(method).collect())
        } else {
            let written: Vec<Written> = serde_json::from_str(json).ok()?;
            written.into_iter().map(Written::into_method).collect()
        };
        methods.map(Methods::new)
    }
}

/// One method as it is written down; its id follows from its name.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    kind: String,
    arguments: Vec<WrittenArgument>,
    result: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    docs: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    formerly: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule: Option<WrittenSchedule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<WrittenRoute>,
}

#[derive(Serialize, Deserialize)]
struct WrittenRoute {
    verb: String,
    path: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenSchedule {
    cron: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    zone: String,
    missed: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenArgument {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

impl Written {
    fn of(method: &Method) -> Written {
        let Method { id: _, name, kind, arguments, result, docs, formerly, schedule, routes } = method.clone();
        let argument = |Argument { name, ty }| WrittenArgument { name, ty: ty.to_string() };
        let arguments = arguments.into_iter().map(argument).collect();
        let schedule = schedule.map(|Schedule { cron, zone, missed }| {
            let missed = missed.word().to_owned();
            WrittenSchedule { cron, zone, missed }
        });
        let route = |Route { verb, path }| WrittenRoute { verb: verb.word().to_owned(), path: path.to_string() };
        let routes = routes.into_iter().map(route).collect();
        let (kind, result) = (kind.word().to_owned(), result.to_string());
        Written { name, kind, arguments, result, docs, formerly, schedule, routes }
    }

    fn into_method(self) -> Option<Method> {
        let Written { name, kind, arguments, result, docs, formerly, schedule, routes } = self;
        let argument = |WrittenArgument { name, ty }| Some(Argument { name, ty: ty.parse().ok()? });
        let arguments = arguments.into_iter().map(argument).collect::<Option<_>>()?;
        let (kind, result): (_, Type) = (MethodKind::of_word(&kind)?, result.parse().ok()?);
        let schedule = match schedule {
            Some(written) => Some(written.into_schedule()?),
            None => None,
        };
        let routes = routes.into_iter().map(WrittenRoute::into_route).collect::<Option<_>>()?;
        Some(Method { id: MethodId::of(&name), name, kind, arguments, result, docs, formerly, schedule, routes })
    }
}

impl WrittenSchedule {
    fn into_schedule(self) -> Option<Schedule> {
        let WrittenSchedule { cron, zone, missed } = self;
        Some(Schedule { cron, zone, missed: Missed::of_word(&missed)? })
    }
}

impl WrittenRoute {
    fn into_route(self) -> Option<Route> {
        Some(Route { verb: Verb::of_word(&self.verb)?, path: self.path.parse().ok()? })
    }
}

/// One method as version 1 wrote it down.
#[derive(Deserialize)]
struct Written1 {
    name: String,
    arguments: Vec<String>,
    message_pack: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add() -> Method {
        Method {
            id: MethodId::of("add"),
            name: "add".to_owned(),
            kind: MethodKind::Update,
            arguments: vec![Argument { name: "n".to_owned(), ty: Type::Unsigned(64) }],
            result: Type::Option(Box::new(Type::String)),
            docs: "Adds.\nThat is all.".to_owned(),
            formerly: vec!["plus".to_owned()],
            schedule: None,
            routes: Vec::new(),
        }
    }

    /// One that runs by itself.
    fn report() -> Method {
        let schedule = Schedule { cron: "0 3 * * *".into(), zone: "Europe/Berlin".into(), missed: Missed::All };
        Method { schedule: Some(schedule), ..Method::without_types("report".to_owned(), Vec::new(), true) }
    }

    #[test]
    fn methods_are_written_down_like_this_and_read_back() {
        let swallow = Method::without_types("swallow".to_owned(), Vec::new(), false);
        let methods = Methods::new(vec![add(), swallow]);
        let text = "ambrosia-methods 2 8394347d\n\
                    [{\"name\":\"add\",\"kind\":\"update\",\"arguments\":[{\"name\":\"n\",\"type\":\"u64\"}],\
                    \"result\":\"option<string>\",\"docs\":\"Adds.\\nThat is all.\",\"formerly\":[\"plus\"]},\
                    {\"name\":\"swallow\",\"kind\":\"raw\",\"arguments\":[],\"result\":\"any\"}]\n";
        assert_eq!(String::from_utf8(methods.encode()).expect("text"), text);
        assert_eq!(Methods::decode(text.as_bytes()), Some(methods));
        assert_eq!(Methods::decode(&Methods::new(Vec::new()).encode()), Some(Methods::new(Vec::new())));
    }

    /// Programs from before there were schedules read the rest: they overlook what they do not know.
    #[test]
    fn schedules_are_written_down_beside_what_they_are_of() {
        let written = String::from_utf8(Methods::new(vec![report()]).encode()).expect("text");
        let json = "[{\"name\":\"report\",\"kind\":\"update\",\"arguments\":[],\"result\":\"any\",\
                    \"schedule\":{\"cron\":\"0 3 * * *\",\"zone\":\"Europe/Berlin\",\"missed\":\"all\"}}]\n";
        assert_eq!(written.split_once('\n').expect("two lines").1, json);
        assert_eq!(Methods::decode(written.as_bytes()), Some(Methods::new(vec![report()])));
    }

    /// As schedules are.
    #[test]
    fn routes_are_written_down_beside_what_they_are_of() {
        let route = |verb, path: &str| Route { verb, path: path.parse().expect("a path") };
        let routes = vec![route(Verb::Post, "/numbers/{n}"), route(Verb::Put, "/")];
        let methods = Methods::new(vec![Method { routes, ..report() }]);
        let written = String::from_utf8(methods.encode()).expect("text");
        let json = ",\"routes\":[{\"verb\":\"post\",\"path\":\"/numbers/{n}\"},{\"verb\":\"put\",\"path\":\"/\"}]}]\n";
        assert!(written.ends_with(json), "{written}");
        assert_eq!(Methods::decode(written.as_bytes()), Some(methods));
        for (right, wrong) in [("\"put\"", "\"ask\""), ("\"/\"", "\"x\"")] {
            let json = written.split_once('\n').expect("two lines").1.replace(right, wrong);
            let text = format!("{FORMAT}{:08x}\n{json}", crc32c::crc32c(json.trim_end().as_bytes()));
            assert_eq!(Methods::decode(text.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn version_1_stays_readable() {
        let text = "ambrosia-methods 1 f8cee803\n\
                    [{\"name\":\"add\",\"arguments\":[\"n\"],\"message_pack\":true},\
                    {\"name\":\"swallow\",\"arguments\":[],\"message_pack\":false}]\n";
        let read = Methods::decode(text.as_bytes()).expect("version 1 stays readable");
        let expected = [
            Method::without_types("add".to_owned(), vec!["n".to_owned()], true),
            Method::without_types("swallow".to_owned(), Vec::new(), false),
        ];
        assert_eq!(read, Methods::new(expected.to_vec()));
        assert_eq!(read.find("add").expect("it is there").to_string(), "add(n)");
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_not_believed() {
        let written = Methods::new(vec![add(), report()]).encode();
        for bit in 0..written.len() * 8 {
            let mut damaged = written.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The case of a hexadecimal digit says nothing.
            assert!(damaged.eq_ignore_ascii_case(&written) || Methods::decode(&damaged).is_none(), "bit {bit}");
        }
        for length in 0..written.len() {
            assert!(Methods::decode(&written[..length]).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_method_is_found_by_the_names_that_it_had_before() {
        let methods = Methods::new(vec![add()]);
        assert_eq!(methods.find("plus"), Ok(&add()));
        assert_eq!(methods.by_id(MethodId::of("plus")), Some(&add()));
        assert_eq!(methods.by_id(MethodId::of("minus")), None);
        let error = methods.find("minus").expect_err("there is none").to_string();
        assert_eq!(error, "there is no method \"minus\"; the module has add");
        assert_eq!(add().to_string(), "add(n: u64) -> option<string>");
    }
}
