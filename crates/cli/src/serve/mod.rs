//! `serve`: the endpoint on this machine. No AWS, no Docker; the handler is the deployed one.

mod endpoint;
pub mod gateway;

pub use endpoint::*;
