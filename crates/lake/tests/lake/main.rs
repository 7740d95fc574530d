//! The lake against a real S3: `s3s-fs`, which also deletes, overwrites and takes multipart uploads.

mod cost;
mod foreign;
mod function;
mod gate;
mod ingest;
mod listing;
mod others;
mod queue;
mod refusal;
mod support;
mod table;
