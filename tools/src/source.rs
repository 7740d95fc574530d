//! Where traces are read from: a bucket, or a folder through its own S3. Reading asks for `s3:ListBucket` and
//! `s3:GetObject`, and for nothing else.

use std::{net::Ipv4Addr, path::PathBuf};

use attest::{key::Key, settings};
use aws_config::SdkConfig;
use aws_sdk_s3::{Client, error::DisplayErrorContext, operation::get_object::GetObjectError, types::Object};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::{
    folder::{ACCESS_KEY, Folder},
    serve,
};

/// Which traces are read.
#[derive(Debug, Clone, Args)]
pub struct SourceOptions {
    /// A bucket to read, with the credentials and region of your AWS profile
    #[arg(long, conflicts_with = "folder")]
    pub bucket: Option<String>,
    /// The folder to read, as the local endpoint stores into it
    #[arg(long, default_value = "traces")]
    pub folder: PathBuf,
    /// Only traces of this fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    pub prefix: Option<String>,
    /// Only traces that were stored at this time or later, by S3's clock: 2026-11-22, or 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only traces that were stored before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
}

/// Reads a time of the command line: a timestamp of RFC 3339, or a date, which begins at midnight UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let date =
        || text.parse::<jiff::civil::Date>()?.to_zoned_datetime(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    text.parse().or_else(|_| date()).map_err(|error: jiff::Error| error.to_string())
}

/// A stored trace, as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// When S3 stored it.
    pub stored: Timestamp,
}

/// What is listed and read.
#[derive(Debug, Clone)]
pub struct Source {
    client: Client,
    bucket: String,
    prefix: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Source {
    /// Opens the bucket or the folder. Nothing is sent to a bucket before the first listing.
    pub async fn open(options: &SourceOptions) -> Result<Self, String> {
        let (config, bucket) = match &options.bucket {
            Some(bucket) => {
                let config = settings::aws_config().await.map_err(|error| format!("{error}: set it or AWS_PROFILE"))?;
                (config, bucket.clone())
            }
            None => serve_folder(options).await?,
        };
        let is_aws = settings::s3_endpoint(&config).is_none();
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(!is_aws).build();
        // The key of any id has the fingerprint's part in front.
        let prefix = options.prefix.as_deref().map(|fingerprint| Key::new(fingerprint, "-")).transpose();
        let prefix = prefix.map_err(|error| error.to_string())?;
        let prefix = prefix.map(|key| key.as_str().strip_suffix('-').expect("that is the id").to_owned());
        let SourceOptions { since, until, .. } = *options;
        Ok(Self { client: Client::from_conf(config), bucket, prefix, since, until })
    }

    /// Where traces are read from, for a checkpoint to know it again.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {:?} {:?} {:?}", self.bucket, self.prefix, self.since, self.until)
    }

    /// The client that reads.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Lists traces in the order of their keys, page by page, from behind the key `after`. What has no trace's key is left out.
    pub fn list(&self, after: Option<String>) -> impl Stream<Item = Result<Entry, String>> + Send + '_ {
        let pages = self.client.list_objects_v2().bucket(&self.bucket).set_prefix(self.prefix.clone());
        let pages = pages.set_start_after(after).into_paginator().send();
        let pages = stream::unfold(pages, |mut pages| async { Some((pages.next().await?, pages)) });
        let entries = pages.map(move |page| match page {
            Ok(page) => Ok(page.contents.unwrap_or_default()),
            Err(error) => Err(format!("cannot list {}: {}", self.bucket, DisplayErrorContext(error))),
        });
        entries
            .map_ok(|objects| stream::iter(objects).map(Ok))
            .try_flatten()
            .try_filter_map(move |object| async move { Ok(self.entry(object)) })
    }

    fn entry(&self, object: Object) -> Option<Entry> {
        let stored = object.last_modified?;
        let stored = Timestamp::new(stored.secs(), i32::try_from(stored.subsec_nanos()).ok()?).ok()?;
        let is_in_time =
            self.since.is_none_or(|since| stored >= since) && self.until.is_none_or(|until| stored < until);
        let key = object.key.filter(|key| is_in_time && Key::read(key).is_some())?;
        Some(Entry { key, stored })
    }

    /// Reads a trace; `None` if it was deleted since it was listed.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, String> {
        // The SDK retries requests, but not a body that breaks off.
        (|| self.get_once(key)).retry(ExponentialBuilder::default().with_jitter()).await
    }

    async fn get_once(&self, key: &str) -> Result<Option<Bytes>, String> {
        let failed = |error: String| format!("cannot read {key} of {}: {error}", self.bucket);
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => match object.body.collect().await {
                Ok(bytes) => Ok(Some(bytes.into_bytes())),
                Err(error) => Err(failed(error.to_string())),
            },
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => Err(failed(DisplayErrorContext(error).to_string())),
        }
    }
}

/// Serves a folder's S3 on a free port of loopback, as long as the process runs.
async fn serve_folder(options: &SourceOptions) -> Result<(SdkConfig, String), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", options.folder.display());
    let folder = Folder::read_only(&options.folder).map_err(failed)?;
    let bucket = folder.bucket().to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(serve(listener, folder.service(), std::future::pending()));
    Ok((Folder::sdk_config(address, ACCESS_KEY), bucket))
}
