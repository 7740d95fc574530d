//! An in-memory S3 whose buckets keep versions, and which can stop responding at a chosen step.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use local_aws::{http::serve, s3::ACCESS_KEY};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        BucketVersioningStatus, DeleteMarkerEntry, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, DeletedObject, ETag, GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput,
        GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
        ListObjectsV2Input, ListObjectsV2Output, Object, ObjectVersion, PutObjectInput, PutObjectOutput, StreamingBlob,
        Timestamp,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use tokio::{net::TcpListener, sync::Notify};

use crate::{export::stderr, import::program};

/// The API key that wrote every object.
pub const WRITER: &str = "a1b2c3d4e5";

/// The number of objects or versions on a page.
const PAGE: usize = 8;

/// A version of an object, or a delete marker, which has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub bucket: String,
    pub key: String,
    pub id: String,
    pub body: Option<Bytes>,
    pub modified: SystemTime,
    pub is_locked: bool,
}

/// Buckets with versions, in key order, with the newest version of each key first.
#[derive(Debug, Clone, Default)]
pub struct VersionedS3 {
    versions: Arc<Mutex<Vec<Version>>>,
    /// The error codes with which reads are refused, by key.
    refused: Arc<Mutex<BTreeMap<String, S3ErrorCode>>>,
    steps: Arc<Steps>,
}

/// Counts steps. A step is the moment before a request, or after a request that changes a bucket.
#[derive(Debug, Default)]
struct Steps {
    taken: AtomicUsize,
    /// The step from which no request is answered, or 0 if all are.
    last: AtomicUsize,
    reached: Notify,
}

impl VersionedS3 {
    pub fn of(versions: Vec<Version>) -> Self {
        Self { versions: Arc::new(Mutex::new(versions)), ..Self::default() }
    }

    pub fn refuse(&self, key: &str, code: S3ErrorCode) {
        self.refused.lock().expect("no holder panics").insert(key.to_owned(), code);
    }

    pub fn allow(&self, key: &str) {
        self.refused.lock().expect("no holder panics").remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Version>> {
        self.versions.lock().expect("no holder panics")
    }

    pub fn versions(&self) -> Vec<Version> {
        self.lock().clone()
    }

    /// Returns `KEY ID` of each version in a bucket.
    pub fn names(&self, bucket: &str) -> Vec<String> {
        let versions = self.versions().into_iter().filter(|version| version.bucket == bucket);
        versions.map(|version| format!("{} {}", version.key, version.id)).collect()
    }

    pub fn unlock(&self) {
        self.lock().iter_mut().for_each(|version| version.is_locked = false);
    }

    /// Adds a version, or a delete marker.
    pub fn add(&self, bucket: &str, key: &str, body: Option<Bytes>, modified: SystemTime) -> String {
        let id = fastrand::u64(..).to_string();
        let version = Version {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: id.clone(),
            body,
            modified,
            is_locked: false,
        };
        let mut versions = self.lock();
        let place = versions.partition_point(|other| (&*other.bucket, &*other.key) < (bucket, key));
        versions.insert(place, version);
        id
    }

    fn current(&self, bucket: &str, key: &str) -> Option<Version> {
        let newest = self.versions().into_iter().find(|version| version.bucket == bucket && version.key == key);
        newest.filter(|version| version.body.is_some())
    }

    fn get(&self, bucket: &str, key: &str, id: Option<&str>) -> S3Result<Version> {
        let Some(id) = id else { return self.current(bucket, key).ok_or_else(|| s3_error!(NoSuchKey)) };
        let of_id = |version: &Version| version.bucket == bucket && version.key == key && version.id == id;
        self.versions().into_iter().find(of_id).ok_or_else(|| s3_error!(NoSuchVersion))
    }

    fn delete(&self, bucket: &str, key: &str, id: Option<&str>) -> S3Result<()> {
        let Some(id) = id else {
            self.add(bucket, key, None, SystemTime::now());
            return Ok(());
        };
        let mut versions = self.lock();
        let is_deleted = |version: &Version| version.bucket == bucket && version.key == key && version.id == id;
        if versions.iter().any(|version| is_deleted(version) && version.is_locked) {
            return Err(s3_error!(AccessDenied, "Access Denied because object protected by object lock."));
        }
        versions.retain(|version| !is_deleted(version));
        Ok(())
    }

    pub async fn serve(&self) -> String {
        let mut service = S3ServiceBuilder::new(self.clone());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, ACCESS_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, service.build(), std::future::pending()));
        url
    }

    /// Stops responding at a step, counted from 1. With 0, never stops.
    pub fn stop_at(&self, step: usize) {
        self.steps.taken.store(0, Ordering::SeqCst);
        self.steps.last.store(step, Ordering::SeqCst);
    }

    /// Waits until the chosen step is reached.
    pub async fn stopped(&self) {
        self.steps.reached.notified().await;
    }

    async fn step(&self) {
        let (step, last) =
            (self.steps.taken.fetch_add(1, Ordering::SeqCst) + 1, self.steps.last.load(Ordering::SeqCst));
        if last > 0 && step >= last {
            self.steps.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn tag(body: &Bytes) -> ETag {
    let sum = body.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    ETag::Strong(format!("{sum:x}"))
}

fn size(body: &Bytes) -> Option<i64> {
    i64::try_from(body.len()).ok()
}

#[async_trait::async_trait]
impl S3 for VersionedS3 {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.step().await;
        let ListObjectsV2Input { bucket, prefix, start_after, continuation_token, .. } = request.input;
        let (prefix, after) = (prefix.unwrap_or_default(), continuation_token.or(start_after).unwrap_or_default());
        let mut keys: Vec<String> =
            self.versions().into_iter().filter(|version| version.bucket == bucket).map(|version| version.key).collect();
        keys.dedup();
        let objects = keys.iter().filter(|key| key.starts_with(&prefix) && **key > after);
        let objects: Vec<Version> = objects.filter_map(|key| self.current(&bucket, key)).collect();
        let page = &objects[..objects.len().min(PAGE)];
        let object = |version: &Version| Object {
            key: Some(version.key.clone()),
            last_modified: Some(Timestamp::from(version.modified)),
            size: version.body.as_ref().and_then(size),
            e_tag: version.body.as_ref().map(tag),
            ..Object::default()
        };
        let is_truncated = page.len() < objects.len();
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(is_truncated),
            key_count: i32::try_from(page.len()).ok(),
            next_continuation_token: page.last().filter(|_| is_truncated).map(|last| last.key.clone()),
            contents: Some(page.iter().map(object).collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.step().await;
        let GetObjectInput { bucket, key, version_id, range, .. } = request.input;
        if let Some(code) = self.refused.lock().expect("no holder panics").get(&key) {
            return Err(S3Error::new(code.clone()));
        }
        let Version { body, modified, .. } = self.get(&bucket, &key, version_id.as_deref())?;
        let body = body.ok_or_else(|| s3_error!(MethodNotAllowed))?;
        let all = body.len() as u64;
        let range = range.map(|range| range.check(all)).transpose()?;
        let part = range.clone().map_or(body.clone(), |range| {
            let place = |place: u64| usize::try_from(place).expect("it is within the body");
            body.slice(place(range.start)..place(range.end))
        });
        Ok(S3Response::new(GetObjectOutput {
            content_length: size(&part),
            content_range: range.map(|range| format!("bytes {}-{}/{all}", range.start, range.end - 1)),
            e_tag: Some(tag(&body)),
            body: Some(StreamingBlob::wrap(stream::iter([part]).map(Ok::<_, std::io::Error>))),
            last_modified: Some(Timestamp::from(modified)),
            metadata: Some([("api-key-id".to_owned(), WRITER.to_owned())].into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.step().await;
        let Version { body, modified, .. } = self.get(&request.input.bucket, &request.input.key, None)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: body.as_ref().and_then(size),
            e_tag: body.as_ref().map(tag),
            last_modified: Some(Timestamp::from(modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.step().await;
        let PutObjectInput { bucket, key, body, if_none_match, .. } = request.input;
        let chunks: Vec<Bytes> = match body {
            Some(body) => body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?,
            None => Vec::new(),
        };
        if if_none_match.is_some() && self.current(&bucket, &key).is_some() {
            return Err(s3_error!(PreconditionFailed));
        }
        let body = Bytes::from(chunks.concat());
        let e_tag = Some(tag(&body));
        let version_id = Some(self.add(&bucket, &key, Some(body), SystemTime::now()));
        self.step().await;
        Ok(S3Response::new(PutObjectOutput { e_tag, version_id, ..PutObjectOutput::default() }))
    }

    async fn get_bucket_versioning(
        &self,
        _: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.step().await;
        let status = Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED));
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.step().await;
        let ListObjectVersionsInput { bucket, prefix, key_marker, version_id_marker, .. } = request.input;
        let prefix = prefix.unwrap_or_default();
        let is_listed = |version: &Version| version.bucket == bucket && version.key.starts_with(&prefix);
        let all: Vec<Version> = self.versions().into_iter().filter(is_listed).collect();
        let is_marker = |version: &Version| {
            key_marker.as_ref() == Some(&version.key) && version_id_marker.as_ref() == Some(&version.id)
        };
        let from = all.iter().position(is_marker).map_or(0, |marker| marker + 1);
        let page = &all[from..all.len().min(from + PAGE)];
        let last = page.last().filter(|_| from + page.len() < all.len());
        let is_latest = |version: &Version| {
            let newest = all.iter().find(|other| other.key == version.key);
            Some(newest == Some(version))
        };
        let (versions, markers): (Vec<_>, Vec<_>) = page.iter().partition(|version| version.body.is_some());
        let version = |version: &Version| ObjectVersion {
            key: Some(version.key.clone()),
            version_id: Some(version.id.clone()),
            is_latest: is_latest(version),
            size: version.body.as_ref().and_then(size),
            ..ObjectVersion::default()
        };
        let marker = |version: &Version| DeleteMarkerEntry {
            key: Some(version.key.clone()),
            version_id: Some(version.id.clone()),
            is_latest: is_latest(version),
            ..DeleteMarkerEntry::default()
        };
        Ok(S3Response::new(ListObjectVersionsOutput {
            versions: Some(versions.into_iter().map(version).collect()),
            delete_markers: Some(markers.into_iter().map(marker).collect()),
            is_truncated: Some(last.is_some()),
            next_key_marker: last.map(|last| last.key.clone()),
            next_version_id_marker: last.map(|last| last.id.clone()),
            ..ListObjectVersionsOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.step().await;
        let DeleteObjectInput { bucket, key, version_id, .. } = request.input;
        self.delete(&bucket, &key, version_id.as_deref())?;
        self.step().await;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.step().await;
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        let mut deleted = Vec::new();
        for object in delete.objects {
            self.delete(&bucket, &object.key, object.version_id.as_deref())?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        self.step().await;
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }
}

pub fn command(folder: &Path, url: &str, arguments: &[&str]) -> tokio::process::Command {
    let mut command = program(folder);
    command.args(arguments).env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY);
    command
}

pub async fn run(folder: &Path, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(folder, url, arguments).output().await.expect("it runs");
    (output.status.code(), stderr(&output))
}

/// Returns a time on one of a few days.
pub fn day(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(498_696 + 24 * number)
}
