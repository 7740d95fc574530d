//! An endpoint that stores each chat trace POSTed to it as a plain JSON object in S3: valid, complete, never lost,
//! never overwritten.
//!
//! A request passes through the modules in this order:
//!
//! 1. [`handler`] takes the HTTP request and returns the response.
//! 2. [`trace`] parses the body, validates it against the [`schema`] and completes it.
//! 3. [`key`] derives the object's key.
//! 4. [`store`] writes the object to S3 unless the key is taken.
//! 5. [`problem`] tells the client why a trace was not stored.
//! 6. [`metrics`] writes the request's log line, which contains its metrics.
//!
//! A [`function`] sets up [`settings`], [`log`] and the store before its first request.

pub mod function;
pub mod handler;
pub mod key;
pub mod log;
pub mod metrics;
pub mod place;
pub mod problem;
mod s3_error;
pub mod schema;
pub mod settings;
pub mod store;
pub mod trace;
pub mod unreadable;
mod walk;
pub mod writer;
