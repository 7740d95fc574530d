//! Tests `view` on files by running the built program.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use hyper::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::{export::store, import::program, lake::foreign::get};

/// A running page. Dropping it ends the process.
struct View {
    process: Child,
    url: String,
}

impl View {
    async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = program(folder);
        let mut process = command.args(["view", "--port", "0"]).args(arguments).spawn().expect("it starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output.read_line(&mut line).await.expect("UTF-8");
        let url = line.split_whitespace().last().expect("the URL of the page").to_owned();
        Self { process, url }
    }

    async fn get(&self, path: &str) -> String {
        let (status, body) = get(&format!("{}{path}", self.url)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Returns the notes about lines, which all pages with a list of traces must show.
    async fn notes(&self) -> Vec<String> {
        let notes = |page: &str| {
            let notes = page.split("<p class=\"notice\">").skip(1);
            notes.map(|rest| rest.split("</p>").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        let own = notes(&self.get("traces").await);
        assert_eq!(notes(&self.get("").await), own);
        own
    }
}

async fn failed(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(folder).arg("view").args(arguments).output().await.expect("it runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn trace(id: &str, text: &str, rest: &str) -> String {
    format!(r#"{{"id":"{id}","model":"m","created":1,"messages":[{{"role":"user","content":"{text}"}}]{rest}}}"#)
}

fn write_lines(path: PathBuf, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").expect("the folder is writable");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory")
}

#[tokio::test]
async fn exported_traces_open_from_a_file_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut stored = BTreeMap::new();
    for (id, key) in [("1", "m/1"), ("a/b", "m/a%2Fb"), ("Zürich", "m/Z%C3%BCrich")] {
        let rest = r#","session_id":"s-1","number":0.10,"big":1267650600228229401496703205376"#;
        let json = trace(id, "Where  is \\u00fc my refund?", rest);
        store(folder.path(), key, &json, 1);
        stored.insert(key, json);
    }
    let original = View::start(folder.path(), &[]).await;
    for name in ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"] {
        let export = program(folder.path()).args(["export", "-o", name]).output().await.expect("it runs");
        assert!(export.status.success(), "{export:?}");
        let view = View::start(folder.path(), &[name]).await;
        assert_eq!(view.get("traces").await.matches("<li data-key=").count(), stored.len(), "{name}");
        assert_eq!(view.get("traces?q=refund+id:a/b").await.matches("<li data-key=").count(), 1, "{name}");
        assert_eq!(view.get("session?id=s-1").await.matches("<li class=\"depth-0\">").count(), stored.len(), "{name}");
        for (key, json) in &stored {
            let key = key.replace('%', "%25");
            assert_eq!(&view.get(&format!("raw?key={key}")).await, json, "{name}");
            for page in ["markdown", "share"] {
                let path = format!("{page}?key={key}");
                assert_eq!(view.get(&path).await, original.get(&path).await, "{name}");
            }
        }
        assert!(view.notes().await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn lines_that_are_not_shown_are_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = trace("long", &"x".repeat(10 * 1024 * 1024), "");
    let without_id = trace("", "no id", "").replace(r#""id":"","#, "");
    let lines = ["not JSON", "[1]", "", &trace("1", "first", ""), &trace("1", "second", ""), &long, "  \r"];
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    lines.extend([without_id.clone(), r#"{"id":"2","model":"m"}"#.to_owned(), trace("3", "last", "")]);
    let torn = trace("4", "torn", "");
    fs::write(folder.path().join("a.jsonl"), format!("\u{feff}{}\n{}", lines.join("\r\n"), &torn[..40]))
        .expect("writable");
    let view = View::start(folder.path(), &["a.jsonl"]).await;
    let list = view.get("traces").await;
    let keys: Vec<_> =
        list.split("<li data-key=\"").skip(1).map(|row| row.split('"').next().unwrap_or_default()).collect();
    assert_eq!(keys, ["m/1", "m/a.jsonl:8", "m/3"]);
    assert_eq!(view.get("raw?key=m/a.jsonl:8").await, without_id);
    assert!(view.get("raw?key=m/1").await.contains("first"));
    let notes = view.notes().await;
    let begins = [
        "4 lines are not shown, because they are not traces. The first one is line 1 of a.jsonl: ",
        "1 line is not shown, because no trace has more than 10485760 bytes. The first one is line 6 of a.jsonl.",
        "1 line is not shown, because an earlier line has the same key. The first one is line 5 of a.jsonl: m/1.",
        "1 line has no id. The file and the number of the line replace it. The first one is line 8 of a.jsonl.",
    ];
    assert_eq!(notes.len(), begins.len(), "{notes:?}");
    for (note, begin) in notes.iter().zip(begins) {
        assert!(note.starts_with(begin), "{note}");
    }
    let empty = folder.path().join("empty.jsonl");
    fs::write(empty, "").expect("writable");
    let view = View::start(folder.path(), &["empty.jsonl"]).await;
    let overview = view.get("").await;
    assert!(overview.contains("No line is a trace.") && !overview.contains("curl"), "{overview}");
}

#[tokio::test]
async fn several_files_and_the_files_of_a_folder_are_one_list() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("writable");
    write_lines(logs.join("b.jsonl"), &[trace("3", "three", "")]);
    write_lines(logs.join("notes.txt"), &["no lines".to_owned()]);
    fs::write(logs.join("a.jsonl.gz"), gzip((trace("1", "one", "") + "\n" + &trace("2", "two", "")).as_bytes()))
        .expect("writable");
    write_lines(folder.path().join("c.jsonl"), &[trace("4", "four", r#","system_fingerprint":"other""#)]);
    for (arguments, expected) in [
        (&["logs"][..], &["m/1", "m/2", "m/3"][..]),
        (&["c.jsonl", "logs"], &["other/4", "m/1", "m/2", "m/3"]),
        (&["logs", "c.jsonl", "--fingerprint", "other"], &["other/4"]),
    ] {
        let view = View::start(folder.path(), arguments).await;
        let list = view.get("traces").await;
        let keys = list.split("<li data-key=\"").skip(1).map(|row| row.split('"').next().unwrap_or_default());
        assert_eq!(keys.collect::<Vec<_>>(), expected, "{arguments:?}");
    }
    fs::create_dir(folder.path().join("empty")).expect("writable");
    for (arguments, code, message) in [
        (&["empty"][..], 1, "use --folder for a folder of the local endpoint"),
        (&["none.jsonl"], 1, "cannot read none.jsonl"),
        (&["logs/notes.txt"], 1, "it is not JSON Lines"),
        (&["logs", "--bucket", "b"], 2, "cannot be used with"),
        (&["logs", "--folder", "traces"], 2, "cannot be used with"),
        (&["logs", "--lake", "lake"], 2, "cannot be used with"),
    ] {
        let (status, error) = failed(folder.path(), arguments).await;
        assert!(status == Some(code) && error.contains(message), "{arguments:?}: {status:?} {error}");
    }
}

#[tokio::test]
async fn a_file_that_changes_shows_no_other_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.jsonl");
    write_lines(path.clone(), &[trace("1", "one", ""), trace("2", "two", "")]);
    let view = View::start(folder.path(), &["t.jsonl"]).await;
    let mut appended = OpenOptions::new().append(true).open(&path).expect("it exists");
    writeln!(appended, "{}", trace("3", "three", "")).expect("writable");
    assert_eq!(view.get("raw?key=m/2").await, trace("2", "two", ""));
    let replaced = folder.path().join("new");
    write_lines(replaced.clone(), &[trace("2", "new", "")]);
    let open = File::options().write(true).open(&path).expect("it exists");
    fs::rename(replaced, &path).expect("writable");
    assert_eq!(view.get("raw?key=m/2").await, trace("2", "two", ""));
    open.set_len(0).expect("writable");
    let (status, error) = get(&format!("{}trace?key=m/2", view.url)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(error.contains("t.jsonl"), "{error}");
    (&open).write_all((trace("1", "ONE", "") + "\n" + &trace("2", "TWO", "")).as_bytes()).expect("writable");
    let (status, error) = get(&format!("{}trace?key=m/2", view.url)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(error.contains("has changed since the page was started"), "{error}");
}

#[tokio::test]
async fn a_compressed_file_that_is_cut_off_shows_what_it_has() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines: Vec<_> =
        (0..5_000).map(|n| trace(&format!("{n:05}"), &format!("{:x}", n * 7_919_u64.pow(3)), "")).collect();
    let packed = gzip(lines.join("\n").as_bytes());
    fs::write(folder.path().join("t.jsonl.gz"), &packed[..packed.len() / 2]).expect("writable");
    let view = View::start(folder.path(), &["t.jsonl.gz"]).await;
    assert_eq!(view.get("raw?key=m/00000").await, lines[0]);
    let notes = view.notes().await;
    assert!(notes.len() == 1 && notes[0].starts_with("t.jsonl.gz cannot be read after line "), "{notes:?}");
}

#[tokio::test]
async fn the_page_shows_the_command_that_prints_the_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = [trace("1", "one", ""), trace("2", "two", ""), trace("3", "three", "")];
    write_lines(folder.path().join("it's.jsonl"), &lines);
    fs::write(folder.path().join("t.jsonl.gz"), gzip(lines.join("\n").as_bytes())).expect("writable");
    for name in ["it's.jsonl", "t.jsonl.gz"] {
        let view = View::start(folder.path(), &[name]).await;
        let page = view.get("trace?key=m/2").await;
        let command = page.split("<pre id=\"command\">").nth(1).and_then(|rest| rest.split("</pre>").next());
        let mut shell = tokio::process::Command::new("sh");
        let output = shell.arg("-c").arg(command.expect("a command")).output().await.expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), lines[1], "{command:?} {output:?}");
    }
}

#[tokio::test]
async fn a_file_is_not_read_into_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = File::create(folder.path().join("t.jsonl")).expect("writable");
    let text = "x".repeat(4 * 1024 * 1024);
    for n in 0..40 {
        writeln!(file, "{}", trace(&n.to_string(), &text, "")).expect("writable");
    }
    let view = View::start(folder.path(), &["t.jsonl"]).await;
    assert_eq!(view.get("raw?key=m/39").await, trace("39", &text, ""));
    // Only on Linux, where `/proc` reports the peak.
    if let Some(peak) = super::peak_mib(view.process.id().expect("it runs")) {
        assert!(peak < 100, "{peak} MiB for a file of 160 MiB");
    }
}
