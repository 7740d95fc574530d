//! The lake against a real S3: `s3s-fs`, which also deletes, overwrites and takes multipart uploads.

mod cost;
mod function;
mod gate;
mod ingest;
mod listing;
mod others;
mod queue;
mod support;
mod table;
