//! `[routes]`: below which paths routes of instances are.

use std::collections::BTreeMap;

use ambrosia_core::InstanceName;
use ambrosia_methods::{Mount, Mounts};

use crate::{
    ProjectError, ProjectInstance, Wrong,
    parse::{Key, Reader, Value},
};

impl Reader<'_> {
    /// What `[routes]` says of these instances.
    pub(crate) fn routes(
        &self,
        key: Key<'_>,
        value: Value<'_>,
        instances: &BTreeMap<InstanceName, ProjectInstance>,
    ) -> Result<Mounts, ProjectError> {
        let mut mounts = Vec::new();
        for (key, value) in self.table(key, value, "a table of paths and instances, such as \"/api\" = \"shop\"")? {
            let text = key.get_ref().to_string();
            let bad = |reason: String| self.wrong(key.span(), Wrong::Prefix { prefix: text.clone(), reason });
            let prefix = text.parse().map_err(|error: ambrosia_methods::PrefixError| bad(error.to_string()))?;
            let Some(name) = value.get_ref().as_str() else {
                return Err(self.other_type(&text, value, "the name of an instance, such as \"shop\""));
            };
            let Some((instance, _)) = instances.iter().find(|(known, _)| known.as_str() == name) else {
                let known = instances.keys().map(InstanceName::to_string).collect();
                let wrong = Wrong::NoRoutes { prefix: text, instance: name.to_owned(), known };
                return Err(self.wrong(value.span(), wrong));
            };
            mounts.push(Mount { prefix, instance: instance.clone() });
        }
        let bad = |reason: String| self.wrong(key.span(), Wrong::Prefix { prefix: key.get_ref().to_string(), reason });
        Mounts::new(mounts).map_err(|error| bad(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use crate::Project;

    const SHOP: &str = "[instances.shop]\nmodule = \"shop.wasm\"\n[instances.bank]\nmodule = \"bank.wasm\"\n";

    #[test]
    fn routes_of_instances_are_where_the_project_says() {
        // Also before the instances are named.
        for text in [
            format!("{SHOP}[routes]\n\"/\" = \"shop\"\n\"/api/bank\" = \"bank\"\n"),
            format!("[routes]\n\"/api/bank\" = \"bank\"\n\"/\" = \"shop\"\n{SHOP}"),
        ] {
            let project = Project::parse(&text).expect(&text);
            let routes: Vec<_> =
                project.routes.iter().map(|mount| format!("{} {}", mount.prefix, mount.instance)).collect();
            assert_eq!(routes, ["/api/bank bank", "/ shop"]);
        }
        assert_eq!(Project::parse(SHOP).expect("it is whole").routes.iter().count(), 0);
    }

    #[test]
    fn what_can_be_no_place_of_routes_is_told_with_its_line() {
        for (routes, said) in [
            ("api = \"shop\"", "line 7: `api` can't be where routes are: it does not begin with `/`"),
            ("\"/a/\" = \"shop\"", "line 7: `/a/` can't be where routes are: it has an empty segment"),
            (
                "\"/v1/x\" = \"shop\"",
                "line 7: `/v1/x` can't be where routes are: what begins with /v1 is the host's own",
            ),
            (
                "\n\"/x\" = \"other\"",
                "line 8: `/x` is for the routes of instance other, and there is none of that name: the \
                project has bank, shop",
            ),
            ("\"/x\" = 7", "line 7: `/x` is a whole number, and must be the name of an instance, such as \"shop\""),
        ] {
            let text = format!("{SHOP}\n[routes]\n{routes}\n");
            let error = Project::parse(&text).expect_err(routes).to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let text = format!("{SHOP}[routes]\n\"/x\" = \"shop\"\n\"/x\" = \"bank\"\n");
        let error = Project::parse(&text).expect_err("twice");
        assert_eq!(error.line, 7, "{error}");
        let error = Project::parse(&format!("routes = 7\n{SHOP}")).expect_err("no table").to_string();
        assert!(error.starts_with("line 1: `routes` is a whole number, and must be a table of paths"), "{error}");
    }
}
