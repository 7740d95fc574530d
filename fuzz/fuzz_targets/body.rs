//! Any bytes as a request's body.
#![no_main]

use attest::trace::Trace;
use attest_fuzz::{accepted, refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match Trace::parse(body.to_owned(), || "assigned".to_owned()) {
        Ok(trace) => accepted(body, &trace),
        Err(problem) => refused(&problem),
    }
});
