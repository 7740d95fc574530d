//! The metadata of an object, in an extended attribute of its file.
//!
//! A file system without extended attributes stores the object without metadata, because the trace is worth more.

use std::{collections::HashMap, fs::File};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// User-defined metadata: names without `x-amz-meta-`, and values.
pub type Metadata = HashMap<String, String>;

const ATTRIBUTE: &str = "user.attest.metadata";

/// The largest metadata, in bytes. S3 accepts 2 KB (Amazon S3 User Guide, "Working with object metadata").
const MAX_BYTES: usize = 2 * 1024;

/// Returns the size of metadata as S3 counts it: the bytes of all names and values.
pub(super) fn is_too_large(metadata: &Metadata) -> bool {
    metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_BYTES
}

/// Adds metadata to a file that is not visible yet. The values come from headers, so they contain no line break.
pub(super) fn save(file: &File, metadata: &Metadata) {
    let lines: String = metadata.iter().flat_map(|(name, value)| [name, ": ", value, "\n"]).collect();
    if !lines.is_empty()
        && let Err(error) = fsetxattr(file, ATTRIBUTE, lines.as_bytes(), XattrFlags::empty())
    {
        tracing::debug!(%error, "the file system keeps no metadata");
    }
}

/// Returns `None` for a file without metadata, and on a file system without extended attributes.
pub(super) fn load(file: &File) -> Option<Metadata> {
    // A separator and a line break for each of at most as many pairs as bytes.
    let mut bytes = vec![0; 4 * MAX_BYTES];
    let length = fgetxattr(file, ATTRIBUTE, &mut bytes[..]).ok()?;
    let lines = std::str::from_utf8(&bytes[..length]).ok()?;
    let pairs = lines.lines().filter_map(|line| line.split_once(": "));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
