//! The place of a lake: a folder, or a prefix of a bucket.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use attest::settings;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::{
    CredentialProvider, DynObjectStore,
    aws::{AmazonS3Builder, AwsCredential},
    local::LocalFileSystem,
};
use url::Url;

use crate::{Error, Result};

/// A place that holds a lake.
#[derive(Clone)]
pub struct Location {
    pub(crate) url: Url,
    pub(crate) store: Arc<DynObjectStore>,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&self.url.as_str()).finish()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl Location {
    /// Opens `s3://BUCKET/PREFIX` with the region, credentials and endpoint of the AWS SDK, or a folder, which is created.
    ///
    /// Sends nothing to a bucket.
    pub async fn open(place: &str) -> Result<Self> {
        if place.starts_with("s3://") {
            Self::bucket(place, &settings::aws_config().await?)
        } else {
            Self::folder(Path::new(place))
        }
    }

    /// Opens a folder, which is created.
    pub fn folder(folder: &Path) -> Result<Self> {
        let failed = |error| Error::Folder(folder.display().to_string(), error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let url = Url::from_directory_path(&folder).map_err(|()| Error::Location(folder.display().to_string()))?;
        Ok(Self { url, store: Arc::new(LocalFileSystem::new()) })
    }

    /// Opens `s3://BUCKET/PREFIX` with an explicit configuration.
    pub fn bucket(place: &str, config: &SdkConfig) -> Result<Self> {
        let other = || Error::Location(place.to_owned());
        let mut url = Url::parse(place).map_err(|_| other())?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(other)?.to_owned();
        if url.scheme() != "s3" || url.query().is_some() || url.fragment().is_some() {
            return Err(other());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        // reqwest takes the provider of the process, if one is installed, and aws-lc otherwise. An error means that one is.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut s3 = AmazonS3Builder::new().with_bucket_name(bucket);
        if let Some(region) = config.region() {
            s3 = s3.with_region(region.as_ref());
        }
        if let Some(credentials) = config.credentials_provider() {
            s3 = s3.with_credentials(Arc::new(SdkCredentials(credentials)));
        }
        if let Some(endpoint) = settings::s3_endpoint(config) {
            s3 = s3.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        Ok(Self { url, store: Arc::new(s3.build()?) })
    }
}

/// The credentials of the AWS SDK, which also knows profiles, SSO and roles of Lambda.
#[derive(Debug)]
struct SdkCredentials(SharedCredentialsProvider);

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credentials = self.0.provide_credentials().await;
        let credentials =
            credentials.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(Arc::new(AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(ToOwned::to_owned),
        }))
    }
}
