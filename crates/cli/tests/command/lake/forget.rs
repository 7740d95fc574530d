//! Tests what `forget` deletes, keeps and reports.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{data_files, files, keys, rows, run, store_days, trace};
use crate::{
    export::{names, stderr, store},
    import::program,
};

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_traces_are_in_no_file_and_only_their_days_are_rewritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, traces) = (folder.path().join("lake"), folder.path().join("traces"));
    store_days(folder.path(), 20);
    // Two of the person's traces, stored on one day. One of them contains escapes.
    store(folder.path(), "m/jane-1", &trace("I am jane@example.com, Grüße"), 1_440);
    let escaped = trace("jane\u{40}example.com").replace('@', "\\u0040");
    store(folder.path(), "m/jane-2", &escaped, 1_440);
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    // The second run replaces the day's file, but does not delete the old one.
    store(folder.path(), "m/late", &trace("late"), 1_440);
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    let before = files(&lake);
    // A killed writer's leftover, which no lake listing contains.
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
    // The log keeps the smallest and the largest key of each file, as the receipt states.
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
    // A key file, in which one key no longer has an object or a row.
    fs::write(folder.path().join("keys.txt"), "m/00001\nm/jane-1\n").expect("a file");
    let again = ["forget", "--keys", "keys.txt", "--lake", "lake", "--yes"];
    assert_eq!(run(folder.path(), &again).await.0, Some(2), "the receipt exists");
    let (code, error) = run(folder.path(), &[&again[..], &["--receipt", "second.json"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(keys(&lake).await.len(), 20);
}

/// Asserts that no file in these folders contains one of the texts, in its bytes or in its decoded rows.
pub fn assert_nothing_is_left(folders: &[&Path], texts: &[&str]) {
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let bytes = fs::read(&file).expect("a file");
        let mut places = vec![String::from_utf8_lossy(&bytes).into_owned()];
        // Compression hides text from a byte scan, so the rows of data files and checkpoints are decoded.
        if file.extension().is_some_and(|name| name == "parquet") {
            places.push(format!("{:?}", rows(&file)));
        }
        for (place, text) in places.iter().flat_map(|place| texts.iter().map(move |text| (place, text))) {
            assert!(!place.contains(text), "{text} is in {}", file.display());
        }
    }
}

/// The statistics in the log and in checkpoints contain keys and models, but no content.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_do_not_contain_content_and_keys_are_read_from_standard_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, traces) = (folder.path().join("lake"), folder.path().join("traces"));
    let sync = ["lake", "sync", "-q", "-o", "lake", "--retention-days", "0"];
    // Enough commits for a checkpoint.
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
    let all = (0..22).map(|number| format!("m/{number:02}")).collect::<Vec<_>>().join("\n");
    let (code, error) = forget(all.leak()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(keys(&lake).await, <[String; 0]>::default());
    assert_nothing_is_left(&[&traces, &lake], &["jane@"]);
    assert_eq!(names(folder.path()), ["forgotten.json", "lake", "traces"], "the list of keys is deleted");
}

const FORGET: [&str; 6] = ["forget", "--lake", "lake", "--yes", "--text", "jane@example.com"];

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_the_lake_lacks_and_texts_in_json_in_strings_are_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace("I am jane@example.com"), 0);
    assert_eq!(run(home, &["lake", "sync", "-q", "-o", "lake"]).await.0, Some(0));
    store(home, "m/2", &trace("I am jane@example.com, too"), 0);
    store(home, "m/not-a-trace", r#"{"model": "jane@example.com"}"#, 0);
    let (code, error) = run(home, &FORGET).await;
    assert_eq!(code, Some(0), "{error}");
    assert_nothing_is_left(&[&home.join("traces"), &home.join("lake")], &["jane@"]);
    // The name is written with escapes, decomposed, in capitals, and on several levels.
    let nested =
        |text: &str| trace(&serde_json::json!({"result": serde_json::json!({"city": text}).to_string()}).to_string());
    let ascii = |json: String| json.replace('ü', "\\u00fc");
    for (key, object) in [
        ("m/plain", trace("Düsseldorf")),
        ("m/decomposed", trace("Du\u{308}sseldorf")),
        ("m/nested", nested("Düsseldorf")),
        ("m/escaped", trace(&ascii(serde_json::json!({"city": "Düsseldorf"}).to_string()))),
        ("m/twice", ascii(nested("Düsseldorf"))),
        ("m/cut", trace(r#"{"city": "D\u00fcsseldorf"#)),
        ("m/upper", trace("DÜSSELDORF")),
    ] {
        store(home, key, &object, 0);
    }
    let forget = ["forget", "--lake", "lake", "--yes", "--text", "Düsseldorf", "--receipt"];
    let (code, error) = run(home, &[&forget[..], &["second.json"]].concat()).await;
    assert_eq!((code, keys(&home.join("lake")).await), (Some(0), vec!["m/upper".to_owned()]), "{error}");
    let (code, error) = run(home, &[&forget[..], &["third.json", "--ignore-case"]].concat()).await;
    assert_eq!((code, keys(&home.join("lake")).await), (Some(0), Vec::new()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_files_are_searched_and_a_later_trace_of_their_key_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    store(home, "m/1", &trace("I am jane@example.com"), 1_440);
    store(home, "m/2", &trace("I am jane@example.com"), 2_880);
    store(home, "m/3", &trace("another person"), 1_440);
    assert_eq!(run(home, &sync).await.0, Some(0));
    for key in ["m/1", "m/2"] {
        fs::remove_file(home.join(format!("traces/{key}.json"))).expect("it is stored");
    }
    store(home, "m/2", &trace("another person"), 0);
    assert_eq!(run(home, &sync).await.0, Some(0));
    let (code, error) = run(home, &FORGET).await;
    assert_eq!(code, Some(0), "{error}");
    assert_nothing_is_left(&[&home.join("traces"), &home.join("lake")], &["jane@"]);
    assert_eq!(keys(&home.join("lake")).await, ["m/2", "m/3"]);
    assert!(home.join("traces/m/2.json").exists());
    let (code, error) = run(home, &[&FORGET[..], &["--receipt", "second.json"]].concat()).await;
    assert!(code == Some(2) && error.contains("no trace of the lake matches"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_programs_and_files_behind_links_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (home, lake) = (folder.path(), folder.path().join("lake"));
    let sync = ["lake", "sync", "-q", "-o", "lake", "--retention-days", "0"];
    store(home, "m/1", &trace("I am jane@example.com"), 0);
    assert_eq!(run(home, &sync).await.0, Some(0));
    let [own] = &data_files(&lake)[..] else { panic!("one file") };
    let (day, name) = (own.parent().expect("a day"), own.file_name().expect("a name"));
    fs::create_dir_all(lake.join("_results")).expect("a folder");
    fs::create_dir_all(home.join("elsewhere")).expect("a folder");
    // One copy has the name of a lake's data file, and one is behind a link.
    let others = [
        lake.join("report.parquet"),
        lake.join("_results/mine.parquet"),
        lake.join("_results").join(name),
        day.join("attest-report.parquet"),
        day.join("part-0.parquet#1"),
        home.join("elsewhere").join(name),
    ];
    let old = SystemTime::now() - Duration::from_hours(24 * 30);
    for other in &others {
        fs::copy(own, other).expect("a file");
        File::options().write(true).open(other).and_then(|file| file.set_modified(old)).expect("it is older");
    }
    std::os::unix::fs::symlink(home.join("elsewhere"), lake.join("linked")).expect("a link");
    store(home, "m/2", &trace("another person"), 0);
    assert_eq!(run(home, &sync).await.0, Some(0));
    assert!(others.iter().all(|other| other.exists()), "after lake sync");
    assert!(!own.exists(), "the replaced file is the lake's");
    let (code, error) = run(home, &FORGET).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(others.iter().all(|other| other.exists()), "after forget");
    assert!(error.contains("lake/report.parquet") || error.contains("report.parquet below the lake"), "{error}");
    // A link in place of a day's folder may hide lake files.
    std::os::unix::fs::symlink(home.join("elsewhere"), lake.join("day=2020-01-01")).expect("a link");
    let (code, error) = run(home, &[&FORGET[..], &["--receipt", "second.json"]].concat()).await;
    assert!(code == Some(2) && error.contains("is a link"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_replaces_no_file_and_continues_its_own_list_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    for key in ["m/1", "m/2"] {
        store(home, key, &trace("I am jane@example.com"), 0);
    }
    store(home, "m/3", &trace("bob"), 0);
    assert_eq!(run(home, &["lake", "sync", "-q", "-o", "lake"]).await.0, Some(0));
    let list = home.join("forgotten.keys.txt");
    let bob = ["forget", "--lake", "lake", "--yes", "--text", "bob"];
    fs::write(home.join("notes"), "my notes\n").expect("a file");
    for prepare in [
        &|| fs::write(&list, "my notes\n") as _,
        &|| fs::write(&list, "m/1\nm/2\n"),
        &|| std::os::unix::fs::symlink(home.join("notes"), &list),
        &|| fs::create_dir(&list),
        &|| fs::write(&list, format!("# attest forget 0 {0} {0}\nm/1\n", "0".repeat(64))),
    ] as [&dyn Fn() -> std::io::Result<()>; 5]
    {
        prepare().expect("it is written");
        let before = fs::read(&list).ok();
        let (code, error) = run(home, &bob).await;
        assert!(code == Some(2) && error.contains("forgotten.keys.txt"), "{error}");
        assert_eq!(fs::read(&list).ok(), before);
        assert!(home.join("traces/m/3.json").exists(), "nothing was deleted");
        if list.is_dir() { fs::remove_dir(&list) } else { fs::remove_file(&list) }.expect("it is there");
    }
    assert_eq!(fs::read_to_string(home.join("notes")).expect("it is there"), "my notes\n");
    // A key file from an earlier version is used, but not deleted.
    fs::write(&list, "m/1\n").expect("a file");
    let keys = ["forget", "--lake", "lake", "--yes", "--keys", "forgotten.keys.txt", "--receipt"];
    let (code, error) = run(home, &[&keys[..], &["forgotten.json"]].concat()).await;
    assert_eq!((code, fs::read_to_string(&list).ok().as_deref()), (Some(0), Some("m/1\n")), "{error}");
    assert_eq!(fs::metadata(home.join("forgotten.json")).expect("a receipt").permissions().mode() & 0o777, 0o600);
    for file in files(&home.join("lake")) {
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    let (code, error) = run(home, &[&keys[..], &["second.json"]].concat()).await;
    assert!(code == Some(2) && error.contains("none of the 1 keys exists"), "{error}");
    assert!(!home.join("second.json").exists() && !home.join("second.keys.txt").exists());
}

/// In another place, the same keys belong to other traces.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_not_continued_in_another_place_or_lake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace("I am jane@example.com"), 0);
    for lake in ["lake", "second"] {
        assert_eq!(run(home, &["lake", "sync", "-q", "-o", lake]).await.0, Some(0));
    }
    fs::create_dir(home.join("elsewhere")).expect("a folder");
    store(&home.join("elsewhere"), "m/1", &trace("bob"), 0);
    store(&home.join("elsewhere"), "m/2", &trace("I am jane@example.com, too"), 0);
    let other = ["--folder", "elsewhere/traces", "--lake", "elsewhere/lake"];
    let sync = ["lake", "sync", "-q", "--folder", "elsewhere/traces", "-o", "elsewhere/lake"];
    assert_eq!(run(home, &sync).await.0, Some(0));
    // The receipt cannot be written, so the run is not complete.
    let script = r#"trap "" XFSZ; ulimit -f 3; exec "$0" "$@""#;
    let mut limited = Command::new("dash");
    limited.current_dir(home).args(["-c", script, env!("CARGO_BIN_EXE_attest")]).args(FORGET);
    assert_eq!(limited.output().await.expect("dash is installed").status.code(), Some(2));
    let list = fs::read(home.join("forgotten.keys.txt")).expect("a list");
    for places in [&other[..], &["--lake", "second"]] {
        for what in [["--text", "jane@example.com"], ["--keys", "forgotten.keys.txt"]] {
            let (code, error) = run(home, &[&["forget", "--yes"], places, &what].concat()).await;
            assert!(code == Some(2) && error.contains("another place or lake"), "{places:?} {what:?}: {error}");
        }
    }
    assert_eq!(fs::read(home.join("forgotten.keys.txt")).expect("a list"), list);
    for key in ["m/1", "m/2"] {
        assert!(home.join(format!("elsewhere/traces/{key}.json")).exists(), "{key} belongs to another run");
    }
    let (code, error) = run(home, &FORGET).await;
    assert_eq!(code, Some(0), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_receipt_leaves_the_list_for_a_repetition() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path();
    store(home, "m/1", &trace("I am jane@example.com"), 0);
    assert_eq!(run(home, &["lake", "sync", "-q", "-o", "lake"]).await.0, Some(0));
    // All files but the receipt are smaller than this limit, which is 1.5 KiB in dash.
    let script = r#"trap "" XFSZ; ulimit -f 3; exec "$0" "$@""#;
    let mut limited = Command::new("dash");
    limited.current_dir(home).args(["-c", script, env!("CARGO_BIN_EXE_attest")]).args(FORGET);
    let output = limited.output().await.expect("dash is installed");
    let message = stderr(&output);
    assert!(output.status.code() == Some(2) && message.contains("cannot write the receipt"), "{message}");
    assert!(!home.join("traces/m/1.json").exists() && !home.join("forgotten.json").exists());
    assert_eq!(fs::read_to_string(home.join("forgotten.keys.txt")).expect("the list").lines().last(), Some("m/1"));
    let (code, error) = run(home, &FORGET).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(!home.join("forgotten.keys.txt").exists());
    assert_nothing_is_left(&[&home.join("traces"), &home.join("lake")], &["jane@"]);
}
