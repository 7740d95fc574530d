//! An S3 with one bucket. Its objects are files in a folder.
//!
//! [`FolderS3`] is the S3 service; `s3s` implements the protocol, with signatures and XML. [`FileStore`] is the
//! folder, for callers that need no HTTP.
//!
//! `s3s-fs` is not suitable: it checks `If-None-Match` before it writes, which is not atomic. It also cannot store a
//! key with a long name, or a key that starts with another key and a slash.

mod access;
mod checksums;
mod conditions;
mod error;
mod file_store;
mod identity;
mod key_codec;
mod listing;
mod metadata;
mod objects;
mod pages;
mod served_s3;
mod service;
mod store_lock;

pub use error::FileStoreError;
pub use file_store::FileStore;
pub use identity::ID_KEY;
pub use listing::ObjectInfo;
pub use served_s3::ServedS3;
pub use service::{ACCESS_KEY, FolderS3, REGION};
