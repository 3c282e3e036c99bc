//! The `Cargo.lock` of a project in Rust: the versions of the crates that the SDK was tested with, so that a project which is made
//! years from now builds as it does today.

/// That of the SDK, without a project. Held by `a_new_project_has_the_crates_of_the_workspace` in the integration tests, which writes it
/// anew with `AMBROSIA_BLESS=1`.
const OF_SDK: &str = include_str!("rust/Cargo.lock.in");

const BEFORE_PACKAGE: &str = "\n\n[[package]]\n";

/// With the project of that name. Cargo has packages in the order of their names, and takes a file for another one where it finds
/// another order.
pub(crate) fn of(name: &str) -> String {
    let project = format!("name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"ambrosia-sdk\",\n]");
    let mut parts: Vec<_> = OF_SDK.trim_end().split(BEFORE_PACKAGE).collect();
    let is_before = |package: &str| package_name(package).is_none_or(|other| other < name);
    let at = parts.iter().position(|package| !is_before(package)).unwrap_or(parts.len());
    parts.insert(at, &project);
    parts.join(BEFORE_PACKAGE) + "\n"
}

/// `None` for the head of the file.
fn package_name(package: &str) -> Option<&str> {
    package.strip_prefix("name = \"")?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_stands_where_cargo_would_have_it() {
        for name in ["a-shop", "my-shop", "zz-shop"] {
            let lock = of(name);
            let names: Vec<_> = lock.split(BEFORE_PACKAGE).filter_map(package_name).collect();
            assert!(names.contains(&name) && names.is_sorted(), "{names:?}");
        }
    }
}
