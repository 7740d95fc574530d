//! Tests requests in both encodings, the resulting traces, and the responses.

mod support;

mod conventions;
mod encodings;
mod faults;
mod providers;
mod recordings;
mod rules;
mod service;
