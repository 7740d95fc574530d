use std::{borrow::Cow, sync::Arc};

use attest::unreadable::Unreadable;
use delta_kernel::KernelError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is not a location of a lake: use a folder or s3://BUCKET/PREFIX")]
    Location(String),
    #[error("the folder {0} cannot be used")]
    Folder(String, #[source] std::io::Error),
    /// The folder that would contain the lake does not exist.
    #[error("cannot use the folder {0}: create its parent folder, or correct the path")]
    NoParent(String),
    #[error("there is no lake at {0}: correct the location, or create the lake with `attest lake sync`")]
    NoTable(String),
    /// The location has no table, but has Parquet files, which `vacuum` would delete.
    #[error("{0} contains Parquet files that do not belong to a lake: choose another location")]
    OtherFiles(String),
    #[error(transparent)]
    Settings(#[from] attest::settings::SettingsError),
    #[error("the table cannot be read or written")]
    Table(#[source] Box<KernelError>),
    #[error("the table at {0} is not a lake that this version can keep: {1}")]
    OtherTable(String, String),
    #[error("the lake {lake} holds the traces of {recorded}, not those of {given}: correct the place")]
    OtherSource { lake: String, recorded: String, given: String },
    #[error("{0} does not name the place of the traces: correct or delete it")]
    NoRecord(String),
    /// Only other programs write such a row.
    #[error("the file {0} of the lake has a row without key, time or trace")]
    NoValue(String),
    /// Files behind a link may belong to another program.
    #[error("{0} is a link, and nothing behind a link is deleted: replace it with the folder")]
    Link(String),
    /// A listing that does not advance would be endless, and a truncated one would be incomplete.
    #[error("the listing of {0} cannot be trusted: {1}")]
    Listing(String, Cow<'static, str>),
    #[error("the file {0} of the lake cannot be read or written")]
    Parquet(String, #[source] parquet::errors::ParquetError),
    #[error("the storage of the lake refused a request")]
    Storage(#[from] object_store::Error),
    #[error("the bucket {0} cannot be listed")]
    List(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the object {0} cannot be read")]
    Object(String, #[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Only this object cannot be read. Others may be readable.
    #[error("the object {0} cannot be read: {1}")]
    Unreadable(String, Unreadable, #[source] Option<Arc<dyn std::error::Error + Send + Sync>>),
    /// Access to all objects is denied, so the cause is not an individual object.
    #[error(
        "access is denied to all {0} objects that were to be read: allow s3:GetObject on the bucket's objects and, where a KMS \
         key encrypts them, kms:Decrypt"
    )]
    NoAccess(u64),
    #[error("the object {0} cannot be read to its end")]
    Body(String, #[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the versions of {0} cannot be listed")]
    Versions(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the version {version} of {key} cannot be deleted")]
    Delete {
        key: String,
        version: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the queue {0} refused a request")]
    Queue(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the temporary folder cannot be used")]
    Temporary(#[from] std::io::Error),
    #[error("{0} commits in a row lost their race against other writers; try again later")]
    Contention(u32),
    #[error("a task of this program failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// Returns whether a file is not a complete Parquet file, for example because its writer was killed.
    #[must_use]
    pub fn is_broken_file(&self) -> bool {
        matches!(self, Self::Parquet(_, error) if !matches!(error, parquet::errors::ParquetError::External(_)))
            || matches!(self, Self::NoValue(_))
    }

    /// Returns whether a read failed because another run had replaced the file and deleted it at once.
    #[must_use]
    pub fn is_deleted_file(&self) -> bool {
        let source = match self {
            Self::Parquet(_, parquet::errors::ParquetError::External(source)) => source.downcast_ref(),
            Self::Storage(source) => Some(source),
            _ => None,
        };
        matches!(source, Some(object_store::Error::NotFound { .. }))
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self::Table(Box::new(error))
    }
}
