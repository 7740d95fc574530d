//! The folder or bucket that holds a lake.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use attest::settings;
use aws_sdk_s3::{Client, operation::head_object::HeadObjectError, primitives::ByteStream};

use super::super::paths;
use crate::storage::{aws_config, s3_client};

/// The location that `--output` names.
#[derive(Debug, Clone)]
pub enum LakeLocation {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

/// A lake that Parquet files can be added to.
pub enum Destination {
    Folder(PathBuf),
    /// Written with the user's AWS configuration, even if the traces are in a folder.
    Bucket {
        client: Client,
        endpoint: Option<String>,
        bucket: String,
        prefix: String,
    },
}

impl LakeLocation {
    /// Reads a path or `s3://BUCKET/PREFIX`.
    pub fn parse(path: PathBuf) -> Result<Self> {
        let Some(url) = path.to_str().and_then(|path| path.strip_prefix("s3://")) else {
            return Ok(Self::Folder(path));
        };
        let (bucket, prefix) = url.split_once('/').unwrap_or((url, ""));
        ensure!(!bucket.is_empty(), "s3:// must be followed by the name of a bucket");
        let prefix = if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix })
    }
}

impl Destination {
    /// Opens a lake. A folder is created if its parent exists, and must be writable. Sends no request to a bucket.
    pub async fn open(location: &LakeLocation) -> Result<Self> {
        match location {
            LakeLocation::Folder(folder) => {
                let folder = paths::canonical(folder)?;
                create_folder(&folder)?;
                // Fail before any trace is read. A temporary file leaves nothing behind.
                let probe = tempfile::tempfile_in(&folder);
                probe.with_context(|| format!("cannot write into the folder {}", folder.display()))?;
                Ok(Self::Folder(folder))
            }
            LakeLocation::Bucket { bucket, prefix } => {
                let config = aws_config().await.with_context(|| format!("cannot write to s3://{bucket}"))?;
                let (client, endpoint) = (s3_client(&config), settings::s3_endpoint(&config));
                Ok(Self::Bucket { client, endpoint, bucket: bucket.clone(), prefix: prefix.clone() })
            }
        }
    }

    /// Describes the lake, so that a state can recognize it.
    pub fn name(&self) -> String {
        #[expect(clippy::unnecessary_debug_formatting, reason = "paths that are not UTF-8 stay different")]
        match self {
            Self::Folder(folder) => format!("{folder:?}"),
            Self::Bucket { endpoint, bucket, prefix, .. } => {
                let at = endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
                format!("{:?}{at}", format!("s3://{bucket}/{prefix}"))
            }
        }
    }

    /// Returns whether the lake has the file `name`. Assumes that it does if the bucket's objects cannot be read.
    pub async fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).exists(),
            Self::Bucket { client, bucket, prefix, .. } => {
                let head = client.head_object().bucket(bucket).key(format!("{prefix}{name}")).send().await;
                !head.is_err_and(|error| error.as_service_error().is_some_and(HeadObjectError::is_not_found))
            }
        }
    }

    /// Adds or replaces the file `name` atomically.
    pub async fn add(&self, file: &Path, name: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                add_to_folder(folder, file, &path).with_context(|| format!("cannot write {}", path.display()))
            }
            Self::Bucket { client, bucket, prefix, .. } => {
                let body = ByteStream::from_path(file).await;
                let body = body.with_context(|| format!("cannot read {}", file.display()))?;
                let put = client.put_object().bucket(bucket).key(format!("{prefix}{name}")).body(body);
                let put = put.content_type("application/vnd.apache.parquet").send().await;
                put.map_err(aws_sdk_s3::Error::from)
                    .with_context(|| format!("cannot write s3://{bucket}/{prefix}{name}"))?;
                Ok(())
            }
        }
    }
}

/// Creates a folder if it does not exist. Its parent must exist.
pub fn create_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create the folder {}", folder.display()))
        }
        _ if !folder.is_dir() => bail!("{} is not a folder", folder.display()),
        _ => Ok(()),
    }
}

fn add_to_folder(lake: &Path, file: &Path, path: &Path) -> io::Result<()> {
    let (day, name) = (path.parent().unwrap_or(lake), path.file_name().unwrap_or_default());
    fs::create_dir_all(day)?;
    // The state folder may be on another file system, so the file is copied before it is renamed.
    let part = day.join(format!(".{}.part", name.display()));
    fs::copy(file, &part)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, path)?;
    // The names must survive a crash of the machine, because the state records that the file is in the lake.
    File::open(day)?.sync_all()?;
    File::open(lake)?.sync_all()
}
