//! The place of a lake: a folder, or a prefix of a bucket.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use attest::settings;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::TryStreamExt;
use object_store::{
    CredentialProvider, DynObjectStore, ObjectMeta, ObjectStore,
    aws::{AmazonS3Builder, AwsCredential},
    local::LocalFileSystem,
    path::Path as ObjectPath,
};
use tokio::task::spawn_blocking;
use url::Url;

use crate::{Error, Result};

/// A place that holds a lake.
#[derive(Clone)]
pub struct Location {
    pub(crate) url: Url,
    pub(crate) store: Arc<DynObjectStore>,
    /// The path of a folder.
    folder: Option<PathBuf>,
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
    /// Opens `s3://BUCKET/PREFIX` with the region, credentials and endpoint of the AWS SDK, or a folder.
    ///
    /// Sends nothing to a bucket, and creates nothing.
    pub async fn open(place: &str) -> Result<Self> {
        if place.starts_with("s3://") {
            parse(place)?;
            Self::bucket(place, &settings::aws_config().await?)
        } else {
            Self::folder(Path::new(place))
        }
    }

    /// Opens a folder. It may be absent, but its parent must exist, so that a typo creates nothing.
    pub fn folder(folder: &Path) -> Result<Self> {
        let failed = |error| Error::Folder(folder.display().to_string(), error);
        let folder = match folder.canonicalize() {
            Ok(existing) if existing.is_dir() => existing,
            Ok(_) => return Err(failed(ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => absent(folder)?,
            Err(error) => return Err(failed(error)),
        };
        let url = Url::from_directory_path(&folder).map_err(|()| Error::Location(folder.display().to_string()))?;
        // The table must survive a crash of the machine: a log entry that is cut off would make it unreadable.
        let store = Arc::new(LocalFileSystem::new().with_fsync(true));
        Ok(Self { url, store, folder: Some(folder) })
    }

    /// Opens `s3://BUCKET/PREFIX` with an explicit configuration.
    pub fn bucket(place: &str, config: &SdkConfig) -> Result<Self> {
        let (url, bucket) = parse(place)?;
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
        Ok(Self { url, store: Arc::new(s3.build()?), folder: None })
    }

    /// Creates the folder of the lake.
    pub(crate) fn create_folder(&self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|error| Error::Folder(folder.display().to_string(), error))
    }

    /// Returns whether the location has the log of a table.
    pub(crate) async fn has_log(&self) -> Result<bool> {
        let root = ObjectPath::from_url_path(self.url.path()).map_err(object_store::Error::from)?;
        Ok(self.store.list(Some(&root.join("_delta_log"))).try_next().await?.is_some())
    }

    /// Lists the data files, whether or not the log refers to them.
    pub(crate) async fn data_files(&self) -> Result<Vec<ObjectMeta>> {
        let root = ObjectPath::from_url_path(self.url.path()).map_err(object_store::Error::from)?;
        let log = root.clone().join("_delta_log");
        let files = self.store.list(Some(&root));
        let is_data = |path: &ObjectPath| path.extension() == Some("parquet") && !path.prefix_matches(&log);
        let files = files.try_filter(|file| std::future::ready(is_data(&file.location)));
        Ok(files.try_collect().await?)
    }

    /// Deletes data files that killed writers left half written in a folder, if they are older than `before`.
    ///
    /// `LocalFileSystem` writes to `NAME.parquet#N` before it renames the file, and does not list such names. In a bucket, a
    /// killed writer leaves an unfinished upload, which a lifecycle rule deletes.
    pub(crate) async fn delete_staged(&self, before: SystemTime) -> Result<u64> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        spawn_blocking(move || {
            delete_staged(&folder, before).map_err(|error| Error::Folder(folder.display().to_string(), error))
        })
        .await?
    }
}

fn delete_staged(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut deleted = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with("day=") && path.is_dir() {
            deleted += delete_staged(&path, before)?;
        } else if name.contains(".parquet#") {
            let is_old = fs::metadata(&path).and_then(|file| file.modified()).map(|modified| modified < before);
            match is_old.and_then(|is_old| if is_old { fs::remove_file(&path).map(|()| 1) } else { Ok(0) }) {
                Ok(count) => deleted += count,
                // Its writer has renamed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(deleted)
}

/// Reads `s3://BUCKET/PREFIX`, and returns the URL with a slash at its end, and the bucket.
fn parse(place: &str) -> Result<(Url, String)> {
    let other = || Error::Location(place.to_owned());
    let mut url = Url::parse(place).map_err(|_| other())?;
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(other)?.to_owned();
    if url.scheme() != "s3" || url.query().is_some() || url.fragment().is_some() {
        return Err(other());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok((url, bucket))
}

/// Returns the absolute path of a folder that does not exist.
fn absent(folder: &Path) -> Result<PathBuf> {
    let no_parent = || Error::NoParent(folder.display().to_string());
    let parent = folder.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let parent = parent.and_then(|parent| parent.canonicalize().ok()).ok_or_else(no_parent)?;
    Ok(parent.join(folder.file_name().ok_or_else(no_parent)?))
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
