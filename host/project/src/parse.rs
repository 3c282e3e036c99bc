//! From TOML to a project.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, path::PathBuf};

use ambrosia_core::{InstanceName, limits::FUEL_DEFAULT};
use ambrosia_methods::Mounts;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use crate::{
    Project, ProjectError, ProjectInstance, REPLICAS_DEFAULT, Surroundings, Wrong, is_public_url, outside::Outside,
};

const SECTIONS: &[&str] = &["instances", "http", "routes", "grants", "secrets", "config"];
const INSTANCE_KEYS: &[&str] =
    &["module", "build", "replicas", "fuel", "memory-mib", "strict-imports", "grants", "secrets", "config"];
const HTTP_KEYS: &[&str] = &["address", "public-url"];

/// Where HTTP comes in, where nothing else is said.
const HTTP_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

const FUEL_MIN: u64 = 1_000_000;
const MEMORY_MIB_MAX: u64 = 4096;
const REPLICAS_MAX: u64 = 64;

const _: () = assert!(FUEL_MIN < FUEL_DEFAULT && REPLICAS_DEFAULT as u64 <= REPLICAS_MAX);

pub(crate) type Key<'a> = &'a Spanned<DeString<'a>>;
pub(crate) type Value<'a> = &'a Spanned<DeValue<'a>>;

pub(crate) fn project(text: &str) -> Result<Project, ProjectError> {
    let reader = Reader { text };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or(0..0);
        reader.wrong(at, Wrong::Syntax(error.message().replace('\n', ", ")))
    })?;
    let (mut found, mut http, mut all) = (BTreeMap::new(), Http::default(), Outside::default());
    let mut routes = None;
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "instances" => found = reader.instances(key, value)?,
            "http" => http = reader.http(key, value)?,
            "routes" => routes = Some((key, value)),
            "grants" | "secrets" | "config" => reader.outside(key, value, &mut all)?,
            _ => return Err(reader.unknown(key, "the file", SECTIONS)),
        }
    }
    if found.is_empty() {
        return Err(reader.wrong(0..0, Wrong::NoInstance));
    }
    let mut instances = BTreeMap::new();
    for (name, (instance, outside)) in found {
        let surroundings = outside.within(&all, &name, &reader)?;
        instances.insert(name, ProjectInstance { surroundings, ..instance });
    }
    let routes = routes.map_or(Ok(Mounts::default()), |(key, value)| reader.routes(key, value, &instances))?;
    Ok(Project { instances, http: http.address, public_url: http.public_url, routes })
}

/// What `[http]` says.
struct Http {
    address: Option<SocketAddr>,
    public_url: Option<String>,
}

impl Default for Http {
    fn default() -> Http {
        Http { address: Some(HTTP_DEFAULT), public_url: None }
    }
}

/// An instance, and what is said of it alone.
type Found = (ProjectInstance, Outside);

/// Reads values, and knows on which line they stand.
pub(crate) struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    pub(crate) fn wrong(&self, at: Range<usize>, wrong: Wrong) -> ProjectError {
        let before = self.text.as_bytes().iter().take(at.start);
        ProjectError { line: 1 + before.filter(|byte| **byte == b'\n').count(), wrong }
    }

    pub(crate) fn unknown(&self, key: Key<'_>, section: &str, known: &'static [&'static str]) -> ProjectError {
        let name = key.get_ref().to_string();
        let nearest = nearest(&name, known);
        self.wrong(key.span(), Wrong::UnknownKey { section: section.to_owned(), key: name, nearest, known })
    }

    pub(crate) fn other_type(&self, key: &str, value: Value<'_>, needed: &'static str) -> ProjectError {
        let is = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(value.span(), Wrong::Type { key: key.to_owned(), is, needed })
    }

    pub(crate) fn table<'v>(
        &self,
        key: Key<'_>,
        value: Value<'v>,
        needed: &'static str,
    ) -> Result<&'v DeTable<'v>, ProjectError> {
        value.get_ref().as_table().ok_or_else(|| self.other_type(key.get_ref(), value, needed))
    }

    pub(crate) fn text(
        &self,
        key: &'static str,
        value: Value<'_>,
        needed: &'static str,
    ) -> Result<String, ProjectError> {
        let text = value.get_ref().as_str().ok_or_else(|| self.other_type(key, value, needed))?;
        if text.trim().is_empty() {
            return Err(self.wrong(value.span(), Wrong::Empty(key)));
        }
        Ok(text.to_owned())
    }

    fn number(&self, key: &'static str, value: Value<'_>, least: u64, most: u64) -> Result<u64, ProjectError> {
        let number = value.get_ref().as_integer().ok_or_else(|| self.other_type(key, value, "a whole number"))?;
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| (least..=most).contains(n));
        let given = number.to_string();
        read.ok_or_else(|| self.wrong(value.span(), Wrong::Range { key, given, least, most }))
    }

    fn instances(&self, key: Key<'_>, value: Value<'_>) -> Result<BTreeMap<InstanceName, Found>, ProjectError> {
        let table = self.table(key, value, "a table with one for each instance, such as [instances.counter]")?;
        let mut instances = BTreeMap::new();
        for (key, value) in table {
            let name = InstanceName::new(key.get_ref().as_ref()).map_err(|error| {
                let wrong = Wrong::Name { name: key.get_ref().to_string(), reason: error.to_string() };
                self.wrong(key.span(), wrong)
            })?;
            let instance = self.instance(&name, key, value)?;
            instances.insert(name, instance);
        }
        Ok(instances)
    }

    fn instance(&self, name: &InstanceName, key: Key<'_>, value: Value<'_>) -> Result<Found, ProjectError> {
        let (mut module, mut outside) = (None, Outside::default());
        let mut instance = ProjectInstance {
            module: PathBuf::new(),
            build: None,
            replicas: REPLICAS_DEFAULT,
            fuel: None,
            memory_mib: None,
            strict_imports: false,
            surroundings: Surroundings::default(),
        };
        for (key, value) in self.table(key, value, "a table, such as [instances.counter]")? {
            match key.get_ref().as_ref() {
                "module" => module = Some(self.text("module", value, "a path, such as \"counter.wasm\"")?),
                "build" => {
                    let needed = "a command, such as \"cargo build --release --target wasm32-wasip2\"";
                    instance.build = Some(self.text("build", value, needed)?);
                }
                "replicas" => instance.replicas = self.number("replicas", value, 1, REPLICAS_MAX)? as u16,
                // What TOML has for a whole number ends there.
                "fuel" => instance.fuel = Some(self.number("fuel", value, FUEL_MIN, i64::MAX as u64)?),
                "memory-mib" => instance.memory_mib = Some(self.number("memory-mib", value, 1, MEMORY_MIB_MAX)?),
                "strict-imports" => {
                    let given = value.get_ref().as_bool();
                    instance.strict_imports =
                        given.ok_or_else(|| self.other_type("strict-imports", value, "true or false"))?;
                }
                "grants" | "secrets" | "config" => self.outside(key, value, &mut outside)?,
                _ => return Err(self.unknown(key, &format!("instance {name}"), INSTANCE_KEYS)),
            }
        }
        instance.module = module.ok_or_else(|| self.wrong(key.span(), Wrong::NoModule(name.clone())))?.into();
        Ok((instance, outside))
    }

    fn http(&self, key: Key<'_>, value: Value<'_>) -> Result<Http, ProjectError> {
        let mut http = Http::default();
        for (key, value) in self.table(key, value, "a table, [http]")? {
            match key.get_ref().as_ref() {
                "address" => http.address = self.address(value)?,
                "public-url" => http.public_url = Some(self.public_url(value)?),
                _ => return Err(self.unknown(key, "[http]", HTTP_KEYS)),
            }
        }
        Ok(http)
    }

    fn public_url(&self, value: Value<'_>) -> Result<String, ProjectError> {
        let text = self.text("public-url", value, "a text, such as \"https://shop.example.com\"")?;
        if is_public_url(&text) { Ok(text) } else { Err(self.wrong(value.span(), Wrong::PublicUrl(text))) }
    }

    fn address(&self, value: Value<'_>) -> Result<Option<SocketAddr>, ProjectError> {
        let text = self.text("address", value, "a text, such as \"127.0.0.1:8080\" or \"off\"")?;
        if text == "off" {
            return Ok(None);
        }
        // Only the name that everybody writes: no other is looked up.
        let plain = text.strip_prefix("localhost:").map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
        let address: SocketAddr = plain.parse().map_err(|_| self.wrong(value.span(), Wrong::Address(text)))?;
        if !address.ip().is_loopback() {
            return Err(self.wrong(value.span(), Wrong::NotLoopback(address)));
        }
        Ok(Some(address))
    }
}

/// The key that may have been meant: the nearest of them, if it is near.
fn nearest(key: &str, known: &[&str]) -> Option<String> {
    let key = key.to_ascii_lowercase().replace('_', "-");
    let near = known.iter().map(|known| (distance(&key, known), *known)).min()?;
    (near.0 <= near.1.len().max(3) / 3).then(|| near.1.to_owned())
}

/// How many characters have to be put in, left out, changed or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]) {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: &str = "[instances.counter]\nmodule = \"counter.wasm\"\n";

    fn fails(text: &str, said: &str) {
        let error = Project::parse(text).expect_err(text).to_string();
        assert_eq!(error, said, "{text}");
    }

    #[test]
    fn the_least_that_must_be_said() {
        let project = Project::parse(COUNTER).expect("it is whole");
        let counter = &project.instances[&InstanceName::new("counter").expect("plain")];
        assert_eq!((counter.module.to_str(), counter.replicas), (Some("counter.wasm"), 2));
        assert_eq!(
            (&counter.build, counter.fuel, counter.memory_mib, counter.strict_imports),
            (&None, None, None, false)
        );
        assert_eq!(project.http, Some(([127, 0, 0, 1], 8080).into()));
    }

    #[test]
    fn all_that_can_be_said() {
        let text = "[http]\naddress = \"localhost:0\"\n[instances]\nbank.module = \"b.wasm\"\n[instances.\"shop.eu\"]\n\
                    module = \"s.wasm\"\nbuild = \"make\"\nreplicas = 0x40\nfuel = 1_000_000\nmemory-mib = 4096\n\
                    strict-imports = true\n";
        let project = Project::parse(text).expect("all of it may be said");
        assert_eq!(project.http, Some(([127, 0, 0, 1], 0).into()));
        let shop = ProjectInstance {
            module: "s.wasm".into(),
            build: Some("make".to_owned()),
            replicas: 64,
            fuel: Some(1_000_000),
            memory_mib: Some(4096),
            strict_imports: true,
            surroundings: Surroundings::default(),
        };
        assert_eq!(project.instances.values().nth(1), Some(&shop));
        let off = Project::parse(&format!("{COUNTER}[http]\naddress = \"off\"")).expect("it may be off");
        assert_eq!(off.http, None);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_what_may_have_been_meant() {
        fails(
            &format!("{COUNTER}replica = 3"),
            "line 3: instance counter has no key `replica`; did you mean `replicas`?",
        );
        fails(
            &format!("{COUNTER}Memory_MiB = 3"),
            "line 3: instance counter has no key `Memory_MiB`; did you mean `memory-mib`?",
        );
        fails(&format!("{COUNTER}biuld = 3"), "line 3: instance counter has no key `biuld`; did you mean `build`?");
        fails(
            &format!("{COUNTER}colour = 3"),
            "line 3: instance counter has no key `colour`; it may have module, build, replicas, fuel, memory-mib, \
             strict-imports, grants, secrets, config",
        );
        fails(&format!("\n{COUNTER}[htp]\n"), "line 4: the file has no key `htp`; did you mean `http`?");
        fails(
            &format!("{COUNTER}[http]\nport = 80"),
            "line 4: [http] has no key `port`; it may have address, public-url",
        );
        fails("[instance.a]\nmodule = \"a\"", "line 1: the file has no key `instance`; did you mean `instances`?");
    }

    #[test]
    fn a_value_of_another_type_is_told() {
        fails(&format!("{COUNTER}replicas = \"3\""), "line 3: `replicas` is a text, and must be a whole number");
        fails(
            &format!("{COUNTER}fuel = 2.5"),
            "line 3: `fuel` is a number with a fraction, and must be a whole number",
        );
        fails(
            &format!("{COUNTER}strict-imports = 1"),
            "line 3: `strict-imports` is a whole number, and must be true or false",
        );
        fails(
            "[instances.a]\nmodule = [\"a\"]",
            "line 2: `module` is a list, and must be a path, such as \"counter.wasm\"",
        );
        fails(
            "[instances]\na = true",
            "line 2: `a` is true or false, and must be a table, such as [instances.counter]",
        );
        fails("http = 1979-05-27", "line 1: `http` is a time, and must be a table, [http]");
        fails(
            &format!("{COUNTER}build = {{}}"),
            "line 3: `build` is a table, and must be a command, such as \"cargo build --release --target wasm32-wasip2\"",
        );
    }

    #[test]
    fn a_number_out_of_range_is_told() {
        fails(&format!("{COUNTER}replicas = 0"), "line 3: `replicas` is 0, and must be 1 to 64");
        fails(&format!("{COUNTER}replicas = 65"), "line 3: `replicas` is 65, and must be 1 to 64");
        fails(&format!("{COUNTER}memory-mib = -1"), "line 3: `memory-mib` is -1, and must be 1 to 4096");
        fails(&format!("{COUNTER}fuel = 5"), "line 3: `fuel` is 5, and must be 1000000 to 9223372036854775807");
    }

    #[test]
    fn what_is_missing_or_empty_is_told() {
        fails("", "line 1: there is no instance: add a table such as [instances.counter] with its module");
        fails(
            "[http]\n\n[instances.my-shop]\nreplicas = 3",
            "line 3: instance my-shop has no `module`: say where its component is, such as module = \
             \"target/wasm32-wasip2/release/my_shop.wasm\"",
        );
        fails("[instances.a]\nmodule = \" \"", "line 2: `module` is empty");
        fails(&format!("{COUNTER}build = \"\""), "line 3: `build` is empty");
    }

    #[test]
    fn a_name_that_no_instance_can_have_is_told() {
        let error = Project::parse("[instances.\"a b\"]\nmodule = \"a\"").expect_err("a blank").to_string();
        assert!(error.starts_with("line 1: `a b` can't be the name of an instance: "), "{error}");
    }

    #[test]
    fn an_address_that_is_none_or_is_not_of_this_machine_is_told() {
        let http = |address| format!("{COUNTER}[http]\naddress = \"{address}\"");
        fails(
            &http("8080"),
            "line 4: `address` is \"8080\", and must be an address of this machine with a port, such as \"127.0.0.1:8080\", \
             or \"off\"",
        );
        fails(
            &http("0.0.0.0:80"),
            "line 4: `address` is 0.0.0.0:80, which other machines reach: there is no encryption yet, so use one of the \
             loopback, such as 127.0.0.1:8080",
        );
        assert!(Project::parse(&http("[::1]:80")).is_ok());
        let url = |url| format!("{COUNTER}[http]\npublic-url = \"{url}\"");
        let project = Project::parse(&url("https://shop.example.com:8443")).expect("an origin");
        assert_eq!(project.public_url.as_deref(), Some("https://shop.example.com:8443"));
        fails(
            &url("https://shop.example.com/"),
            "line 4: `public-url` is \"https://shop.example.com/\", and must be scheme, host and port, such as \
             \"https://shop.example.com\"",
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = Project::parse("[instances.a]\nmodule = \"a\"\nmodule = \"b\"").expect_err("twice");
        assert!(error.line == 3 && matches!(error.wrong, Wrong::Syntax(_)), "{error}");
        let error = Project::parse("[instances.a\n").expect_err("not closed");
        assert!(error.line == 1 && matches!(error.wrong, Wrong::Syntax(_)), "{error}");
    }
}
