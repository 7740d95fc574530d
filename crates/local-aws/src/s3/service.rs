//! Serves a folder over the S3 protocol, which `s3s` implements.
//!
//! The bucket has the same policy as the deployed stack's bucket, so that nobody overwrites an object. Each write needs
//! `If-None-Match: *`, and multipart uploads and HTML forms are denied. Objects have no versions or tags, and their
//! media type is always `application/json`.

use std::{
    fmt,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use futures_util::TryStreamExt;
use hyper::header::{HeaderValue, IF_NONE_MATCH};
use s3s::{
    S3, S3Error, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    dto::{
        Bucket, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CreateBucketInput, CreateBucketOutput,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput,
        DeleteObjectsInput, DeleteObjectsOutput, ETag, ETagCondition, GetBucketLocationInput, GetBucketLocationOutput,
        GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput, GetObjectOutput, HeadBucketInput,
        HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
        ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, PostObjectInput, PostObjectOutput, PutObjectInput, PutObjectOutput, Timestamp,
    },
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use uuid::Uuid;

use super::{
    access::SignedAndKnown,
    checksums::Verifier,
    error::FileStoreError,
    file_store::{FileStore, Staged},
    listing::ObjectInfo,
    metadata, objects, pages,
    served_s3::ServedS3,
};

const DENIED: &str = "the bucket policy denies a write without If-None-Match: *, because it could overwrite a trace";

/// The message of a denied multipart upload. A trace is far below the 5 GB limit of one PutObject.
const PARTS_DENIED: &str =
    "this bucket denies multipart uploads: send the object in one PutObject with If-None-Match: *";

/// The message of a denied form. A web page could make a browser send one.
const FORMS_DENIED: &str = "this bucket denies HTML forms: send the object in a PutObject with If-None-Match: *";

/// The largest object of one PutObject, in bytes (Amazon S3 User Guide, "Uploading objects").
const MOST_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// The largest XML body, in bytes. A DeleteObjects request with 1,000 keys of 1,024 escaped bytes is smaller.
const MOST_XML: usize = 8 * 1024 * 1024;

/// The largest part of a form that is read before the form is denied, in bytes.
const MOST_FORM: usize = 64 * 1024;

/// The access key of this S3. Each start creates a new secret key.
pub const ACCESS_KEY: &str = "local";

pub const REGION: &str = "us-east-1";

#[derive(Clone)]
pub struct FolderS3 {
    folder: FileStore,
    secret_key: String,
    overwrites: bool,
    /// The last name of the latest page without a continuation token. A request with this marker continues the cached
    /// listing.
    last_marker: Arc<Mutex<Option<String>>>,
}

/// Omits the secret key, because debug output ends up in logs.
impl fmt::Debug for FolderS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderS3").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl FolderS3 {
    /// Serves the objects of a folder, with a random secret key of 122 bits.
    ///
    /// A constant key would admit every web page that reaches loopback, and every user of the machine.
    #[must_use]
    pub fn new(folder: FileStore) -> Self {
        let secret_key = Uuid::new_v4().simple().to_string();
        Self { folder, secret_key, overwrites: false, last_marker: Arc::default() }
    }

    /// Opens the bucket in the folder `root`, as [`FileStore::open`] does.
    pub fn open(root: &Path) -> Result<Self, FileStoreError> {
        FileStore::open(root).map(Self::new)
    }

    /// Opens the bucket in an existing folder, as [`FileStore::read_only`] does. The service then refuses every write.
    pub fn read_only(root: &Path) -> Result<Self, FileStoreError> {
        FileStore::read_only(root).map(Self::new)
    }

    /// Sets the secret key, for a test whose client must know it beforehand.
    #[must_use]
    pub fn with_secret_key(self, secret_key: String) -> Self {
        Self { secret_key, ..self }
    }

    /// Lifts the bucket policy: a write without `If-None-Match: *` replaces an object instead of being denied.
    #[must_use]
    pub fn allow_overwrites(self) -> Self {
        Self { overwrites: true, ..self }
    }

    #[must_use]
    pub fn store(&self) -> &FileStore {
        &self.folder
    }

    #[must_use]
    pub fn bucket(&self) -> &str {
        self.folder.bucket()
    }

    /// Returns what a client needs to reach this S3 on `address`.
    #[must_use]
    pub fn served_on(&self, mut address: SocketAddr) -> ServedS3 {
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        ServedS3 { address, bucket: self.bucket().to_owned(), secret_key: self.secret_key.clone() }
    }

    #[must_use]
    pub fn service(self) -> S3Service {
        let auth = SimpleAuth::from_single(ACCESS_KEY, self.secret_key.as_str());
        let mut config = S3Config::default();
        config.xml_max_body_size = MOST_XML;
        config.post_object_max_file_size = MOST_FORM as u64;
        config.form_max_field_size = MOST_FORM;
        config.form_max_fields_size = MOST_FORM;
        let mut service = S3ServiceBuilder::new(self);
        service.set_auth(auth);
        service.set_access(SignedAndKnown);
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
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

    /// Runs blocking work on the store outside the async threads.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FileStore) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let store = self.folder.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(S3Error::internal_error)?
    }

    /// Applies the bucket policy to a write. Returns whether the write may replace an object.
    fn may_replace(&self, if_none_match: Option<&ETagCondition>) -> S3Result<bool> {
        match if_none_match {
            Some(ETagCondition::Any) => Ok(false),
            Some(ETagCondition::ETag(_)) => Err(s3_error!(NotImplemented, "If-None-Match accepts only *")),
            None if self.overwrites => Ok(true),
            None => Err(s3_error!(AccessDenied, "{DENIED}")),
        }
    }

    /// Stores an object. Fails if the key is taken and `replace` is false.
    async fn commit(&self, staged: Staged, key: String, replace: bool) -> S3Result<ObjectInfo> {
        let written = self.on_disk(move |store| Ok(store.commit(staged, &key, replace)?)).await?;
        written.ok_or_else(|| s3_error!(PreconditionFailed, "an object with this key exists"))
    }

    /// Returns the listing for a page after `marker`. Reuses the listing of the page that ended at `marker`, because
    /// otherwise each page of a large folder would list the whole folder.
    async fn listing_after(&self, marker: Option<&str>) -> S3Result<Arc<Vec<ObjectInfo>>> {
        let is_first = marker.is_none_or(|marker| self.last_marker().as_deref() != Some(marker));
        self.on_disk(move |store| Ok(store.pages(is_first)?)).await
    }

    fn last_marker(&self) -> MutexGuard<'_, Option<String>> {
        self.last_marker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl S3 for FolderS3 {
    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let replace = self.may_replace(request.input.if_none_match.as_ref())?;
        if request.input.if_match.is_some() {
            return Err(s3_error!(NotImplemented, "If-Match is not supported in a write"));
        }
        let metadata = request.input.metadata.take().unwrap_or_default();
        if metadata::is_too_large(&metadata) {
            return Err(s3_error!(MetadataTooLarge));
        }
        let mut body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let mut verifier = Verifier::new(&request);
        let mut staged = self.on_disk(move |store| Ok(store.stage(&metadata)?)).await?;
        let mut size = 0;
        while let Some(bytes) = body.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
            size += bytes.len() as u64;
            if size > MOST_BYTES {
                return Err(s3_error!(EntityTooLarge));
            }
            verifier.update(&bytes);
            // The write only reaches the page cache, so moving it to another thread would cost more.
            staged.write_all(&bytes).map_err(FileStoreError::from)?;
        }
        let checksum = verifier.verify()?;
        let stored = self.commit(staged, request.input.key, replace).await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(stored.e_tag())),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..PutObjectOutput::default()
        }))
    }

    async fn post_object(&self, _: S3Request<PostObjectInput>) -> S3Result<S3Response<PostObjectOutput>> {
        Err(s3_error!(AccessDenied, "{FORMS_DENIED}"))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        // `s3s` does not parse this header of a copy request yet.
        let if_none_match = request.headers.get(IF_NONE_MATCH).map(HeaderValue::as_bytes);
        let if_none_match = if_none_match.map(ETagCondition::parse_http_header).transpose();
        let if_none_match = if_none_match.map_err(|error| s3_error!(error, InvalidArgument))?;
        let replace = self.may_replace(if_none_match.as_ref())?;
        let key = request.input.key.clone();
        let staged = self.on_disk(move |folder| objects::source(folder, request.input)).await?;
        let stored = self.commit(staged, key, replace).await?;
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(stored.e_tag())),
            last_modified: Some(Timestamp::from(stored.modified)),
            ..CopyObjectResult::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_bucket(&request.input.bucket)?;
        if self.overwrites {
            return Err(s3_error!(NotImplemented, "multipart uploads are not supported"));
        }
        Err(s3_error!(AccessDenied, "{PARTS_DENIED}"))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.on_disk(move |folder| objects::head(folder, request.input)).await.map(S3Response::new)
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.on_disk(move |folder| objects::get(folder, request.input)).await.map(S3Response::new)
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.on_disk(move |folder| objects::delete(folder, &request.input)).await.map(S3Response::new)
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.on_disk(move |folder| objects::delete_many(folder, request.input.delete)).await.map(S3Response::new)
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        // `rclone` creates the bucket before its first upload, and expects this error.
        if request.input.bucket == self.bucket() {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        Err(s3_error!(AccessDenied, "this S3 has only the bucket {}", self.bucket()))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.on_disk(|folder| Ok(folder.modified()?)).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check_bucket(&request.input.bucket)?;
        // A bucket in us-east-1 has an empty location (Amazon S3 API Reference, `GetBucketLocation`).
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let created = self.on_disk(|folder| Ok(folder.modified()?)).await?;
        let bucket = Bucket {
            name: Some(self.bucket().to_owned()),
            creation_date: Some(Timestamp::from(created)),
            ..Bucket::default()
        };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.check_bucket(&request.input.bucket)?;
        let is_first = request.input.continuation_token.is_none();
        let objects = self.on_disk(move |folder| Ok(folder.pages(is_first)?)).await?;
        pages::list_v2(&objects, request.input).map(S3Response::new)
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let objects = self.listing_after(request.input.marker.as_deref()).await?;
        let (output, last) = pages::list_v1(&objects, request.input)?;
        *self.last_marker() = last;
        Ok(S3Response::new(output))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let objects = self.listing_after(request.input.key_marker.as_deref()).await?;
        let (output, last) = pages::list_versions(&objects, request.input)?;
        *self.last_marker() = last;
        Ok(S3Response::new(output))
    }
}
