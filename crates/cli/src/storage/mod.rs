//! The places that traces are read from: a bucket, or a folder.

mod source;

pub use source::*;
