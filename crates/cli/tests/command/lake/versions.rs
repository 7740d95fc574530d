//! `forget` and a bucket with versions, delete markers and an object lock.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use futures_util::{StreamExt, stream};
use local_aws::{http::serve, s3::ACCESS_KEY};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        DeleteMarkerEntry, DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
        HeadObjectOutput, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output,
        Object, ObjectVersion, StreamingBlob, Timestamp,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{keys, trace};
use crate::{export::stderr, import::program};

/// The number of versions on a page.
const PAGE: usize = 2;

/// A version of an object, or a delete marker, which has no trace.
#[derive(Debug, Clone)]
struct Version {
    key: String,
    id: String,
    trace: Option<String>,
    is_locked: bool,
}

/// A bucket with versions, the newest of a key first, in the order of the keys.
#[derive(Debug, Clone)]
struct VersionedS3 {
    versions: Arc<Mutex<Vec<Version>>>,
    time: SystemTime,
}

impl VersionedS3 {
    fn versions(&self) -> Vec<Version> {
        self.versions.lock().expect("no holder panics").clone()
    }

    fn current(&self, key: &str) -> S3Result<String> {
        let newest = self.versions().into_iter().find(|version| version.key == key);
        newest.and_then(|version| version.trace).ok_or_else(|| s3_error!(NoSuchKey))
    }

    fn unlock(&self) {
        self.versions.lock().expect("no holder panics").iter_mut().for_each(|version| version.is_locked = false);
    }

    /// Serves the bucket `traces` and returns its URL.
    async fn serve(&self) -> String {
        let mut service = S3ServiceBuilder::new(self.clone());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, ACCESS_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, service.build(), std::future::pending()));
        url
    }
}

#[async_trait::async_trait]
impl S3 for VersionedS3 {
    async fn list_objects_v2(&self, _: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut keys: Vec<String> = self.versions().into_iter().map(|version| version.key).collect();
        keys.dedup();
        keys.retain(|key| self.current(key).is_ok());
        let object = |key| Object {
            key: Some(key),
            last_modified: Some(Timestamp::from(self.time)),
            size: Some(1),
            ..Object::default()
        };
        let contents = keys.into_iter().map(object).collect();
        Ok(S3Response::new(ListObjectsV2Output { contents: Some(contents), ..ListObjectsV2Output::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let trace = self.current(&request.input.key)?;
        Ok(S3Response::new(GetObjectOutput {
            content_length: i64::try_from(trace.len()).ok(),
            body: Some(StreamingBlob::wrap(stream::iter([trace]).map(|trace| Ok::<_, std::io::Error>(trace.into())))),
            last_modified: Some(Timestamp::from(self.time)),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.current(&request.input.key)?;
        let last_modified = Some(Timestamp::from(self.time));
        Ok(S3Response::new(HeadObjectOutput { last_modified, ..HeadObjectOutput::default() }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let ListObjectVersionsInput { prefix, key_marker, version_id_marker, .. } = request.input;
        let prefix = prefix.unwrap_or_default();
        let all: Vec<Version> =
            self.versions().into_iter().filter(|version| version.key.starts_with(&prefix)).collect();
        let is_marker = |version: &Version| {
            key_marker.as_ref() == Some(&version.key) && version_id_marker.as_ref() == Some(&version.id)
        };
        let from = all.iter().position(is_marker).map_or(0, |marker| marker + 1);
        let page = &all[from..all.len().min(from + PAGE)];
        let last = page.last().filter(|_| from + page.len() < all.len());
        let (versions, markers): (Vec<_>, Vec<_>) = page.iter().partition(|version| version.trace.is_some());
        let version = |version: &Version| ObjectVersion {
            key: Some(version.key.clone()),
            version_id: Some(version.id.clone()),
            ..ObjectVersion::default()
        };
        let marker = |version: &Version| DeleteMarkerEntry {
            key: Some(version.key.clone()),
            version_id: Some(version.id.clone()),
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
        let DeleteObjectInput { key, version_id, .. } = request.input;
        let mut versions = self.versions.lock().expect("no holder panics");
        let is_deleted = |version: &Version| version.key == key && Some(&version.id) == version_id.as_ref();
        if versions.iter().any(|version| is_deleted(version) && version.is_locked) {
            return Err(s3_error!(AccessDenied, "Access Denied because object protected by object lock."));
        }
        versions.retain(|version| !is_deleted(version));
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }
}

/// Runs a command with the AWS configuration of this bucket.
async fn run(folder: &Path, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program(folder);
    command.args(arguments).env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY);
    let output = command.output().await.expect("it runs");
    (output.status.code(), stderr(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_versions_and_markers_are_deleted_and_a_locked_version_is_reported_until_it_is_free() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let version = |key: &str, id: &str, content: Option<&str>, is_locked| Version {
        key: key.to_owned(),
        id: id.to_owned(),
        trace: content.map(trace),
        is_locked,
    };
    let s3 = VersionedS3 {
        versions: Arc::new(Mutex::new(vec![
            version("m/1", "c", Some("jane, newest"), false),
            version("m/1", "b", None, false),
            version("m/1", "a", Some("jane, oldest"), false),
            version("m/1", "null", Some("jane, before versioning"), false),
            version("m/10", "a", Some("another person"), false),
            version("m/2", "b", Some("jane, too"), false),
            version("m/2", "a", Some("jane, locked"), true),
            version("m/3", "b", None, false),
            version("m/3", "a", Some("jane, deleted by hand"), false),
        ])),
        time: SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(498_696),
    };
    let url = s3.serve().await;
    let (code, report) = run(folder.path(), &url, &["lake", "sync", "-q", "--bucket", "traces", "-o", "lake"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(keys(&folder.path().join("lake")).await, ["m/1", "m/10", "m/2"]);

    std::fs::write(folder.path().join("keys.txt"), "m/1\nm/2\nm/3\n").expect("a file");
    let forget = ["forget", "--bucket", "traces", "--lake", "lake", "--yes", "--keys"];
    for _ in 0..2 {
        let (code, error) = run(folder.path(), &url, &[&forget[..], &["keys.txt"]].concat()).await;
        assert_eq!(code, Some(2), "{error}");
        for part in ["version a of m/2", "object lock", "1 of 3 traces", "run the command again with --keys"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!folder.path().join("forgotten.json").exists(), "a receipt is written only if nothing is left");
        let left: Vec<String> = s3.versions().iter().map(|version| format!("{} {}", version.key, version.id)).collect();
        assert_eq!(left, ["m/10 a", "m/2 a"], "the other traces are deleted");
        assert_eq!(keys(&folder.path().join("lake")).await, ["m/10", "m/2"], "the lake equals the bucket");
    }
    s3.unlock();
    let (code, error) = run(folder.path(), &url, &[&forget[..], &["forgotten.keys.txt"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(s3.versions().len(), 1);
    assert_eq!(keys(&folder.path().join("lake")).await, ["m/10"]);
    let receipt = std::fs::read(folder.path().join("forgotten.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!((&receipt["deleted_versions"], &receipt["removed_rows"]), (&1.into(), &1.into()));
    assert_eq!(receipt["keys"], serde_json::json!(["m/1", "m/2", "m/3"]));
}
