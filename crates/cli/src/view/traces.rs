//! The stored traces that this page may show.

use anyhow::anyhow;
use attest::key::Key;
use bytes::Bytes;

use crate::storage::{Branch, Page, Source, key_prefix};

/// Stored traces, restricted to one fingerprint if the page is.
#[derive(Debug, Clone)]
pub struct Traces {
    source: Source,
    /// The beginning of the keys that may be shown.
    shown: String,
}

impl Traces {
    /// Allows every trace.
    pub fn all(source: Source) -> Self {
        Self { source, shown: String::new() }
    }

    /// Allows the traces of one fingerprint only.
    pub fn of(source: Source, fingerprint: &str) -> anyhow::Result<Self> {
        Ok(Self {
            source: source.of(Some(fingerprint)).map_err(|error| anyhow!(error))?,
            shown: key_prefix(fingerprint)?,
        })
    }

    /// Reads a trace; `None` if there is none under this key, or if this page may not show it.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        if !key.starts_with(&self.shown) || Key::read(key).is_none() {
            return Ok(None);
        }
        self.source.get(key).await.map_err(|error| anyhow!(error))
    }

    /// Lists traces whose key begins with `prefix`: of a folder the newest first, of a bucket in the order of the keys.
    pub async fn page(&self, prefix: &str, from: Option<&str>, most: usize) -> anyhow::Result<Page> {
        self.source.page(prefix, from, most).await.map_err(|error| anyhow!(error))
    }

    /// Returns the fingerprints along `prefix`.
    pub async fn tree(&self, prefix: &str) -> anyhow::Result<Vec<Branch>> {
        self.source.tree(prefix).await.map_err(|error| anyhow!(error))
    }

    /// Whether traces are in a folder, which is listed whole at little cost.
    pub fn is_folder(&self) -> bool {
        self.source.is_folder()
    }

    /// Returns the bucket's name, and the address of its S3 if that is not AWS's own.
    pub fn location(&self) -> (&str, Option<&str>) {
        self.source.place()
    }
}
