//! The page that shows stored traces: the local endpoint serves it at `GET /`, and `view` serves it without the endpoint.
//!
//! A trace is untrusted. Its content is shown as text: templates escape it, the content security policy allows no inline
//! script and no request to another host, and requests for a host other than loopback are refused. Every page has a bound on
//! its work, and computes off the async threads.

mod command;
mod conversation;
mod guard;
mod json;
mod pages;
mod query;
mod routes;
mod search;
pub mod share;
mod stats;
mod take;
mod workers;

pub use command::{Options, run};
pub use routes::router;
