//! The source of a lake, which is the place whose traces it contains.
//!
//! Compared with the wrong source, all traces of the lake would seem to be deleted. A synchronisation would empty the
//! lake, and `forget` would leave the objects. The lake therefore records its source in a file in the log folder. Delta
//! ignores files there that are not named like its own.

use std::fmt;

use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Table};

const RECORD: &str = "_delta_log/_attest_source.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    /// The id that is stored with the traces, or `None` if nobody could create it.
    pub id: Option<String>,
}

impl Source {
    /// Returns whether both are the same place. The id stays the same under another path or endpoint.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            // Copying a bucket copies its id too, and a bucket is never renamed.
            (Some(one), Some(other_id)) => {
                one == other_id && (bucket(&self.name) == bucket(&other.name) || !both(self, other))
            }
            _ => self.name == other.name,
        }
    }
}

fn both(one: &Source, other: &Source) -> bool {
    bucket(&one.name).is_some() && bucket(&other.name).is_some()
}

/// Returns the bucket in a name from [`attest::place::bucket_name`].
fn bucket(name: &str) -> Option<&str> {
    name.strip_prefix("bucket ")?.split_once(" on ").map(|(bucket, _)| bucket)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " with the id {id}"))
    }
}

impl Table {
    /// Returns the recorded source. Lakes of earlier versions have none.
    pub async fn source(&self) -> Result<Option<Source>> {
        match self.location().store.get(&Path::from(RECORD)).await {
            Ok(record) => serde_json::from_slice(&record.bytes().await?).map(Some).map_err(|_| self.no_record()),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Records the source if the lake has none. Fails if the lake has another one.
    pub async fn claim(&self, source: &Source) -> Result<()> {
        if self.source().await?.is_none() && self.record(source, PutMode::Create).await? {
            return Ok(());
        }
        let recorded = self.source().await?.ok_or_else(|| self.no_record())?;
        self.compare(&recorded, source)?;
        if recorded.id.is_none() && source.id.is_some() {
            self.record(source, PutMode::Overwrite).await?;
        }
        Ok(())
    }

    /// Fails if the recorded and the given source are different places.
    pub fn compare(&self, recorded: &Source, given: &Source) -> Result<()> {
        if recorded.is_same(given) {
            return Ok(());
        }
        let (recorded, given) = (recorded.to_string(), given.to_string());
        Err(Error::OtherSource { lake: self.location().to_string(), recorded, given })
    }

    pub async fn set_source(&self, source: &Source) -> Result<()> {
        self.record(source, PutMode::Overwrite).await.map(|_| ())
    }

    /// Returns `false` if another writer has recorded a source first.
    async fn record(&self, source: &Source, mode: PutMode) -> Result<bool> {
        let json = serde_json::to_vec(source).expect("texts are JSON");
        let options = PutOptions::from(mode);
        match self.location().store.put_opts(&Path::from(RECORD), PutPayload::from(json), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn no_record(&self) -> Error {
        Error::NoRecord(format!("{}/{RECORD}", self.location().to_string().trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_recognized_by_its_id_and_otherwise_by_its_name() {
        let source = |name: &str, id: Option<&str>| Source { name: name.to_owned(), id: id.map(str::to_owned) };
        for (one, other, is_same) in [
            (source("folder /a", Some("1")), source("folder /b", Some("1")), true),
            (source("folder /a", Some("1")), source("folder /a", Some("2")), false),
            (source("folder /a/traces", Some("1")), source("bucket traces on http://localhost:9000", Some("1")), true),
            (source("bucket t on AWS", Some("1")), source("bucket t on https://vpce.example.com", Some("1")), true),
            (source("bucket t on AWS", Some("1")), source("bucket copy on AWS", Some("1")), false),
            (source("bucket t on AWS", None), source("bucket t on AWS", Some("1")), true),
            (source("bucket t on AWS", None), source("bucket u on AWS", Some("1")), false),
        ] {
            assert_eq!(one.is_same(&other), is_same, "{one}, {other}");
        }
    }
}
