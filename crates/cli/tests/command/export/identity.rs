//! Tests that an export continues only its own work and touches only its own files.

use std::{fs, path::Path};

use super::{
    FINGERPRINT, Gate, command, counts, export, folder_of, has_progress, lines, lines_of, names, refusal, stderr,
    wait_until,
};

/// Starts an export of the traces in a folder, and kills it after its first checkpoint.
async fn interrupted(folder: &Path, traces: &Path, arguments: &[&str]) {
    let gate = Gate::close(traces, "m/z");
    let mut process = command(folder, arguments).spawn().expect("it starts");
    wait_until(&mut process, || has_progress(&folder.join("t.jsonl"))).await;
    process.kill().await.expect("it runs");
    gate.remove();
}

fn part(folder: &Path) -> [Vec<u8>; 2] {
    ["t.jsonl.part", "t.jsonl.part.checkpoint"].map(|name| fs::read(folder.join(name)).expect("it exists"))
}

#[tokio::test]
async fn a_second_run_is_refused_with_the_process_that_holds_the_output() {
    let folder = folder_of(500);
    let arguments = ["-q", "-o", "t.jsonl"];
    let lock = folder.path().join("t.jsonl.part.lock");
    let gate = Gate::close(&folder.path().join("traces"), "m/z");
    let mut first = command(folder.path(), &arguments).spawn().expect("it starts");
    wait_until(&mut first, || fs::read(&lock).is_ok_and(|pid| pid.ends_with(b"\n"))).await;
    let pid = first.id().expect("it waits at the gate");
    let message = refusal(folder.path(), &arguments).await;
    assert!(message.contains(&format!("in use by process {pid}")), "{message}");
    gate.open();
    let output = first.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(counts(&output.stderr)["exported"], 500);
    assert!(!lock.exists());
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(500));
}

#[tokio::test]
async fn an_unfinished_export_of_another_folder_is_refused_with_both_names() {
    let (a, b) = (folder_of(300), folder_of(10));
    let (a, b) = (a.path().join("traces"), b.path().join("traces"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |traces: &Path| ["-q", "-o", "t.jsonl", "--folder", traces.to_str().expect("UTF-8")].map(str::to_owned);
    let (of_a, of_b) = (of(&a), of(&b));
    let (of_a, of_b): (Vec<&str>, Vec<&str>) =
        (of_a.iter().map(String::as_str).collect(), of_b.iter().map(String::as_str).collect());
    interrupted(folder.path(), &a, &of_a).await;
    let before = part(folder.path());
    let message = refusal(folder.path(), &of_b).await;
    let (a, b) = (a.canonicalize().expect("it exists"), b.canonicalize().expect("it exists"));
    assert!(message.contains(a.to_str().expect("UTF-8")) && message.contains(b.to_str().expect("UTF-8")), "{message}");
    assert!(before == part(folder.path()), "no byte is changed");
    export(folder.path(), &of_a).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(300));
}

#[tokio::test]
async fn an_unfinished_export_with_other_options_is_refused() {
    let folder = folder_of(300);
    interrupted(folder.path(), &folder.path().join("traces"), &["-q", "-o", "t.jsonl"]).await;
    let before = part(folder.path());
    for arguments in
        [&["--model", "m"][..], &[FINGERPRINT, "m"], &["--since", "2000-01-01"], &["--until", "2100-01-01"]]
    {
        let message = refusal(folder.path(), &[&["-o", "t.jsonl"], arguments].concat()).await;
        assert!(message.contains("belongs to another export") && message.contains(arguments[1]), "{message}");
    }
    for arguments in [&[][..], &["--min-messages", "1"], &["--last-role", "user"], &["--dedupe"]] {
        let message = refusal(folder.path(), &[&["fine-tuning", "-o", "t.jsonl"], arguments].concat()).await;
        let option = arguments.first().copied().unwrap_or("fine-tuning examples");
        assert!(message.contains("belongs to another export") && message.contains(option), "{message}");
    }
    assert!(before == part(folder.path()), "no byte is changed");
    // The concurrency and the spelling of paths do not change the result, so they may differ.
    let output = folder.path().join("traces/../t.jsonl");
    let output = output.to_str().expect("UTF-8");
    export(folder.path(), &["-o", output, "--folder", "./traces/", "--concurrency", "3"]).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(300));
}

#[tokio::test]
async fn a_moved_part_is_the_part_of_another_output() {
    let folder = folder_of(300);
    interrupted(folder.path(), &folder.path().join("traces"), &["-q", "-o", "t.jsonl"]).await;
    for suffix in ["part", "part.checkpoint"] {
        fs::rename(folder.path().join(format!("t.jsonl.{suffix}")), folder.path().join(format!("u.jsonl.gz.{suffix}")))
            .expect("it can be renamed");
    }
    let message = refusal(folder.path(), &["-o", "u.jsonl.gz"]).await;
    assert!(message.contains("t.jsonl\"") && message.contains("u.jsonl.gz\""), "{message}");
}

#[tokio::test]
async fn a_part_without_its_lines_starts_again_or_is_refused() {
    let folder = folder_of(300);
    interrupted(folder.path(), &folder.path().join("traces"), &["-q", "-o", "t.jsonl"]).await;
    let part = folder.path().join("t.jsonl.part");
    let whole = fs::read(&part).expect("the part exists");
    fs::write(&part, &whole[..10]).expect("the folder is writable");
    let message = refusal(folder.path(), &["-o", "t.jsonl"]).await;
    assert!(message.contains("does not have the lines of its checkpoint"), "{message}");
    fs::remove_file(&part).expect("it exists");
    assert_eq!(export(folder.path(), &["-o", "t.jsonl"]).await["exported"], 300);
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(300));
}

#[tokio::test]
async fn files_of_others_are_refused_and_left_unchanged() {
    for (arguments, file, contents) in [
        (&["-o", "t.jsonl"][..], "t.jsonl", "notes"),
        (&["-o", "t.jsonl"], "t.jsonl.part", "notes"),
        (&["-o", "t.jsonl"], "t.jsonl.part", ""),
        (&["-o", "t.jsonl"], "t.jsonl.part.checkpoint", "notes"),
        (&["-o", "t.jsonl"], "t.jsonl.part.checkpoint", ""),
        (&["-o", "t.jsonl"], "t.jsonl.part.checkpoint", r#"{"key":null,"bytes":0}"#),
        (&["-o", "t.jsonl"], "t.jsonl.part.lock", "notes"),
        (&["fine-tuning", "-o", "t.jsonl"], "t.jsonl.part", "notes"),
    ] {
        let folder = folder_of(1);
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is writable");
        fs::write(&path, contents).expect("the folder is writable");
        let message = refusal(folder.path(), arguments).await;
        assert!(message.contains(file.split('/').next().expect("a name")), "{file}: {message}");
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), contents, "{file}");
    }
}

#[tokio::test]
async fn a_file_that_appears_during_the_export_is_not_overwritten() {
    let folder = folder_of(100);
    let gate = Gate::close(&folder.path().join("traces"), "m/z");
    let mut process = command(folder.path(), &["-q", "-o", "t.jsonl"]).spawn().expect("it starts");
    wait_until(&mut process, || has_progress(&folder.path().join("t.jsonl"))).await;
    fs::write(folder.path().join("t.jsonl"), "notes").expect("the folder is writable");
    gate.open();
    let output = process.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(folder.path().join("t.jsonl")).expect("it exists"), "notes");
    fs::remove_file(folder.path().join("t.jsonl")).expect("it exists");
    export(folder.path(), &["-o", "t.jsonl"]).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(100));
}

#[tokio::test]
async fn a_typo_in_a_path_creates_nothing() {
    let folder = folder_of(1);
    for (arguments, typo) in [
        (&["-o", "typo/t.jsonl"][..], "typo"),
        (&["-o", "t.jsonl", "--folder", "typo"], "typo"),
        (&["fine-tuning", "-o", "typo/t.jsonl"], "typo"),
    ] {
        let message = refusal(folder.path(), arguments).await;
        assert!(message.contains(typo), "{message}");
        assert_eq!(names(folder.path()), ["traces"], "{arguments:?}");
    }
}

#[tokio::test]
async fn an_unfinished_export_of_a_folder_that_was_replaced_is_refused() {
    let folder = folder_of(300);
    let traces = folder.path().join("traces");
    interrupted(folder.path(), &traces, &["-q", "-o", "t.jsonl"]).await;
    let before = part(folder.path());
    fs::rename(&traces, folder.path().join("moved")).expect("it exists");
    let other = folder_of(300);
    fs::rename(other.path().join("traces"), &traces).expect("it exists");
    let message = refusal(folder.path(), &["-q", "-o", "t.jsonl"]).await;
    assert!(message.contains("belongs to another export") && message.contains("with the id"), "{message}");
    assert!(before == part(folder.path()), "no byte is changed");
    // The original folder has kept its id.
    fs::rename(&traces, folder.path().join("other")).expect("it exists");
    fs::rename(folder.path().join("moved"), &traces).expect("it exists");
    export(folder.path(), &["-q", "-o", "t.jsonl"]).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(300));
}

#[tokio::test]
async fn an_unfinished_export_with_another_query_is_refused() {
    let folder = folder_of(300);
    let query = ["-q", "-o", "t.jsonl", "--query", "grüße"];
    interrupted(folder.path(), &folder.path().join("traces"), &query).await;
    let before = part(folder.path());
    for other in [&["-q", "-o", "t.jsonl"][..], &["-q", "-o", "t.jsonl", "--query", "grüße -banana"]] {
        let message = refusal(folder.path(), other).await;
        assert!(message.contains("--query") && before == part(folder.path()), "{message}");
    }
    // The same query, written differently.
    export(folder.path(), &["-q", "-o", "t.jsonl", "--query", "(\"grüße\")"]).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(300));
}
