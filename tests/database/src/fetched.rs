//! Programs that `scripts/engines.sh` fetches.

use std::{env, path::PathBuf};

/// Where the script puts it, or in the path.
pub(crate) fn fetched(program: &str) -> Option<PathBuf> {
    let fetched = env::var_os("AMBROSIA_ENGINES")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/engines")), PathBuf::from);
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    std::iter::once(fetched).chain(in_path).map(|directory| directory.join(program)).find(|program| program.is_file())
}
