//! Parses arbitrary bytes as a body, and checks that the work is linear in their size.
#![no_main]

use std::alloc::System;

use attest::trace::Trace;
use attest_fuzz::{accepted, refused};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocation limits in bytes: per byte of a body, and per body for the list of violations, which is bounded.
const PER_BYTE: usize = 2_000;
const PER_BODY: usize = 4 << 20;

fuzz_target!(|body: &[u8]| {
    let region = Region::new(ALLOCATOR);
    let parsed = Trace::parse(body.to_owned(), || "assigned".to_owned());
    let told = parsed.as_ref().err().map(|problem| problem.body());
    let work = region.change().bytes_allocated;
    assert!(work <= PER_BODY + PER_BYTE * body.len(), "{work} bytes allocated for {} bytes, {told:?}", body.len());
    match parsed {
        Ok(trace) => accepted(body, &trace),
        Err(problem) => refused(&problem),
    }
});
