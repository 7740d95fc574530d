//! One endpoint that keeps chat traces: what is POSTed to it lies in S3 as plain JSON, valid, complete, never lost,
//! never overwritten.
//!
//! A request goes through the modules in this order:
//!
//! 1. [`handler`]: the HTTP request, and in the end its response;
//! 2. [`trace`]: the body parsed, validated against the schema and completed;
//! 3. [`key`]: where the trace belongs;
//! 4. [`store`]: S3, if nothing is there yet;
//! 5. [`problem`]: what the client is told when one of these refuses;
//! 6. [`metrics`]: the request's log line, which is also its metrics.
//!
//! [`settings`] and [`log`] are what a `main` sets up before the first request. The crate in `tools/` stands in for AWS on a
//! laptop and in the tests: a gateway in front of the handler, an S3 behind it.

pub mod handler;
pub mod key;
pub mod log;
pub mod metrics;
pub mod problem;
pub mod settings;
pub mod store;
pub mod trace;
