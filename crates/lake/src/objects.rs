//! The stored traces that the lake is a copy of.

use std::sync::Arc;

use attest::{key::Key, settings};
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    operation::{get_object::GetObjectError, head_object::HeadObjectError},
    primitives::DateTime,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

use crate::{
    Error, Result,
    columns::Entry,
    listing::{self, Page},
};

/// The number of times that an object is read whose body breaks off.
const ATTEMPTS: u32 = 3;

/// The id of an object that was stored without versioning (Amazon S3 User Guide, "Working with objects in a
/// versioning-suspended bucket").
const NO_VERSION: &str = "null";

/// A place that stores traces: a bucket, or the folder of the local endpoint.
pub trait Objects: Send + Sync {
    /// Lists all traces, in any order.
    fn list(&self) -> BoxStream<'_, Result<Entry>>;

    /// Reads a trace. Returns `None` if it does not exist.
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Entry, Bytes)>>>;

    /// Returns the time of storing of a trace. Returns `None` if it does not exist.
    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// Opens a bucket. Sends nothing.
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        let path_style = settings::s3_endpoint(config).is_some();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).build();
        Self { client: Client::from_conf(config), name }
    }

    /// Returns the name of the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn page(&self, after: String) -> Result<Page> {
        let listing = self.client.list_objects_v2().bucket(&self.name);
        let page = listing.set_start_after(Some(after).filter(|after| !after.is_empty())).send().await;
        let page = page.map_err(|error| Error::List(self.name.clone(), Box::new(error)))?;
        let last = page.contents().last().and_then(|object| object.key.clone());
        let next = page.is_truncated.unwrap_or_default().then_some(last).flatten();
        let entries = page.contents.unwrap_or_default().into_iter();
        let entries = entries.filter_map(|object| entry(object.key?, object.last_modified.as_ref())).collect();
        Ok(Page { entries, next })
    }

    /// Deletes an object with all its versions and delete markers, and returns their number.
    ///
    /// Delete markers are deleted last. If a version cannot be deleted, they keep hiding it.
    pub async fn delete_versions(&self, key: &str) -> Result<u64> {
        let [versions, markers] = self.versions(key).await?;
        let mut deleted = 0;
        for version in versions.into_iter().chain(markers) {
            let delete = self.client.delete_object().bucket(&self.name).key(key).version_id(&version);
            delete.send().await.map_err(|error| Error::Delete {
                key: key.to_owned(),
                version,
                source: Box::new(aws_sdk_s3::Error::from(error)),
            })?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Returns the ids of an object's versions, and of its delete markers.
    async fn versions(&self, key: &str) -> Result<[Vec<String>; 2]> {
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        let (mut key_marker, mut version_marker) = (None, None);
        loop {
            let list = self.client.list_object_versions().bucket(&self.name).prefix(key);
            let page = list.set_key_marker(key_marker).set_version_id_marker(version_marker).send().await;
            let page =
                page.map_err(|error| Error::Versions(key.to_owned(), Box::new(aws_sdk_s3::Error::from(error))))?;
            // The prefix also selects longer keys. They follow, because versions are listed in the order of their keys.
            let is_last = !page.is_truncated().unwrap_or_default()
                || page.next_key_marker.as_deref().is_some_and(|next| next != key);
            let listed = page.versions.unwrap_or_default().into_iter().filter(|version| version.key() == Some(key));
            versions.extend(listed.map(|version| version.version_id.unwrap_or_else(|| NO_VERSION.to_owned())));
            let listed = page.delete_markers.unwrap_or_default().into_iter().filter(|marker| marker.key() == Some(key));
            markers.extend(listed.map(|marker| marker.version_id.unwrap_or_else(|| NO_VERSION.to_owned())));
            if is_last {
                return Ok([versions, markers]);
            }
            (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    async fn read_once(&self, key: &str) -> Result<Option<(Entry, Bytes)>> {
        let failed = |error: Arc<dyn std::error::Error + Send + Sync>| Error::Object(key.to_owned(), error);
        match self.client.get_object().bucket(&self.name).key(key).send().await {
            Ok(object) => {
                let Some(entry) = entry(key.to_owned(), object.last_modified.as_ref()) else { return Ok(None) };
                let body = object.body.collect().await.map_err(|error| failed(Arc::new(error)))?;
                Ok(Some((entry, body.into_bytes())))
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => Err(failed(Arc::new(error))),
        }
    }
}

/// Returns the entry of a trace. Returns `None` for an object that the endpoint did not store.
fn entry(key: String, stored: Option<&DateTime>) -> Option<Entry> {
    Key::read(&key)?;
    Some(Entry { key, stored: Timestamp::from_second(stored?.secs()).ok()? })
}

impl Objects for Bucket {
    fn list(&self) -> BoxStream<'_, Result<Entry>> {
        listing::list(|after| self.page(after)).boxed()
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Entry, Bytes)>>> {
        async move {
            // The SDK retries requests, but not a body that breaks off.
            let mut attempt = 1;
            loop {
                match self.read_once(key).await {
                    Err(_) if attempt < ATTEMPTS => attempt += 1,
                    read => return read,
                }
            }
        }
        .boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move {
            match self.client.head_object().bucket(&self.name).key(key).send().await {
                Ok(object) => Ok(entry(key.to_owned(), object.last_modified.as_ref())),
                Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
                Err(error) => Err(Error::Object(key.to_owned(), Arc::new(error))),
            }
        }
        .boxed()
    }
}
