//! Tests `forget` on buckets with versions, delete markers and an object lock.

use std::fs;

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::{
    keys, trace,
    versioned_s3::{Version, VersionedS3, day, run},
};

/// Asserts that no version of an object contains a string, in its bytes or in its decoded rows.
pub fn assert_no_version_contains(s3: &VersionedS3, text: &str) {
    for Version { bucket, key, id, body, .. } in s3.versions() {
        let Some(body) = body else { continue };
        let mut places = vec![String::from_utf8_lossy(&body).into_owned()];
        if key.ends_with(".parquet") {
            places.push(rows(body));
        }
        assert!(places.iter().all(|place| !place.contains(text)), "{bucket}/{key} {id} contains {text}");
    }
}

/// Formats the rows of a Parquet file.
fn rows(file: Bytes) -> String {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
    let batches: Vec<_> = reader.map(|batch| batch.expect("rows")).collect();
    format!("{batches:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_versions_and_markers_are_deleted_and_a_locked_version_is_reported_until_it_is_free() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let version = |key: &str, id: &str, content: Option<&str>, is_locked| Version {
        bucket: "traces".to_owned(),
        key: key.to_owned(),
        id: id.to_owned(),
        body: content.map(|content| trace(content).into()),
        modified: day(0),
        is_locked,
    };
    let s3 = VersionedS3::of(vec![
        version("m/1", "c", Some("jane, newest"), false),
        version("m/1", "b", None, false),
        version("m/1", "a", Some("jane, oldest"), false),
        version("m/1", "null", Some("jane, before versioning"), false),
        version("m/10", "a", Some("another person"), false),
        version("m/2", "b", Some("jane, too"), false),
        version("m/2", "a", Some("jane, locked"), true),
        version("m/3", "b", None, false),
        version("m/3", "a", Some("jane, deleted by hand"), false),
    ]);
    let url = s3.serve().await;
    let (code, report) = run(folder.path(), &url, &["lake", "sync", "-q", "--bucket", "traces", "-o", "lake"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(keys(&folder.path().join("lake")).await, ["m/1", "m/10", "m/2"]);
    let traces = || s3.names("traces").into_iter().filter(|name| name.starts_with("m/")).collect::<Vec<_>>();

    fs::write(folder.path().join("keys.txt"), "m/1\nm/2\nm/3\n").expect("a file");
    let forget = ["forget", "--bucket", "traces", "--lake", "lake", "--yes", "--keys"];
    for _ in 0..2 {
        let (code, error) = run(folder.path(), &url, &[&forget[..], &["keys.txt"]].concat()).await;
        assert_eq!(code, Some(2), "{error}");
        for part in ["version a of m/2", "object lock", "1 of 3 traces", "run the command again with --keys"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!folder.path().join("forgotten.json").exists(), "a receipt is written only if nothing is left");
        assert_eq!(traces(), ["m/10 a", "m/2 a"], "the other traces are deleted");
        assert_eq!(keys(&folder.path().join("lake")).await, ["m/10", "m/2"], "the lake equals the bucket");
    }
    s3.unlock();
    let (code, error) = run(folder.path(), &url, &[&forget[..], &["forgotten.keys.txt"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(traces(), ["m/10 a"]);
    assert_eq!(keys(&folder.path().join("lake")).await, ["m/10"]);
    let receipt = fs::read(folder.path().join("forgotten.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!((&receipt["deleted_versions"], &receipt["removed_rows"]), (&1.into(), &1.into()));
    assert_eq!(receipt["keys"], serde_json::json!(["m/1", "m/2", "m/3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_of_traces_and_of_the_lakes_files_are_found_and_deleted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = VersionedS3::default();
    let url = s3.serve().await;
    let store = |key: &str, content: &str| s3.add("traces", key, Some(trace(content).into()), day(0));
    // Old versions of a deleted and a replaced trace. They appear in no listing and in no row.
    store("m/deleted", "jane, deleted");
    s3.add("traces", "m/deleted", None, day(0));
    store("m/replaced", "jane, replaced");
    store("m/replaced", "another person");
    store("m/current", "jane, current");
    store("m/other", "another person");
    let sync = ["lake", "sync", "-q", "--bucket", "traces", "-o", "s3://lake/my%20lake", "--retention-days", "0"];
    // The second run replaces and deletes the first one's file, which stays as a noncurrent version.
    for key in ["m/first", "m/second"] {
        store(key, "jane, again");
        let (code, report) = run(folder.path(), &url, &sync).await;
        assert_eq!(code, Some(0), "{report}");
    }
    let files = |s3: &VersionedS3| s3.names("lake").iter().filter(|name| name.contains("attest-")).count();
    assert!(files(&s3) > 2, "{:?}", s3.names("lake"));
    let forget = ["forget", "--text", "jane", "--bucket", "traces", "--lake", "s3://lake/my%20lake", "--yes"];
    let (code, error) = run(folder.path(), &url, &forget).await;
    assert_eq!(code, Some(0), "{error}");
    assert_no_version_contains(&s3, "jane");
    let left = s3.versions().into_iter().filter(|version| version.key.starts_with("m/")).count();
    assert_eq!(left, 2, "m/replaced and m/other: {:?}", s3.names("traces"));
    assert!(s3.names("lake").iter().all(|name| name.starts_with("my%20lake/")), "the name is a key, and not a URL");
}
