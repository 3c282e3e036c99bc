//! What a run that was killed has left: only directories, since all else goes with its processes.

use std::path::Path;

use anyhow::Context;

/// Directories of rounds are called so, and then by the process that made them.
const PREFIX: &str = "ambrosia-torture-";

/// What the name of a directory of this process begins with that the next run removes, if this one is killed.
pub fn prefix(of: &str) -> String {
    format!("{PREFIX}{}-{of}-", std::process::id())
}

/// Removes the directories of rounds whose process is gone. Those that were kept on purpose carry another name.
pub fn remove_leftovers() -> anyhow::Result<()> {
    for entry in std::fs::read_dir(std::env::temp_dir()).context("read the temporary directory")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            std::fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
            eprintln!("removed what an earlier run left: {}", entry.path().display());
        }
    }
    Ok(())
}
