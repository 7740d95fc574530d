//! The reasons why a working S3 does not return an object of a bucket to which others also write.

use std::fmt;

use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
    primitives::ByteStreamError,
};
use bytes::Bytes;

use crate::{s3_error::status, trace};

/// A reason that concerns one object. Others may be readable, and a retry does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// The object is larger than [`trace::MAX_BYTES`].
    TooLarge,
    /// The object is archived, and must be restored first.
    Archived,
    /// The object is encrypted with a key that its writer chose and that every read must send.
    CustomerKey,
    /// A policy, or the policy or state of the KMS key, denies the read. The reader may also have lost all access.
    Denied,
}

impl Unreadable {
    pub const ALL: [Self; 4] = [Self::TooLarge, Self::Archived, Self::CustomerKey, Self::Denied];

    /// Returns the reason why `GetObject` failed. Returns `None` if the error does not concern the object alone.
    ///
    /// The codes are from the Amazon S3 API Reference ("List of error codes", and `GetObject`) and the S3 User Guide ("Using
    /// server-side encryption with customer-provided keys").
    #[must_use]
    pub fn of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<Self> {
        match (status(error)?, error.code()?) {
            (403, "InvalidObjectState") => Some(Self::Archived),
            (400, "InvalidRequest") => Some(Self::CustomerKey),
            (403, "AccessDenied") => Some(Self::Denied),
            (400 | 403, code) if code.starts_with("KMS.") => Some(Self::Denied),
            _ => None,
        }
    }

    /// Returns the reason not to read an object of this size, if there is one.
    #[must_use]
    pub fn of_size(bytes: u64) -> Option<Self> {
        (bytes > trace::MAX_BYTES as u64).then_some(Self::TooLarge)
    }
}

/// The reason why a body was not read completely.
#[derive(Debug)]
pub enum BodyError {
    Unreadable(Unreadable),
    BrokenOff(ByteStreamError),
}

/// Reads a body up to the size limit of a trace, because memory is limited and others may write to the bucket.
pub async fn read_body(object: GetObjectOutput) -> Result<Bytes, BodyError> {
    let length = object.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let check =
        |bytes: usize| Unreadable::of_size(bytes as u64).map_or(Ok(()), |reason| Err(BodyError::Unreadable(reason)));
    check(length)?;
    let (mut stream, mut bytes) = (object.body, Vec::with_capacity(length));
    while let Some(chunk) = stream.try_next().await.map_err(BodyError::BrokenOff)? {
        check(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "larger than any trace",
            Self::Archived => "archived",
            Self::CustomerKey => "encrypted with a customer's key",
            Self::Denied => "access denied",
        })
    }
}
