//! `forget`: what it deletes, keeps and reports.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{data_files, files, keys, rows, run, store_days, trace};
use crate::{
    export::{names, store},
    import::program,
};

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_traces_are_in_no_file_and_only_their_days_are_rewritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, traces) = (folder.path().join("lake"), folder.path().join("traces"));
    store_days(folder.path(), 20);
    // Two of the person's traces, of one day. One of them is written with escapes.
    store(folder.path(), "m/jane-1", &trace("I am jane@example.com, Grüße"), 1_440);
    let escaped = trace("jane\u{40}example.com").replace('@', "\\u0040");
    store(folder.path(), "m/jane-2", &escaped, 1_440);
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    // An older file of the day, which the version of the second synchronisation does not refer to.
    store(folder.path(), "m/late", &trace("late"), 1_440);
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    let before = files(&lake);
    // A rest of a killed writer, which no listing of the lake contains.
    let day = data_files(&lake)[0].parent().expect("a day").to_owned();
    fs::write(day.join("0b0e6d5c.parquet#1"), "I am jane@example.com").expect("a file");
    let forget = ["forget", "--text", "jane@example.com", "--lake", "lake"];
    let (code, error) = run(folder.path(), &forget).await;
    assert_eq!(code, Some(2), "there is nobody to ask: {error}");
    assert!(traces.join("m/jane-1.json").exists());
    let (code, error) = run(folder.path(), &[&forget[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    let receipt = fs::read(folder.path().join("forgotten.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!(receipt["keys"], serde_json::json!(["m/jane-1", "m/jane-2"]));
    assert_eq!((&receipt["deleted_versions"], &receipt["removed_rows"]), (&2.into(), &2.into()));
    assert_nothing_is_left(&[&traces, &lake], &["jane@", "jane\\u0040"]);
    // The log keeps the smallest and the largest key of each file, as the receipt says.
    assert!(receipt["not_covered"].to_string().contains("smallest and largest key"), "{receipt}");
    let after = files(&lake);
    let changed = before.iter().filter(|file| !after.contains(file)).map(|file| file.parent());
    let days: BTreeSet<_> = changed.collect();
    assert_eq!(days.len(), 1, "only files of the traces' day are rewritten: {days:?}");
    let is_unchanged = |file: &PathBuf| before.contains(file) && !days.contains(&file.parent());
    assert_eq!(
        data_files(&lake).iter().filter(|file| is_unchanged(file)).count(),
        3,
        "the other days keep their files"
    );
    assert_eq!(keys(&lake).await.len(), 21);
    // The keys of a file, one of which has neither an object nor a row any more.
    fs::write(folder.path().join("keys.txt"), "m/00001\nm/jane-1\n").expect("a file");
    let again = ["forget", "--keys", "keys.txt", "--lake", "lake", "--yes"];
    assert_eq!(run(folder.path(), &again).await.0, Some(2), "the receipt exists");
    let (code, error) = run(folder.path(), &[&again[..], &["--receipt", "second.json"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(keys(&lake).await.len(), 20);
}

/// Asserts that no byte of these folders contains one of the texts, in a file or in its decoded rows.
fn assert_nothing_is_left(folders: &[&Path], texts: &[&str]) {
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let bytes = fs::read(&file).expect("a file");
        let mut places = vec![String::from_utf8_lossy(&bytes).into_owned()];
        // Compression hides text from a scan of bytes, so rows are decoded: those of data files and those of checkpoints.
        if file.extension().is_some_and(|name| name == "parquet") {
            places.push(format!("{:?}", rows(&file)));
        }
        for (place, text) in places.iter().flat_map(|place| texts.iter().map(move |text| (place, text))) {
            assert!(!place.contains(text), "{text} is in {}", file.display());
        }
    }
}

/// The statistics of the log and of a checkpoint contain keys and models, but no content.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_do_not_contain_content_and_keys_are_read_from_standard_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, traces) = (folder.path().join("lake"), folder.path().join("traces"));
    let sync = ["lake", "sync", "-q", "-o", "lake", "--retention-days", "0"];
    // More commits than one checkpoint.
    for number in 0..22 {
        store(folder.path(), &format!("m/{number:02}"), &trace(&format!("jane@example.com {number}")), number);
        assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    }
    assert!(files(&lake).iter().any(|file| file.to_string_lossy().contains("checkpoint.parquet")), "a checkpoint");
    let forget = async |lines: &'static str| {
        let mut command = program(folder.path());
        command.args(["forget", "--keys", "-", "--lake", "lake", "--yes"]).stdin(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut stdin = process.stdin.take().expect("piped");
        stdin.write_all(lines.as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = process.wait_with_output().await.expect("it ends");
        (output.status.code(), crate::export::stderr(&output))
    };
    for (lines, message) in [("key\nm/00\n", "\"key\" is not the key of a trace"), ("\n", "contains no key")] {
        let (code, error) = forget(lines).await;
        assert!(code == Some(2) && error.contains(message), "{error}");
        assert_eq!(keys(&lake).await.len(), 22, "nothing was deleted");
    }
    let all: String = (0..22).map(|number| format!("m/{number:02}\n")).collect();
    let (code, error) = forget(all.leak()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(keys(&lake).await, <[String; 0]>::default());
    assert_nothing_is_left(&[&traces, &lake], &["jane@"]);
    assert_eq!(names(folder.path()), ["forgotten.json", "lake", "traces"], "the list of keys is deleted");
}
