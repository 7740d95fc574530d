//! Tests that parsing a body takes work linear in its size, whatever the body contains.
//!
//! The test counts allocated bytes, because code that copies, prints or lists too much also allocates too much. A slow
//! machine cannot fail it. `cargo bench --bench parts` measures how long these shapes take.

use std::alloc::System;

use attest::trace::Trace;
use shapes::{SHAPES, chat};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "common/shapes.rs"]
mod shapes;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;

/// The most that a response may allocate, whatever the body: the list of violations, its JSON, and the growth of both.
const RESPONSE: usize = 8 * MIB;

/// Returns the number of bytes allocated to parse a body and to build the response.
fn work(body: &str) -> usize {
    let body = body.as_bytes().to_vec();
    let region = Region::new(ALLOCATOR);
    drop(Trace::parse(body, || "i".to_owned()).map_err(|problem| problem.body()));
    region.change().bytes_allocated
}

// A single test, because the allocator counts all threads of the process.
#[test]
fn parsing_takes_work_linear_in_the_size_of_the_body() {
    for (name, shape) in SHAPES {
        let works = [1, 2, 4].map(|mib| (work(&shape(mib * MIB)), work(&chat(mib * MIB))));
        println!("{name}: {works:?}");
        for (work, valid) in works {
            assert!(work <= 5 * valid + RESPONSE, "{name}: {work} bytes, a valid trace of this size {valid}");
        }
        for pair in works.windows(2) {
            assert!(pair[1].0 <= 5 * pair[0].0 / 2 + RESPONSE, "{name}: {} bytes, then {}", pair[0].0, pair[1].0);
        }
    }
}
