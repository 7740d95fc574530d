//! Put-if-absent on S3: a trace is stored once, or the store says why it was not.

use std::{error::Error, fmt, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::{
        RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket},
        timeout::TimeoutConfig,
    },
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{ChecksumMode, ChecksumType},
};
use aws_smithy_types::base64;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{key::Key, problem::Problem, settings::s3_endpoint};

/// The first attempt and two more: the second mends a connection that died, the third a transient error of S3.
const ATTEMPTS: u32 = 3;

/// The pauses between attempts start here, double, and are drawn at random below that.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an attempt may take. S3 confirms 4 MiB in well under a second.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long a trace may take in all, retries and the look at what is stored included: three attempts of 5 s and their
/// pauses are 15.3 s. It leaves the function's timeout of 25 s and the gateway's of 29 s untouched (see `template.yaml`).
const DEADLINE: Duration = Duration::from_secs(20);

/// A key that no trace has, for there is no `/` in it.
const NO_TRACE: &str = "-";

/// The bucket that traces are stored in.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    client: Client,
}

/// What S3 has to say of a trace that was given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored now.
    Stored,
    /// These very bytes were stored under its key before; nothing was written.
    Same,
    /// Other bytes were stored under its key before; nothing was written.
    Other,
}

impl Store {
    /// A store in this bucket. Nothing is sent before the first call.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { bucket, client: client(config) }
    }

    /// Opens the connection that the first write will find, by asking for an object that does not exist: that needs no
    /// permission that storing does not need. Whatever S3 answers, the connection stands.
    pub async fn connect(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let head = self.client.head_object().bucket(&self.bucket).key(NO_TRACE).customize();
        let once = aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled());
        match head.config_override(once).send().await {
            Err(error) if error.raw_response().is_none() => Err(Box::new(Chain(error))),
            _ => Ok(()),
        }
    }

    /// Stores `json` under `key` unless something is stored there. Returns once S3 has confirmed what it says.
    pub async fn put(&self, key: &Key, json: Vec<u8>) -> Result<Outcome, Problem> {
        tokio::time::timeout(DEADLINE, self.put_if_absent(key, json.into()))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::Unavailable(elapsed.into())))
    }

    async fn put_if_absent(&self, key: &Key, json: Bytes) -> Result<Outcome, Problem> {
        let checksum = base64::encode(Sha256::digest(&json));
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .if_none_match("*")
            .content_type("application/json")
            .checksum_sha256(&checksum)
            .body(ByteStream::from(json.clone()))
            .customize()
            // S3 verifies the checksum: a hash of the payload in the signature would be a second one.
            .disable_payload_signing();
        match put.send().await {
            Ok(_) => Ok(Outcome::Stored),
            Err(error) if status(&error) == Some(412) => self.compare(key, &json, &checksum).await,
            Err(error) => Err(problem(error)),
        }
    }

    /// Tells whether what is stored under `key` is `json`: by its checksum where S3 has one, else by its bytes.
    async fn compare(&self, key: &Key, json: &[u8], checksum: &str) -> Result<Outcome, Problem> {
        let outcome = |same| if same { Outcome::Same } else { Outcome::Other };
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(problem)?;
        match head.checksum_sha256() {
            // A composite checksum, of an object that something else uploaded in parts, is one over its parts'.
            Some(stored) if head.checksum_type() != Some(&ChecksumType::Composite) => Ok(outcome(stored == checksum)),
            _ if head.content_length().and_then(|length| usize::try_from(length).ok()) != Some(json.len()) => {
                Ok(Outcome::Other)
            }
            _ => {
                let object =
                    self.client.get_object().bucket(&self.bucket).key(key.as_str()).send().await.map_err(problem)?;
                let stored = object.body.collect().await.map_err(|error| Problem::Unavailable(error.into()))?;
                Ok(outcome(stored.into_bytes() == json))
            }
        }
    }
}

fn client(config: &SdkConfig) -> Client {
    let endpoint = s3_endpoint(config);
    let mut builder = aws_sdk_s3::config::Builder::from(config);
    let is_aws = endpoint.is_none();
    builder.set_endpoint_url(endpoint);
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
    let config = builder
        .force_path_style(!is_aws)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF))
        // The SDK's quota of retries drains in a bad hour and is not refilled by time; ATTEMPTS and DEADLINE are bounds enough.
        .retry_partition(RetryPartition::custom("traces").token_bucket(TokenBucket::unlimited()).build())
        .retry_classifier(Transient)
        // An attempt's time-out covers a stalled stream too.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The one checksum is the SHA-256 that `put` computes itself and looks for again.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Adds two errors to those that the SDK retries.
#[derive(Debug)]
struct Transient;

impl ClassifyRetry for Transient {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        // S3 answers 409 to a conditional write that meets another one on the same key, and asks to try again (Amazon
        // S3 User Guide, "How to prevent object overwrites with conditional writes").
        let is_concurrent = context.response().is_some_and(|response| response.status().as_u16() == 409);
        // What the HTTP client cannot name: a response that is no HTTP, say.
        let error = context.output_or_error().and_then(Result::err);
        let is_broken = error.and_then(|error| error.as_connector_error()).is_some_and(ConnectorError::is_other);
        if is_concurrent || is_broken { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "concurrent writes and broken responses"
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whose fault a failed call is: the passing state of S3 and the way to it, or this service's.
fn problem<E>(error: SdkError<E>) -> Problem
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let passing = match &error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ServiceError(_) => match status(&error) {
            // 307 leads to a bucket that is new and not yet known everywhere; 409 is a concurrent write; 404 without
            // a code is what HEAD says of an object that was deleted since the write met it.
            Some(307 | 408 | 409 | 429 | 500..) => true,
            Some(404) => !matches!(error.code(), Some("NoSuchBucket")),
            _ => error.code() == Some("RequestTimeout"),
        },
        _ => false,
    };
    let cause = Box::new(Chain(error));
    if passing { Problem::Unavailable(cause) } else { Problem::Fault(cause) }
}

/// An error that shows its whole chain of causes in one line, and of a service's error its code and message.
#[derive(Debug)]
struct Chain<E>(SdkError<E>);

impl<E: ProvideErrorMetadata + std::error::Error + 'static> fmt::Display for Chain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error: &dyn std::error::Error = &self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        if let Some(status) = status(&self.0) {
            write!(f, " (HTTP status {status})")?;
        }
        match self.0.code().and_then(remedy) {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> std::error::Error for Chain<E> {}

/// What to change when S3 refuses for a reason that lies in the configuration (Amazon S3 API Reference, "List of
/// error codes").
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "create the bucket that BUCKET_NAME names, or set the stack's parameter BucketName",
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "the bucket is in another region than AWS_REGION: deploy the stack in the bucket's region"
        }
        "AccessDenied" | "AllAccessDisabled" => {
            "allow the function's role s3:PutObject and s3:GetObject on the bucket's objects, in the role, in the bucket's \
             policy and, where a KMS key encrypts them, kms:GenerateDataKey and kms:Decrypt in the key's policy"
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" => {
            "the credentials are not valid for this S3: look at AWS_PROFILE, or deploy the stack again"
        }
        code if code.starts_with("KMS.") => {
            "the KMS key must be enabled, in the bucket's region, and usable by the function's role: set the stack's \
             parameter KmsKeyArn"
        }
        _ => return None,
    })
}
