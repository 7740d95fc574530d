//! Reading a body takes work linear in its size, whatever is in it. The work is counted, in bytes allocated, so that a slow
//! machine cannot fail it: whatever copies, prints or lists too much allocates too much. `cargo bench --bench parts`
//! shows the same shapes in time.

use std::alloc::System;

use attest::trace::Trace;
use shapes::{SHAPES, chat};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "common/shapes.rs"]
mod shapes;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;

/// What the response to a body may add, whatever its size: the list of violations, its JSON, and growing both.
const RESPONSE: usize = 8 * MIB;

/// The bytes that are allocated to read a body and to say what is wrong with it.
fn work(body: &str) -> usize {
    let body = body.as_bytes().to_vec();
    let region = Region::new(ALLOCATOR);
    drop(Trace::parse(body, || "i".to_owned()).map_err(|problem| problem.body()));
    region.change().bytes_allocated
}

// One test, for the allocator counts what every thread of the process does.
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
