//! Put-if-absent on S3: a trace is stored once, or the store says why it was not.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
        StalledStreamProtectionConfig,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction, RetryConfig},
    },
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    types::{ChecksumMode, ChecksumType},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    attempt::{Attempt, Replay},
    key::Key,
    problem::Problem,
    wire::Wire,
};

/// The first attempt and two more: the second mends a connection that died, the third a passing fault of S3.
const ATTEMPTS: u32 = 3;

/// The pauses between attempts start here, double, and are drawn at random below that.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long a trace may take in all, retries and the look at what is stored included: three attempts of 5 s (see `wire`)
/// and their pauses are 15.3 s. It leaves the function's timeout of 25 s and the gateway's of 29 s untouched (see
/// `template.yaml`).
const DEADLINE: Duration = Duration::from_secs(20);

/// Where the bucket is, and who writes to it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The bucket's region, as `AWS_REGION` has it.
    pub region: String,
    /// Another S3 endpoint than AWS's own; it is spoken to with path-style addressing.
    pub endpoint: Option<String>,
    /// What requests are signed with.
    pub credentials: SharedCredentialsProvider,
}

/// The bucket that traces are stored in.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    wire: Wire,
    attempt: Option<Attempt>,
    /// Made when it is needed first: making it takes as long as storing a few traces.
    client: Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>,
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
    /// A store on this bucket. Nothing is sent before the first call.
    #[must_use]
    pub fn new(connection: Connection, bucket: String) -> Self {
        let wire = Wire::default();
        let attempt = Attempt::new(&connection, &bucket, wire.clone());
        let for_client = wire.clone();
        let client = LazyLock::new(Box::new(move || client(connection, for_client)) as Box<dyn FnOnce() -> _ + Send>);
        Self { bucket, wire, attempt, client: Arc::new(client) }
    }

    /// Opens the connection that the next write will find, for that costs less while a function starts.
    pub async fn connect(&self) -> Result<(), ConnectorError> {
        match &self.attempt {
            Some(attempt) => attempt.connect().await,
            None => Ok(()),
        }
    }

    /// Stores `json` under `key` unless something is stored there. Returns once S3 has confirmed what it says.
    pub async fn put(&self, key: &Key, json: Vec<u8>) -> Result<Outcome, Problem> {
        let end = Instant::now() + DEADLINE;
        let checksum = aws_smithy_types::base64::encode(Sha256::digest(&json));
        let mut first = None;
        if let Some(attempt) = &self.attempt {
            let answer = attempt.put(key, &json, &checksum).await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(Outcome::Stored);
            }
            first = Some(Replay::new(answer, self.wire.clone()));
        }
        tokio::time::timeout_at(end, self.put_with_sdk(key, json.into(), &checksum, first))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::Unavailable(elapsed.into())))
    }

    async fn put_with_sdk(
        &self,
        key: &Key,
        json: Bytes,
        checksum: &str,
        first: Option<Replay>,
    ) -> Result<Outcome, Problem> {
        let mut put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .if_none_match("*")
            .content_type("application/json")
            .checksum_sha256(checksum)
            .body(json.clone().into())
            .customize()
            .disable_payload_signing();
        if let Some(first) = first {
            put = put.config_override(aws_sdk_s3::Config::builder().http_client(first));
        }
        match put.send().await {
            Ok(_) => Ok(Outcome::Stored),
            Err(error) if status(&error) == Some(412) => self.compare(key, &json, checksum).await,
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

/// The SDK's client, for what the first attempt does not settle.
fn client(connection: Connection, wire: Wire) -> Client {
    let mut config = aws_sdk_s3::Config::builder();
    config.set_endpoint_url(connection.endpoint.clone());
    let config = config
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(connection.region))
        .credentials_provider(connection.credentials)
        .http_client(wire)
        .force_path_style(connection.endpoint.is_some())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF))
        .retry_classifier(Concurrent)
        // `wire` bounds a request, a stalled stream's too.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The one checksum is the SHA-256 that `put` computes itself and looks for again.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// A concurrent write passes by itself, though the SDK does not say so.
#[derive(Debug)]
struct Concurrent;

impl ClassifyRetry for Concurrent {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        // S3 answers 409 to a conditional write that meets another one on the same key, and asks to try again (Amazon
        // S3 User Guide, "How to prevent object overwrites with conditional writes").
        if context.response().is_some_and(|response| response.status().as_u16() == 409) {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "concurrent conditional writes"
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
