//! The ways in which the folder of a bucket fails.

use std::{io, path::PathBuf};

/// A failed operation on the folder of a bucket. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileStoreError {
    /// The folder's name is the bucket's name, and S3 does not allow it (Amazon S3 User Guide, "General purpose bucket
    /// naming rules").
    #[error("its name is not a valid bucket name: 3 to 63 of the characters a-z, 0-9, `.` and `-`")]
    InvalidBucketName,
    /// The folder does not exist.
    #[error("the folder {} does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The store was opened with [`FileStore::read_only`](super::FileStore::read_only).
    #[error("the folder is opened for reading only")]
    ReadOnly,
    /// The file system cannot create a name atomically, so an object could be overwritten.
    #[error("the file system has no hard links ({0}), so a trace could be overwritten: choose another --folder")]
    NoHardLinks(io::Error),
    /// The disk or the quota is full.
    #[error("the disk is full: make room on it, or choose another --folder ({0})")]
    DiskFull(io::Error),
    /// The path of an object's file is too long for this system.
    #[error("the path is longer than this system allows: choose a --folder with a shorter path ({0})")]
    PathTooLong(io::Error),
    /// This user may not read or write the file, or the file system is read-only.
    #[error("the folder is not accessible: give this user read and write permission, or choose another --folder ({0})")]
    AccessDenied(io::Error),
    /// Any other error of the file system.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for FileStoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(error),
            io::ErrorKind::InvalidFilename => Self::PathTooLong(error),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::AccessDenied(error),
            _ => Self::Io(error),
        }
    }
}
