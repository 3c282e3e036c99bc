//! Puts the sources of the guest SDK into the program, so that a new project has the SDK of the host that made it.

use std::{
    env, fs,
    io::{Error, Result},
    path::{Path, PathBuf},
};

/// Files and directories of the repository, and what of a directory is taken.
const PARTS: [(&str, &str); 5] = [
    ("guest-sdk/Cargo.toml", ""),
    ("guest-sdk/src", "rs"),
    ("guest-sdk/macros/Cargo.toml", ""),
    ("guest-sdk/macros/src", "rs"),
    ("wit", "wit"),
];
/// Only what is on the top of it: below are those of earlier versions.
const FLAT: &str = "wit";

fn main() -> Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| Error::other("run by cargo"))?);
    let root = here.parent().ok_or_else(|| Error::other("cli lies in the repository"))?;
    let mut files = Vec::new();
    for (part, extension) in PARTS {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
        collect(&root.join(part), extension, part != FLAT, &mut files)?;
    }
    files.sort();
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    let manifest = workspace(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    let mut list = format!("const SDK: &[(&str, &str)] = &[\n    (\"Cargo.toml\", {manifest:?}),\n");
    for file in files {
        let name = file.strip_prefix(root).map_err(Error::other)?;
        list += &format!("    ({name:?}, include_str!({file:?})),\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| Error::other("run by cargo"))?);
    fs::write(out.join("sdk.rs"), list + "];\n")
}

fn collect(path: &Path, extension: &str, is_deep: bool, into: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() && is_deep {
            collect(&path, extension, is_deep, into)?;
        } else if path.is_file() && path.extension().is_some_and(|one| one == extension) {
            into.push(path);
        }
    }
    Ok(())
}

/// The manifest of the workspace, with the SDK as its only members: what these inherit stays as it is.
fn workspace(text: &str) -> Result<String> {
    let cut = |text: &str, key: &str, by: &str| -> Result<String> {
        let missing = || Error::other(format!("Cargo.toml has no {key}"));
        let begin = text.find(&format!("\n{key} = [")).ok_or_else(missing)? + 1;
        let end = begin + text[begin..].find(']').ok_or_else(missing)? + 1;
        Ok(format!("{}{by}{}", &text[..begin], &text[end..]))
    };
    let text = cut(text, "members", "members = [\"guest-sdk\", \"guest-sdk/macros\"]")?;
    cut(&text, "default-members", "")
}
