//! The places that traces are read from: a bucket on AWS, or a folder of the local endpoint.
//!
//! Reading a bucket requires only `s3:ListBucket` and `s3:GetObject`. A folder is read directly, without its S3.

mod aws;
mod bucket_reader;
mod folder_reader;
#[cfg(feature = "lake")]
mod lake_index;
mod listing;
mod location_options;
mod place_id;
mod reader;
mod selection;

pub use aws::{aws_config, s3_client};
pub use folder_reader::{FolderReader, serve_folder};
#[cfg(feature = "lake")]
pub use lake_index::LakeIndex;
pub use listing::{Branch, ListingEntry, ListingPage, Walk};
pub use location_options::LocationOptions;
pub use place_id::PlaceId;
pub use reader::{Location, TraceReader};
pub use selection::{Fingerprint, TimeRange, parse_time};
