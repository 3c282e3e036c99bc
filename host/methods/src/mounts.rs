//! Paths of an operator's choice, below which the routes of an instance are.
//!
//! **Architecture Invariant:** the longest prefix of a path is looked at first, so which instance is meant does not depend on the order in
//! which they are given.

use std::{cmp::Reverse, fmt, str::FromStr};

use ambrosia_core::InstanceName;

use crate::route::{OWN_SEGMENTS, PATH_BYTES_MAX, PathError, SEGMENTS_MAX, check_text};

/// Most of them.
pub const MOUNTS_MAX: usize = 256;

/// The first segments of paths: `/api`, or `/` for all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix(Vec<String>);

/// Why a text is no prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrefixError {
    /// It is no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The host answers there.
    #[error("what begins with /{0} is the host's own")]
    Own(String),
}

/// An instance, and where its routes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// What their paths begin with.
    pub prefix: Prefix,
    /// The instance.
    pub instance: InstanceName,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mounts(Vec<Mount>);

/// Why they can't be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MountError {
    /// One path for two.
    #[error("{0} is given twice")]
    Twice(Prefix),
    /// More than there may be.
    #[error("there are {0}, and {MOUNTS_MAX} are the most")]
    TooMany(usize),
}

impl Mounts {
    /// Puts them in the order in which they are looked at.
    ///
    /// # Errors
    /// If two have the same path, or there are too many.
    pub fn new(mut mounts: Vec<Mount>) -> Result<Mounts, MountError> {
        if mounts.len() > MOUNTS_MAX {
            return Err(MountError::TooMany(mounts.len()));
        }
        mounts.sort_by(|one, other| {
            let key = |mount: &Mount| (Reverse(mount.prefix.0.len()), mount.prefix.clone());
            key(one).cmp(&key(other))
        });
        match mounts.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
            Some(pair) => Err(MountError::Twice(pair[0].prefix.clone())),
            None => Ok(Mounts(mounts)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// Those that a path is below, by its segments, decoded; and what is behind the prefix.
    pub fn above<'a>(&'a self, segments: &'a [String]) -> impl Iterator<Item = (&'a InstanceName, &'a [String])> {
        self.0
            .iter()
            .filter_map(move |mount| Some((&mount.instance, segments.strip_prefix(mount.prefix.0.as_slice())?)))
    }
}

impl Prefix {
    /// The path of an instance's route below it.
    pub fn join(&self, path: &impl fmt::Display) -> String {
        let path = path.to_string();
        match (self.0.is_empty(), path.as_str()) {
            (true, path) => path.to_owned(),
            (false, "/") => self.to_string(),
            (false, path) => format!("{self}{path}"),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()).into());
        }
        let rest = text.strip_prefix('/').ok_or(PathError::NoSlash)?;
        let segments: Vec<_> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        if segments.len() > SEGMENTS_MAX {
            return Err(PathError::TooManySegments(segments.len()).into());
        }
        for segment in &segments {
            if segment.is_empty() {
                return Err(PathError::EmptySegment.into());
            }
            check_text(segment)?;
        }
        match segments.first() {
            Some(first) if OWN_SEGMENTS.contains(first) => Err(PrefixError::Own((*first).to_owned())),
            _ => Ok(Prefix(segments.into_iter().map(str::to_owned).collect())),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(prefix: &str, instance: &str) -> Mount {
        let instance = InstanceName::new(instance).expect("plain");
        Mount { prefix: prefix.parse().expect("a prefix"), instance }
    }

    #[test]
    fn a_path_is_below_all_its_prefixes_the_longest_first() {
        let mounts = [mount("/", "site"), mount("/api", "shop"), mount("/api/v2", "new-shop"), mount("/ap", "other")];
        let mounts = Mounts::new(mounts.to_vec()).expect("all different");
        let above = |path: &[&str]| -> Vec<String> {
            let segments: Vec<_> = path.iter().map(|segment| (*segment).to_owned()).collect();
            mounts.above(&segments).map(|(name, rest)| format!("{name}:{}", rest.join("/"))).collect()
        };
        assert_eq!(above(&["api", "v2", "x"]), ["new-shop:x", "shop:v2/x", "site:api/v2/x"]);
        assert_eq!(above(&["api"]), ["shop:", "site:api"]);
        assert_eq!(above(&["apis", "v2"]), ["site:apis/v2"]);
        assert_eq!(above(&[]), ["site:"]);
    }

    #[test]
    fn a_path_is_joined_to_its_prefix() {
        let join = |prefix: &str, path: &str| mount(prefix, "a").prefix.join(&path);
        assert_eq!((join("/", "/"), join("/", "/x")), ("/".to_owned(), "/x".to_owned()));
        assert_eq!((join("/api", "/"), join("/api", "/x/{a}")), ("/api".to_owned(), "/api/x/{a}".to_owned()));
    }

    #[test]
    fn what_can_be_no_prefix_is_told() {
        for (text, said) in [
            ("api", "does not begin with `/`"),
            ("/api/", "an empty segment"),
            ("/{a}", "'{' in it"),
            ("/a/..", "can't be `..`"),
            ("/v1", "/v1 is the host's own"),
            ("/docs/mine", "/docs is the host's own"),
        ] {
            let error = text.parse::<Prefix>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!("/v12".parse::<Prefix>().is_ok() && "/a/docs".parse::<Prefix>().is_ok());
        let twice = Mounts::new(vec![mount("/a", "b"), mount("/a", "c")]).expect_err("one path");
        assert_eq!(twice.to_string(), "/a is given twice");
        let many = (0..=MOUNTS_MAX).map(|at| mount(&format!("/{at}"), "b")).collect();
        assert_eq!(Mounts::new(many), Err(MountError::TooMany(MOUNTS_MAX + 1)));
    }
}
