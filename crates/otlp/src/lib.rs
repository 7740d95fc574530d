//! Receives OTLP/HTTP. Each model call becomes one trace, whichever convention its spans or log records follow.
//!
//! A request passes through the modules in this order:
//!
//! 1. [`service`] takes the HTTP request and returns the response.
//! 2. [`wire`] decodes both encodings into one form, [`json`] by a parser that refuses repeated names.
//! 3. [`batch`] finds the calls, and [`conventions`] read their [`attributes`] and [`message`]s.
//! 4. [`call`] converts each call to a trace, which `attest` validates and stores.
//! 5. [`metrics`] writes the request's log line, which contains its metrics.

pub mod attributes;
pub mod batch;
pub mod call;
pub mod conventions;
pub mod json;
pub mod message;
pub mod metrics;
mod refusal;
pub mod service;
pub mod wire;
