//! The folder of the local endpoint as a source of a lake.

use std::{sync::Arc, time::SystemTime};

use attest::key::Key;
use attest_lake::{Error, Result, columns::Entry, objects::Objects};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use jiff::Timestamp;
use local_aws::s3::{FileStore, FileStoreError};
use tokio::task::spawn_blocking;

/// A folder of the local endpoint. It is read directly, without its S3.
#[derive(Debug, Clone)]
pub struct Folder(FileStore);

impl Folder {
    #[must_use]
    pub fn new(store: FileStore) -> Self {
        Self(store)
    }

    async fn object(&self, key: &str) -> Result<Option<(Entry, Bytes)>> {
        let (store, name) = (self.0.clone(), key.to_owned());
        let object = spawn_blocking(move || store.read(&name)).await?;
        let object = object.map_err(|error| Error::Object(key.to_owned(), Arc::new(error)))?;
        Ok(object.and_then(|(bytes, modified)| Some((entry(key.to_owned(), modified)?, bytes.into()))))
    }
}

/// Returns the entry of a trace. Returns `None` for a file that the endpoint did not store.
fn entry(key: String, modified: SystemTime) -> Option<Entry> {
    Key::read(&key)?;
    Some(Entry::new(key, Timestamp::try_from(modified).ok()?))
}

impl Objects for Folder {
    fn list(&self) -> BoxStream<'_, Result<Entry>> {
        let store = self.0.clone();
        let name = store.root().display().to_string();
        let list = async move {
            let failed = |error: FileStoreError| Error::List(name, Box::new(error));
            let objects = spawn_blocking(move || store.list(None)).await?.map_err(failed)?;
            let entries = objects.into_iter().filter_map(|object| entry(object.key, object.modified));
            Ok::<_, Error>(stream::iter(entries.map(Ok)))
        };
        stream::once(list).try_flatten().boxed()
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Entry, Bytes)>>> {
        self.object(key).boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move { Ok(self.object(key).await?.map(|(entry, _)| entry)) }.boxed()
    }
}
