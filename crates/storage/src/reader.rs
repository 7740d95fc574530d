//! Reads traces from a bucket, a folder or files.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

use anyhow::{Context, Result};
use attest::{key::Key, place::bucket_name, unreadable::Unreadable, writer::Writer};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use local_aws::s3::FileStore;

#[cfg(feature = "lake")]
use super::lake_index::LakeIndex;
use super::{
    aws::aws_config,
    bucket_reader::BucketReader,
    files_reader::FilesReader,
    folder_reader::{FolderReader, cursor_after},
    listing::{Branch, ListingEntry, ListingPage, Walk},
    place_id::{PlaceId, folder_name},
    selection::{Fingerprint, TimeRange},
};

/// A bucket on AWS or on another S3, or a folder that replaces one.
#[derive(Debug, Clone)]
pub enum Location {
    Bucket(String),
    Folder(PathBuf),
}

/// The kinds of places, which differ in the order and cost of their listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    Bucket,
    Folder,
    Files,
}

/// Reads the traces of one place, or of one fingerprint in it.
#[derive(Debug, Clone)]
pub struct TraceReader {
    place: Place,
    fingerprint: Option<Fingerprint>,
    /// The URL at which a folder is served as S3, if it is.
    folder_s3: Option<String>,
    #[cfg(feature = "lake")]
    lake: Option<LakeIndex>,
}

#[derive(Debug, Clone)]
enum Place {
    Bucket(Box<BucketReader>),
    Folder(FolderReader),
    Files(FilesReader),
}

impl TraceReader {
    /// Opens a bucket or a folder. Sends no request to a bucket.
    pub async fn open(location: &Location) -> Result<Self> {
        let place = match location {
            Location::Bucket(bucket) => Place::Bucket(BucketReader::new(&aws_config().await?, bucket.clone()).into()),
            Location::Folder(folder) => Place::Folder(FolderReader::open(folder)?),
        };
        Ok(Self::new(place))
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            fingerprint: None,
            folder_s3: None,
            #[cfg(feature = "lake")]
            lake: None,
        }
    }

    /// Reads the folder of an endpoint that runs in this process.
    #[must_use]
    pub fn over_folder(store: FileStore) -> Self {
        Self::new(Place::Folder(FolderReader::new(store)))
    }

    #[must_use]
    pub fn over_files(files: FilesReader) -> Self {
        Self::new(Place::Files(files))
    }

    /// Reads the bucket of an endpoint that runs in this process.
    #[must_use]
    pub fn over_bucket(config: &aws_config::SdkConfig, bucket: String) -> Self {
        Self::new(Place::Bucket(BucketReader::new(config, bucket).into()))
    }

    /// Restricts the reader to one fingerprint. Every method then behaves as if no other trace existed.
    #[must_use]
    pub fn restricted_to(self, fingerprint: Option<Fingerprint>) -> Self {
        Self { fingerprint, ..self }
    }

    /// Records the URL at which a folder is served as S3, for commands that the page displays.
    #[must_use]
    pub fn served_at(self, s3_url: String) -> Self {
        Self { folder_s3: Some(s3_url), ..self }
    }

    /// Adds a lake of the same traces for searching.
    #[cfg(feature = "lake")]
    #[must_use]
    pub fn indexed_by(self, lake: LakeIndex) -> Self {
        Self { lake: Some(lake), ..self }
    }

    #[cfg(feature = "lake")]
    #[must_use]
    pub fn lake(&self) -> Option<&LakeIndex> {
        self.lake.as_ref()
    }

    /// Returns the name of the bucket, of the folder's bucket, or of the files.
    #[must_use]
    pub fn bucket(&self) -> &str {
        match &self.place {
            Place::Bucket(bucket) => bucket.name(),
            Place::Folder(folder) => folder.store().bucket(),
            Place::Files(files) => files.name(),
        }
    }

    #[must_use]
    pub fn folder(&self) -> Option<&FileStore> {
        match &self.place {
            Place::Folder(folder) => Some(folder.store()),
            Place::Bucket(_) | Place::Files(_) => None,
        }
    }

    #[must_use]
    pub fn files(&self) -> Option<&FilesReader> {
        match &self.place {
            Place::Files(files) => Some(files),
            Place::Bucket(_) | Place::Folder(_) => None,
        }
    }

    #[must_use]
    pub fn kind(&self) -> PlaceKind {
        match &self.place {
            Place::Bucket(_) => PlaceKind::Bucket,
            Place::Folder(_) => PlaceKind::Folder,
            Place::Files(_) => PlaceKind::Files,
        }
    }

    /// Returns the only fingerprint whose traces this reader shows.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// Returns the S3 endpoint, unless it is AWS's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        match &self.place {
            Place::Bucket(bucket) => bucket.endpoint(),
            Place::Folder(_) => self.folder_s3.as_deref(),
            Place::Files(_) => None,
        }
    }

    /// Identifies the place. Creates its id if it has none.
    pub async fn place_id(&self) -> Result<PlaceId> {
        match &self.place {
            Place::Bucket(bucket) => bucket.place_id().await,
            Place::Folder(folder) => PlaceId::of_folder(folder.store()),
            Place::Files(_) => Ok(PlaceId { name: self.place_name(), id: None }),
        }
    }

    #[must_use]
    pub fn place_name(&self) -> String {
        match &self.place {
            Place::Bucket(bucket) => bucket_name(bucket.name(), bucket.endpoint()),
            Place::Folder(folder) => folder_name(folder.store()),
            Place::Files(files) => files.name().to_owned(),
        }
    }

    /// Lists the traces whose keys start with `prefix`, in key order, starting after the key `after`. Skips other objects.
    pub fn list(
        &self,
        prefix: String,
        times: TimeRange,
        after: Option<String>,
    ) -> impl Stream<Item = Result<ListingEntry>> + Send + '_ {
        let entries = match &self.place {
            Place::Bucket(bucket) => {
                // An id contains no slash, so deeper keys belong to other fingerprints.
                bucket.list(self.within_fingerprint(&prefix), self.fingerprint.is_some(), after).boxed()
            }
            Place::Folder(folder) => folder.list(after).boxed(),
            Place::Files(files) => stream::iter(files.list(after.as_deref()).map(Ok)).boxed(),
        };
        entries.try_filter(move |entry| {
            let is_selected =
                times.contains(entry.stored) && entry.key.starts_with(&prefix) && self.contains(&entry.key);
            async move { is_selected }
        })
    }

    /// Returns a page of at most `limit` traces whose keys start with `prefix`.
    ///
    /// A folder is listed newest first, and files in line order. A bucket is listed in key order: S3 offers no other
    /// order, and a bucket may be too large to list completely.
    pub async fn page(&self, prefix: &str, from: Option<&str>, limit: usize) -> Result<ListingPage> {
        let prefix = self.within_fingerprint(prefix).to_owned();
        match &self.place {
            Place::Bucket(bucket) => {
                let mut page = bucket.page(prefix, from, limit).await?;
                page.entries.retain(|entry| self.contains(&entry.key));
                Ok(page)
            }
            Place::Folder(folder) => {
                let reader = self.clone();
                folder.page(from, limit, move |key| key.starts_with(&prefix) && reader.contains(key)).await
            }
            Place::Files(files) => Ok(files.page(from, limit, |key| key.starts_with(&prefix) && self.contains(key))),
        }
    }

    /// Lists all traces whose keys start with `prefix`, in the order of [`page`](Self::page). `from` is a
    /// [cursor](Self::cursor_after).
    pub async fn walk(&self, prefix: &str, from: Option<&str>) -> Result<Walk> {
        match &self.place {
            Place::Bucket(bucket) => {
                let (reader, prefix) = (self.clone(), self.within_fingerprint(prefix).to_owned());
                let entries = bucket.walk(prefix, from.map(str::to_owned));
                let entries = entries.try_filter(move |entry| std::future::ready(reader.contains(&entry.key))).boxed();
                Ok(Walk { total: None, version: None, entries })
            }
            Place::Folder(_) | Place::Files(_) => {
                let entries = self.page(prefix, from, usize::MAX).await?.entries;
                let mut version = DefaultHasher::new();
                for ListingEntry { key, stored, size } in &entries {
                    (key, stored, size).hash(&mut version);
                }
                let (total, version) = (Some(entries.len()), Some(version.finish()));
                Ok(Walk { total, version, entries: stream::iter(entries.into_iter().map(Ok)).boxed() })
            }
        }
    }

    /// Returns the cursor from which a [`walk`](Self::walk) continues after `entry`.
    #[must_use]
    pub fn cursor_after(&self, entry: &ListingEntry) -> String {
        match &self.place {
            Place::Bucket(_) => entry.key.clone(),
            Place::Folder(_) => cursor_after(entry),
            Place::Files(files) => files.cursor_after(&entry.key),
        }
    }

    /// Returns the tree that the slashes in keys form. The branches that lead to `prefix` are expanded.
    pub async fn tree(&self, prefix: &str) -> Result<Vec<Branch>> {
        if let Some(fingerprint) = &self.fingerprint {
            let prefix = fingerprint.key_prefix().to_owned();
            return Ok(vec![Branch { prefix, traces: None, below: Vec::new() }]);
        }
        let mut tree = self.branches("").await?;
        let mut level = &mut tree;
        for (slash, _) in prefix.match_indices('/') {
            let Some(open) = level.iter_mut().find(|branch| branch.prefix == prefix[..=slash]) else { break };
            open.below = self.branches(&open.prefix).await?;
            level = &mut open.below;
        }
        Ok(tree)
    }

    async fn branches(&self, prefix: &str) -> Result<Vec<Branch>> {
        match &self.place {
            Place::Bucket(bucket) => bucket.branches(prefix).await,
            Place::Folder(folder) => folder.branches(prefix.to_owned()).await,
            Place::Files(files) => Ok(files.branches(prefix)),
        }
    }

    /// Reads a trace. Returns `None` if it does not exist or does not belong to the fingerprint. The error contains an
    /// [`Unreadable`](attest::unreadable::Unreadable) if it concerns only this object.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.get_with_writer(key).await?.map(|(json, _)| json))
    }

    /// Reads a listed trace from a folder or files on this thread, which blocks. Returns `None` if it was deleted or is
    /// in a bucket, or an [`Unreadable`] if the failure concerns only this trace.
    pub fn read_local(&self, entry: &ListingEntry) -> Result<Option<Result<Bytes, Unreadable>>> {
        match &self.place {
            Place::Bucket(_) => Ok(None),
            Place::Folder(folder) => folder.read(entry),
            Place::Files(files) => Ok(files.read(&entry.key)?.map(Ok)),
        }
    }

    /// Reads a trace as [`get`](Self::get) does, and its writer. Only a bucket records writers.
    pub async fn get_with_writer(&self, key: &str) -> Result<Option<(Bytes, Writer)>> {
        if !self.contains(key) {
            return Ok(None);
        }
        match &self.place {
            Place::Bucket(bucket) => bucket.get(key).await,
            Place::Folder(folder) => {
                let json = folder.get(key.to_owned()).await?;
                Ok(json.map(|json| (json, Writer::default())))
            }
            Place::Files(files) => {
                let (files, key) = (files.clone(), key.to_owned());
                let json = tokio::task::spawn_blocking(move || files.read(&key)).await;
                Ok(json.context("a reader of the files panicked")??.map(|json| (json, Writer::default())))
            }
        }
    }

    /// Returns whether the reader is limited to one fingerprint.
    #[cfg(feature = "lake")]
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Returns whether a key belongs to a trace that this reader may show.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        Key::read(key).is_some() && self.fingerprint.as_ref().is_none_or(|fingerprint| fingerprint.contains(key))
    }

    /// Returns `prefix`, or the prefix of the fingerprint if `prefix` also covers other fingerprints.
    fn within_fingerprint<'p>(&'p self, prefix: &'p str) -> &'p str {
        let own = self.fingerprint.as_ref().map_or("", Fingerprint::key_prefix);
        if prefix.starts_with(own) { prefix } else { own }
    }
}
