//! The contract, held to through the public door: proxy events in, the handler, the real SDK, a real S3 behind it.

#[path = "../common/bucket.rs"]
mod bucket;
mod support;
#[path = "../common/tls.rs"]
mod tls;
#[path = "../common/unwell.rs"]
mod unwell;

mod answers;
mod faults;
mod function;
mod hostile;
mod laptop;
mod lossless;
mod repeats;
