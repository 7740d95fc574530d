//! One bucket of S3, whose objects are files in a folder.
//!
//! [`FolderS3`] is the S3 service; `s3s` implements the protocol, with signatures and XML. [`FileStore`] is the folder, for
//! callers that need no HTTP.
//!
//! `s3s-fs` does not fit: it checks `If-None-Match` before it writes, so not atomically. It also cannot hold every key: not
//! one with a long name, and not one that begins with another key and a slash.

mod checksums;
mod conditions;
mod error;
mod file_store;
mod key_codec;
mod listing;
mod objects;
mod pages;
mod service;

pub use error::FileStoreError;
pub use file_store::FileStore;
pub use listing::ObjectInfo;
pub use service::{ACCESS_KEY, FolderS3, REGION};
