//! The configuration of the function, which comes from its environment.

use std::{fmt, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_types::service_config::ServiceConfigKey;

/// The longest time that an unused connection stays in the pool. S3 closes it after about 20 s.
const IDLE: Duration = Duration::from_secs(15);

/// The default of `MAX_TRACE_BYTES`. A trace of 4 MiB in base64, with its headers, fits into an event of 6 MB (AWS
/// Lambda quotas, "Invocation payload").
pub const MAX_TRACE_BYTES: usize = 4 * 1024 * 1024;

/// The settings of this program. The AWS SDK reads its own.
#[derive(Debug)]
pub struct Settings {
    /// `BUCKET_NAME`: the bucket that stores the traces.
    pub bucket: String,
    /// `MAX_TRACE_BYTES`: the largest body, in bytes.
    pub max_trace_bytes: usize,
    /// `KMS_KEY_ARN`: the key that encrypts the traces. If it is unset, the bucket's default encryption applies.
    pub kms_key: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SettingsError {
    Missing(&'static str),
    /// A variable that must be a positive number of bytes, and its value.
    NotANumber(&'static str, String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the environment variable {name} is not set"),
            Self::NotANumber(name, value) => {
                write!(f, "the environment variable {name} is {value:?}, not a number of bytes above 0")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads the settings through `variable`, which looks up an environment variable by its name.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let bucket = set("BUCKET_NAME").ok_or(SettingsError::Missing("BUCKET_NAME"))?;
        let max_trace_bytes = match set("MAX_TRACE_BYTES") {
            None => MAX_TRACE_BYTES,
            Some(text) => match text.parse() {
                Ok(bytes) if bytes > 0 => bytes,
                _ => return Err(SettingsError::NotANumber("MAX_TRACE_BYTES", text)),
            },
        };
        Ok(Self { bucket, max_trace_bytes, kms_key: set("KMS_KEY_ARN") })
    }
}

/// Loads the region, credentials and endpoints from the environment and the profile.
pub async fn aws_config() -> Result<SdkConfig, SettingsError> {
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()).load().await;
    match config.region() {
        Some(region) if !region.as_ref().is_empty() => Ok(config),
        _ => Err(SettingsError::Missing("AWS_REGION")),
    }
}

/// Returns the endpoint that replaces AWS's own S3, if one is configured.
///
/// It comes from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile (AWS SDKs and Tools Reference Guide,
/// "Service-specific endpoints"). An empty value counts as not set, because `template.yaml` cannot omit the variable.
#[must_use]
pub fn s3_endpoint(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_s3 = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
    let endpoint = of_s3.or_else(|| config.endpoint_url().map(ToOwned::to_owned));
    endpoint.filter(|endpoint| !endpoint.is_empty())
}

/// Returns whether conditional writes must be verified before the first trace.
///
/// An endpoint for all services (`AWS_ENDPOINT_URL`, set by the stack's parameter S3EndpointUrl, or `endpoint_url` in
/// the profile) stands in for AWS, and may ignore `If-None-Match`. `AWS_ENDPOINT_URL_S3` is trusted, because it can
/// also lead to AWS's own S3, for example through a VPC endpoint.
#[must_use]
pub fn needs_verification(config: &SdkConfig) -> bool {
    let of_all = config.endpoint_url().filter(|endpoint| !endpoint.is_empty());
    of_all.is_some() && s3_endpoint(config).as_deref() == of_all
}

/// Returns the HTTP client for all AWS clients: rustls on ring with the system's root certificates, unless
/// `SSL_CERT_FILE` replaces them.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(IDLE).build_https()
}
