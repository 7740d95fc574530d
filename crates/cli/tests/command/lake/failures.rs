//! Tests commands on lakes that cannot be opened or written.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{count, keys, run, store_days, trace};
use crate::{
    export::{
        failures::{unprivileged, with_limited_files},
        names, stderr, store,
    },
    import::program,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_typo_in_a_path_creates_and_deletes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store_days(folder.path(), 1);
    fs::write(folder.path().join("keys.txt"), "m/00000\n").expect("a file");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    for (arguments, typo) in [
        (&["lake", "sync", "-o", "typo/lake"][..], "typo"),
        (&["lake", "sync", "-o", "lake", "--folder", "typo"], "typo"),
        (&["lake", "sync", "-o", "traces/m/00000.json"], "00000.json"),
        (&["lake", "sync", "-o", "s3://"], "s3://"),
        (&["forget", "--yes", "--keys", "keys.txt", "--lake", "typo"], "there is no lake at"),
        (&["forget", "--yes", "--keys", "keys.txt", "--lake", "empty"], "there is no lake at"),
        (&["forget", "--yes", "--keys", "keys.txt", "--lake", "typo/lake"], "typo"),
        (&["forget", "--yes", "--keys", "typo.txt", "--lake", "empty"], "there is no lake at"),
    ] {
        let (code, message) = run(folder.path(), arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {message}");
        assert!(message.contains("error: ") && message.contains(typo), "{arguments:?}: {message}");
        assert_eq!(names(folder.path()), ["empty", "keys.txt", "traces"], "{arguments:?}");
        assert_eq!(names(&folder.path().join("empty")), <[String; 0]>::default());
        assert_eq!(names(&folder.path().join("traces/m")), ["00000.json"], "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_other_commands_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store_days(folder.path(), 1);
    for arguments in [
        &["lake", "sync"][..],
        &["lake", "sync", "-o", "lake", "--dedupe"],
        &["lake", "sync", "-o", "lake", "--state", "state"],
        &["lake", "sync", "-o", "lake", "--model", "m"],
        &["lake", "sync", "-o", "lake", "--bucket", "b", "--folder", "traces"],
        &["forget", "--lake", "lake"],
        &["forget", "--keys", "a", "--text", "b", "--lake", "lake"],
        &["export", "lake", "-o", "lake"],
    ] {
        let (code, message) = run(folder.path(), arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {message}");
        assert!(message.contains("error: ") && message.contains("--help"), "{arguments:?}: {message}");
        assert_eq!(names(folder.path()), ["traces"], "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_refused_and_left_unchanged() {
    for file in ["lake", "lake/rows.parquet", "lake/day=2026-11-22/0b0e6d5c-00001.parquet"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        store_days(folder.path(), 1);
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(&path, "notes").expect("a file");
        let (code, message) = run(folder.path(), &["lake", "sync", "-o", "lake"]).await;
        assert_eq!(code, Some(2), "{file}: {message}");
        assert!(message.contains("/lake") || message.contains("folder lake"), "{file}: {message}");
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), "notes", "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_not_be_written_is_reported_before_anything_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store_days(folder.path(), 1);
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("a folder");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("the owner may");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the owner may");
    // The object cannot be read either. A run that reads first would report that instead.
    fs::remove_file(folder.path().join("traces/m/00000.json")).expect("it exists");
    fs::create_dir(folder.path().join("traces/m/00000.json")).expect("a folder");
    for lake in ["locked", "locked/lake"] {
        let mut command = program(folder.path());
        command.args(["lake", "sync", "-o", lake]);
        unprivileged(&mut command, folder.path());
        let output = command.output().await.expect("the program is readable by everybody");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains("locked") && message.contains("Permission denied"), "{message}");
        assert!(!message.contains("listed\n"), "{message}");
    }
}

/// A file size limit stands in for a disk that becomes full: in both cases, a write fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_full_disk_stops_is_completed_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Numbers that do not compress below the limit.
    for number in 0..200 {
        let content: String = (0..50).map(|_| fastrand::u64(..).to_string()).collect();
        store(folder.path(), &format!("m/{number}"), &trace(&content), 0);
    }
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    let output = with_limited_files(folder.path(), &sync).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let (code, report) = run(folder.path(), &sync).await;
    assert_eq!((code, count(&report, "listed")), (Some(0), 200));
    assert_eq!(keys(&folder.path().join("lake")).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_in_a_bucket_requires_a_region() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store_days(folder.path(), 1);
    let mut command = program(folder.path());
    command.args(["lake", "sync", "-o", "s3://bucket/lake"]);
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("AWS_REGION"), "{}", stderr(&output));
}
