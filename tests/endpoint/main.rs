//! The contract, held to through the public door: proxy events in, the handler, the real SDK, a real S3 behind it.

mod support;
#[path = "../common/tls.rs"]
mod tls;

mod answers;
mod faults;
mod function;
mod hostile;
mod keys;
mod lossless;
mod repeats;
