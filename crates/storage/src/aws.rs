//! Creates S3 clients from the user's AWS configuration.

use anyhow::{Context, Result};
use attest::settings;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;

/// Loads the AWS configuration, which must have a region.
pub async fn aws_config() -> Result<SdkConfig> {
    settings::aws_config().await.context("set AWS_REGION or AWS_PROFILE")
}

/// Creates a client that uses path-style addressing for endpoints other than AWS's.
#[must_use]
pub fn s3_client(config: &SdkConfig) -> Client {
    let is_path_style = settings::s3_endpoint(config).is_some();
    Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(is_path_style).build())
}
