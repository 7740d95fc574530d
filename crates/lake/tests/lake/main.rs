//! Tests the lake against `s3s-fs`, an S3 that also deletes, overwrites and accepts multipart uploads.

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
