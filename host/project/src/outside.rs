//! What instances may reach outside, and what is set for them: `[grants]`, `[secrets]` and `[config]`, of all instances or of one.

use std::{collections::BTreeMap, ops::Range};

use ambrosia_core::{InstanceName, limits::CONFIGURATION_NAME_BYTES_MAX};
use ambrosia_outgoing::{Grant, SecretName, SecretSource};
use serde_json::Value as Json;
use toml::de::DeValue;

use crate::{
    ProjectError, Surroundings, Wrong,
    parse::{Key, Reader, Value},
};

const GRANT_KEYS: &[&str] = &["http"];

/// A value is an argument of a process, for which Linux has a limit of 128 KiB.
const CONFIG_VALUE_BYTES_MAX: usize = 100_000;

const HTTP_NEEDED: &str = "a list of texts, such as [\"https://api.example.com/*\"]";
const SECRET_NEEDED: &str = "where it is, \"env:VARIABLE\" or \"file:PATH\"";
const CONFIG_NEEDED: &str = "a text, a number, true or false, a list or a table";

/// What a section says, with the places of its grants.
#[derive(Clone, Default)]
pub(crate) struct Outside {
    grants: Vec<(Range<usize>, Grant)>,
    secrets: BTreeMap<SecretName, SecretSource>,
    config: BTreeMap<String, Json>,
}

impl Outside {
    /// What counts for an instance that says this, while `all` is said of all of them.
    pub(crate) fn within(
        self,
        all: &Outside,
        name: &InstanceName,
        reader: &Reader<'_>,
    ) -> Result<Surroundings, ProjectError> {
        let secrets: BTreeMap<_, _> = all.secrets.clone().into_iter().chain(self.secrets).collect();
        let config = all.config.clone().into_iter().chain(self.config).collect();
        let grants: Vec<_> = self.grants.into_iter().chain(all.grants.iter().cloned()).collect();
        for (at, grant) in &grants {
            if let Some(secret) = grant.secrets().find(|secret| !secrets.contains_key(secret)) {
                let wrong = Wrong::NoSecret { instance: name.clone(), secret: secret.clone() };
                return Err(reader.wrong(at.clone(), wrong));
            }
        }
        Ok(Surroundings { grants: grants.into_iter().map(|(_, grant)| grant).collect(), secrets, config })
    }
}

impl Reader<'_> {
    /// Reads a section if it is one of these three.
    pub(crate) fn outside(&self, key: Key<'_>, value: Value<'_>, into: &mut Outside) -> Result<(), ProjectError> {
        match key.get_ref().as_ref() {
            "grants" => self.grants(key, value, into),
            "secrets" => self.secrets(key, value, into),
            _ => self.config(key, value, into),
        }
    }

    fn grants(&self, key: Key<'_>, value: Value<'_>, into: &mut Outside) -> Result<(), ProjectError> {
        for (key, value) in self.table(key, value, "a table, [grants]")? {
            if key.get_ref().as_ref() != "http" {
                return Err(self.unknown(key, "[grants]", GRANT_KEYS));
            }
            let list = value.get_ref().as_array().ok_or_else(|| self.other_type("http", value, HTTP_NEEDED))?;
            for value in list {
                let text = self.text("http", value, HTTP_NEEDED)?;
                let grant = text.parse().map_err(|error| self.wrong(value.span(), Wrong::Grant(error)))?;
                into.grants.push((value.span(), grant));
            }
        }
        Ok(())
    }

    fn secrets(&self, key: Key<'_>, value: Value<'_>, into: &mut Outside) -> Result<(), ProjectError> {
        for (key, value) in self.table(key, value, "a table, [secrets]")? {
            let name: SecretName =
                key.get_ref().parse().map_err(|error| self.wrong(key.span(), Wrong::SecretName(error)))?;
            let text = value.get_ref().as_str();
            let text = text.ok_or_else(|| self.other_type(key.get_ref(), value, SECRET_NEEDED))?;
            // What is wrong may be the secret itself, and is not shown.
            let source = text.parse().map_err(|_| self.wrong(value.span(), Wrong::Secret(name.clone())))?;
            into.secrets.insert(name, source);
        }
        Ok(())
    }

    fn config(&self, key: Key<'_>, value: Value<'_>, into: &mut Outside) -> Result<(), ProjectError> {
        for (key, value) in self.table(key, value, "a table, [config]")? {
            let name = key.get_ref().to_string();
            let wrong = |reason| self.wrong(key.span(), Wrong::ConfigName { name: name.clone(), reason });
            if name.starts_with("ambrosia.") {
                return Err(wrong("names that begin with `ambrosia.` are the host's own"));
            }
            if !(1..=CONFIGURATION_NAME_BYTES_MAX).contains(&name.len()) || name.contains(['=', '\0']) {
                return Err(wrong("use 1 to 256 bytes without `=`"));
            }
            let json = self.json(&name, value)?;
            let bytes = json.to_string().len();
            if bytes > CONFIG_VALUE_BYTES_MAX {
                let wrong = Wrong::ConfigSize { name, bytes, most: CONFIG_VALUE_BYTES_MAX };
                return Err(self.wrong(value.span(), wrong));
            }
            into.config.insert(name, json);
        }
        Ok(())
    }

    fn json(&self, name: &str, value: Value<'_>) -> Result<Json, ProjectError> {
        let other = || self.other_type(name, value, CONFIG_NEEDED);
        let json = match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => return Err(other()),
            DeValue::String(text) => Json::from(text.as_ref()),
            DeValue::Boolean(is_true) => Json::from(*is_true),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix());
                Json::from(read.map_err(|_| self.config_range(name, value, number.to_string()))?)
            }
            DeValue::Float(number) => {
                let read = number.as_str().replace('_', "").parse().ok().and_then(serde_json::Number::from_f64);
                Json::from(read.ok_or_else(|| self.config_range(name, value, number.to_string()))?)
            }
            DeValue::Datetime(_) => return Err(other()),
            DeValue::Array(list) => {
                Json::from(list.iter().map(|one| self.json(name, one)).collect::<Result<Vec<_>, _>>()?)
            }
            DeValue::Table(table) => {
                let entries = table.iter().map(|(key, one)| Ok((key.get_ref().to_string(), self.json(name, one)?)));
                Json::Object(entries.collect::<Result<_, _>>()?)
            }
        };
        Ok(json)
    }

    fn config_range(&self, name: &str, value: Value<'_>, given: String) -> ProjectError {
        self.wrong(value.span(), Wrong::ConfigRange { name: name.to_owned(), given })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Project;

    const COUNTER: &str = "[instances.counter]\nmodule = \"counter.wasm\"\n";

    fn fails(text: &str, said: &str) {
        let error = Project::parse(text).expect_err(text).to_string();
        assert_eq!(error, said, "{text}");
    }

    fn of(project: &Project, name: &str) -> Surroundings {
        project.instances[&InstanceName::new(name).expect("plain")].surroundings.clone()
    }

    #[test]
    fn what_is_said_of_all_counts_for_each_and_what_is_said_of_one_outweighs_it() {
        let text = "[instances.shop]\nmodule = \"s\"\ngrants.http = [\"http://127.0.0.1:9/*\"]\n\
                    [instances.shop.secrets]\nBANK = \"file:shop.key\"\n[instances.shop.config]\nlimit = 5\n\
                    [instances.bank]\nmodule = \"b\"\n[grants]\nhttp = [\"https://bank.example/* secrets=BANK\"]\n\
                    [secrets]\nBANK = \"env:BANK_KEY\"\n[config]\nlimit = 1\ncity = \"Ulm\"\n";
        let project = Project::parse(text).expect("it is whole");
        let (shop, bank) = (of(&project, "shop"), of(&project, "bank"));
        let grants = |of: &Surroundings| of.grants.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(grants(&shop), ["http://127.0.0.1:9/*", "https://bank.example/* secrets=BANK"]);
        assert_eq!(grants(&bank), ["https://bank.example/* secrets=BANK"]);
        let key = |of: &Surroundings| of.secrets.values().cloned().collect::<Vec<_>>();
        assert_eq!(key(&shop), [SecretSource::File("shop.key".into())]);
        assert_eq!(key(&bank), [SecretSource::Environment("BANK_KEY".to_owned())]);
        assert_eq!((&shop.config["limit"], &shop.config["city"]), (&json!(5), &json!("Ulm")));
        assert_eq!(bank.config["limit"], json!(1));
    }

    #[test]
    fn values_have_the_types_that_are_written() {
        let text = format!(
            "{COUNTER}[config]\nt = \"a\"\nn = 0xff\nm = -1_000\nf = 1_0.5\nb = true\nl = [1, \"x\"]\nm2 = {{ a = {{ b = 2 }} }}\n"
        );
        let config = of(&Project::parse(&text).expect("all of it may be"), "counter").config;
        let expected = json!({
            "t": "a", "n": 255, "m": -1000, "f": 10.5, "b": true, "l": [1, "x"], "m2": {"a": {"b": 2}},
        });
        assert_eq!(serde_json::to_value(config).expect("it is JSON"), expected);
    }

    #[test]
    fn what_is_wrong_with_a_value_is_told_with_its_line() {
        let config = |line: &str| format!("{COUNTER}[config]\n\n{line}\n");
        fails(
            &config("due = 1979-05-27"),
            "line 5: `due` is a time, and must be a text, a number, true or false, a list or a table",
        );
        fails(&config("n = nan"), "line 5: `n` is nan, which is no number that a value can have");
        fails(
            &config("l = [\n99999999999999999999]"),
            "line 6: `l` is 99999999999999999999, which is no number that a value can have",
        );
        fails(
            &config("\"ambrosia.x\" = 1"),
            "line 5: `ambrosia.x` can't be the name of a value: names that begin with `ambrosia.` are the host's own",
        );
        fails(&config("\"\" = 1"), "line 5: `` can't be the name of a value: use 1 to 256 bytes without `=`");
        let long = "x".repeat(CONFIG_VALUE_BYTES_MAX);
        fails(
            &config(&format!("t = \"{long}\"")),
            "line 5: the value `t` has 100002 bytes as JSON, and 100000 are allowed",
        );
    }

    #[test]
    fn a_grant_that_is_none_is_told_and_so_is_one_whose_secret_is_nowhere() {
        let grants = |line: &str| format!("{COUNTER}[grants]\n{line}\n");
        fails(
            &grants("http = [\"api.example.com\"]"),
            "line 4: `http` has a grant that is none: `api.example.com` begins with neither http:// nor https://; write it like \
             https://api.example.com/*",
        );
        let needed = "must be a list of texts, such as [\"https://api.example.com/*\"]";
        fails(&grants("http = \"https://a/*\""), &format!("line 4: `http` is a text, and {needed}"));
        fails(&grants("http = [5]"), &format!("line 4: `http` is a whole number, and {needed}"));
        fails(&grants("htp = []"), "line 4: [grants] has no key `htp`; did you mean `http`?");
        fails(
            &grants("http = [\n\"https://a/*\",\n\"https://b/* secrets=KEY\"]"),
            "line 6: the grant lists the secret KEY, and instance counter has none of that name: say where it is, such as KEY = \
             \"env:KEY\" in [secrets]",
        );
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let secrets = |line: &str| format!("{COUNTER}[secrets]\n{line}\n");
        fails(
            &secrets("KEY = \"hunter2\""),
            "line 4: the secret KEY must be where it is, \"env:VARIABLE\" or \"file:PATH\", and never the value itself",
        );
        fails(
            &secrets("KEY = 5"),
            "line 4: `KEY` is a whole number, and must be where it is, \"env:VARIABLE\" or \"file:PATH\"",
        );
        fails(&secrets("a-b = \"env:A\""), "line 4: `a-b` is no name of a secret: use letters, digits and _");
        fails(
            "[instances.a]\nmodule = \"a\"\nsecret.KEY = \"env:A\"",
            "line 3: instance a has no key `secret`; did you mean `secrets`?",
        );
    }
}
