//! One endpoint that keeps chat traces: what is POSTed to it lies in S3 as plain JSON, valid, complete, never lost,
//! never overwritten.
//!
//! A request goes through the modules in this order:
//!
//! 1. [`runtime`]: Lambda, which hands it over; [`event`]: the proxy event that API Gateway has made of it;
//! 2. [`handler`]: the body, its size, and in the end the answer and the log line;
//! 3. [`trace`]: the body parsed, held against the schema and completed;
//! 4. [`key`]: where it belongs;
//! 5. [`store`]: S3, if nothing is there yet, by an [`attempt`] with its [`signature`] over the [`wire`], one [`exchange`],
//!    and, where that is not enough, by the SDK over the same;
//! 6. [`problem`]: what the client is told when one of these says no.
//!
//! [`settings`] and [`log`] are what a `main` sets up before the first request. `local` stands in for AWS on a laptop
//! and in the tests: a gateway in front of the handler, an S3 behind it.

pub mod attempt;
pub mod event;
pub mod exchange;
pub mod handler;
pub mod key;
#[cfg(feature = "local")]
pub mod local;
pub mod log;
pub mod problem;
pub mod runtime;
pub mod settings;
pub mod signature;
pub mod store;
pub mod trace;
pub mod wire;

/// The smallest trace that is worth keeping, as the README's curl line sends it.
pub const EXAMPLE: &str =
    r#"{"model": "gpt-4o", "created": 1795305600, "messages": [{"role": "user", "content": "Hello!"}]}"#;
