//! Errors of the file store, and their S3 error codes.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper::StatusCode;
use rustix::io::Errno;
use s3s::{S3Error, S3ErrorCode};

/// A failed operation on a bucket's folder. Each message contains the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileStoreError {
    /// S3 does not allow the folder's name as a bucket name (Amazon S3 User Guide, "General purpose bucket naming
    /// rules").
    #[error("its name is not a valid bucket name: 3 to 63 of the characters a-z, 0-9, `.` and `-`")]
    InvalidBucketName,
    #[error("the folder {} does not exist: create it, or choose another --folder", .0.display())]
    NoFolder(PathBuf),
    /// The store was opened with [`FileStore::read_only`](crate::s3::FileStore::read_only).
    #[error("the folder is opened for reading only")]
    ReadOnly,
    /// The file system cannot create a name atomically, so an object could be overwritten.
    #[error("the file system has no hard links ({0}), so a trace could be overwritten: choose another --folder")]
    NoHardLinks(io::Error),
    /// The disk or the quota is full.
    #[error("the disk is full: make room on it, or choose another --folder ({0})")]
    DiskFull(io::Error),
    #[error("the path is longer than this system allows: choose a --folder with a shorter path ({0})")]
    PathTooLong(io::Error),
    /// This user may not read or write the file, or the file system is read-only.
    #[error("the folder is not accessible: give this user read and write permission, or choose another --folder ({0})")]
    AccessDenied(io::Error),
    /// A link, folder or other file has the name of a file that the store needs.
    #[error("{} is not a file of this program: move it, or choose another --folder", .0.display())]
    NotOwn(PathBuf),
    #[error("another process holds {} exclusively: stop it, or choose another --folder", .0.display())]
    Locked(PathBuf),
    /// The folder is on another file system, and a hard link cannot lead there.
    #[error("{} is on another file system than its bucket, so a trace cannot get its name there: use that file system as --folder", .0.display())]
    OtherFileSystem(PathBuf),
    /// An object needs a file or a folder where something else is: a file in place of a folder, or a loop of links.
    #[error("{} is in the way: move it ({error})", .path.display())]
    Blocked {
        /// The file or folder that blocks the key's path.
        path: PathBuf,
        error: io::Error,
    },
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for FileStoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull(error)
            }
            io::ErrorKind::InvalidFilename => Self::PathTooLong(error),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::AccessDenied(error),
            _ => Self::Io(error),
        }
    }
}

impl FileStoreError {
    /// Converts an error from creating or opening the file at `path`. An error that persists until somebody changes the
    /// folder does not become [`Io`](Self::Io), because a client would retry in vain.
    pub(super) fn of_path(error: io::Error, path: &Path) -> Self {
        // A dangling link exists, but has no metadata.
        let existing = path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(path).to_owned();
        let is_loop = Errno::from_io_error(&error) == Some(Errno::LOOP);
        match error.kind() {
            io::ErrorKind::CrossesDevices => Self::OtherFileSystem(existing),
            // `create_dir_all` reports `AlreadyExists` if it finds a file or a dangling link.
            io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::TooManyLinks => Self::Blocked { path: existing, error },
            _ if is_loop => Self::Blocked { path: existing, error },
            _ => error.into(),
        }
    }
}

impl From<FileStoreError> for S3Error {
    fn from(error: FileStoreError) -> Self {
        let custom = |code: &'static str| S3ErrorCode::Custom(code.into());
        let code = match &error {
            FileStoreError::DiskFull(_) => custom("DiskFull"),
            FileStoreError::PathTooLong(_) => custom("PathTooLong"),
            FileStoreError::AccessDenied(_) => custom("FolderNotAccessible"),
            FileStoreError::NoHardLinks(_) => custom("NoHardLinks"),
            FileStoreError::NotOwn(_) | FileStoreError::Locked(_) => custom("FolderInUse"),
            FileStoreError::OtherFileSystem(_) => custom("OtherFileSystem"),
            FileStoreError::Blocked { .. } => custom("PathBlocked"),
            FileStoreError::NoFolder(_) => S3ErrorCode::NoSuchBucket,
            FileStoreError::ReadOnly => S3ErrorCode::AccessDenied,
            FileStoreError::InvalidBucketName => S3ErrorCode::InvalidBucketName,
            FileStoreError::Io(_) => return Self::internal_error(error),
        };
        let is_custom = matches!(code, S3ErrorCode::Custom(_));
        let mut answer = Self::with_message(code, error.to_string());
        if is_custom {
            answer.set_status_code(StatusCode::BAD_REQUEST);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_errors_of_the_file_system_are_not_retryable_and_say_what_to_do() {
        for (kind, code) in [
            (io::ErrorKind::StorageFull, "DiskFull"),
            (io::ErrorKind::QuotaExceeded, "DiskFull"),
            (io::ErrorKind::InvalidFilename, "PathTooLong"),
            (io::ErrorKind::ReadOnlyFilesystem, "FolderNotAccessible"),
        ] {
            let error = S3Error::from(FileStoreError::from(io::Error::from(kind)));
            assert_eq!((error.code().as_str(), error.status_code()), (code, Some(StatusCode::BAD_REQUEST)));
        }
    }
}
