//! The S3 service of a folder, on `s3s`.

use std::{fs, net::SocketAddr, path::Path};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        Bucket, CommonPrefix, ETag, ETagCondition, EncodingType, GetObjectInput, GetObjectOutput, HeadBucketInput,
        HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    },
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use sha2::{Digest, Sha256};

use super::{error::FileStoreError, file_store::FileStore, listing::ObjectInfo};

/// The access key of this S3. It is also the default secret key, which suffices on loopback.
pub const ACCESS_KEY: &str = "local";

/// The region that this S3 reports.
pub const REGION: &str = "us-east-1";

/// The characters that a listing with `encoding-type=url` percent-encodes (Amazon S3 API Reference, `ListObjectsV2`).
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// An S3 with one bucket, whose objects are files in a folder.
#[derive(Debug, Clone)]
pub struct FolderS3 {
    store: FileStore,
    secret_key: String,
}

impl FolderS3 {
    /// Serves the objects of `store`.
    #[must_use]
    pub fn new(store: FileStore) -> Self {
        Self { store, secret_key: ACCESS_KEY.to_owned() }
    }

    /// Opens the bucket in the folder `root`, as [`FileStore::open`] does.
    pub fn open(root: &Path) -> Result<Self, FileStoreError> {
        FileStore::open(root).map(Self::new)
    }

    /// Opens the bucket in an existing folder, as [`FileStore::read_only`] does. The service then refuses every write.
    pub fn read_only(root: &Path) -> Result<Self, FileStoreError> {
        FileStore::read_only(root).map(Self::new)
    }

    /// Sets another secret key than [`ACCESS_KEY`].
    #[must_use]
    pub fn with_secret_key(self, secret_key: String) -> Self {
        Self { secret_key, ..self }
    }

    /// Returns the folder of the bucket.
    #[must_use]
    pub fn store(&self) -> &FileStore {
        &self.store
    }

    /// Returns the bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.store.bucket()
    }

    /// Returns the bucket as an HTTP service.
    #[must_use]
    pub fn service(self) -> S3Service {
        let auth = SimpleAuth::from_single(ACCESS_KEY, self.secret_key.as_str());
        let mut service = S3ServiceBuilder::new(self);
        service.set_auth(auth);
        service.build()
    }

    /// Returns the configuration for a client of the S3 that is served on `address` with this secret key.
    #[must_use]
    pub fn sdk_config(address: SocketAddr, secret_key: &str, http_client: SharedHttpClient) -> SdkConfig {
        let credentials = Credentials::new(ACCESS_KEY, secret_key, None, None, "local");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client)
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(format!("http://{address}"))
            .build()
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }
}

/// Converts an error of the folder. None of the named ones is retryable, so none has a status that clients retry.
fn refused(error: FileStoreError) -> S3Error {
    let code = match &error {
        FileStoreError::DiskFull(_) => "DiskFull",
        FileStoreError::PathTooLong(_) => "PathTooLong",
        FileStoreError::AccessDenied(_) => "FolderNotWritable",
        FileStoreError::NoFolder(_) => return S3Error::with_message(S3ErrorCode::NoSuchBucket, error.to_string()),
        FileStoreError::ReadOnly => return S3Error::with_message(S3ErrorCode::AccessDenied, error.to_string()),
        _ => return S3Error::internal_error(error),
    };
    let mut refused = S3Error::with_message(S3ErrorCode::Custom(code.into()), error.to_string());
    refused.set_status_code(StatusCode::BAD_REQUEST);
    refused
}

/// Runs what waits for the disk where it keeps no other request waiting.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)
}

fn sha256(object: &[u8]) -> String {
    aws_smithy_types::base64::encode(Sha256::digest(object))
}

fn length(bytes: usize) -> Option<i64> {
    i64::try_from(bytes).ok()
}

#[async_trait::async_trait]
impl S3 for FolderS3 {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, checksum_sha256, if_none_match, .. } = request.input;
        self.check_bucket(&bucket)?;
        let replace = match if_none_match {
            None => true,
            Some(ETagCondition::Any) => false,
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "If-None-Match takes * only")),
        };
        let mut object = Vec::new();
        let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        while let Some(bytes) = body.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
            object.extend_from_slice(&bytes);
        }
        let checksum = sha256(&object);
        if checksum_sha256.is_some_and(|expected| expected != checksum) {
            return Err(s3_error!(BadDigest));
        }
        let store = self.store.clone();
        let written = on_disk(move || store.write(&key, &object, replace)).await?.map_err(refused)?;
        if !written {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(checksum.clone())),
            checksum_sha256: Some(checksum),
            ..PutObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let HeadObjectInput { bucket, key, checksum_mode, .. } = request.input;
        self.check_bucket(&bucket)?;
        let store = self.store.clone();
        let object = on_disk(move || store.read(&key)).await?.map_err(refused)?;
        let (object, modified) = object.ok_or_else(|| s3_error!(NoSuchKey))?;
        let checksum = sha256(&object);
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(object.len()),
            content_type: Some("application/json".to_owned()),
            e_tag: Some(ETag::Strong(checksum.clone())),
            checksum_sha256: checksum_mode.map(|_| checksum),
            last_modified: Some(Timestamp::from(modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        self.check_bucket(&bucket)?;
        let store = self.store.clone();
        let object = on_disk(move || store.read(&key)).await?.map_err(refused)?;
        let (object, modified) = object.ok_or_else(|| s3_error!(NoSuchKey))?;
        let (e_tag, object) = (ETag::Strong(sha256(&object)), Bytes::from(object));
        let (part, content_range) = match range {
            None => (object, None),
            Some(range) => {
                let whole = object.len() as u64;
                let range = range.check(whole)?;
                let content_range = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
                let place = |at: u64| usize::try_from(at).expect("it is within the object");
                (object.slice(place(range.start)..place(range.end)), Some(content_range))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(part.len()),
            content_range,
            content_type: Some("application/json".to_owned()),
            e_tag: Some(e_tag),
            last_modified: Some(Timestamp::from(modified)),
            body: Some(StreamingBlob::from(Body::from(part))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let made = fs::metadata(self.store.root()).and_then(|root| root.modified()).map_err(S3Error::internal_error)?;
        let bucket = Bucket {
            name: Some(self.bucket().to_owned()),
            creation_date: Some(Timestamp::from(made)),
            ..Bucket::default()
        };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let store = self.store.clone();
        let is_first = input.continuation_token.is_none();
        let found = on_disk(move || store.pages(is_first)).await?.map_err(refused)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let most = input.max_keys.and_then(|most| usize::try_from(most).ok()).unwrap_or(1000).min(1000);
        let (mut contents, mut prefixes): (Vec<Object>, Vec<CommonPrefix>) = (Vec::new(), Vec::new());
        let mut last: Option<String> = None;
        let mut is_truncated = false;
        let begin = found.partition_point(|object| object.key <= after || object.key < prefix);
        for ObjectInfo { key, size, modified } in &found[begin..] {
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            // What stands behind the next delimiter counts as one name, the common prefix.
            let common = input.delimiter.as_deref().and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            let name = common.map_or(key.as_str(), |common| &key[..prefix.len() + common]);
            if name <= &*after || last.as_deref() == Some(name) {
                continue;
            }
            if contents.len() + prefixes.len() == most {
                is_truncated = true;
                break;
            }
            last = Some(name.to_owned());
            if common.is_some() {
                prefixes.push(CommonPrefix { prefix: last.clone() });
            } else {
                contents.push(Object {
                    key: last.clone(),
                    size: i64::try_from(*size).ok(),
                    last_modified: Some(Timestamp::from(*modified)),
                    ..Object::default()
                });
            }
        }
        let next_continuation_token = if is_truncated { last } else { None };
        let (mut prefix, mut delimiter, mut start_after) = (input.prefix, input.delimiter, input.start_after);
        if input.encoding_type.as_ref().is_some_and(|encoding| encoding.as_str() == EncodingType::URL) {
            let names = contents.iter_mut().filter_map(|object| object.key.as_mut());
            let names = names.chain(prefixes.iter_mut().filter_map(|common| common.prefix.as_mut()));
            for name in names.chain([&mut prefix, &mut delimiter, &mut start_after].into_iter().flatten()) {
                *name = utf8_percent_encode(name, URL).to_string();
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            encoding_type: input.encoding_type,
            prefix,
            delimiter,
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            max_keys: i32::try_from(most).ok(),
            is_truncated: Some(is_truncated),
            next_continuation_token,
            continuation_token: input.continuation_token,
            start_after,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..ListObjectsV2Output::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn permanent_errors_of_the_file_system_are_not_retryable_and_say_what_to_do() {
        for (kind, code) in [
            (io::ErrorKind::StorageFull, "DiskFull"),
            (io::ErrorKind::QuotaExceeded, "DiskFull"),
            (io::ErrorKind::InvalidFilename, "PathTooLong"),
            (io::ErrorKind::ReadOnlyFilesystem, "FolderNotWritable"),
        ] {
            let error = refused(io::Error::from(kind).into());
            assert_eq!((error.code().as_str(), error.status_code()), (code, Some(StatusCode::BAD_REQUEST)));
        }
    }
}
