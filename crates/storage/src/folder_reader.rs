use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use attest::unreadable::Unreadable;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use local_aws::{
    http::serve,
    s3::{FileStore, FileStoreError, FolderS3, ObjectInfo, ServedS3},
};
use tokio::net::TcpListener;

use super::listing::{Branch, ListingEntry, ListingPage, MAX_BRANCHES};

#[derive(Debug, Clone)]
pub struct FolderReader {
    store: FileStore,
}

impl FolderReader {
    pub fn open(folder: &Path) -> Result<Self> {
        let store = FileStore::read_only(folder)
            .with_context(|| format!("cannot read the folder {}: check --folder", folder.display()))?;
        Ok(Self { store })
    }

    pub fn new(store: FileStore) -> Self {
        Self { store }
    }

    pub fn store(&self) -> &FileStore {
        &self.store
    }

    pub fn list(&self, after: Option<String>) -> impl Stream<Item = Result<ListingEntry>> + Send + 'static {
        let store = self.store.clone();
        let listed = async move {
            let objects = blocking(store, move |store| store.list(after.as_deref())).await?;
            anyhow::Ok(stream::iter(objects.into_iter().map(|object| Ok(entry(&object)))))
        };
        stream::once(listed).try_flatten().boxed()
    }

    /// Returns a page of the objects whose keys `is_selected` accepts, newest first.
    pub async fn page(
        &self,
        from: Option<&str>,
        limit: usize,
        is_selected: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<ListingPage> {
        let from = from.and_then(|from| from.split_once(' ')).and_then(|(time, key)| {
            Some((SystemTime::try_from(time.parse::<Timestamp>().ok()?).ok()?, key.to_owned()))
        });
        blocking(self.store.clone(), move |store| {
            let objects = store.newest_first()?;
            let is_shown = |object: &ObjectInfo, (time, last): &(SystemTime, String)| {
                (time, &object.key) <= (&object.modified, last)
            };
            let begin = from.map_or(0, |last| objects.partition_point(|object| is_shown(object, &last)));
            let mut selected = objects[begin..].iter().filter(|object| is_selected(&object.key));
            let entries: Vec<_> = selected.by_ref().take(limit).map(entry).collect();
            let last = entries.last().filter(|_| selected.next().is_some());
            Ok(ListingPage { next: last.map(cursor_after), entries })
        })
        .await
    }

    /// Counts the traces in each branch directly below a prefix. Returns the first thousand branches.
    pub async fn branches(&self, prefix: String) -> Result<Vec<Branch>> {
        blocking(self.store.clone(), move |store| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for ObjectInfo { key, .. } in store.newest_first()?.iter() {
                let slash = key.strip_prefix(&prefix).and_then(|below| below.find('/'));
                if let Some(branch) = slash.map(|slash| &key[..=prefix.len() + slash]) {
                    match counts.get_mut(branch) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(branch.to_owned(), 1)),
                    }
                }
            }
            let branch = |(prefix, count)| Branch { prefix, traces: Some(count), below: Vec::new() };
            Ok(counts.into_iter().take(MAX_BRANCHES).map(branch).collect())
        })
        .await
    }

    /// Reads a listed object on this thread. Returns `None` if it was deleted, or an [`Unreadable`] if the failure
    /// concerns only this object.
    pub fn read(&self, entry: &ListingEntry) -> Result<Option<Result<Bytes, Unreadable>>> {
        if let Some(reason) = Unreadable::of_size(entry.size) {
            return Ok(Some(Err(reason)));
        }
        match self.store.read(&entry.key) {
            Ok(object) => Ok(object.map(|(json, _)| Ok(json.into()))),
            Err(FileStoreError::AccessDenied(_)) => Ok(Some(Err(Unreadable::Denied))),
            Err(error) => Err(anyhow::Error::new(error).context(format!("cannot read {}", entry.key))),
        }
    }

    /// Reads an object, or returns `None` if it does not exist. The error contains an [`Unreadable`] if it is too
    /// large.
    pub async fn get(&self, key: String) -> Result<Option<Bytes>> {
        let failed = format!("cannot read {key}");
        let read = move |store: &FileStore| {
            let Some(info) = store.info(&key)? else { return Ok(None) };
            match Unreadable::of_size(info.size) {
                Some(reason) => Ok(Some(Err(reason))),
                None => Ok(store.read(&key)?.map(|(bytes, _)| Ok(bytes.into()))),
            }
        };
        let object = blocking(self.store.clone(), read).await.with_context(|| failed.clone())?;
        object.transpose().map_err(anyhow::Error::msg).context(failed)
    }
}

/// Returns the cursor of the page that starts after an entry.
pub fn cursor_after(entry: &ListingEntry) -> String {
    format!("{} {}", entry.stored, entry.key)
}

fn entry(object: &ObjectInfo) -> ListingEntry {
    let stored = Timestamp::try_from(object.modified).unwrap_or_default();
    ListingEntry { key: object.key.clone(), stored, size: object.size }
}

/// Runs blocking disk work on a separate thread, so that other requests proceed.
async fn blocking<T: Send + 'static>(
    store: FileStore,
    work: impl FnOnce(&FileStore) -> Result<T, FileStoreError> + Send + 'static,
) -> Result<T> {
    let root = store.root().to_owned();
    let result = tokio::task::spawn_blocking(move || work(&store)).await.context("a reader of the folder panicked")?;
    result.with_context(|| format!("cannot read the folder {}", root.display()))
}

/// Serves a folder as S3 on a free loopback port, for as long as the process runs.
pub async fn serve_folder(store: FileStore) -> Result<ServedS3> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
    let address = listener.local_addr().context("cannot listen on 127.0.0.1")?;
    let s3 = FolderS3::new(store);
    let served = s3.served_on(address);
    tokio::spawn(serve(listener, s3.service(), std::future::pending()));
    Ok(served)
}
