//! Tests `lake sync`, `forget`, `export` and the page on a bucket that others also write to.

use std::{fs, process::Stdio};

use http_body_util::{BodyExt, Empty};
use hyper::{StatusCode, Uri, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use s3s::S3ErrorCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{
    column, count, data_files, keys, rows, store, trace,
    versioned_s3::{VersionedS3, WRITER, command, day, run},
};

const SYNC: [&str; 7] = ["lake", "sync", "-q", "--bucket", "traces", "-o", "lake"];

/// Returns a bucket with one trace that can be read, and objects that cannot be read.
pub fn shared_bucket() -> VersionedS3 {
    let s3 = VersionedS3::default();
    s3.add("traces", "m/1", Some(trace("jane").into()), day(0));
    s3.add("traces", "backup/1", Some(vec![b' '; (10 << 20) + 1].into()), day(0));
    for (key, code) in [
        ("archive/1", S3ErrorCode::InvalidObjectState),
        ("customer/1", S3ErrorCode::InvalidRequest),
        ("policy/1", S3ErrorCode::AccessDenied),
        ("policy/2", S3ErrorCode::AccessDenied),
    ] {
        s3.add("traces", key, Some(trace("jane").into()), day(0));
        s3.refuse(key, code);
    }
    s3
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_counts_objects_that_cannot_be_read_and_does_not_call_the_lake_equal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = shared_bucket();
    let url = s3.serve().await;
    for added in [1, 0] {
        let (code, report) = run(folder.path(), &url, &SYNC).await;
        assert_eq!((code, count(&report, "added")), (Some(1), added), "{report}");
        for (reason, expected) in [
            ("larger than any trace", 1),
            ("archived", 1),
            ("encrypted with a customer's key", 1),
            ("access denied", 2),
        ] {
            assert_eq!(count(&report, &format!("left out: {reason}")), expected, "{report}");
        }
        assert!(report.contains("archive/1 cannot be read: archived"), "{report}");
        assert_eq!(keys(&folder.path().join("lake")).await, ["m/1"]);
        let [file] = &data_files(&folder.path().join("lake"))[..] else { panic!("one file") };
        assert_eq!(column(&rows(file), "api_key_id").value(0), WRITER);
    }
    s3.refuse("m/1", S3ErrorCode::AccessDenied);
    let (code, report) = run(folder.path(), &url, &SYNC).await;
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("access is denied to all 2 objects"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_lists_objects_and_versions_that_could_not_be_searched() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = shared_bucket();
    let archived = s3.add("traces", "archive/1", None, day(1));
    let old = s3.add("traces", "m/2", Some(trace("another person").into()), day(0));
    s3.add("traces", "m/2", Some(trace("another person").into()), day(1));
    let url = s3.serve().await;
    assert_eq!(run(folder.path(), &url, &SYNC).await.0, Some(1));
    let forget = ["forget", "--bucket", "traces", "--lake", "lake", "--yes", "--text", "jane"];
    let (code, report) = run(folder.path(), &url, &forget).await;
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("policy/1 was not searched: access denied"), "{report}");
    let receipt = fs::read(folder.path().join("forgotten.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!(receipt["keys"], json!(["m/1"]));
    let unreadable = receipt["unreadable"].as_array().expect("a list");
    let mut searched: Vec<&str> = unreadable.iter().filter_map(|object| object["key"].as_str()).collect();
    searched.sort_unstable();
    assert_eq!(searched, ["archive/1", "backup/1", "customer/1", "policy/1", "policy/2"]);
    let version = unreadable.iter().find(|object| object["key"] == "archive/1").expect("it is listed");
    assert!(version["version"].is_string() && version["version"] != *archived, "{version}");
    assert!(s3.names("traces").contains(&format!("m/2 {old}")), "the other traces stay");

    // Without permission to read old versions, none of them is searched.
    fs::remove_file(folder.path().join("forgotten.json")).expect("it exists");
    s3.add("traces", "m/3", Some(trace("jane").into()), day(0));
    s3.refuse("m/2", S3ErrorCode::AccessDenied);
    s3.refuse("archive/1", S3ErrorCode::AccessDenied);
    let (code, report) = run(folder.path(), &url, &forget).await;
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("denied to all 2 old versions"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_leaves_out_objects_that_cannot_be_read_and_fails_if_it_can_read_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = shared_bucket();
    let url = s3.serve().await;
    let export = ["export", "-q", "--bucket", "traces", "-o", "traces.jsonl"];
    s3.refuse("m/1", S3ErrorCode::AccessDenied);
    for _ in 0..2 {
        let (code, report) = run(folder.path(), &url, &export).await;
        assert_eq!(code, Some(2), "{report}");
        assert!(report.contains("no object can be read") && report.contains("AccessDenied"), "{report}");
        assert!(!folder.path().join("traces.jsonl").exists());
    }
    // A resumed export also reads the objects again to which access was denied.
    s3.allow("m/1");
    s3.allow("customer/1");
    s3.add("traces", "z/1", Some(trace("joe").into()), day(0));
    let (code, report) = run(folder.path(), &url, &export).await;
    assert_eq!((code, count(&report, "exported")), (Some(1), 3), "{report}");
    assert_eq!(count(&report, "left out: access denied"), 2, "{report}");
    assert_eq!(count(&report, "left out: archived"), 1, "{report}");
    assert_eq!(count(&report, "left out: larger than any trace"), 1, "{report}");
    assert_eq!(count(&report, "not traces"), 0, "{report}");
    let lines = fs::read_to_string(folder.path().join("traces.jsonl")).expect("it is complete");
    assert_eq!(lines.lines().count(), 3);
}

/// A 1 TiB file does not fit into memory, so a command that reads it before checking its length fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_reads_a_file_that_is_larger_than_any_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    store(path, "m/1", &trace("jane"), 0);
    store(path, "backup/1", "", 0);
    let file = fs::File::options().write(true).open(path.join("traces/backup/1.json")).expect("it is stored");
    file.set_len(1 << 40).expect("the file is sparse");
    let too_large = "left out: larger than any trace";
    let url = "http://127.0.0.1:1";
    let (code, report) = run(path, url, &["lake", "sync", "-q", "--folder", "traces", "-o", "lake"]).await;
    assert_eq!((code, count(&report, "added"), count(&report, too_large)), (Some(1), 1, 1), "{report}");
    let (code, report) = run(path, url, &["export", "-q", "--folder", "traces", "-o", "traces.jsonl"]).await;
    assert_eq!((code, count(&report, "exported"), count(&report, too_large)), (Some(1), 1, 1), "{report}");
    let forget = ["forget", "--folder", "traces", "--lake", "lake", "--yes", "--text", "jane"];
    let (code, report) = run(path, url, &forget).await;
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("backup/1 was not searched: larger than any trace"), "{report}");
    assert!(!path.join("traces/m/1.json").exists() && path.join("traces/backup/1.json").exists());
}

pub async fn get(url: &str) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(url.parse::<Uri>().expect("a URL")).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_why_objects_cannot_be_read_and_who_wrote_the_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = shared_bucket().serve().await;
    let mut view = command(folder.path(), &url, &["view", "--bucket", "traces", "--port", "0"]);
    let mut view = view.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(view.stdout.take().expect("piped")).read_line(&mut line).await.expect("UTF-8");
    let page = line.split_whitespace().last().expect("the URL of the page");
    let (status, list) = get(&format!("{page}traces")).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    for row in [
        "larger than any trace: backup/1",
        "archived: archive/1",
        "encrypted with a customer's key: customer/1",
        "access denied: policy/1",
        "access denied: policy/2",
    ] {
        assert!(list.contains(row), "{row}: {list}");
    }
    assert_eq!(list.matches("<li data-key=").count(), 6, "{list}");
    let (status, found) = get(&format!("{page}traces?q=jane")).await;
    assert_eq!((status, found.matches("<li data-key=").count()), (StatusCode::OK, 1), "{found}");
    assert!(found.contains("5 cannot be read, and were not searched."), "{found}");
    let (status, overview) = get(page).await;
    assert_eq!(status, StatusCode::OK, "{overview}");
    assert!(overview.contains("1 of 6 traces were read. 5 objects cannot be read."), "{overview}");
    let (status, other) = get(&format!("{page}trace?key=archive/1")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(other.contains("This object cannot be read") && other.contains("archived"), "{other}");
    let (status, own) = get(&format!("{page}trace?key=m/1")).await;
    assert!(status == StatusCode::OK && own.contains("API key") && own.contains(WRITER), "{own}");
    let (_, shared) = get(&format!("{page}share?key=m/1")).await;
    assert!(shared.contains("jane") && !shared.contains(WRITER), "{shared}");
}
