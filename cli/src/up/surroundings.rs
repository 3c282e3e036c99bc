//! What a replica is told of the world outside: arguments of `run`.
//!
//! **Architecture Invariant:** of a secret only the place is among them, since everybody on this machine can read the arguments
//! of a process.

use std::{ffi::OsString, path::Path};

use ambrosia_core::InstanceName;
use ambrosia_host::SecretSource;
use ambrosia_project::Surroundings;
use anyhow::Context;

use super::{Place, speaker::Speaker};
use crate::arguments::ConfigurationArguments;

/// The arguments for a replica in a project that lies in `directory`.
pub(crate) fn arguments(surroundings: &Surroundings, directory: &Path, public_url: Option<&str>) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    for grant in &surroundings.grants {
        add("--grant-http", grant.to_string().into());
    }
    for (name, source) in &surroundings.secrets {
        let mut secret = OsString::from(format!("{name}="));
        match source {
            SecretSource::Environment(variable) => secret.push(format!("env:{variable}")),
            SecretSource::File(path) => {
                secret.push("file:");
                secret.push(directory.join(path));
            }
        }
        add("--secret", secret);
    }
    for (name, value) in &surroundings.config {
        add("--config", format!("{name}={value}").into());
    }
    if let Some(url) = public_url {
        add("--public-url", url.into());
    }
    arguments
}

/// Sees that all instances can take what is set for them, and tells which secrets are not there.
///
/// # Errors
/// If one has too many values, or too large ones.
pub(crate) fn check(place: &Place, speaker: &Speaker) -> anyhow::Result<()> {
    for (name, instance) in &place.project.instances {
        ConfigurationArguments::check(&instance.surroundings.config)
            .with_context(|| format!("[config] of instance {name}"))?;
        for (secret, source) in &instance.surroundings.secrets {
            let missing = match source {
                SecretSource::Environment(variable) if std::env::var_os(variable).is_none() => {
                    format!("no variable {variable} in the environment of `up`")
                }
                SecretSource::File(path) if !place.directory.join(path).is_file() => {
                    format!("no file {}", place.directory.join(path).display())
                }
                SecretSource::Environment(_) | SecretSource::File(_) => continue,
            };
            tell_missing(speaker, name, &secret.to_string(), &missing);
        }
    }
    Ok(())
}

fn tell_missing(speaker: &Speaker, name: &InstanceName, secret: &str, missing: &str) {
    speaker.say(format_args!(
        "instance {name} has no secret {secret}, since there is {missing}: requests that take it wait or fail"
    ));
}

#[cfg(test)]
mod tests {
    use ambrosia_project::Project;

    use super::*;

    #[test]
    fn a_replica_is_told_where_secrets_are_and_never_what_they_are() {
        let text = "[instances.shop]\nmodule = \"s\"\n[grants]\nhttp = [\"https://bank.example secrets=BANK\"]\n\
                    [secrets]\nBANK = \"env:PATH\"\nOTHER = \"file:keys/other\"\n[config]\ncity = \"Ulm\"\n";
        let project = Project::parse(text).expect("it is whole");
        let shop = project.instances.values().next().expect("it has one");
        let told = arguments(&shop.surroundings, Path::new("/srv/shop"), Some("https://shop.example"));
        let told: Vec<_> = told.iter().map(|one| one.to_str().expect("text")).collect();
        assert_eq!(
            told,
            [
                "--grant-http",
                "https://bank.example/* secrets=BANK",
                "--secret",
                "BANK=env:PATH",
                "--secret",
                "OTHER=file:/srv/shop/keys/other",
                "--config",
                "city=\"Ulm\"",
                "--public-url",
                "https://shop.example"
            ]
        );
    }
}
