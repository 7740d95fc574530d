//! Identifies a place that contains traces, so that earlier work is continued only on the same traces.

use std::{fmt, fs, os::unix::fs::MetadataExt};

use anyhow::{Context, Result};
use attest::{
    place::{self, bucket_name},
    settings,
};
use aws_config::SdkConfig;
use local_aws::s3::FileStore;
use serde::{Deserialize, Serialize};

use super::{
    aws::{aws_config, s3_client},
    reader::Location,
};

/// A place's name, and the id that is stored in it.
///
/// The name alone is not enough: a folder can be replaced at the same path, and a bucket can be deleted and created
/// again. The id alone is not enough either, because a copy of a place has the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceId {
    /// The folder's path, or the bucket's name and its S3.
    pub name: String,
    /// `None` if the place has no id and this user may not create one.
    pub id: Option<String>,
}

impl PlaceId {
    /// Identifies the place that the options select. Creates its id if it has none.
    pub async fn of(location: &Location) -> Result<Self> {
        match location {
            Location::Bucket(bucket) => Self::of_bucket(&aws_config().await?, bucket).await,
            Location::Folder(folder) => {
                let store = FileStore::read_only(folder);
                Self::of_folder(&store.with_context(|| format!("cannot read {}", folder.display()))?)
            }
        }
    }

    pub async fn of_bucket(config: &SdkConfig, bucket: &str) -> Result<Self> {
        let id = place::bucket_id(&s3_client(config), bucket).await;
        let id = id.with_context(|| format!("cannot read the id of the bucket {bucket}"))?;
        Ok(Self { name: bucket_name(bucket, settings::s3_endpoint(config).as_deref()), id })
    }

    /// Identifies a folder. A folder without an id is recognized by its path, device and inode.
    pub fn of_folder(store: &FileStore) -> Result<Self> {
        let root = store.root();
        let failed = || format!("cannot read the id of the folder {}", root.display());
        let id = store.id().with_context(failed)?;
        let mut name = folder_name(store);
        if id.is_none() {
            let metadata = fs::metadata(root).with_context(failed)?;
            name = format!("{name} (device {}, inode {})", metadata.dev(), metadata.ino());
        }
        Ok(Self { name, id })
    }

    /// Returns a warning if the place could be replaced unnoticed.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let name = &self.name;
        self.id.is_none().then(|| {
            format!("{name} has no id, and this user may not create it: its replacement by another one is not noticed")
        })
    }
}

impl fmt::Display for PlaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " with the id {id}"))
    }
}

pub(super) fn folder_name(store: &FileStore) -> String {
    format!("folder {}", store.root().display())
}
