//! `import`: sends the lines of files to the endpoint. Each line is stored once, even if the import is interrupted.
//!
//! A thread reads the lines (`lines`). Up to `--concurrency` requests are in flight (`file_import`), as many as the
//! network carries (`window`), at the rate that the endpoint accepts (`rate_limiter`). Failed lines wait at the back
//! (`deferred`). Each line's `Idempotency-Key` is derived from its bytes, so a repeated request stores nothing twice. A
//! `checkpoint` records the confirmed lines, so the next run skips them.

mod checkpoint;
mod conversion;
mod counts;
mod deferred;
mod endpoint;
mod file_import;
mod identity;
mod input;
mod lines;
mod options;
mod outcome;
mod rate_limiter;
mod receipt;
mod rejected;
mod run;
mod run_files;
mod stop;
mod target;
mod window;

pub use options::ImportOptions;
pub use run::run;
