//! The command `attest`: the endpoint on this machine, and the tools that work with stored traces.

#[cfg(feature = "lake")]
pub mod forget;
pub mod human_log;
pub mod import;
#[cfg(feature = "lake")]
pub mod lake;
pub mod serve;
pub mod share;
pub mod view;
