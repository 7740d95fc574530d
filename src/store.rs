//! Put-if-absent on S3: a trace is stored once, or the store reports why it was not.

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
    place,
    problem::{Cause, Problem},
    s3_error::{Chain, problem, status},
    settings::s3_endpoint,
    trace,
    writer::Writer,
};

/// Three attempts: the second covers a dead connection, the third a transient S3 error.
const ATTEMPTS: u32 = 3;

/// The longest pause after the first attempt. It doubles with each attempt, and the actual pause is random below it.
const BACKOFF: Duration = Duration::from_millis(100);

/// The time limit for opening a connection, including TLS.
const CONNECT: Duration = Duration::from_secs(2);

/// The time limit for one attempt. S3 confirms 4 MiB in well under a second.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The time limit for one trace, including retries and the comparison with the stored object.
///
/// Three attempts of 5 s and their pauses take 15.3 s. The function's timeout is 25 s and the gateway's 29 s (see
/// `template.yaml`).
const DEADLINE: Duration = Duration::from_secs(20);

/// The largest size difference, in bytes, at which contents are compared. Equal traces differ in size only by white
/// space.
const MAX_DIFFERENCE: usize = 1024;

/// The key of the object that [`Store::verifying_conditional_writes`] writes. It has no `/`, so no trace has this key.
pub const CHECK_KEY: &str = "conditional-write-check";

const CHECK: &[u8] = b"Written once by attest, to find out whether this S3 honours If-None-Match. It may be deleted.\n";

#[derive(Debug, Clone)]
pub struct Store {
    bucket: String,
    client: Client,
    kms_key: Option<String>,
    /// Set once S3 is known to honour `If-None-Match`. `None` if this need not be verified.
    verified: Option<Arc<OnceCell<()>>>,
}

/// The reason why a store cannot be used, or cannot be used yet.
#[derive(Debug)]
pub enum ConnectError {
    /// S3 ignores `If-None-Match`, so it would overwrite a trace silently. Retrying does not help.
    IgnoresIfNoneMatch,
    /// S3 did not respond, or refused the request. The first write tries again.
    Unreachable(Cause),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IgnoresIfNoneMatch => f.write_str(
                "this S3 ignores If-None-Match, so traces could be overwritten: docs/operating.md lists services that honour it",
            ),
            Self::Unreachable(cause) => cause.fmt(f),
        }
    }
}

impl Error for ConnectError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The trace is stored now.
    Stored,
    /// This trace was already stored under the key. Nothing was written.
    Same,
    /// A different trace was already stored under the key. Nothing was written.
    Conflict,
}

impl Store {
    /// Creates a store on this bucket, whose S3 must honour `If-None-Match`. Sends no request.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { bucket, client: client(config), kms_key: None, verified: None }
    }

    /// Encrypts every object with the KMS key that has this ARN, if any, regardless of the bucket's default encryption.
    #[must_use]
    pub fn encrypted_with(self, kms_key: Option<String>) -> Self {
        Self { kms_key, ..self }
    }

    /// Verifies that S3 honours `If-None-Match` before the first trace is stored.
    #[must_use]
    pub fn verifying_conditional_writes(self) -> Self {
        Self { verified: Some(Arc::default()), ..self }
    }

    /// Opens the connection that the first write will use, and returns the id of the bucket if it has one.
    ///
    /// Uses only the permissions that storing a trace needs: it verifies conditional writes if that is required, and
    /// reads the id.
    pub async fn connect(&self) -> Result<Option<String>, ConnectError> {
        if self.verified.is_some() {
            let verified = tokio::time::timeout(ATTEMPT, self.verify()).await;
            return match verified.map_err(|elapsed| ConnectError::Unreachable(elapsed.into()))? {
                Ok(()) => Ok(place::existing_id(&self.client, &self.bucket).await.ok().flatten()),
                Err(VerifyError::IgnoresIfNoneMatch) => Err(ConnectError::IgnoresIfNoneMatch),
                Err(VerifyError::Failed(problem)) => Err(ConnectError::Unreachable(problem.into())),
            };
        }
        match place::existing_id(&self.client, &self.bucket).await {
            Err(error) if error.raw_response().is_none() => Err(ConnectError::Unreachable(Box::new(Chain(error)))),
            // Any response shows that the connection works.
            id => Ok(id.ok().flatten()),
        }
    }

    /// Verifies once that S3 honours `If-None-Match`, if that is required.
    async fn verify(&self) -> Result<(), VerifyError> {
        let Some(verified) = &self.verified else { return Ok(()) };
        verified.get_or_try_init(|| self.write_twice()).await.copied()
    }

    /// Writes one key twice. S3 must refuse the second write.
    ///
    /// The object is not deleted, so a later start needs only one request.
    async fn write_twice(&self) -> Result<(), VerifyError> {
        for _ in 0..2 {
            match self.write(CHECK_KEY, Bytes::from_static(CHECK), &checksum(CHECK), &Writer::default()).await {
                Ok(_) => {}
                Err(error) if status(&error) == Some(412) => return Ok(()),
                Err(error) => return Err(VerifyError::Failed(problem(error))),
            }
        }
        Err(VerifyError::IgnoresIfNoneMatch)
    }

    /// Stores `json` under `key` unless an object exists there. Returns after S3 has confirmed the outcome.
    ///
    /// `writer` becomes the object's metadata, which comparisons ignore.
    pub async fn put(&self, key: &Key, json: Vec<u8>, writer: &Writer) -> Result<Outcome, Problem> {
        tokio::time::timeout(DEADLINE, self.put_if_absent(key, json.into(), writer))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::unavailable(elapsed)))
    }

    async fn put_if_absent(&self, key: &Key, json: Bytes, writer: &Writer) -> Result<Outcome, Problem> {
        self.verify().await?;
        let checksum = checksum(&json);
        match self.write_or_compare(key, &json, &checksum, writer).await {
            // Either the object was deleted after the write found it, or this role may not decrypt it. The second
            // attempt shows which.
            Err(CompareError::Denied(_)) => {}
            result => return Ok(result?),
        }
        match self.write_or_compare(key, &json, &checksum, writer).await {
            Err(CompareError::Denied(cause)) => {
                Err(Problem::Fault(Box::new(UnreadableObject { key: key.as_str().to_owned(), cause })))
            }
            result => Ok(result?),
        }
    }

    /// Writes an object. If the key is taken, compares the stored object with this one.
    async fn write_or_compare(
        &self,
        key: &Key,
        json: &Bytes,
        checksum: &str,
        writer: &Writer,
    ) -> Result<Outcome, CompareError> {
        match self.write(key.as_str(), json.clone(), checksum, writer).await {
            Ok(_) => Ok(Outcome::Stored),
            Err(error) if status(&error) == Some(412) => self.compare(key, json, checksum).await,
            Err(error) => Err(problem(error).into()),
        }
    }

    /// Writes an object. Fails with HTTP status 412 if the key is taken.
    async fn write(
        &self,
        key: &str,
        object: Bytes,
        checksum: &str,
        writer: &Writer,
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
        for (name, value) in writer.metadata() {
            put = put.metadata(name, value);
        }
        if let Some(key) = &self.kms_key {
            // An S3 Bucket Key reduces calls to KMS.
            put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key).bucket_key_enabled(true);
        }
        // S3 verifies the checksum, so signing the payload would hash it a second time without benefit.
        put.customize().disable_payload_signing().send().await
    }

    /// Compares the object under `key` with `json`: by checksum if S3 has the same one, otherwise by the members of
    /// both traces.
    ///
    /// A client that retries with the id it was assigned may put `id` elsewhere in the object.
    async fn compare(&self, key: &Key, json: &[u8], checksum: &str) -> Result<Outcome, CompareError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(unreadable)?;
        // Another program may have uploaded the object in parts. Its composite checksum covers the checksums of the
        // parts.
        let is_whole = head.checksum_type() != Some(&ChecksumType::Composite);
        if is_whole && head.checksum_sha256() == Some(checksum) {
            return Ok(Outcome::Same);
        }
        let length = head.content_length().and_then(|length| usize::try_from(length).ok());
        if length.is_none_or(|length| length > json.len() + MAX_DIFFERENCE) {
            return Ok(Outcome::Conflict);
        }
        let object =
            self.client.get_object().bucket(&self.bucket).key(key.as_str()).send().await.map_err(unreadable)?;
        let stored = object.body.collect().await.map_err(Problem::unavailable)?.into_bytes();
        Ok(if stored == json || trace::is_same(&stored, json) { Outcome::Same } else { Outcome::Conflict })
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
        // The SDK's retry quota drains during an outage and is not refilled by time. ATTEMPTS and DEADLINE bound
        // retries.
        .retry_partition(RetryPartition::custom("traces").token_bucket(TokenBucket::unlimited()).build())
        .retry_classifier(Transient)
        // The time limit of an attempt also covers a stalled stream.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // `put` computes the only checksum, a SHA-256, and `compare` looks for it.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Retries two kinds of errors that the SDK does not classify as transient.
#[derive(Debug)]
struct Transient;

impl ClassifyRetry for Transient {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        // S3 returns 409 for a conditional write that races another one for the same key, and expects a retry (Amazon
        // S3 User Guide, "How to prevent object overwrites with conditional writes").
        let is_concurrent = context.response().is_some_and(|response| response.status().as_u16() == 409);
        // The HTTP client reports some broken responses as `other`, for example bytes that are not HTTP.
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

enum VerifyError {
    IgnoresIfNoneMatch,
    Failed(Problem),
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::IgnoresIfNoneMatch => Self::Fault(Box::new(ConnectError::IgnoresIfNoneMatch)),
            VerifyError::Failed(problem) => problem,
        }
    }
}

/// The reason why a trace was neither stored nor compared with the stored object.
enum CompareError {
    /// S3 returned 403 for a read of the object that the write found under the key.
    ///
    /// Either the object has been deleted since, which S3 reports as 403 to a role that may not list the bucket (Amazon
    /// S3 API Reference, `HeadObject`). Or the role may not use the KMS key that encrypts the object.
    Denied(Cause),
    Failed(Problem),
}

impl From<Problem> for CompareError {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<CompareError> for Problem {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Denied(cause) => Self::Fault(cause),
            CompareError::Failed(problem) => problem,
        }
    }
}

/// Classifies a failed read of an object that a write has just found.
fn unreadable<E>(error: SdkError<E>) -> CompareError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if status(&error) == Some(403) {
        CompareError::Denied(Box::new(Chain(error)))
    } else {
        CompareError::Failed(problem(error))
    }
}

/// An object that exists but cannot be read, so it cannot be compared.
#[derive(Debug)]
struct UnreadableObject {
    key: String,
    cause: Cause,
}

impl fmt::Display for UnreadableObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, cause } = self;
        write!(
            f,
            "an object exists under {key} and cannot be read: {cause}, which includes the KMS key that encrypted this object \
             (docs/operating.md, \"Encryption keys\")"
        )
    }
}

impl Error for UnreadableObject {}
