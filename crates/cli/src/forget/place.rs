//! Searches and deletes objects in a bucket or folder, with all their versions.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use attest::{key::Key, trace, unreadable::Unreadable};
use attest_lake::{
    Error, LakeFile, Object,
    objects::{Bucket, ObjectVersion, Objects},
};
use attest_storage::{Location, aws_config};
use futures_util::{StreamExt, TryStreamExt, stream};
use local_aws::s3::FileStore;

use super::{
    receipt::NotSearched,
    selection::{Content, Selection},
};
use crate::lake::Folder;

/// The number of old versions whose bodies are in memory at once.
const BATCH: usize = 500;

const CONCURRENT: usize = 16;

pub enum ForgetPlace {
    Bucket(Bucket),
    Folder(FileStore, Folder),
}

impl ForgetPlace {
    pub async fn open(location: &Location) -> Result<Self> {
        let path = match location {
            Location::Bucket(bucket) => return Ok(Self::Bucket(Bucket::new(&aws_config().await?, bucket.clone()))),
            Location::Folder(path) => path,
        };
        let folder = path.display();
        ensure!(path.is_dir(), "there is no folder {folder}");
        let store = FileStore::open(path).with_context(|| format!("cannot open the folder {folder}"))?;
        Ok(Self::Folder(store.clone(), Folder::new(store)))
    }

    pub fn objects(&self) -> &dyn Objects {
        match self {
            Self::Bucket(bucket) => bucket,
            Self::Folder(_, folder) => folder,
        }
    }

    pub fn name(&self) -> String {
        match self {
            Self::Bucket(bucket) => format!("s3://{}", bucket.name()),
            Self::Folder(store, _) => store.root().display().to_string(),
        }
    }

    /// Deletes an object with all its versions, and returns their number.
    pub async fn delete(&self, key: &str) -> Result<u64> {
        match self {
            Self::Bucket(bucket) => Ok(bucket.delete_versions(key).await?),
            Self::Folder(store, _) => {
                let (store, name) = (store.clone(), key.to_owned());
                let deleted = tokio::task::spawn_blocking(move || store.delete(&name)).await?;
                Ok(u64::from(deleted.with_context(|| format!("cannot delete {key}"))?))
            }
        }
    }

    /// Deletes an object's noncurrent versions, and returns their number.
    pub async fn delete_noncurrent(&self, key: &str) -> Result<u64> {
        match self {
            Self::Bucket(bucket) => Ok(bucket.delete_noncurrent(key).await?),
            Self::Folder(..) => Ok(0),
        }
    }

    /// Returns the keys whose noncurrent versions belong to a selection. Neither a listing nor the lake contains these
    /// versions. Adds unreadable versions to `unreadable`.
    pub async fn old_keys(&self, selection: &Selection, unreadable: &mut Vec<NotSearched>) -> Result<BTreeSet<String>> {
        let Self::Bucket(bucket) = self else { return Ok(BTreeSet::new()) };
        if matches!(selection, Selection::Keys(_)) || !bucket.may_have_versions().await {
            return Ok(BTreeSet::new());
        }
        let mut versions = bucket.all_versions("").await?;
        let is_old_trace =
            |version: &ObjectVersion| !version.is_latest && !version.is_marker && Key::read(&version.key).is_some();
        versions.retain(is_old_trace);
        let folder = tempfile::tempdir().context("cannot use the temporary folder")?;
        let (mut found, mut denied, mut is_any_read) = (BTreeSet::new(), 0, false);
        let content = if let Selection::Content(content) = selection { Some(content) } else { None };
        for batch in versions.chunks(BATCH) {
            let reads = stream::iter(batch).map(|version| read_version(bucket, version));
            let reads: Vec<(&ObjectVersion, Read)> = reads.buffer_unordered(CONCURRENT).try_collect().await?;
            let mut traces = Vec::new();
            for (ObjectVersion { key, id, .. }, read) in reads {
                match read {
                    Ok(Some(object)) => {
                        is_any_read = true;
                        match content.map(|content| content.selects_object(&object)) {
                            Some(Some(true)) => drop(found.insert(object.entry.key)),
                            Some(Some(false)) => {}
                            None if trace::is_trace(&object.json) => traces.push(object),
                            None | Some(None) => unreadable.push(NotSearched::not_a_trace(key, Some(id))),
                        }
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        denied += usize::from(reason == Unreadable::Denied);
                        if selection.may_select(key) {
                            unreadable.push(NotSearched::unreadable(key, Some(id), reason));
                        }
                    }
                }
            }
            if !traces.is_empty() {
                found.extend(selection.keys_in(&LakeFile::of_traces(folder.path(), traces)?).await?);
            }
        }
        ensure!(
            denied == 0 || is_any_read,
            "access is denied to all {denied} old versions of objects: allow s3:GetObjectVersion"
        );
        Ok(found)
    }

    /// Returns those of `keys` whose objects match, even if they are not traces. Adds an object to `unreadable` if it
    /// is not a trace and the query needs its content.
    pub async fn matching_objects(
        &self,
        keys: &[String],
        content: &Content,
        unreadable: &mut Vec<NotSearched>,
    ) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for key in keys {
            let object = self.objects().read(key).await?;
            match object.map_or(Some(false), |object| content.selects_object(&object)) {
                Some(true) => drop(found.insert(key.clone())),
                Some(false) => {}
                None => unreadable.push(NotSearched::not_a_trace(key, None)),
            }
        }
        Ok(found)
    }
}

type Read = Result<Option<Object>, Unreadable>;

/// Reads a version, or returns the reason why it is unreadable. Passes every other error on.
async fn read_version<'a>(bucket: &Bucket, version: &'a ObjectVersion) -> Result<(&'a ObjectVersion, Read), Error> {
    match bucket.read_version(version).await {
        Err(Error::Unreadable(_, reason, _)) => Ok((version, Err(reason))),
        read => Ok((version, Ok(read?))),
    }
}
