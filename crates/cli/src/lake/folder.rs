//! The local endpoint's folder as the source of a lake.

use std::sync::Arc;

use attest::{key::Key, unreadable::Unreadable, writer::Writer};
use attest_lake::{Entry, Error, Object, Result, objects::Objects};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use jiff::Timestamp;
use local_aws::s3::{FileStore, FileStoreError, ObjectInfo};
use tokio::task::spawn_blocking;

/// The local endpoint's folder, which is read directly, without its S3.
#[derive(Debug, Clone)]
pub struct Folder(FileStore);

impl Folder {
    #[must_use]
    pub fn new(store: FileStore) -> Self {
        Self(store)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        key: &str,
        work: fn(&FileStore, &str) -> Result<T, FileStoreError>,
    ) -> Result<T> {
        let (store, name) = (self.0.clone(), key.to_owned());
        let result = spawn_blocking(move || work(&store, &name)).await?;
        result.map_err(|error| Error::Object(key.to_owned(), Arc::new(error)))
    }
}

/// Returns the entry of a trace. Returns `None` for a file that the endpoint did not store.
fn entry(object: ObjectInfo) -> Option<Entry> {
    Key::read(&object.key)?;
    let (stored, e_tag) = (Timestamp::try_from(object.modified).ok()?, object.e_tag());
    Some(Entry::new(object.key, stored, Some(&e_tag)))
}

impl Objects for Folder {
    fn list(&self) -> BoxStream<'_, Result<Entry>> {
        let store = self.0.clone();
        let name = store.root().display().to_string();
        let list = async move {
            let failed = |error: FileStoreError| Error::List(name, Box::new(error));
            let objects = spawn_blocking(move || store.list(None)).await?.map_err(failed)?;
            let entries = objects.into_iter().filter_map(entry);
            Ok::<_, Error>(stream::iter(entries.map(Ok)))
        };
        stream::once(list).try_flatten().boxed()
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>>> {
        let read = async move {
            let Some(info) = self.on_disk(key, FileStore::info).await? else { return Ok(None) };
            if let Some(reason) = Unreadable::of_size(info.size) {
                return Err(Error::Unreadable(key.to_owned(), reason, None));
            }
            let object = self.on_disk(key, FileStore::read).await?;
            Ok(object.and_then(|(bytes, modified)| {
                let info = ObjectInfo { size: bytes.len() as u64, modified, ..info };
                // The local endpoint has only one API key, so it does not record writers.
                Some(Object { entry: entry(info)?, json: bytes.into(), writer: Writer::default() })
            }))
        };
        read.boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move { Ok(self.on_disk(key, FileStore::info).await?.and_then(entry)) }.boxed()
    }
}
