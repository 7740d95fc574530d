//! The file from which scripts learn that the endpoint is ready, and how to reach it.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Result;
use local_aws::s3::{ACCESS_KEY, ServedS3};
use serde_json::json;
use tempfile::NamedTempFile;

use super::LocalEndpoint;

/// A written ready file. Dropping it deletes the file, unless another process has replaced it.
pub struct ReadyFile(Option<(PathBuf, File)>);

impl ReadyFile {
    /// Writes the addresses and keys as JSON, readable only by this user. A reader sees the complete file or none.
    ///
    /// A pipe is written to directly, so that its reader can wait for the endpoint.
    pub fn write(path: &Path, endpoint: &LocalEndpoint) -> Result<Self> {
        let LocalEndpoint { url, api_key, served_s3: s3, otlp_url, .. } = endpoint;
        let ready = json!({
            "url": url,
            "api_key": api_key,
            "s3_url": s3.as_ref().map(ServedS3::url),
            "s3_access_key": s3.as_ref().map(|_| ACCESS_KEY),
            "s3_secret_key": s3.as_ref().map(ServedS3::secret_key),
            "otlp_url": otlp_url,
        });
        let ready = format!("{ready}\n");
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            fs::write(path, ready)?;
            return Ok(Self(None));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder)?;
        fs::write(file.path(), ready)?;
        let file = file.persist(path)?;
        Ok(Self(Some((path.to_owned(), file))))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let Some((path, file)) = &self.0 else { return };
        let is_own = fs::symlink_metadata(path)
            .and_then(|found| file.metadata().map(|own| (found.dev(), found.ino()) == (own.dev(), own.ino())));
        if is_own.unwrap_or(false) {
            let _ = fs::remove_file(path);
        }
    }
}
