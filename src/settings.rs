//! The environment, read once.

use std::{fmt, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_types::service_config::ServiceConfigKey;

/// How long an unused connection stays in the connection pool: S3 closes it after about 20 s.
const IDLE: Duration = Duration::from_secs(15);

/// The size of a trace that `MAX_TRACE_BYTES` allows where it is not set: 4 MiB. As base64 and with its headers such a
/// trace fits into the 6 MB of an event (AWS Lambda quotas, "Invocation payload").
pub const MAX_TRACE_BYTES: usize = 4 * 1024 * 1024;

/// This program's own settings.
#[derive(Debug)]
pub struct Settings {
    /// `BUCKET_NAME`: the bucket that traces are stored in.
    pub bucket: String,
    /// `MAX_TRACE_BYTES`: the largest body, in bytes.
    pub max_trace_bytes: usize,
    /// `KMS_KEY_ARN`: the key that encrypts traces; the bucket's default decides where it is not set.
    pub kms_key: Option<String>,
}

/// A variable that is missing or makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The function cannot do without this one.
    Missing(&'static str),
    /// This one is not a number of bytes above 0.
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
    /// Reads the environment through `variable`, which gives a variable's value by its name.
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

/// The region, credentials and endpoints that the AWS SDK finds in the environment and in the profile.
pub async fn aws_config() -> Result<SdkConfig, SettingsError> {
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()).load().await;
    match config.region() {
        Some(region) if !region.as_ref().is_empty() => Ok(config),
        _ => Err(SettingsError::Missing("AWS_REGION")),
    }
}

/// The endpoint that replaces AWS's own S3, from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile (AWS SDKs and
/// Tools Reference Guide, "Service-specific endpoints"). An empty value is no endpoint: the template cannot leave the
/// variable out (see there).
#[must_use]
pub fn s3_endpoint(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_s3 = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
    let endpoint = of_s3.or_else(|| config.endpoint_url().map(ToOwned::to_owned));
    endpoint.filter(|endpoint| !endpoint.is_empty())
}

/// Whether S3 is one that must show first that it never overwrites: an endpoint for all of AWS's services leads to a
/// stand-in for AWS (`AWS_ENDPOINT_URL`, as the stack's parameter S3EndpointUrl sets it, or the profile's `endpoint_url`).
/// `AWS_ENDPOINT_URL_S3` is how one reaches AWS's own S3 by another way, a VPC endpoint say, and is trusted.
#[must_use]
pub fn is_other_s3(config: &SdkConfig) -> bool {
    let of_all = config.endpoint_url().filter(|endpoint| !endpoint.is_empty());
    of_all.is_some() && s3_endpoint(config).as_deref() == of_all
}

/// The HTTP client of every AWS client here: HTTPS by rustls on ring with the system's root certificates, which
/// `SSL_CERT_FILE` replaces.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(IDLE).build_https()
}
