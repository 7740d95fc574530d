//! Decides which requests this S3 serves. `s3s` asks before an operation reads its input.

use hyper::{
    HeaderMap,
    header::{CONTENT_ENCODING, HeaderValue},
};
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Refuses requests without a signature, and requests with a header that AWS S3 acts on and this S3 does not support.
#[derive(Debug)]
pub(super) struct SignedAndKnown;

#[async_trait::async_trait]
impl S3Access for SignedAndKnown {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "the request has no signature"));
        }
        check(request.headers())
    }
}

/// Header values that require nothing from this S3.
const HARMLESS: [(&str, &[&str]); 5] = [
    // Both are true anyway: the bucket's owner owns the object, and nobody else may read it. Debian's `rclone` sends
    // `private`.
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-storage-class", &["STANDARD"]), // `s3cmd` sends it
    ("x-amz-tagging-directive", &["COPY"]),
    ("x-amz-object-lock-legal-hold", &["OFF"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
];

/// The prefixes of headers that AWS S3 acts on. If one were ignored, a client would wrongly believe that its object is
/// encrypted with its key, locked, tagged, public or checked.
const ACTS: [&str; 12] = [
    "x-amz-server-side-encryption-customer-",
    "x-amz-copy-source-server-side-encryption-customer-",
    "x-amz-object-",
    "x-amz-bypass-governance-retention",
    "x-amz-tagging",
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-expected-bucket-owner",
    "x-amz-source-expected-bucket-owner",
    "x-amz-write-offset-bytes",
];

/// The checksums that this S3 computes, and the headers that describe them.
const CHECKSUMS: [&str; 8] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256", "algorithm", "type", "mode"];

fn check(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        let is_harmless =
            HARMLESS.iter().any(|(header, values)| *header == name && values.iter().any(|harmless| value == harmless));
        let is_unknown = name.strip_prefix("x-amz-checksum-").is_some_and(|checksum| !CHECKSUMS.contains(&checksum));
        let acts = is_unknown
            || ACTS.iter().any(|beginning| name.starts_with(beginning))
            || name == CONTENT_ENCODING && !is_transfer(value);
        if acts && !is_harmless {
            return Err(s3_error!(NotImplemented, "the header {name} is not supported"));
        }
    }
    Ok(())
}

/// Returns whether the coding only concerns the transfer. S3 removes `aws-chunked` before it stores the object.
fn is_transfer(coding: &HeaderValue) -> bool {
    let codings = coding.to_str().unwrap_or("?").split(',').map(str::trim);
    codings.into_iter().all(|coding| matches!(coding, "" | "identity" | "aws-chunked"))
}
