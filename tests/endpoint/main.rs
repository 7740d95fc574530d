//! Tests the contract, from proxy events through the handler and the real SDK to an S3 in this process.

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
