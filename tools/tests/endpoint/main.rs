//! The tools as a person runs them: the built program, over real HTTP, on an S3 of its own.

#[allow(dead_code, reason = "the function's tests use more of it")]
#[path = "../../../tests/common/bucket.rs"]
mod bucket;
#[allow(dead_code, reason = "the function's tests use more of it")]
#[path = "../../../tests/common/fault_proxy.rs"]
mod fault_proxy;

mod export;
mod folder;
mod gateway;
mod import;
mod laptop;
