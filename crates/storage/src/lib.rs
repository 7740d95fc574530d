//! The places that traces are read from: a bucket on AWS, the local endpoint's folder, or JSON Lines files.
//!
//! Reading a bucket requires only `s3:ListBucket` and `s3:GetObject`. A folder is read directly, without its S3.

mod aws;
mod bucket_reader;
mod files_reader;
mod folder_reader;
mod json_lines;
#[cfg(feature = "lake")]
mod lake_index;
mod line_index;
mod listing;
mod location_options;
mod place_id;
mod reader;
mod selection;

pub use aws::{aws_config, s3_client};
pub use files_reader::{FilesReader, LinePlace};
pub use folder_reader::serve_folder;
pub use json_lines::{JsonLines, Packing};
#[cfg(feature = "lake")]
pub use lake_index::LakeIndex;
pub use listing::{Branch, ListingEntry, ListingPage, Walk};
pub use location_options::LocationOptions;
pub use place_id::PlaceId;
pub use reader::{Location, PlaceKind, TraceReader};
pub use selection::{Fingerprint, TimeRange, parse_time};
