//! The listing types that buckets and folders share.

use anyhow::Result;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingEntry {
    pub key: String,
    /// The time at which the trace was stored, by S3's clock.
    pub stored: Timestamp,
    /// The size in bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingPage {
    pub entries: Vec<ListingEntry>,
    /// The start of the next page. `None` on the last page.
    pub next: Option<String>,
}

/// A whole listing, which is read on demand.
pub struct Walk {
    /// The number of traces, if it is known in advance.
    pub total: Option<usize>,
    /// A hash of the listed traces. `None` if only another complete listing could detect a change.
    pub version: Option<u64>,
    pub entries: BoxStream<'static, Result<ListingEntry>>,
}

/// A common prefix of keys that ends with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub prefix: String,
    /// The number of traces below it. `None` if they are not counted.
    pub traces: Option<u64>,
    /// The branches below it, if it is expanded.
    pub below: Vec<Branch>,
}

/// The largest number of listed branches, which is also the limit of an S3 response.
pub(super) const MAX_BRANCHES: usize = 1_000;
