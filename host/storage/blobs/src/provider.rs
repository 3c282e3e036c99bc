//! Whose object store it is, and how its client is set up: by the variables of the environment that the provider's own tools read.
//!
//! **Architecture Invariant:** no credential stands in a URL, and none is ever shown.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ambrosia_shared_log::DepotError;
use ambrosia_storage_tls::{TlsFiles, is_here};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};

use crate::{connector::Connector, variables::Variables, words::said};

/// A request that has failed is asked again so often …
const TRIES_MORE: usize = 4;

/// … and not behind that time.
const RETRY_TIME: Duration = Duration::from_secs(15);

/// Whose object store it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Provider {
    /// Amazon's, and whatever speaks its protocol.
    S3,
    Google,
    Azure,
}

impl Provider {
    pub(crate) const ALL: [Provider; 3] = [Provider::S3, Provider::Google, Provider::Azure];

    /// What URLs of it begin with.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Google => "gs",
            Provider::Azure => "az",
        }
    }

    /// What it calls what holds objects.
    pub(crate) fn bucket(self) -> &'static str {
        match self {
            Provider::S3 | Provider::Google => "bucket",
            Provider::Azure => "container",
        }
    }

    /// What to look at when access is denied.
    pub(crate) fn credentials(self) -> &'static str {
        match self {
            Provider::S3 => {
                "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or the role of this machine, and that it may get, put, delete and list"
            }
            Provider::Google => {
                "see GOOGLE_APPLICATION_CREDENTIALS, or the service account of this machine, and that it may get, create, delete and list objects"
            }
            Provider::Azure => {
                "see AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY or the identity of this machine, and that it is a Storage Blob Data Contributor"
            }
        }
    }

    /// A client for a bucket.
    pub(crate) fn client(
        self,
        bucket: &str,
        shown: &str,
        variables: &Variables,
    ) -> Result<Arc<dyn ObjectStore>, DepotError> {
        let unusable = |reason: String| DepotError::Unusable { place: shown.to_owned(), reason };
        let connector = |roots: Option<PathBuf>| Connector(TlsFiles { roots, own: None });
        let options = |endpoint: Option<String>| {
            let in_clear_text = is_in_clear_text(endpoint.as_deref()).map_err(unusable)?;
            Ok(ClientOptions::new().with_allow_http(in_clear_text))
        };
        let built: Result<Arc<dyn ObjectStore>, object_store::Error> = match self {
            Provider::S3 => {
                let mut builder = AmazonS3Builder::new();
                for (name, value) in variables.beginning_with("AWS_") {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                let endpoint = builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint);
                let endpoint = endpoint.or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
                let roots = variables.get("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
                let builder = builder.with_client_options(options(endpoint)?).with_http_connector(connector(roots));
                let builder = builder.with_retry(retries()).with_bucket_name(bucket);
                builder.build().map(|client| Arc::new(client) as _)
            }
            Provider::Google => {
                let mut builder = GoogleCloudStorageBuilder::new();
                for (name, value) in variables.beginning_with("GOOGLE_") {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                let builder = builder.with_client_options(options(endpoint)?).with_http_connector(connector(None));
                let builder = builder.with_retry(retries()).with_bucket_name(bucket);
                builder.build().map(|client| Arc::new(client) as _)
            }
            Provider::Azure => {
                let mut builder = MicrosoftAzureBuilder::new();
                for (name, value) in variables.beginning_with("AZURE_") {
                    // As its command line calls some of them.
                    let key = match &*name {
                        "azure_storage_account" => Ok(AzureConfigKey::AccountName),
                        "azure_storage_key" => Ok(AzureConfigKey::AccessKey),
                        other => other.parse(),
                    };
                    if let Ok(key) = key {
                        builder = builder.with_config(key, value);
                    }
                }
                if let Some(endpoint) = variables.get("IDENTITY_ENDPOINT") {
                    builder = builder.with_msi_endpoint(endpoint);
                }
                let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
                let builder = builder.with_client_options(options(endpoint)?).with_http_connector(connector(None));
                let builder = builder.with_retry(retries()).with_container_name(bucket);
                builder.build().map(|client| Arc::new(client) as _)
            }
        };
        built.map_err(|error| unusable(format!("{}; {}", said(&error), self.credentials())))
    }
}

fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2.0 };
    RetryConfig { backoff, max_retries: TRIES_MORE, retry_timeout: RETRY_TIME }
}

/// Whether an endpoint is spoken with in clear text, which is for this machine alone.
fn is_in_clear_text(endpoint: Option<&str>) -> Result<bool, String> {
    let Some(rest) = endpoint.and_then(|endpoint| endpoint.strip_prefix("http://")) else { return Ok(false) };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if is_here(host) {
        return Ok(true);
    }
    Err(format!(
        "its endpoint http://{authority} is not this machine, and in clear text no other one is asked: give one with https://"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_clear_text_this_machine_alone_is_asked() {
        for here in ["http://127.0.0.1:9000", "http://localhost/x", "http://[::1]:9000"] {
            assert_eq!(is_in_clear_text(Some(here)), Ok(true), "{here}");
        }
        assert_eq!((is_in_clear_text(None), is_in_clear_text(Some("https://s3.example"))), (Ok(false), Ok(false)));
        for elsewhere in ["http://minio:9000", "http://10.0.0.7", "http://me:s3cret@minio.example:9000/x"] {
            let said = is_in_clear_text(Some(elsewhere)).expect_err(elsewhere);
            assert!(said.contains("https://") && !said.contains("s3cret"), "{said}");
        }
    }
}
