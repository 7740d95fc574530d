//! Tests `share` by running the built program.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use super::{
    export::{failures::with_limited_files, names, store},
    import::program,
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
