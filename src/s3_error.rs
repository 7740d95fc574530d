//! Classifies S3 errors, and formats them for the log.

use std::{error::Error, fmt};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::problem::{Cause, Problem};

/// Returns the HTTP status of the response, if there was one.
pub(crate) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Classifies a failed call as a transient state of S3 or the network, or as a fault of this service.
pub(crate) fn problem<E>(error: SdkError<E>) -> Problem
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let is_transient = match &error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ServiceError(_) => match status(&error) {
            // S3 returns 307 while DNS does not know a new bucket everywhere yet, and 409 for a concurrent write.
            Some(307 | 408 | 409 | 429 | 500..) => true,
            // HEAD returns 404 without an error code if the object was deleted after the write found it.
            Some(404) => !matches!(error.code(), Some("NoSuchBucket")),
            _ => error.code() == Some("RequestTimeout"),
        },
        _ => false,
    };
    let cause = Box::new(Chain(error));
    if is_transient { Problem::unavailable(cause as Cause) } else { Problem::Fault(cause) }
}

/// Displays an error with its chain of causes in one line, and a service error with its status and a remedy.
#[derive(Debug)]
pub(crate) struct Chain<E>(pub(crate) SdkError<E>);

impl<E: ProvideErrorMetadata + Error + 'static> fmt::Display for Chain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error: &dyn Error = &self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        let status = status(&self.0);
        if let Some(status) = status {
            write!(f, " (HTTP status {status})")?;
        }
        // A response to HEAD has no body, and so no error code.
        let code = self.0.code().or((status == Some(403)).then_some("AccessDenied"));
        match code.and_then(remedy) {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl<E: ProvideErrorMetadata + Error + 'static> Error for Chain<E> {}

/// Returns the fix for an error that the configuration causes (Amazon S3 API Reference, "List of error codes").
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
