use anyhow::{Context, Result};
use attest::{
    settings,
    unreadable::{BodyError, Unreadable, read_body},
    writer::Writer,
};
use aws_config::SdkConfig;
use aws_sdk_s3::{Client, operation::get_object::GetObjectError, primitives::ByteStreamError, types::Object};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future::ready};
use jiff::Timestamp;

use super::{
    aws::s3_client,
    listing::{Branch, ListingEntry, ListingPage},
    place_id::PlaceId,
};

#[derive(Debug, Clone)]
pub struct BucketReader {
    client: Client,
    config: SdkConfig,
    bucket: String,
    endpoint: Option<String>,
}

impl BucketReader {
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { client: s3_client(config), config: config.clone(), bucket, endpoint: settings::s3_endpoint(config) }
    }

    pub async fn place_id(&self) -> Result<PlaceId> {
        PlaceId::of_bucket(&self.config, &self.bucket).await
    }

    pub fn name(&self) -> &str {
        &self.bucket
    }

    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Lists objects in key order. With `is_flat`, S3 lists only the objects directly below the prefix.
    pub fn list(
        &self,
        prefix: &str,
        is_flat: bool,
        after: Option<String>,
    ) -> impl Stream<Item = Result<ListingEntry>> + Send + '_ {
        let prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
        let list = self.client.list_objects_v2().bucket(&self.bucket).set_prefix(prefix);
        let objects = attest_listing::objects(list.set_delimiter(is_flat.then(|| "/".to_owned())), after);
        objects
            .map(|object| object.with_context(|| self.cannot_list()))
            .try_filter_map(|object| ready(Ok(entry(object))))
    }

    /// Lists the objects whose keys start with `prefix`, in key order, starting after the key `after`.
    pub fn walk(
        &self,
        prefix: String,
        after: Option<String>,
    ) -> impl Stream<Item = Result<ListingEntry>> + Send + 'static {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let failed = self.cannot_list();
        attest_listing::objects(list, after)
            .map(move |object| object.with_context(|| failed.clone()))
            .try_filter_map(|object| ready(Ok(entry(object))))
    }

    pub async fn page(&self, prefix: String, from: Option<&str>, limit: usize) -> Result<ListingPage> {
        let limit = i32::try_from(limit).unwrap_or(1_000).min(1_000);
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(limit);
        let page = attest_listing::page(list, from.map(str::to_owned)).await.with_context(|| self.cannot_list())?;
        Ok(ListingPage { entries: page.objects.into_iter().filter_map(entry).collect(), next: page.next })
    }

    /// Returns the first thousand branches directly below a prefix, without counting their traces.
    pub async fn branches(&self, prefix: &str) -> Result<Vec<Branch>> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).delimiter("/");
        let page = attest_listing::send(list).await.with_context(|| self.cannot_list())?;
        let prefixes = page.common_prefixes.unwrap_or_default().into_iter().filter_map(|common| common.prefix);
        Ok(prefixes.map(|prefix| Branch { prefix, traces: None, below: Vec::new() }).collect())
    }

    /// Reads an object and its writer. Returns `None` if it does not exist. The error contains an [`Unreadable`] if it
    /// concerns only this object.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, Writer)>> {
        // The SDK retries requests, but not a body that is cut off.
        let retry = (|| self.get_once(key)).retry(ExponentialBuilder::default().with_jitter());
        retry.when(anyhow::Error::is::<ByteStreamError>).await
    }

    async fn get_once(&self, key: &str) -> Result<Option<(Bytes, Writer)>> {
        let cannot_read = || format!("cannot read {key} in the bucket {}", self.bucket);
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => {
                let writer = object.metadata().map(Writer::of_metadata).unwrap_or_default();
                let json = read_body(object).await.map_err(|error| match error {
                    BodyError::Unreadable(reason) => anyhow::Error::msg(reason),
                    BodyError::BrokenOff(error) => error.into(),
                });
                Ok(Some((json.with_context(cannot_read)?, writer)))
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => {
                let reason = Unreadable::of(&error);
                let error = anyhow::Error::new(error);
                let error = match reason {
                    Some(reason) => error.context(reason),
                    None => error,
                };
                Err(error.context(cannot_read()))
            }
        }
    }

    fn cannot_list(&self) -> String {
        format!("cannot list the bucket {}", self.bucket)
    }
}

fn entry(object: Object) -> Option<ListingEntry> {
    let stored = object.last_modified?;
    let stored = Timestamp::new(stored.secs(), i32::try_from(stored.subsec_nanos()).ok()?).ok()?;
    let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
    Some(ListingEntry { key: object.key?, stored, size })
}
