//! Variables of the environment, by which the tools of providers are set up, and so is what is done here.

use std::{env, fmt, sync::Arc};

/// Where they are read.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Variables(Option<Arc<[(String, String)]>>);

impl Variables {
    /// These, in the place of those of the process.
    pub(crate) fn given(variables: Vec<(String, String)>) -> Variables {
        Variables(Some(variables.into()))
    }

    /// All whose names begin so, with their names in small letters.
    pub(crate) fn beginning_with(&self, prefix: &str) -> Vec<(String, String)> {
        let all = match &self.0 {
            Some(given) => given.to_vec(),
            // What is no text is none that they know.
            None => env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        };
        let ours = all.into_iter().filter(|(name, _)| name.starts_with(prefix));
        ours.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match &self.0 {
            Some(given) => given.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone()),
            None => env::var(name).ok(),
        }
    }
}

/// Without what they say, for some are secrets.
impl fmt::Debug for Variables {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "given variables" } else { "variables of the process" })
    }
}
