//! Helpers for tests that need a real S3, healthy or not.

mod bucket;
mod fault_proxy;

pub use bucket::{BUCKET, Bucket, http_client};
pub use fault_proxy::{Fault, FaultProxy};
