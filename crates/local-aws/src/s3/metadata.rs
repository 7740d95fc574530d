//! Object metadata, in an extended attribute of the object's file.
//!
//! A file system without extended attributes stores the object without metadata, because the trace is worth more.

use std::{collections::HashMap, fs::File};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// User-defined metadata: values by name. The names lack the prefix `x-amz-meta-`.
pub type Metadata = HashMap<String, String>;

const ATTRIBUTE: &str = "user.attest.metadata";

/// The size limit of metadata, in bytes. S3 accepts 2 KB (Amazon S3 User Guide, "Working with object metadata").
const MAX_BYTES: usize = 2 * 1024;

/// Returns whether metadata exceeds the limit. Like S3, counts the bytes of all names and values.
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
    // Each pair has at least one byte, and adds three for separator and line break.
    let mut bytes = vec![0; 4 * MAX_BYTES];
    let length = fgetxattr(file, ATTRIBUTE, &mut bytes[..]).ok()?;
    let lines = std::str::from_utf8(&bytes[..length]).ok()?;
    let pairs = lines.lines().filter_map(|line| line.split_once(": "));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
