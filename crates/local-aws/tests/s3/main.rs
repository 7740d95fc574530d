//! Tests the S3 in a folder through the AWS SDK.

mod conditions;
mod deletes;
mod identity;
mod listings;
mod policy;
mod reads;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// Returns the HTTP status of a failed request, and the error code in its body.
fn failure<T, E: ProvideErrorMetadata>(outcome: Result<T, SdkError<E>>) -> (u16, String) {
    let error = outcome.err().expect("the request fails");
    let status = error.raw_response().expect("S3 answered").status().as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}
