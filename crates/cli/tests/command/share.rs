//! Tests `share` by running the built program.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use super::{
    export::{failures::with_limited_files, names, stderr, store},
    import::program,
    lake::versioned_s3::{VersionedS3, command, day},
};

const TRACE: &str = r#"{"model":"m","created":1,"messages":[{"role":"user","content":"hello"}]}"#;

async fn share(folder: &Path, output: &str) -> Output {
    program(folder).args(["share", "m/1", "-o", output]).output().await.expect("it runs")
}

#[tokio::test]
async fn a_hyphen_is_standard_output_and_a_file_is_private() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store(folder.path(), "m/1", TRACE, 1);
    let output = share(folder.path(), "-").await;
    assert!(output.status.success() && output.stdout.starts_with(b"<!DOCTYPE html>"), "{output:?}");
    assert_eq!(names(folder.path()), ["traces"]);
    assert!(share(folder.path(), "t.html").await.status.success());
    let path = folder.path().join("t.html");
    assert_eq!(fs::read(&path).expect("it exists"), output.stdout);
    assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
    fs::write(&path, "notes").expect("it can be written");
    assert!(!share(folder.path(), "t.html").await.status.success());
    assert_eq!(fs::read(&path).expect("it exists"), b"notes");
}

#[tokio::test]
async fn a_share_that_fails_leaves_no_part_of_its_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store(folder.path(), "m/1", &TRACE.replace("hello", &"hello ".repeat(10_000)), 1);
    let output = with_limited_files(folder.path(), &["share", "m/1", "-o", "t.html"]).await;
    assert!(!output.status.success());
    assert_eq!(names(folder.path()), ["traces"]);
    assert!(share(folder.path(), "t.html").await.status.success());
}

async fn share_query(folder: &Path, query: &str, output: &str) -> Output {
    program(folder).args(["share", "--query", query, "-o", output]).output().await.expect("it runs")
}

#[tokio::test]
async fn a_query_shares_several_traces_in_a_new_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store(folder.path(), "m/1", TRACE, 1);
    store(folder.path(), "m/2", &TRACE.replace("hello", "hello <b>there</b>"), 1);
    store(folder.path(), "m/3", &TRACE.replace("hello", "goodbye"), 1);
    let output = share_query(folder.path(), "hello -id:3", "shared").await;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let path = folder.path().join("shared");
    assert_eq!(names(&path), ["1.html", "2.html", "index.html"]);
    assert_eq!(names(folder.path()), ["shared", "traces"]);
    let index = fs::read_to_string(path.join("index.html")).expect("it exists");
    for link in [r#"<a href="1.html">hello</a>"#, r#"<a href="2.html">hello &lt;b&gt;there&lt;/b&gt;</a>"#] {
        assert!(index.contains(link), "{index}");
    }
    let single = share(folder.path(), "-").await.stdout;
    assert_eq!(fs::read(path.join("1.html")).expect("it exists"), single);
    assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o700);
    for (query, output, advice) in [
        ("hello", "shared", "exists"),
        ("banana", "other", "no trace in"),
        ("hello", "-", "need a folder"),
        ("models:m", "other", "The fields are fingerprint, id,"),
        ("created:yesterday", "other", "is not a time"),
    ] {
        let output = share_query(folder.path(), query, output).await;
        assert!(!output.status.success() && stderr(&output).contains(advice), "{query}: {output:?}");
        assert_eq!(names(folder.path()), ["shared", "traces"]);
    }
    let both = program(folder.path()).args(["share", "m/1", "--model", "m", "-o", "t.html"]).output().await;
    assert!(stderr(&both.expect("it runs")).contains("cannot be used with"));
    // An unreadable object may match.
    store(folder.path(), "m/large", &"x".repeat(11 << 20), 1);
    let output = share_query(folder.path(), "hello", "all").await;
    assert!(stderr(&output).contains("m/large cannot be read"), "{output:?}");
    assert_eq!((output.status.code(), names(&folder.path().join("all")).len()), (Some(1), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_shares_several_objects_under_one_url() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = VersionedS3::default();
    for key in ["m/1", "m/2"] {
        s3.add("traces", key, Some(TRACE.into()), day(0));
    }
    let url = s3.serve().await;
    let share = ["share", "-q", "--bucket", "traces", "--query", "hello", "-o", "s3://files/for-jane/"];
    let output = command(folder.path(), &url, &share).output().await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let files: Vec<_> = s3.versions().into_iter().filter(|version| version.bucket == "files").collect();
    let keys: Vec<_> = files.iter().map(|file| file.key.as_str()).collect();
    assert_eq!(keys, ["for-jane/1.html", "for-jane/2.html", "for-jane/index.html"]);
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        printed.starts_with(&format!("{url}/files/for-jane/index.html?")) && printed.lines().count() == 1,
        "{printed}"
    );
    let index = String::from_utf8_lossy(files[2].body.as_ref().expect("a body")).into_owned();
    for name in ["1.html", "2.html"] {
        let link = format!("href=\"{url}/files/for-jane/{name}?");
        assert!(index.contains(&link) && index.contains("X-Amz-Expires=86400"), "{index}");
    }
    // Nothing is overwritten.
    let again = command(folder.path(), &url, &share).output().await.expect("it runs");
    assert!(!again.status.success() && stderr(&again).contains("an object with this key may exist"), "{again:?}");
    assert_eq!(s3.names("files").len(), 3);
}
