//! The page that shows stored traces: the local endpoint serves it at `GET /`, and `view` serves it without the
//! endpoint.
//!
//! A trace is untrusted. Its content is shown as text, which the templates escape. The content security policy allows
//! no inline scripts and no requests to other hosts. Requests for a host other than loopback are refused. Every page
//! limits its work, and is computed outside the async threads.

mod body;
mod commands;
mod guard;
#[cfg(feature = "lake")]
mod lake;
mod list_stream;
mod pages;
mod results;
mod routes;
mod scan;
mod search;
mod selection;
mod session;
mod snippet;
mod stats;
mod stop;
mod transcript;
mod whole_scan;
mod workers;

pub use commands::EXAMPLE;
pub use pages::{SharedEntry, shared_contents, shared_page, shared_title};
pub use routes::{no_such_page, router};
