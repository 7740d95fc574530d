//! Identifies an import, so that a checkpoint is never used for a different import.

use std::path::Path;

use anyhow::{Context, Result};
use attest_storage::{Location, PlaceId};
use local_aws::files::create_own_folder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    Endpoint {
        url: String,
        /// The id of the endpoint's store, or the nil UUID until an endpoint reports it. Every id has the same length,
        /// so it can be written in place.
        store: String,
    },
    Place(PlaceId),
}

impl Destination {
    /// Identifies the endpoint at `url`, whose store may be unknown.
    pub fn endpoint(url: String, store: Option<Uuid>) -> Self {
        Self::Endpoint { url, store: store.unwrap_or_default().to_string() }
    }

    /// Identifies the place of an endpoint in this process. Creates a folder that does not exist.
    pub async fn place(location: &Location) -> Result<Self> {
        if let Location::Folder(folder) = location {
            create_own_folder(folder).with_context(|| format!("cannot store into {}", folder.display()))?;
        }
        Ok(Self::Place(PlaceId::of(location).await?))
    }

    pub fn has_store(&self) -> bool {
        matches!(self, Self::Endpoint { store, .. } if *store != Uuid::nil().to_string())
    }

    /// Returns whether both destinations have the same name, although they may be different places.
    fn is_named_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Endpoint { url, .. }, Self::Endpoint { url: other, .. }) => url == other,
            (Self::Place(place), Self::Place(other)) => place.name == other.name,
            _ => false,
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint { url, .. } => f.write_str(url),
            Self::Place(place) => write!(f, "the {}", place.name),
        }
    }
}

/// Formats a path. Escapes bytes that are not UTF-8, so that no two paths are formatted alike.
pub fn text(path: &Path) -> String {
    path.to_str().map_or_else(|| path.as_os_str().as_encoded_bytes().escape_ascii().to_string(), ToOwned::to_owned)
}

/// Everything that determines the meaning of a confirmed line. The sending rate and the API key are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The canonical path, if the checkpoint is not next to the file.
    pub file: Option<String>,
    pub destination: Destination,
    /// The format of the lines, if they are not traces.
    pub from: Option<String>,
}

impl Identity {
    /// Returns whether both identify the same import, to destinations with the same name.
    pub fn is_same_import(&self, other: &Self) -> bool {
        self.file == other.file && self.from == other.from && self.destination.is_named_like(&other.destination)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "of {file} ")?;
        }
        write!(f, "into {}", self.destination)?;
        self.from.as_ref().map_or(Ok(()), |from| write!(f, " with --from {from}"))
    }
}
