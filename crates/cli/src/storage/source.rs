//! Where traces are read from: a bucket, or a folder through its own S3. Reading asks for `s3:ListBucket` and
//! `s3:GetObject`, and for nothing else.

use std::{
    collections::BTreeMap,
    error::Error,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use attest::{
    key::{Key, KeyError},
    settings,
};
use aws_config::SdkConfig;
use aws_sdk_s3::{Client, error::DisplayErrorContext, operation::get_object::GetObjectError, types::Object};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::net::TcpListener;

use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};

/// Where they are.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// A bucket to read, with the credentials and region of your AWS profile
    #[arg(long, conflicts_with = "folder")]
    pub bucket: Option<String>,
    /// The folder to read, as the local endpoint stores into it
    #[arg(long, default_value = "traces")]
    pub folder: PathBuf,
}

/// Which traces are read.
#[derive(Debug, Clone, Args)]
pub struct SourceOptions {
    /// Where they are.
    #[command(flatten)]
    pub place: Place,
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
pub fn time(text: &str) -> Result<Timestamp, String> {
    let date =
        || text.parse::<jiff::civil::Date>()?.to_zoned_datetime(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    text.parse().or_else(|_| date()).map_err(|error: jiff::Error| error.to_string())
}

/// What the keys of a fingerprint begin with, up to the slash before the id.
pub fn key_prefix(fingerprint: &str) -> Result<String, KeyError> {
    let key = Key::new(fingerprint, "-")?;
    Ok(key.as_str().strip_suffix('-').expect("that is the id").to_owned())
}

/// When traces were stored, by S3's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl Times {
    /// Whether a time is one of these.
    #[must_use]
    pub fn include(self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// A stored trace, as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In S3.
    pub key: String,
    /// When S3 stored it.
    pub stored: Timestamp,
    /// In bytes.
    pub size: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In their order.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A part of keys up to a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// With the slash.
    pub prefix: String,
    /// How many traces it has.
    pub traces: Option<u64>,
    /// If it is opened.
    pub below: Vec<Branch>,
}

/// How many branches are listed, as in S3's answer.
const MOST_BRANCHES: usize = 1_000;

/// What is listed and read.
#[derive(Debug, Clone)]
pub struct Source {
    client: Client,
    bucket: String,
    /// The folder, if it is one: its listing is at hand.
    folder: Option<FolderS3>,
    /// Where S3 is, if it is not AWS's own.
    endpoint: Option<String>,
    prefix: Option<String>,
    times: Times,
}

impl Source {
    /// Opens the bucket or the folder. Nothing is sent to a bucket before the first listing.
    pub async fn open(place: &Place) -> Result<Self, String> {
        let (config, bucket, folder) = match &place.bucket {
            Some(bucket) => {
                let config = settings::aws_config().await.map_err(|error| format!("{error}: set it or AWS_PROFILE"))?;
                (config, bucket.clone(), None)
            }
            None => serve_folder(&place.folder).await?,
        };
        Ok(Self::new(&config, bucket, folder))
    }

    /// The traces that the options choose, of those in their place.
    pub async fn chosen(options: &SourceOptions) -> Result<Self, String> {
        let SourceOptions { since, until, .. } = *options;
        Ok(Self { times: Times { since, until }, ..Self::open(&options.place).await?.of(options.prefix.as_deref())? })
    }

    /// Only the traces of this fingerprint, if one is given.
    pub fn of(self, fingerprint: Option<&str>) -> Result<Self, String> {
        let prefix = fingerprint.map(key_prefix).transpose().map_err(|error| error.to_string())?;
        Ok(Self { prefix, ..self })
    }

    /// All traces of a bucket, whose folder this may be.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String, folder: Option<FolderS3>) -> Self {
        let endpoint = settings::s3_endpoint(config);
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(endpoint.is_some()).build();
        Self { client: Client::from_conf(s3), bucket, folder, endpoint, prefix: None, times: Times::default() }
    }

    /// Where traces are read from, for a checkpoint to know it again.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {:?} {:?} {:?}", self.bucket, self.prefix, self.times.since, self.times.until)
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
            Err(error) => Err(self.cannot_list(error)),
        });
        entries
            .map_ok(|objects| stream::iter(objects).map(Ok))
            .try_flatten()
            .try_filter_map(move |object| async move { Ok(self.entry(object)) })
    }

    fn cannot_list(&self, error: impl Error) -> String {
        format!("cannot list {}: {}", self.bucket, DisplayErrorContext(error))
    }

    fn entry(&self, object: Object) -> Option<Entry> {
        let stored = object.last_modified?;
        let stored = Timestamp::new(stored.secs(), i32::try_from(stored.subsec_nanos()).ok()?).ok()?;
        let key = object.key.filter(|key| self.times.include(stored) && Key::read(key).is_some())?;
        Some(Entry { key, stored, size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default() })
    }

    /// A page of traces whose key begins with `prefix`, of `most` at most: of a folder the newest first; of a bucket in the order of
    /// the keys, for S3 lists in no other, and a bucket is never listed whole.
    pub async fn page(&self, prefix: &str, from: Option<&str>, most: usize) -> Result<Page, String> {
        let own = self.prefix.as_deref().unwrap_or_default();
        let prefix = if prefix.starts_with(own) { prefix } else { own }.to_owned();
        let Some(folder) = self.folder.clone() else {
            let most = i32::try_from(most).unwrap_or(1_000).min(1_000);
            let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(most);
            let page = list.set_continuation_token(from.map(str::to_owned)).send().await;
            let page = page.map_err(|error| self.cannot_list(error))?;
            let entries =
                page.contents.unwrap_or_default().into_iter().filter_map(|object| self.entry(object)).collect();
            return Ok(Page { entries, next: page.next_continuation_token });
        };
        let from = from.and_then(|from| from.split_once(' ')).and_then(|(time, key)| {
            Some((SystemTime::try_from(time.parse::<Timestamp>().ok()?).ok()?, key.to_owned()))
        });
        on_disk(move || {
            let objects = folder.newest_first().map_err(|error| error.to_string())?;
            let begin = from
                .map_or(0, |(time, last)| objects.partition_point(|(key, _, stored)| (time, key) <= (*stored, &last)));
            let is_wanted = |key: &str| key.starts_with(&prefix) && Key::read(key).is_some();
            let mut found = objects[begin..].iter().filter(|(key, ..)| is_wanted(key));
            let entries: Vec<_> = found
                .by_ref()
                .take(most)
                .map(|(key, size, stored)| {
                    let stored = Timestamp::try_from(*stored).unwrap_or_default();
                    Entry { key: key.clone(), stored, size: *size }
                })
                .collect();
            let last = entries.last().filter(|_| found.next().is_some());
            Ok(Page { next: last.map(|last| format!("{} {}", last.stored, last.key)), entries })
        })
        .await
    }

    /// The tree that the slashes of keys make: what lies directly below each part of `prefix`, and no more of it. A folder's
    /// traces are counted, a bucket's are not.
    pub async fn tree(&self, prefix: &str) -> Result<Vec<Branch>, String> {
        let own = self.prefix.as_deref().unwrap_or_default();
        let mut tree = self.branches(own).await?;
        let mut level = &mut tree;
        for (slash, _) in prefix.match_indices('/').filter(|(slash, _)| *slash >= own.len()) {
            let Some(opened) = level.iter_mut().find(|branch| branch.prefix == prefix[..=slash]) else { break };
            opened.below = self.branches(&opened.prefix).await?;
            level = &mut opened.below;
        }
        Ok(tree)
    }

    /// What lies directly below a prefix: the first thousand, as S3 lists them.
    async fn branches(&self, prefix: &str) -> Result<Vec<Branch>, String> {
        let Some(folder) = self.folder.clone() else {
            let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).delimiter("/").send().await;
            let list = list.map_err(|error| self.cannot_list(error))?;
            let prefixes = list.common_prefixes.unwrap_or_default().into_iter().filter_map(|common| common.prefix);
            return Ok(prefixes.map(|prefix| Branch { prefix, traces: None, below: Vec::new() }).collect());
        };
        let prefix = prefix.to_owned();
        on_disk(move || {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for (key, ..) in folder.newest_first().map_err(|error| error.to_string())?.iter() {
                let slash = key.strip_prefix(&prefix).and_then(|below| below.find('/'));
                if let Some(branch) = slash.map(|slash| &key[..=prefix.len() + slash]) {
                    match counts.get_mut(branch) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(branch.to_owned(), 1)),
                    }
                }
            }
            let branch = |(prefix, count)| Branch { prefix, traces: Some(count), below: Vec::new() };
            Ok(counts.into_iter().take(MOST_BRANCHES).map(branch).collect())
        })
        .await
    }

    /// Whether it is a folder, whose S3 takes the credentials of this program.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The bucket's name, and the address of the S3 if it is not AWS's own.
    #[must_use]
    pub fn place(&self) -> (&str, Option<&str>) {
        (&self.bucket, self.endpoint.as_deref())
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

/// Runs what waits for the disk where it keeps no other request waiting.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Serves a folder's S3 on a free port of loopback, as long as the process runs.
async fn serve_folder(folder: &Path) -> Result<(SdkConfig, String, Option<FolderS3>), String> {
    let path = folder.display();
    let failed = |error: std::io::Error| format!("cannot read {path}: {error}");
    let folder = FolderS3::read_only(folder).map_err(failed)?;
    let bucket = folder.bucket().to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(serve(listener, folder.clone().service(), std::future::pending()));
    Ok((FolderS3::sdk_config(address, ACCESS_KEY, settings::http_client()), bucket, Some(folder)))
}
