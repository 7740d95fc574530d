//! The conditions of a request that reads an object (RFC 9110, section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::{
    HeaderMap,
    header::{ETAG, HeaderValue},
};
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{CopyObjectInput, ETag, ETagCondition, GetObjectInput, HeadObjectInput, Timestamp},
    s3_error,
};

use super::listing::ObjectInfo;

/// The conditional headers of a request. Each is absent or has a single value, as in S3.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the fields have the names of the headers")]
pub(super) struct Conditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// Checks the conditions in the order of RFC 9110, section 13.2.2: an entity tag takes precedence over a time.
    ///
    /// A failed condition results in 412, or in 304 if the client's copy is current.
    pub(super) fn check(&self, object: &ObjectInfo) -> S3Result<()> {
        let e_tag = object.e_tag();
        let matches = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(given) => given.value() == e_tag,
        };
        let modified = whole_seconds(object.modified);
        let is_expected = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => matches(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => true,
        };
        if !is_expected {
            return Err(s3_error!(PreconditionFailed));
        }
        let is_current = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => false,
        };
        if is_current { Err(not_modified(&e_tag)) } else { Ok(()) }
    }
}

/// Drops the fraction of a second, which HTTP dates cannot express.
fn whole_seconds(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs()))
}

fn not_modified(e_tag: &str) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    let value = ETag::Strong(e_tag.to_owned()).to_http_header();
    let value = value.unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    error.set_headers(HeaderMap::from_iter([(ETAG, value)]));
    error
}

impl From<GetObjectInput> for Conditions {
    fn from(input: GetObjectInput) -> Self {
        let GetObjectInput { if_match, if_none_match, if_modified_since, if_unmodified_since, .. } = input;
        Self { if_match, if_none_match, if_modified_since, if_unmodified_since }
    }
}

impl From<HeadObjectInput> for Conditions {
    fn from(input: HeadObjectInput) -> Self {
        let HeadObjectInput { if_match, if_none_match, if_modified_since, if_unmodified_since, .. } = input;
        Self { if_match, if_none_match, if_modified_since, if_unmodified_since }
    }
}

impl From<CopyObjectInput> for Conditions {
    /// Reads the conditions on the source of a copy.
    fn from(input: CopyObjectInput) -> Self {
        Self {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        }
    }
}
