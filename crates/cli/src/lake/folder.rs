//! The folder of the local endpoint as a source of a lake.

use std::sync::Arc;

use attest::{key::Key, unreadable::Unreadable, writer::Writer};
use attest_lake::{Entry, Error, Object, Result, objects::Objects};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use jiff::Timestamp;
use local_aws::s3::{FileStore, FileStoreError, ObjectInfo};
use tokio::task::spawn_blocking;

/// A folder of the local endpoint. It is read directly, without its S3.
#[derive(Debug, Clone)]
pub struct Folder(FileStore);

impl Folder {
    #[must_use]
    pub fn new(store: FileStore) -> Self {
        Self(store)
    }

    async fn object(&self, key: &str) -> Result<Option<Object>> {
        let (store, name) = (self.0.clone(), key.to_owned());
        let object = spawn_blocking(move || store.read(&name)).await?;
        let object = object.map_err(|error| Error::Object(key.to_owned(), Arc::new(error)))?;
        let read = |(bytes, modified): (Vec<u8>, _)| {
            let info = ObjectInfo { key: key.to_owned(), size: bytes.len() as u64, modified };
            // The local endpoint has one key, and stores no writer.
            Some(Object { entry: entry(info)?, json: bytes.into(), writer: Writer::default() })
        };
        Ok(object.and_then(read))
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
            let object = self.object(key).await?;
            match object.as_ref().and_then(|object| Unreadable::of_size(object.json.len() as u64)) {
                Some(reason) => Err(Error::Unreadable(key.to_owned(), reason, None)),
                None => Ok(object),
            }
        };
        read.boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move { Ok(self.object(key).await?.map(|object| object.entry)) }.boxed()
    }
}
