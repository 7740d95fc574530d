//! The stored traces, of which the lake is a copy.

use std::{collections::HashSet, sync::Arc};

use attest::{
    key::Key,
    settings,
    unreadable::{BodyError, Unreadable, read_body},
    writer::Writer,
};
use attest_listing::page_after;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        get_object::{GetObjectError, GetObjectOutput},
        head_object::HeadObjectError,
    },
    primitives::DateTime,
    types::DeleteMarkerEntry,
};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

use crate::{
    Entry, Error, Object, Result,
    listing::{self, Page},
};

/// The number of retries after the body of an object breaks off.
const RETRIES: usize = 2;

/// The version id of an object that was stored without versioning (Amazon S3 User Guide, "Working with objects in a
/// versioning-suspended bucket").
const NO_VERSION: &str = "null";

/// The storage of traces: a bucket, or the folder of the local endpoint.
pub trait Objects: Send + Sync {
    fn list(&self) -> BoxStream<'_, Result<Entry>>;

    /// Reads a trace. Returns `None` if it does not exist, and an error if it is larger than any trace.
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>>>;

    /// Returns the entry of a trace, or `None` if it does not exist.
    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;
}

#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// Opens a bucket without sending a request.
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        let path_style = settings::s3_endpoint(config).is_some();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).build();
        Self { client: Client::from_conf(config), name }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn page(&self, after: String) -> Result<Page> {
        let listing = self.client.list_objects_v2().bucket(&self.name);
        let (objects, has_more) = page_after(listing, after).await.map_err(|error| match error {
            attest_listing::Error::Request(error) => Error::List(self.name.clone(), error),
            attest_listing::Error::Untrusted(reason) => Error::Listing(self.name.clone(), reason),
        })?;
        let next = objects.last().and_then(|object| object.key.clone()).filter(|_| has_more);
        let entries = objects.into_iter();
        let entries =
            entries.filter_map(|object| entry(object.key?, object.last_modified.as_ref(), object.e_tag.as_deref()));
        Ok(Page { entries: entries.collect(), next })
    }

    /// Deletes an object with all its versions and delete markers, and returns their number.
    ///
    /// Delete markers are deleted last, so that they keep hiding a version that cannot be deleted.
    pub async fn delete_versions(&self, key: &str) -> Result<u64> {
        self.delete_those(key, |_| true).await
    }

    /// Deletes the versions of an object that a later one replaced, and returns their number.
    pub async fn delete_noncurrent(&self, key: &str) -> Result<u64> {
        self.delete_those(key, |version| !version.is_latest).await
    }

    async fn delete_those(&self, key: &str, is_deleted: impl Fn(&ObjectVersion) -> bool) -> Result<u64> {
        let mut versions = self.versions(key, Some(key)).await?;
        versions.retain(|version| version.key == key && is_deleted(version));
        versions.sort_by_key(|version| version.is_marker);
        for version in &versions {
            self.delete_version(key, &version.id).await?;
        }
        Ok(versions.len() as u64)
    }

    pub(crate) async fn delete_version(&self, key: &str, version: &str) -> Result<()> {
        let delete = self.client.delete_object().bucket(&self.name).key(key).version_id(version);
        let deleted = delete.send().await.map(|_| ());
        deleted.map_err(|error| Error::Delete {
            key: key.to_owned(),
            version: version.to_owned(),
            source: Box::new(aws_sdk_s3::Error::from(error)),
        })
    }

    /// Returns whether the bucket may have noncurrent versions, which a listing does not contain.
    pub async fn may_have_versions(&self) -> bool {
        let versioning = self.client.get_bucket_versioning().bucket(&self.name).send().await;
        // Without the permission `s3:GetBucketVersioning`, the bucket may have versions.
        versioning.map_or(true, |versioning| versioning.status.is_some())
    }

    /// Reads a version of a trace. Returns `None` if it does not exist.
    pub async fn read_version(&self, version: &ObjectVersion) -> Result<Option<Object>> {
        self.read_any(&version.key, Some(&version.id)).await
    }

    /// Returns all versions below a prefix, or none if this S3 does not support versions.
    pub async fn all_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>> {
        self.versions(prefix, None).await
    }

    /// Returns the versions whose keys start with `prefix`. Stops after those of the key `last`.
    async fn versions(&self, prefix: &str, last: Option<&str>) -> Result<Vec<ObjectVersion>> {
        let mut found = Vec::new();
        let (mut markers, mut seen) = ((None, None), HashSet::new());
        loop {
            let request = self.client.list_object_versions().bucket(&self.name).prefix(prefix);
            let page = request.set_key_marker(markers.0).set_version_id_marker(markers.1).send().await;
            let page = match page {
                Err(error) if error.as_service_error().and_then(|error| error.code()) == Some("NotImplemented") => {
                    return Ok(found);
                }
                page => {
                    page.map_err(|error| Error::Versions(prefix.to_owned(), Box::new(aws_sdk_s3::Error::from(error))))?
                }
            };
            let untrusted =
                |reason: &'static str| Error::Listing(format!("the versions of {}/{prefix}", self.name), reason.into());
            let is_truncated = page.is_truncated.ok_or_else(|| untrusted("it is cut off"))?;
            found.extend(page.versions.unwrap_or_default().into_iter().filter_map(ObjectVersion::of));
            found.extend(page.delete_markers.unwrap_or_default().into_iter().filter_map(ObjectVersion::of_marker));
            markers = (page.next_key_marker, page.next_version_id_marker);
            // The prefix also matches longer keys, which follow because versions are listed in key order.
            let is_behind = |next: &String| last.is_some_and(|last| next != last);
            if !is_truncated || markers.0.as_ref().is_some_and(is_behind) {
                return Ok(found);
            }
            if markers.0.is_none() || !seen.insert(markers.clone()) {
                return Err(untrusted("it does not advance"));
            }
        }
    }

    async fn read_any(&self, key: &str, version: Option<&str>) -> Result<Option<Object>> {
        // The SDK retries requests, but not a body that breaks off. It has already retried other transient errors.
        let read = || self.read_once(key, version);
        let read = read.retry(ExponentialBuilder::default().with_max_times(RETRIES).with_jitter());
        read.when(|error| matches!(error, Error::Body(..))).await
    }

    async fn read_once(&self, key: &str, version: Option<&str>) -> Result<Option<Object>> {
        let Some(object) = self.open(key, version).await? else { return Ok(None) };
        let Some(entry) = entry(key.to_owned(), object.last_modified.as_ref(), object.e_tag.as_deref()) else {
            return Ok(None);
        };
        let writer = object.metadata().map(Writer::of_metadata).unwrap_or_default();
        Ok(Some(Object { entry, json: body(key, object).await?, writer }))
    }

    /// Requests an object without reading its body.
    async fn open(&self, key: &str, version: Option<&str>) -> Result<Option<GetObjectOutput>> {
        let get = self.client.get_object().bucket(&self.name).key(key);
        match get.set_version_id(version.map(str::to_owned)).send().await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => Err(match Unreadable::of(&error) {
                Some(reason) => Error::Unreadable(key.to_owned(), reason, Some(Arc::new(error))),
                None => Error::Object(key.to_owned(), Arc::new(error)),
            }),
        }
    }
}

async fn body(key: &str, object: GetObjectOutput) -> Result<Bytes> {
    read_body(object).await.map_err(|error| match error {
        BodyError::Unreadable(reason) => Error::Unreadable(key.to_owned(), reason, None),
        BodyError::BrokenOff(error) => Error::Body(key.to_owned(), Arc::new(error)),
    })
}

/// Returns whether S3 refused a HEAD request. The response has no body, and so no error code that tells why.
fn is_refused(error: &SdkError<HeadObjectError>) -> bool {
    error.raw_response().is_some_and(|response| matches!(response.status().as_u16(), 400 | 403))
}

/// Returns the entry of a trace. Returns `None` for an object that the endpoint did not store.
fn entry(key: String, stored: Option<&DateTime>, e_tag: Option<&str>) -> Option<Entry> {
    Key::read(&key)?;
    Some(Entry::new(key, Timestamp::from_second(stored?.secs()).ok()?, e_tag))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    pub key: String,
    pub id: String,
    pub size: u64,
    pub is_latest: bool,
    pub is_marker: bool,
}

impl ObjectVersion {
    fn of(version: aws_sdk_s3::types::ObjectVersion) -> Option<Self> {
        Some(Self {
            key: version.key?,
            id: version.version_id.unwrap_or_else(|| NO_VERSION.to_owned()),
            size: version.size.and_then(|size| size.try_into().ok()).unwrap_or_default(),
            is_latest: version.is_latest.unwrap_or_default(),
            is_marker: false,
        })
    }

    fn of_marker(marker: DeleteMarkerEntry) -> Option<Self> {
        Some(Self {
            key: marker.key?,
            id: marker.version_id.unwrap_or_else(|| NO_VERSION.to_owned()),
            size: 0,
            is_latest: marker.is_latest.unwrap_or_default(),
            is_marker: true,
        })
    }
}

impl Objects for Bucket {
    fn list(&self) -> BoxStream<'_, Result<Entry>> {
        listing::list(|after| self.page(after)).boxed()
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>>> {
        self.read_any(key, None).boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move {
            match self.client.head_object().bucket(&self.name).key(key).send().await {
                Ok(object) => Ok(entry(key.to_owned(), object.last_modified.as_ref(), object.e_tag.as_deref())),
                Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
                Err(error) if is_refused(&error) => {
                    let object = self.open(key, None).await?;
                    Ok(object.and_then(|object| {
                        entry(key.to_owned(), object.last_modified.as_ref(), object.e_tag.as_deref())
                    }))
                }
                Err(error) => Err(Error::Object(key.to_owned(), Arc::new(error))),
            }
        }
        .boxed()
    }
}
