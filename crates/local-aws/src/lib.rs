//! Stand-ins for AWS on one machine: S3 in a folder, and Lambda's Runtime API.
//!
//! The local endpoint stores its traces in [`s3::FolderS3`]. The soak test and the benchmark run the built function
//! under [`runtime_api::RuntimeApi`].

mod door;
pub mod files;
pub mod http;
pub mod runtime_api;
pub mod s3;
#[cfg(feature = "testing")]
pub mod testing;
