//! Where a process runs, so that its number can be understood: two containers on one store each have a process 1.

use std::{fmt, os::unix::fs::MetadataExt, sync::OnceLock};

use crate::file::host_name;

/// A host, by its name, and the namespace in which its processes have their numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ProcessPlace {
    /// Name of the host, or container; empty if it is not known.
    pub host: String,
    /// Number of the namespace; 0 if it is not known.
    pub pid_namespace: u64,
}

impl ProcessPlace {
    /// Where this process runs. A host keeps its name while a process of this program runs, as far as that is concerned.
    pub fn here() -> &'static ProcessPlace {
        static HERE: OnceLock<ProcessPlace> = OnceLock::new();
        HERE.get_or_init(|| ProcessPlace {
            host: host_name(),
            pid_namespace: std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
        })
    }

    /// Whether numbers of processes are known to mean the same in both places.
    pub fn has_same_numbers(&self, other: &ProcessPlace) -> bool {
        self.pid_namespace != 0 && self.pid_namespace == other.pid_namespace
    }

    /// Whether numbers of processes mean the same here and there, as far as both are known.
    pub(crate) fn is_here(&self) -> bool {
        let here = ProcessPlace::here();
        let is_same_host = self.host.is_empty() || self.host == here.host;
        let are_known = self.pid_namespace != 0 && here.pid_namespace != 0;
        is_same_host && !(are_known && self.pid_namespace != here.pid_namespace)
    }
}

/// Fits behind the number of a process; nothing if that means the same here.
impl fmt::Display for ProcessPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.host {
            _ if self.is_here() => Ok(()),
            host if host.is_empty() || host == ProcessPlace::here().host => f.write_str(" in another pid namespace"),
            host => write!(f, " on {host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_elsewhere_is_said_to_be_there() {
        let here = ProcessPlace::here().clone();
        assert!(!here.host.is_empty(), "every Linux has a name");
        assert_eq!(here.to_string(), "");
        assert_eq!(ProcessPlace { host: "elsewhere".to_owned(), ..here.clone() }.to_string(), " on elsewhere");
        let inside = ProcessPlace { pid_namespace: 1, ..here.clone() };
        assert_eq!(inside.to_string(), " in another pid namespace");
        assert_eq!(ProcessPlace::default().to_string(), "", "an older version says nothing of it");
    }
}
