use std::net::SocketAddr;

use aws_config::SdkConfig;
use aws_sdk_s3::config::SharedHttpClient;

use super::service::{ACCESS_KEY, FolderS3, REGION};

#[derive(Clone)]
pub struct ServedS3 {
    pub(super) address: SocketAddr,
    pub(super) bucket: String,
    pub(super) secret_key: String,
}

impl ServedS3 {
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    #[must_use]
    pub fn list_command(&self) -> String {
        let Self { address, bucket, secret_key } = self;
        format!(
            "AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION={REGION} \
             aws s3 ls --recursive --endpoint-url http://{address} s3://{bucket}"
        )
    }

    #[must_use]
    pub fn sdk_config(&self, http_client: SharedHttpClient) -> SdkConfig {
        FolderS3::sdk_config(self.address, &self.secret_key, http_client)
    }
}
