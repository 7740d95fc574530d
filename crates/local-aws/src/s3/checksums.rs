//! The checksums of an object (Amazon S3 User Guide, "Checking object integrity").

use std::io::{self, Read};

use hyper::HeaderMap;
use s3s::{
    S3Request, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::{Checksum, PutObjectInput},
    s3_error,
};

/// The number of an object's bytes that are in memory at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// Returns the SHA-256 of an object in base64, as S3 writes it.
pub(super) fn sha256(mut object: impl Read) -> io::Result<String> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match object.read(&mut chunk) {
            Ok(0) => return Ok(aws_smithy_types::base64::encode(hasher.finalize())),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The checksums sent with an object, as headers or trailers, and those of the bytes received so far.
pub(super) struct Verifier {
    sent: Checksum,
    trailers: Option<TrailingHeaders>,
    hasher: ChecksumHasher,
    md5: Option<(String, Md5)>,
}

impl Verifier {
    pub(super) fn new(request: &S3Request<PutObjectInput>) -> Self {
        let input = &request.input;
        let sent = Checksum {
            checksum_crc32: input.checksum_crc32.clone(),
            checksum_crc32c: input.checksum_crc32c.clone(),
            checksum_crc64nvme: input.checksum_crc64nvme.clone(),
            checksum_sha1: input.checksum_sha1.clone(),
            checksum_sha256: input.checksum_sha256.clone(),
            checksum_type: None,
        };
        let announced: Vec<_> = request.headers.get_all("x-amz-trailer").iter().collect();
        let is_sent = |value: &Option<String>, name: &str| {
            value.is_some() || announced.iter().any(|trailer| trailer.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
        };
        let hasher = ChecksumHasher {
            crc32: is_sent(&sent.checksum_crc32, CRC32).then(Crc32::new),
            crc32c: is_sent(&sent.checksum_crc32c, CRC32C).then(Crc32c::new),
            crc64nvme: is_sent(&sent.checksum_crc64nvme, CRC64NVME).then(Crc64Nvme::new),
            sha1: is_sent(&sent.checksum_sha1, SHA1).then(Sha1::new),
            sha256: is_sent(&sent.checksum_sha256, SHA256).then(Sha256::new),
        };
        let md5 = input.content_md5.clone().map(|sent| (sent, Md5::new()));
        Self { sent, trailers: request.trailing_headers.clone(), hasher, md5 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some((_, hasher)) = &mut self.md5 {
            hasher.update(bytes);
        }
    }

    /// Returns the checksums if all of them match the object. A trailer that was not announced does not match.
    pub(super) fn verify(self) -> S3Result<Checksum> {
        if self.md5.is_some_and(|(sent, hasher)| aws_smithy_types::base64::encode(hasher.finalize()) != sent) {
            return Err(s3_error!(BadDigest, "the Content-MD5 does not fit the object"));
        }
        let trailers = self.trailers.as_ref().and_then(|trailers| trailers.read(HeaderMap::clone));
        let trailer = |name: &str| trailers.as_ref()?.get(name)?.to_str().ok().map(str::to_owned);
        let expected = Checksum {
            checksum_crc32: self.sent.checksum_crc32.or_else(|| trailer(CRC32)),
            checksum_crc32c: self.sent.checksum_crc32c.or_else(|| trailer(CRC32C)),
            checksum_crc64nvme: self.sent.checksum_crc64nvme.or_else(|| trailer(CRC64NVME)),
            checksum_sha1: self.sent.checksum_sha1.or_else(|| trailer(SHA1)),
            checksum_sha256: self.sent.checksum_sha256.or_else(|| trailer(SHA256)),
            checksum_type: None,
        };
        if self.hasher.finalize() == expected { Ok(expected) } else { Err(s3_error!(BadDigest)) }
    }
}

const CRC32: &str = "x-amz-checksum-crc32";
const CRC32C: &str = "x-amz-checksum-crc32c";
const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
const SHA1: &str = "x-amz-checksum-sha1";
const SHA256: &str = "x-amz-checksum-sha256";
