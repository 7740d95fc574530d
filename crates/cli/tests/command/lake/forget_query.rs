//! Tests what `forget --query` selects, and that it is as thorough as `forget` with other selections.

use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    data_files,
    foreign::shared_bucket,
    forget::assert_nothing_is_left,
    keys, run, trace,
    versioned_s3::{self, day},
    versions::assert_no_version_contains,
};
use crate::{
    export::{names, stderr, store},
    import::program,
};

const SYNC: [&str; 5] = ["lake", "sync", "-q", "-o", "lake"];

fn trace_of(user: &str, rating: &str) -> String {
    let messages = json!([{"role": "user", "content": "Grüße"}]);
    format!(r#"{{"model":"m","created":1,"messages":{messages},"log":{{"user":"{user}","rating":{rating}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_selects_what_is_forgotten_and_a_dry_run_only_lists_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (home, lake, traces) = (folder.path(), folder.path().join("lake"), folder.path().join("traces"));
    store(home, "m/1", &trace_of("u-7", "4"), 1_440);
    store(home, "m/2", &trace_of("u-7", "5"), 0);
    store(home, "m/3", &trace_of("u-70", "5"), 0);
    assert_eq!(run(home, &SYNC).await.0, Some(0));
    // An old file of the day, and a trace that the lake lacks.
    store(home, "m/4", &trace_of("u-8", "4"), 0);
    assert_eq!(run(home, &SYNC).await.0, Some(0));
    store(home, "m/5", &trace_of("u-7", "1"), 0);
    let before = data_files(&lake);
    let dry = ["forget", "--lake", "lake", "--dry-run", "--query"];
    for (query, listed) in [
        ("user:u-7", "m/1\nm/2\nm/5\n"),
        ("user:u-7 -log.rating<4", "m/1\nm/2\n"),
        ("-user:u-7 grüße", "m/3\nm/4\n"),
        ("id:5 or id:3", "m/3\nm/5\n"),
    ] {
        let output = program(home).args(dry).arg(query).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{query}: {}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), listed, "{query}");
    }
    let (code, error) = run(home, &[&dry[..], &["banana"]].concat()).await;
    assert!(code == Some(2) && error.contains("no trace of the lake matches"), "{error}");
    assert!(before.iter().all(|file| file.exists()) && traces.join("m/1.json").exists());
    assert_eq!(names(home), ["lake", "traces"], "a dry run leaves no file");

    let forget = ["forget", "--lake", "lake", "--query", "user:u-7"];
    let (code, error) = run(home, &forget).await;
    assert!(code == Some(2) && error.contains("--yes") && traces.join("m/1.json").exists(), "{error}");
    let (code, error) = run(home, &[&forget[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_nothing_is_left(&[&traces, &lake], &["\"u-7\""]);
    assert_eq!(keys(&lake).await, ["m/3", "m/4"]);
    let receipt: Value =
        serde_json::from_slice(&fs::read(home.join("forgotten.json")).expect("a receipt")).expect("JSON");
    assert_eq!(receipt["keys"], json!(["m/1", "m/2", "m/5"]));
    assert_eq!(receipt["removed_rows"], 3);
    assert!(!receipt.to_string().contains("u-7"), "a receipt has no content: {receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_query_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (query, advice) in [
        ("usr:u-7", "The fields are fingerprint, id,"),
        ("user:u-7 created<yesterday", "is not a time"),
        ("", "an empty query would select every trace"),
        ("user:", "has no value"),
    ] {
        // The lake does not exist.
        let (code, error) = run(folder.path(), &["forget", "--lake", "lake", "--yes", "--query", query]).await;
        assert!(code == Some(2) && error.contains(advice) && !error.contains("the lake"), "{query}: {error}");
    }
    for other in [["--text", "jane"], ["--where", "true"], ["--keys", "keys.txt"]] {
        let (code, error) =
            run(folder.path(), &[&["forget", "--lake", "lake", "--query", "a"][..], &other].concat()).await;
        assert!(code == Some(2) && error.contains("cannot be used with"), "{error}");
    }
    assert_eq!(names(folder.path()), <[String; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reaches_old_versions_and_names_what_it_could_not_search() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = shared_bucket();
    s3.add("traces", "m/2", Some(trace("jane, before").into()), day(0));
    s3.add("traces", "m/2", Some(trace("another person").into()), day(1));
    s3.add("traces", "m/deleted", Some(trace("jane, deleted by hand").into()), day(0));
    s3.add("traces", "m/deleted", None, day(1));
    s3.add("traces", "m/others", Some(r#"{"jane": 1}"#.into()), day(0));
    let url = s3.serve().await;
    let sync = ["lake", "sync", "-q", "--bucket", "traces", "-o", "lake"];
    assert_eq!(versioned_s3::run(folder.path(), &url, &sync).await.0, Some(1));
    let forget = ["forget", "--bucket", "traces", "--lake", "lake", "--query"];
    // Unreadable objects, and objects that are not traces, may contain the word.
    let (code, report) = versioned_s3::run(folder.path(), &url, &[&forget[..], &["jane", "--dry-run"]].concat()).await;
    assert_eq!(code, Some(2), "{report}");
    for object in ["archive/1", "backup/1", "customer/1", "policy/1", "policy/2", "m/others"] {
        assert!(report.contains(&format!("{object} was not searched")), "{object}: {report}");
    }
    let (code, report) = versioned_s3::run(folder.path(), &url, &[&forget[..], &["banana", "--yes"]].concat()).await;
    assert!(code == Some(2) && report.contains("policy/1 was not searched: access denied"), "{report}");
    // Other keys cannot match.
    let query = "fingerprint=m -id:others jane";
    let (code, report) = versioned_s3::run(folder.path(), &url, &[&forget[..], &[query, "--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{report}");
    let receipt = fs::read_to_string(folder.path().join("forgotten.json")).expect("a receipt");
    assert!(receipt.contains("\"unreadable\": []") && receipt.contains("m/deleted"), "{receipt}");
    for key in ["m/1 ", "m/deleted "] {
        assert!(!s3.names("traces").iter().any(|name| name.starts_with(key)), "{:?}", s3.names("traces"));
    }
    assert_no_version_contains_below_m(&s3);
    assert_eq!(keys(&folder.path().join("lake")).await, ["m/2"]);
    // The listing alone selects an object that is not a trace.
    let query = ["fingerprint=m id:others", "--yes", "--receipt", "second.json"];
    let (code, report) = versioned_s3::run(folder.path(), &url, &[&forget[..], &query].concat()).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(!s3.names("traces").iter().any(|name| name.starts_with("m/others ")), "{:?}", s3.names("traces"));
}

fn assert_no_version_contains_below_m(s3: &versioned_s3::VersionedS3) {
    let mut versions = s3.versions();
    versions.retain(|version| version.key.starts_with("m/") && version.key != "m/others");
    assert_eq!(versions.len(), 1, "the current version of m/2 stays");
    assert_no_version_contains(&versioned_s3::VersionedS3::of(versions), "jane");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_is_continued_with_its_own_query_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace_of("u-7", "4"), 0);
    store(home, "m/2", &trace_of("u-8", "4"), 0);
    assert_eq!(run(home, &SYNC).await.0, Some(0));
    // All files but the receipt are smaller than this limit, which is 1.5 KiB in dash.
    let script = r#"trap "" XFSZ; ulimit -f 3; exec "$0" "$@""#;
    let forget = ["forget", "--lake", "lake", "--yes", "--query"];
    let mut limited = Command::new("dash");
    limited.current_dir(home).args(["-c", script, env!("CARGO_BIN_EXE_attest")]).args(forget).arg("user:u-7");
    assert_eq!(limited.output().await.expect("dash is installed").status.code(), Some(2));
    for other in ["user:u-8", "user:u-7 or user:u-8"] {
        let (code, error) = run(home, &[&forget[..], &[other]].concat()).await;
        assert!(code == Some(2) && error.contains("a run for other traces"), "{error}");
    }
    let (code, error) = run(home, &[&forget[..], &["(USER:\"u-7\")"]].concat()).await;
    assert_eq!(code, Some(0), "the same query in another notation: {error}");
    assert_eq!(keys(&home.join("lake")).await, ["m/2"]);
}
