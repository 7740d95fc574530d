//! The checksums of an object (Amazon S3 User Guide, "Checking object integrity").

use hyper::HeaderMap;
use s3s::{
    S3Request, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    dto::{Checksum, PutObjectInput},
    s3_error,
};

/// Returns the SHA-256 of an object in base64, as S3 writes it.
pub(super) fn sha256(object: &[u8]) -> String {
    aws_smithy_types::base64::encode(Sha256::checksum(object))
}

/// Compares the checksums that came with an object, in the headers or after the body, with the object's own. Returns them.
pub(super) fn verify(request: &S3Request<PutObjectInput>, object: &[u8]) -> S3Result<Checksum> {
    let input = &request.input;
    let trailers = request.trailing_headers.as_ref().and_then(|trailers| trailers.read(HeaderMap::clone));
    let given = |header: Option<&String>, name: &str| {
        let trailer = trailers.as_ref().and_then(|trailers| trailers.get(name)).and_then(|value| value.to_str().ok());
        header.cloned().or(trailer.map(str::to_owned))
    };
    let expected = Checksum {
        checksum_crc32: given(input.checksum_crc32.as_ref(), "x-amz-checksum-crc32"),
        checksum_crc32c: given(input.checksum_crc32c.as_ref(), "x-amz-checksum-crc32c"),
        checksum_crc64nvme: given(input.checksum_crc64nvme.as_ref(), "x-amz-checksum-crc64nvme"),
        checksum_sha1: given(input.checksum_sha1.as_ref(), "x-amz-checksum-sha1"),
        checksum_sha256: given(input.checksum_sha256.as_ref(), "x-amz-checksum-sha256"),
        checksum_type: None,
    };
    let mut hasher = ChecksumHasher {
        crc32: expected.checksum_crc32.as_ref().map(|_| Crc32::new()),
        crc32c: expected.checksum_crc32c.as_ref().map(|_| Crc32c::new()),
        crc64nvme: expected.checksum_crc64nvme.as_ref().map(|_| Crc64Nvme::new()),
        sha1: expected.checksum_sha1.as_ref().map(|_| Sha1::new()),
        sha256: expected.checksum_sha256.as_ref().map(|_| Sha256::new()),
    };
    hasher.update(object);
    if hasher.finalize() == expected { Ok(expected) } else { Err(s3_error!(BadDigest)) }
}
