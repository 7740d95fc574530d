use std::{fs, path::Path};

use super::{keys, run, trace};
use crate::export::store;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_of_another_place_neither_replace_the_rows_nor_pass_for_those_to_be_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace("jane"), 0);
    store(home, "m/2", &trace("another person"), 0);
    assert_eq!(run(home, &["lake", "sync", "-q", "-o", "lake"]).await.0, Some(0));
    fs::create_dir(home.join("other")).expect("a folder");
    store(&home.join("other"), "m/3", &trace("a developer's"), 0);
    copy(&home.join("traces"), &home.join("copies"));
    fs::write(home.join("keys.txt"), "m/1\n").expect("a file");
    for place in ["other/traces", "copies"] {
        for arguments in [
            &["lake", "sync", "-q", "-o", "lake", "--folder", place][..],
            &["forget", "--text", "jane", "--lake", "lake", "--yes", "--folder", place],
            &["forget", "--keys", "keys.txt", "--lake", "lake", "--yes", "--folder", place],
            &["view", "--port", "0", "--lake", "lake", "--folder", place],
        ] {
            let (code, error) = run(home, arguments).await;
            assert_eq!(code, Some(if arguments[0] == "view" { 1 } else { 2 }), "{arguments:?}: {error}");
            assert!(error.contains("/traces") && error.contains(place), "{arguments:?}: {error}");
            assert_eq!(keys(&home.join("lake")).await, ["m/1", "m/2"], "{arguments:?}");
            assert!(home.join("copies/m/1.json").exists() && home.join("traces/m/1.json").exists());
        }
    }
    // The folder keeps its id under another path.
    fs::rename(home.join("traces"), home.join("moved")).expect("it is moved");
    fs::remove_dir_all(home.join("copies")).expect("it is deleted");
    let forget = ["forget", "--text", "jane", "--lake", "lake", "--yes", "--folder", "moved"];
    let (code, error) = run(home, &forget).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(!home.join("moved/m/1.json").exists());
    // The traces have moved for good.
    let sync = ["lake", "sync", "-q", "-o", "lake", "--folder", "other/traces", "--replace-source"];
    assert_eq!(run(home, &sync).await.0, Some(0));
    assert_eq!(keys(&home.join("lake")).await, ["m/3"]);
    assert_eq!(run(home, &sync[..7]).await.0, Some(0), "the other place is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_without_a_source_is_adopted_only_by_a_place_that_has_its_traces() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace("jane"), 0);
    fs::create_dir(home.join("other")).expect("a folder");
    store(&home.join("other"), "m/2", &trace("jane"), 0);
    let sync = ["lake", "sync", "-q", "-o", "lake", "--folder"];
    assert_eq!(run(home, &[&sync[..], &["traces"]].concat()).await.0, Some(0));
    fs::remove_file(home.join("lake/_delta_log/_attest_source.json")).expect("it is recorded");
    let (code, error) = run(home, &["forget", "--text", "jane", "--lake", "lake", "--yes"]).await;
    assert!(code == Some(2) && error.contains("run `attest lake sync` first"), "{error}");
    let (code, error) = run(home, &[&sync[..], &["other/traces"]].concat()).await;
    assert!(code == Some(2) && error.contains("none of their traces is in"), "{error}");
    assert_eq!(keys(&home.join("lake")).await, ["m/1"]);
    assert_eq!(run(home, &[&sync[..], &["traces"]].concat()).await.0, Some(0));
    assert!(home.join("lake/_delta_log/_attest_source.json").exists());
}
