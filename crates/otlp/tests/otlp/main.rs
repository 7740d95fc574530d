//! Requests in both encodings, the traces that they become, and the answers to them.

mod support;

mod conventions;
mod encodings;
mod faults;
mod providers;
mod recordings;
mod rules;
mod service;
