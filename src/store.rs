//! Put-if-absent on S3: a trace is stored once, or the store says why it was not.

use std::{error::Error, fmt, sync::Arc, time::Duration};

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
    operation::put_object::{PutObjectError, PutObjectOutput},
    primitives::ByteStream,
    types::{ChecksumMode, ChecksumType, ServerSideEncryption},
};
use aws_smithy_types::base64;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::{
    key::Key,
    problem::{Cause, Problem},
    settings::s3_endpoint,
    trace,
};

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

/// How many bytes more than a trace itself an object may have that is compared with it: white space, at most. What is
/// larger is another trace.
const MAX_DIFFERENCE: usize = 1024;

/// A key that no trace has, for there is no `/` in it. What [`Store::unproven`] writes lies under it.
pub const CHECK_KEY: &str = "conditional-write-check";

/// What lies there.
const CHECK: &[u8] = b"Written once by attest, to find out whether this S3 honours If-None-Match. It may be deleted.\n";

/// The bucket that traces are stored in.
#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    client: Client,
    kms_key: Option<String>,
    /// Set once S3 has shown that it honours `If-None-Match`; `None` where that needs no proof.
    proof: Option<Arc<OnceCell<()>>>,
}

/// S3 ignored `If-None-Match`: a trace would be overwritten, and nobody told.
#[derive(Debug)]
pub struct Overwrites;

impl fmt::Display for Overwrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this S3 ignores If-None-Match, so traces could be overwritten: docs/operating.md lists those that honour it")
    }
}

impl Error for Overwrites {}

/// What S3 has to say of a trace that was given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored now.
    Stored,
    /// This trace was stored under its key before; nothing was written.
    Same,
    /// Another trace was stored under its key before; nothing was written.
    Other,
}

impl Store {
    /// A store in this bucket, on an S3 that honours `If-None-Match`. Nothing is sent before the first call.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { bucket, client: client(config), kms_key: None, proof: None }
    }

    /// The same, but every object is encrypted with the KMS key of this ARN, whatever the bucket's default.
    #[must_use]
    pub fn encrypted_with(self, kms_key: Option<String>) -> Self {
        Self { kms_key, ..self }
    }

    /// The same, on an S3 that has yet to show that it honours `If-None-Match`: it must before the first trace is stored.
    #[must_use]
    pub fn unproven(self) -> Self {
        Self { proof: Some(Arc::default()), ..self }
    }

    /// Opens the connection that the first write will find, with a request that needs no permission that storing does not
    /// need: the proof where one is needed, or the search for an object that does not exist. An error is not fatal, for
    /// the first write retries, unless it is [`Overwrites`].
    pub async fn connect(&self) -> Result<(), Cause> {
        if self.proof.is_some() {
            let proven = tokio::time::timeout(ATTEMPT, self.prove()).await?;
            return proven.map_err(|problem| problem.into_cause().unwrap_or_else(|| Box::new(Overwrites)));
        }
        let head = self.client.head_object().bucket(&self.bucket).key(CHECK_KEY).customize();
        let once = aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled());
        match head.config_override(once).send().await {
            Err(error) if error.raw_response().is_none() => Err(Box::new(Chain(error))),
            // Whatever S3 answered, the connection stands.
            _ => Ok(()),
        }
    }

    /// Finds out, once, whether this S3 honours `If-None-Match`: of two writes to one key it must refuse the second. The
    /// object stays, so every later start needs one request.
    async fn prove(&self) -> Result<(), Problem> {
        let Some(proof) = &self.proof else { return Ok(()) };
        proof.get_or_try_init(|| self.check()).await.copied()
    }

    async fn check(&self) -> Result<(), Problem> {
        for _ in 0..2 {
            match self.write(CHECK_KEY, Bytes::from_static(CHECK), &checksum(CHECK)).await {
                Ok(_) => {}
                Err(error) if status(&error) == Some(412) => return Ok(()),
                Err(error) => return Err(problem(error)),
            }
        }
        Err(Problem::Fault(Box::new(Overwrites)))
    }

    /// Stores `json` under `key` unless something is stored there. Returns once S3 has confirmed what it says.
    pub async fn put(&self, key: &Key, json: Vec<u8>) -> Result<Outcome, Problem> {
        tokio::time::timeout(DEADLINE, self.put_if_absent(key, json.into()))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::unavailable(elapsed)))
    }

    async fn put_if_absent(&self, key: &Key, json: Bytes) -> Result<Outcome, Problem> {
        self.prove().await?;
        let checksum = checksum(&json);
        match self.write(key.as_str(), json.clone(), &checksum).await {
            Ok(_) => Ok(Outcome::Stored),
            Err(error) if status(&error) == Some(412) => self.compare(key, &json, &checksum).await,
            Err(error) => Err(problem(error)),
        }
    }

    /// Writes an object unless there is one.
    async fn write(
        &self,
        key: &str,
        object: Bytes,
        checksum: &str,
    ) -> Result<PutObjectOutput, SdkError<PutObjectError>> {
        let mut put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .content_type("application/json")
            .checksum_sha256(checksum)
            .body(ByteStream::from(object));
        if let Some(key) = &self.kms_key {
            // A bucket key: one call to KMS per while, not one per object.
            put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key).bucket_key_enabled(true);
        }
        // S3 verifies the checksum: a hash of the payload in the signature would be a second one.
        put.customize().disable_payload_signing().send().await
    }

    /// Tells whether what is stored under `key` is `json`: by its checksum where S3 has one, else by the traces' members, for
    /// a client that repeats with an id that it was given may put it elsewhere than it stands here.
    async fn compare(&self, key: &Key, json: &[u8], checksum: &str) -> Result<Outcome, Problem> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(absent)?;
        // A composite checksum, of an object that something else uploaded in parts, is one over its parts'.
        let is_whole = head.checksum_type() != Some(&ChecksumType::Composite);
        if is_whole && head.checksum_sha256() == Some(checksum) {
            return Ok(Outcome::Same);
        }
        let length = head.content_length().and_then(|length| usize::try_from(length).ok());
        if length.is_none_or(|length| length > json.len() + MAX_DIFFERENCE) {
            return Ok(Outcome::Other);
        }
        let object = self.client.get_object().bucket(&self.bucket).key(key.as_str()).send().await.map_err(absent)?;
        let stored = object.body.collect().await.map_err(Problem::unavailable)?.into_bytes();
        Ok(if stored == json || trace::is_same(&stored, json) { Outcome::Same } else { Outcome::Other })
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

fn checksum(object: &[u8]) -> String {
    base64::encode(Sha256::digest(object))
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
    if passing { Problem::unavailable(cause as Cause) } else { Problem::Fault(cause) }
}

/// The same for a look at an object that was there a moment ago. A 403 is what S3 says of an object that was deleted since,
/// to a role that may not list the bucket (Amazon S3 API Reference, HeadObject): writing it again may succeed.
fn absent<E>(error: SdkError<E>) -> Problem
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if status(&error) == Some(403) { Problem::unavailable(Chain(error)) } else { problem(error) }
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
        let status = status(&self.0);
        if let Some(status) = status {
            write!(f, " (HTTP status {status})")?;
        }
        // The answer to HEAD has no body, and so no code.
        let code = self.0.code().or((status == Some(403)).then_some("AccessDenied"));
        match code.and_then(remedy) {
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
