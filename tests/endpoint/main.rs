//! Tests of the contract: proxy events, the handler, the real SDK and a real S3.

mod support;
#[path = "../common/tls.rs"]
mod tls;

mod answers;
mod faults;
mod function;
mod hostile;
mod keys;
mod lossless;
mod place;
mod repeats;
mod writer;
