//! `import`: sends the lines of files to the endpoint, each stored once, whatever interrupts the import.
//!
//! A thread reads the lines (`lines`); requests are in flight for as many as `--concurrency` allows (`file_import`), as
//! fast as the endpoint accepts them (`rate_limiter`). Each line's `Idempotency-Key` is derived from its bytes, so a repeated
//! request stores nothing twice. A `checkpoint` records the confirmed lines, so the next run skips them.

mod checkpoint;
mod counts;
mod endpoint;
mod file_import;
mod identity;
mod input;
mod lines;
mod mapping;
mod options;
mod outcome;
mod rate_limiter;
mod rejected;
mod run;
mod run_files;
mod stop;
mod target;

pub use options::Options;
pub use run::run;
