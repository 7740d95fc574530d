//! Tests which files `import` reuses, replaces and deletes, and which it must not change.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use tokio::time::{Duration, sleep, timeout};

use super::*;

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| (entry.file_name().into_string().expect("UTF-8"), fs::read(entry.path()).expect("a file")))
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn folder_with(lines: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("t.jsonl"), lines).expect("a file");
    folder
}

/// Starts an endpoint that never answers, and reports each connection.
async fn silent() -> (String, tokio::sync::mpsc::Receiver<tokio::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            if sender.send(connection).await.is_err() {
                break;
            }
        }
    });
    (url, receiver)
}

#[tokio::test]
async fn a_second_run_on_the_same_file_is_refused_while_the_first_lasts() {
    let folder = folder_with(&trace(1, 1));
    let (url, mut asked) = silent().await;
    let mut first =
        program(folder.path()).args(["import", "t.jsonl", "--url", &url, "--api-key", "k"]).spawn().expect("it starts");
    let connection = asked.recv().await.expect("the first run sends its line");
    let second = import(folder.path(), &["t.jsonl", "--url", &url, "--api-key", "k"]).await;
    assert_eq!(second.status.code(), Some(2));
    let holder = format!("process {}", first.id().expect("it runs"));
    assert!(stderr(&second).contains(&holder), "{}", stderr(&second));
    first.kill().await.expect("it runs");
    drop(connection);
    // The operating system has released the lock.
    let third = import(folder.path(), &["t.jsonl"]).await;
    assert_eq!(third.status.code(), Some(0), "{}", stderr(&third));
    assert!(!folder.path().join("t.jsonl.import.lock").exists());
}

#[tokio::test]
async fn a_checkpoint_serves_only_the_import_it_belongs_to() {
    let line =
        r#"{"model":"m","created":1,"messages":[],"request":{"model":"m"},"response":{"created":1,"choices":[]}}"#;
    let folder = folder_with(line);
    assert_eq!(import(folder.path(), &["t.jsonl"]).await.status.code(), Some(0));
    let before = files(folder.path());
    let (url, asked) = stand_in(Vec::new()).await;
    for other in [
        &["t.jsonl", "--folder", "other"][..],
        &["t.jsonl", "--from", "openai-chat"],
        &["t.jsonl", "--url", &url, "--api-key", "k"],
    ] {
        let output = import(folder.path(), other).await;
        assert_eq!(output.status.code(), Some(2), "{other:?}");
        assert!(stderr(&output).contains("belongs to an import into the folder"), "{}", stderr(&output));
        assert_eq!(files(folder.path()), before, "{other:?}");
    }
    assert!(asked.lock().expect("nobody panicked").1.is_empty());
    // With another `--state`, it is another import. The concurrency and the key do not matter.
    let state = ["t.jsonl", "--url", &url, "--api-key", "k", "--state", "state"];
    assert_eq!(counts(&import(folder.path(), &state).await.stdout)["stored"], 1);
    let again = ["t.jsonl", "--url", &url, "--api-key", "other", "--state", "state", "--concurrency", "1"];
    assert_eq!(counts(&import(folder.path(), &again).await.stdout)["confirmed by an earlier run"], 1);
}

#[tokio::test]
async fn lines_are_sent_again_after_the_folder_of_traces_was_deleted() {
    let folder = folder_with(&(0..5).map(|n| trace(n, 1)).collect::<Vec<_>>().join("\n"));
    let traces = folder.path().join("traces");
    assert_eq!(counts(&import(folder.path(), &["t.jsonl"]).await.stdout)["stored"], 5);
    fs::remove_dir_all(&traces).expect("it exists");
    let output = import(folder.path(), &["t.jsonl"]).await;
    assert_eq!(counts(&output.stdout)["stored"], 5);
    assert!(stderr(&output).contains("was recreated"), "{}", stderr(&output));
    // Delete the contents, but not the folder.
    for entry in fs::read_dir(&traces).expect("it exists").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }.expect("it exists");
    }
    assert_eq!(counts(&import(folder.path(), &["t.jsonl"]).await.stdout)["stored"], 5);
    // Moved away and back, the folder is still the same one.
    fs::rename(&traces, folder.path().join("moved")).expect("it exists");
    fs::rename(folder.path().join("moved"), &traces).expect("it exists");
    assert_eq!(counts(&import(folder.path(), &["t.jsonl"]).await.stdout)["confirmed by an earlier run"], 5);
}

#[tokio::test]
async fn lines_are_sent_again_if_the_endpoint_has_another_store() {
    let folder = folder_with(&(0..20).map(|n| trace(n, 1)).collect::<Vec<_>>().join("\n"));
    let work = ["one", "two"].map(|name| folder.path().join(name));
    for work in &work {
        fs::create_dir(work).expect("a folder");
    }
    let endpoint = Endpoint::start(&work[0], "0").await;
    let url = format!("http://127.0.0.1:{}/prod", endpoint.port);
    let arguments = ["t.jsonl", "--url", &url, "--api-key", "k"];
    assert_eq!(counts(&import(folder.path(), &arguments).await.stdout)["stored"], 20);
    assert_eq!(counts(&import(folder.path(), &arguments).await.stdout)["confirmed by an earlier run"], 20);

    let port = endpoint.kill().await;
    let second = Endpoint::start(&work[1], &port).await;
    let output = import(folder.path(), &arguments).await;
    assert_eq!((output.status.code(), counts(&output.stdout)["stored"]), (Some(0), 20), "{}", stderr(&output));
    assert!(stderr(&output).contains("was recreated or replaced"), "{}", stderr(&output));
    assert_eq!(objects(&work[1].join("traces")).len(), 20);
    assert_eq!(counts(&import(folder.path(), &arguments).await.stdout)["confirmed by an earlier run"], 20);

    // The first store has all lines, so they are sent once more and reported as already there.
    let port = second.kill().await;
    let _first = Endpoint::start(&work[0], &port).await;
    assert_eq!(counts(&import(folder.path(), &arguments).await.stdout)["already there"], 20);
}

#[tokio::test]
async fn lines_that_were_fixed_by_hand_are_never_overwritten() {
    let folder = folder_with("{\"model\":\"m\"}\n{\"model\":\"n\"}\n");
    assert_eq!(import(folder.path(), &["t.jsonl"]).await.status.code(), Some(1));
    // Unchanged files are replaced.
    assert_eq!(import(folder.path(), &["t.jsonl"]).await.status.code(), Some(1));
    assert_eq!(files(folder.path()).len(), 3);
    let lines = folder.path().join("t.jsonl.rejected-lines.jsonl");
    fs::write(&lines, trace(7, 7)).expect("a file");
    let before = files(folder.path());

    let dry = import(folder.path(), &["t.jsonl", "--dry-run"]).await;
    assert_eq!((dry.status.code(), counts(&dry.stdout)["refused"]), (Some(1), 2));
    assert_eq!(files(folder.path()), before, "a dry run writes and deletes nothing");

    let output = import(folder.path(), &["t.jsonl"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("t.jsonl.rejected-lines-2.jsonl"), "{}", stderr(&output));
    let after = files(folder.path());
    assert!(before.iter().all(|(name, contents)| after[name] == *contents), "{:?}", after.keys());
    let rejected = String::from_utf8(after["t.jsonl.rejected-lines-2.jsonl"].clone()).expect("text");
    let mut rejected: Vec<_> = rejected.lines().collect();
    rejected.sort_unstable(); // requests are answered in any order
    assert_eq!(rejected, [r#"{"model":"m"}"#, r#"{"model":"n"}"#]);

    // A run without rejections deletes only files that an import wrote.
    fs::write(folder.path().join("t.jsonl"), trace(1, 1)).expect("a file");
    assert_eq!(import(folder.path(), &["t.jsonl"]).await.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&lines).expect("it stays"), trace(7, 7));
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    for name in ["t.jsonl.checkpoint", "t.jsonl.rejected.jsonl", "t.jsonl.rejected-lines.jsonl"] {
        let folder = folder_with("{\"model\":\"m\"}\n");
        let notes = "a".repeat(5_000);
        fs::write(folder.path().join(name), &notes).expect("a file");
        let output = import(folder.path(), &["t.jsonl"]).await;
        let code = if name.ends_with("checkpoint") { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(folder.path().join(name)).expect("it exists"), notes);
    }
}

#[tokio::test]
async fn rejected_lines_of_standard_input_are_never_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for model in ["m", "n"] {
        let mut process =
            program(folder.path()).args(["import", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = process.stdin.take().expect("piped");
        let line = format!("{{\"model\":\"{model}\"}}\n");
        tokio::io::AsyncWriteExt::write_all(&mut stdin, line.as_bytes()).await.expect("it reads");
        drop(stdin);
        assert_eq!(process.wait_with_output().await.expect("it ends").status.code(), Some(1));
    }
    let files = files(folder.path());
    assert_eq!(files["stdin.rejected-lines.jsonl"], b"{\"model\":\"m\"}\n".to_vec());
    assert_eq!(files["stdin.rejected-lines-2.jsonl"], b"{\"model\":\"n\"}\n".to_vec());
}

#[tokio::test]
async fn a_mistyped_path_creates_nothing() {
    let folder = folder_with(&trace(1, 1));
    fs::create_dir(folder.path().join("logs")).expect("a folder");
    for arguments in [&["none.jsonl"][..], &["t.jsonl", "none.jsonl"], &["logs"], &["none/t.jsonl", "--state", "s"]] {
        let output = import(folder.path(), arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let name = arguments.iter().find(|name| **name != "t.jsonl").expect("one is wrong");
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["logs", "t.jsonl"], "{arguments:?}");
    }
    let output = import(folder.path(), &["t.jsonl", "--state", "none/state"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.path().join("none").exists());

    // A mistyped URL leaves no checkpoint behind.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    drop(listener);
    let output = import(folder.path(), &["t.jsonl", "--url", &url, "--api-key", "k", "--retry-for", "0"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(files(folder.path()).len(), 1);
    // A run that is killed before the first confirmation leaves a checkpoint without records, which any import may use.
    let (url, mut asked) = silent().await;
    let mut command = program(folder.path());
    let mut process = command.args(["import", "t.jsonl", "--url", &url, "--api-key", "k"]).spawn().expect("it starts");
    asked.recv().await.expect("it sends its line");
    process.kill().await.expect("it runs");
    assert!(folder.path().join("t.jsonl.checkpoint").exists());
    let output = import(folder.path(), &["t.jsonl"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test]
async fn a_pipe_is_imported_and_has_no_checkpoint_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = [trace(1, 1), trace(2, 2), "{}".to_owned()].join("\n");
    fs::write(folder.path().join("lines"), &lines).expect("a file");
    let mut script = Command::new("bash");
    script.arg("-c").arg(format!("{} import <(cat lines)", env!("CARGO_BIN_EXE_attest"))).current_dir(folder.path());
    let output = script.env_remove("ATTEST_API_KEY").stdin(Stdio::null()).output().await.expect("bash runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!((counts(&output.stdout)["stored"], counts(&output.stdout)["refused"]), (2, 1));
    let names: Vec<_> = files(folder.path()).into_keys().collect();
    assert_eq!(names, ["lines", "pipe.rejected-lines.jsonl", "pipe.rejected.jsonl"]);

    // With `--state`, a pipe has a checkpoint, from which a second pipe with the same lines resumes.
    for (stored, skipped) in [(0, 0), (0, 2)] {
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
        let process = program(folder.path()).args(["import", "fifo", "--state", "state"]).spawn().expect("it starts");
        let (write, text) = (fifo.clone(), lines.clone());
        tokio::task::spawn_blocking(move || fs::write(write, text).expect("it reads")).await.expect("no panic");
        let output = process.wait_with_output().await.expect("it ends");
        let report = counts(&output.stdout);
        assert_eq!((report["stored"], report["confirmed by an earlier run"]), (stored, skipped), "{}", stderr(&output));
        fs::remove_file(fifo).expect("it exists");
    }
    assert!(!folder.path().join("fifo.checkpoint").exists());
}

#[tokio::test]
async fn a_read_only_folder_needs_a_folder_for_the_state() {
    let folder = folder_with(&[trace(1, 1), "{}".to_owned()].join("\n"));
    let work = tempfile::tempdir().expect("a temporary folder");
    // Root may write anywhere, so another user runs the program. That user may only be able to reach a copy of it.
    let copy = work.path().join("attest");
    fs::copy(env!("CARGO_BIN_EXE_attest"), &copy).expect("a file");
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).expect("it is ours");
    let is_root = fs::write(folder.path().join("probe"), "").is_ok();
    let run = |arguments: Vec<String>| {
        let mut command = Command::new(&copy);
        command
            .arg("import")
            .args(arguments)
            .current_dir(work.path())
            .env_remove("ATTEST_API_KEY")
            .stdin(Stdio::null());
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        async move { command.output().await.expect("it runs") }
    };
    let path = folder.path().join("t.jsonl").display().to_string();
    let output = run(vec![path.clone()]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--state"), "{}", stderr(&output));
    let output = run(vec![path.clone(), "--dry-run".to_owned()]).await;
    assert_eq!((output.status.code(), counts(&output.stdout)["valid"]), (Some(1), 1), "{}", stderr(&output));
    let output = run(vec![path, "--state".to_owned(), "state".to_owned()]).await;
    assert_eq!((output.status.code(), counts(&output.stdout)["stored"]), (Some(1), 1), "{}", stderr(&output));
    let names: Vec<_> = files(&work.path().join("state")).into_keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// A random number generator (xorshift). The numbers only need to differ.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is below a usize")
    }
}

#[tokio::test]
async fn overlapping_and_killed_runs_never_lose_or_repeat_a_line() {
    let seed: u64 = std::env::var("IMPORT_SEED")
        .map_or_else(|_| std::process::id().into(), |seed| seed.parse().expect("IMPORT_SEED is a number"));
    println!("IMPORT_SEED={seed}");
    let mut random = Random(seed + 1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Two files share lines, and each has one line that is refused.
    let lines = |range: std::ops::Range<usize>| range.map(|n| trace(n, n % 900)).chain(["{}".to_owned()]);
    fs::write(folder.path().join("a.jsonl"), lines(0..600).collect::<Vec<_>>().join("\n")).expect("a file");
    fs::write(folder.path().join("b.jsonl"), lines(300..900).collect::<Vec<_>>().join("\n")).expect("a file");
    let start = |name: &str| {
        let mut command = program(folder.path());
        command.args(["import", "--quiet", name]).spawn().expect("it starts")
    };
    let mut running: Vec<Child> = Vec::new();
    let mut refused = 0;
    for _ in 0..30 {
        running.push(start(["a.jsonl", "b.jsonl"][random.below(2)]));
        sleep(Duration::from_millis(random.below(150) as u64)).await;
        if running.len() > 2 {
            let mut process = running.swap_remove(random.below(running.len()));
            if random.below(4) > 0 {
                let _ = process.start_kill(); // it may have ended
            }
            let output = process.wait_with_output().await.expect("it ends");
            match output.status.code() {
                None => {} // killed
                Some(1) => assert_eq!(counts(&output.stdout)["lines"], 601),
                Some(2) => {
                    assert!(stderr(&output).contains("is in use by"), "{}", stderr(&output));
                    refused += 1;
                }
                code => panic!("{code:?}: {}", stderr(&output)),
            }
        }
    }
    for mut process in running {
        process.kill().await.expect("it can be killed");
    }
    let is_deleted = random.below(2) == 0;
    if is_deleted {
        let _ = fs::remove_dir_all(folder.path().join("traces")); // the folder may not exist yet
    }
    println!("{refused} runs were refused; the traces were deleted: {is_deleted}");
    for name in ["a.jsonl", "b.jsonl"] {
        let output = timeout(Duration::from_mins(5), start(name).wait_with_output()).await.expect("it ends");
        let output = output.expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let report = counts(&output.stdout);
        assert_eq!((report["lines"], report["refused"]), (601, 1));
        let rejected = fs::read(folder.path().join(format!("{name}.rejected-lines.jsonl"))).expect("it exists");
        assert_eq!(rejected, b"{}\n");
    }
    let stored = objects(&folder.path().join("traces"));
    assert_eq!(stored.len(), 900);
    for n in 0..900 {
        let line = trace(n, n % 900);
        let members = line.trim_end_matches('}').as_bytes();
        assert_eq!(stored.values().filter(|object| object.starts_with(members)).count(), 1, "{n}");
    }
}
