//! The location of a lake: a folder, or a prefix in a bucket.

use std::{
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use attest::settings;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::TryStreamExt;
use object_store::{
    CredentialProvider, DynObjectStore, ObjectStore,
    aws::{AmazonS3Builder, AwsCredential},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path as ObjectPath,
    prefix::PrefixStore,
};
use tokio::sync::Mutex;
use url::Url;

use crate::{Error, Result, objects::Bucket};

pub(crate) const LOG: &str = "_delta_log";

/// The name prefix of data files. It distinguishes them from other programs' files, which are never deleted.
pub(crate) const PREFIX: &str = "attest-";

/// Credentials are renewed this long before they expire, because a request that is signed with them may take minutes.
const BEFORE_EXPIRY: Duration = Duration::from_mins(5);

#[derive(Clone)]
pub struct LakeLocation {
    /// The root URL of `store`. It omits the folder or prefix, because a URL would decode a name such as `my%20data`.
    pub(crate) url: Url,
    /// The storage, with paths relative to the lake.
    pub(crate) store: Arc<DynObjectStore>,
    pub(crate) place: LakePlace,
}

#[derive(Clone)]
pub(crate) enum LakePlace {
    Folder(PathBuf),
    /// A bucket, and the prefix of the lake's keys, which ends with a slash or is empty.
    Bucket(Bucket, String),
}

impl fmt::Debug for LakeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LakeLocation").field(&self.to_string()).finish()
    }
}

impl fmt::Display for LakeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            LakePlace::Folder(folder) => write!(f, "{}", folder.display()),
            LakePlace::Bucket(bucket, prefix) => write!(f, "s3://{}/{prefix}", bucket.name()),
        }
    }
}

impl LakeLocation {
    /// Opens `s3://BUCKET/PREFIX` with the region, credentials and endpoint of the AWS SDK, or a folder.
    ///
    /// Sends no request to the bucket, and creates nothing.
    pub async fn open(place: &str) -> Result<Self> {
        if place.starts_with("s3://") {
            parse(place)?;
            Self::bucket(place, &settings::aws_config().await?)
        } else {
            Self::folder(Path::new(place))
        }
    }

    /// Opens a folder, which need not exist. Its parent must exist, so that a typo creates nothing.
    pub fn folder(folder: &Path) -> Result<Self> {
        let failed = |error| Error::Folder(folder.display().to_string(), error);
        let url = Url::parse("file:///").expect("a constant");
        let (folder, store): (_, Arc<DynObjectStore>) = match folder.canonicalize() {
            Ok(existing) if existing.is_dir() => {
                // The table must survive a machine crash: a truncated log entry would make it unreadable.
                let store = LocalFileSystem::new_with_prefix(&existing)?.with_fsync(true);
                (existing, Arc::new(store))
            }
            Ok(_) => return Err(failed(ErrorKind::NotADirectory.into())),
            // The folder does not exist, so nothing is read from it. `created` creates and opens it before a write.
            Err(error) if error.kind() == ErrorKind::NotFound => (absent(folder)?, Arc::new(InMemory::new())),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { url, store, place: LakePlace::Folder(folder) })
    }

    /// Opens `s3://BUCKET/PREFIX` with an explicit configuration.
    pub fn bucket(place: &str, config: &SdkConfig) -> Result<Self> {
        let (bucket, prefix) = parse(place)?;
        // reqwest uses the process-wide TLS provider, or aws-lc if there is none. An error means that a provider is
        // already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut s3 = AmazonS3Builder::new().with_bucket_name(&bucket);
        if let Some(region) = config.region() {
            s3 = s3.with_region(region.as_ref());
        }
        if let Some(credentials) = config.credentials_provider() {
            s3 = s3.with_credentials(Arc::new(SdkCredentials::new(credentials)));
        }
        if let Some(endpoint) = settings::s3_endpoint(config) {
            s3 = s3.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        let other = |_| Error::Location(place.to_owned());
        let store = PrefixStore::new(s3.build()?, ObjectPath::parse(&prefix).map_err(other)?);
        let url = Url::parse(&format!("s3://{bucket}/")).map_err(|_| Error::Location(place.to_owned()))?;
        let prefix = if prefix.is_empty() { prefix } else { format!("{prefix}/") };
        Ok(Self { url, store: Arc::new(store), place: LakePlace::Bucket(Bucket::new(config, bucket), prefix) })
    }

    pub(crate) fn created(&self) -> Result<Self> {
        let LakePlace::Folder(folder) = &self.place else { return Ok(self.clone()) };
        fs::create_dir_all(folder).map_err(|error| Error::Folder(folder.display().to_string(), error))?;
        Self::folder(folder)
    }

    pub(crate) async fn has_log(&self) -> Result<bool> {
        Ok(self.store.list(Some(&ObjectPath::from(LOG))).try_next().await?.is_some())
    }
}

/// Parses `s3://BUCKET/PREFIX`. Returns the bucket, and the prefix without slashes at its ends.
///
/// The prefix is not URL-decoded: the percent sign in `s3://bucket/my%20data` is literal, as for `aws s3 ls`.
fn parse(place: &str) -> Result<(String, String)> {
    let other = || Error::Location(place.to_owned());
    let (bucket, prefix) =
        place.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or_else(other)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(is_name) || prefix.contains(['?', '#']) {
        return Err(other());
    }
    Ok((bucket.to_owned(), prefix.trim_matches('/').to_owned()))
}

/// Returns the absolute path of a folder that does not exist.
fn absent(folder: &Path) -> Result<PathBuf> {
    let no_parent = || Error::NoParent(folder.display().to_string());
    let parent = folder.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let parent = parent.and_then(|parent| parent.canonicalize().ok()).ok_or_else(no_parent)?;
    Ok(parent.join(folder.file_name().ok_or_else(no_parent)?))
}

/// Provides `object_store` with the credentials of the AWS SDK, which also supports profiles, SSO and Lambda roles.
///
/// `object_store` asks for them before every request to S3, so they are cached until shortly before they expire.
struct SdkCredentials {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<(Arc<AwsCredential>, Option<SystemTime>)>>,
}

impl SdkCredentials {
    fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, kept: Mutex::default() }
    }
}

/// Omits the credentials.
impl fmt::Debug for SdkCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkCredentials").finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // The lock is held while the provider responds, so that concurrent requests ask it only once.
        let mut kept = self.kept.lock().await;
        if let Some((credential, expiry)) = &*kept
            && expiry.is_none_or(|expiry| SystemTime::now() + BEFORE_EXPIRY < expiry)
        {
            return Ok(Arc::clone(credential));
        }
        let credentials = self.provider.provide_credentials().await;
        let credentials =
            credentials.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        let credential = Arc::new(AwsCredential {
            key_id: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().to_owned(),
            token: credentials.session_token().map(ToOwned::to_owned),
        });
        *kept = Some((Arc::clone(&credential), credentials.expiry()));
        Ok(credential)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::{
        Credentials,
        provider::{self, future},
    };

    use super::*;

    #[derive(Debug)]
    struct Counting(Arc<AtomicUsize>, Option<Duration>);

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            let expiry = self.1.map(|life| SystemTime::now() + life);
            future::ProvideCredentials::ready(provider::Result::Ok(Credentials::new(
                "key", "secret", None, expiry, "test",
            )))
        }
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        for (life, asked) in [(None, 1), (Some(Duration::from_hours(1)), 1), (Some(Duration::from_secs(30)), 3)] {
            let count = Arc::new(AtomicUsize::new(0));
            let provider = SharedCredentialsProvider::new(Counting(Arc::clone(&count), life));
            let credentials = SdkCredentials::new(provider);
            for _ in 0..3 {
                assert_eq!(credentials.get_credential().await.expect("credentials").key_id, "key");
            }
            assert_eq!(count.load(Ordering::Relaxed), asked, "{life:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_key_and_not_a_url() {
        let of = |place| parse(place).ok().map(|(bucket, prefix)| format!("{bucket} {prefix}"));
        assert_eq!(of("s3://bucket/my%20data/lake/").as_deref(), Some("bucket my%20data/lake"));
        assert_eq!(of("s3://bucket").as_deref(), Some("bucket "));
        for place in
            ["s3://", "s3:///lake", "s3://user@bucket/lake", "s3://bucket/lake?x", "s3://bucket/lake#x", "bucket"]
        {
            assert_eq!(of(place), None, "{place}");
        }
    }
}
