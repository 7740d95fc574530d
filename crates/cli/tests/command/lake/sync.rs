//! Tests the columns that `lake sync` writes, later runs, and runs that are killed or overlap.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use arrow_array::{Array, cast::AsArray, types::Int64Type};
use fastrand::Rng;
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};
use tokio::net::TcpListener;

use super::{column, count, data_files, keys, rows, run, store_days, trace};
use crate::{
    export::{
        Gate, names,
        overlap::{overlap, random, rounds},
        signal, stderr, store, store_at, wait_until,
    },
    import::program,
};

const SYNC: [&str; 5] = ["lake", "sync", "-q", "-o", "lake"];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_the_members_of_its_trace_and_the_whole_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = r#"{"model":"m","messages":[{"role":"user","content":"Grüße\n"}],"usage":{"total_tokens":3.10},"choices":{"0":{}},"created":9000,"own":[1],"id":"1","system_fingerprint":"m","object":"chat.trace"}"#;
    store(folder.path(), "m/1", object, 0);
    let (code, report) = run(folder.path(), &["lake", "sync", "-o", "lake"]).await;
    assert_eq!((code, count(&report, "added")), (Some(0), 1));
    let parquet = data_files(&folder.path().join("lake"));
    let [file] = &parquet[..] else { panic!("one file") };
    let day = file.parent().and_then(Path::file_name).and_then(|day| day.to_str());
    assert_eq!(day.map(str::len), Some("day=2026-11-22".len()));
    let row = rows(file);
    for (name, value) in [
        ("key", "m/1"),
        ("id", "1"),
        ("object", "chat.trace"),
        ("system_fingerprint", "m"),
        ("model", "m"),
        ("usage", r#"{"total_tokens":3.10}"#),
        ("choices", r#"{"0":{}}"#),
        ("trace", object),
    ] {
        assert_eq!(column(&row, name).value(0), value, "{name}");
    }
    assert_eq!(row.column_by_name("created").expect("a column").as_primitive::<Int64Type>().value(0), 9_000);
    let messages = row.column_by_name("messages").expect("a column").as_list::<i32>().value(0);
    assert_eq!(messages.as_struct().column(1).as_string::<i32>().value(0), "Grüße\n");
    assert_eq!(messages.len(), 1);
}

/// Returns a lake's column `created`, by key.
fn created(lake: &Path) -> Vec<(String, Option<i64>)> {
    let mut values = Vec::new();
    for file in data_files(lake) {
        let rows = rows(&file);
        let created = rows.column_by_name("created").expect("a column").as_primitive::<Int64Type>();
        let keys = column(&rows, "key");
        let value = |row| (!created.is_null(row)).then(|| created.value(row));
        values.extend((0..rows.num_rows()).map(|row| (keys.value(row).to_owned(), value(row))));
    }
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_that_is_not_a_time_is_null() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |created: &str| format!(r#"{{"model":"m","created":{created},"messages":[]}}"#);
    // Seconds, the first second after the year 9999, nanoseconds, and numbers on both sides of the 64-bit limits.
    let numbers = [
        ("1795305600", Some(1_795_305_600)),
        ("253402300799", Some(253_402_300_799)),
        ("253402300800", None),
        ("1746709563492141000", None),
        ("9223372036854775807", None),
        ("18446744073709551615", None),
        ("100000000000000000000", None),
        ("-1", None),
        ("-9223372036854775808", None),
        ("0", Some(0)),
        ("-0", Some(0)),
    ];
    for (id, (created, _)) in numbers.iter().enumerate() {
        store(folder.path(), &format!("m/{id:02}"), &of(created), 0);
    }
    let (code, report) = run(folder.path(), &SYNC).await;
    assert_eq!(code, Some(0), "{report}");
    let values: Vec<_> = created(&folder.path().join("lake")).into_iter().map(|(_, created)| created).collect();
    assert_eq!(values, numbers.map(|(_, expected)| expected));
}

/// Members that the schema does not know are only in the column `trace`.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_members_are_kept_byte_for_byte_in_the_column_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let members = [
        r#""key":"other","stored":0,"day":"1970-01-01","trace":{}"#.to_owned(),
        r#""n":123456789012345678901234567890.10,"e":1E+2"#.to_owned(),
        r#""usage":{"a":null},"choices":{"":[null]}"#.to_owned(),
        r#""usage":{},"choices":{"\u0000":"\u0000"}"#.to_owned(),
        r#""😀":"\ud83d\ude00","":[]"#.to_owned(),
        format!(r#""deep":{deep}"#),
        format!(r#""long":"{}""#, "x".repeat(3 << 20)),
    ];
    let messages =
        r#"[{"role":"user","content":"a","tool_calls":[{"id":1}],"role2":{}},{"role":"system","content":""}]"#;
    let objects: Vec<String> = members
        .iter()
        .map(|members| {
            format!(
                "{{{members},\n \"messages\":{messages},\t\"created\":1,\"model\":\"\",\"system_fingerprint\":\"m/\"}}"
            )
        })
        .collect();
    for (id, object) in objects.iter().enumerate() {
        store(folder.path(), &format!("m%2F/{id}"), object, 0);
    }
    let (code, report) = run(folder.path(), &SYNC).await;
    assert_eq!(code, Some(0), "{report}");
    let mut traces = Vec::new();
    for file in data_files(&folder.path().join("lake")) {
        let rows = rows(&file);
        let of = |row| (column(&rows, "key").value(row).to_owned(), column(&rows, "trace").value(row).to_owned());
        traces.extend((0..rows.num_rows()).map(of));
    }
    traces.sort();
    let expected = objects.into_iter().enumerate().map(|(id, object)| (format!("m%2F/{id}"), object));
    assert!(traces == expected.collect::<Vec<_>>(), "every byte is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_adds_new_traces_and_removes_rows_without_an_object() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    store_days(folder.path(), 40);
    let (_, report) = run(folder.path(), &SYNC).await;
    assert_eq!((count(&report, "listed"), count(&report, "added")), (40, 40));
    assert_eq!(fs::read_dir(&lake).expect("a lake").count(), 5, "a folder per day, and the log");
    let (_, report) = run(folder.path(), &SYNC).await;
    assert_eq!((count(&report, "listed"), count(&report, "added")), (40, 0));
    store(folder.path(), "m/later", &trace("later"), 0);
    store(folder.path(), "m/not-a-trace", "{}", 0);
    fs::remove_file(folder.path().join("traces/m/00003.json")).expect("it is deleted");
    let (code, report) = run(folder.path(), &SYNC).await;
    assert_eq!(code, Some(1), "one object is not a trace");
    assert!(report.contains("m/not-a-trace is not a trace"), "{report}");
    assert_eq!(count(&report, "added"), 1);
    assert_eq!(count(&report, "removed, because their object no longer exists"), 1);
    let mut expected: Vec<String> =
        (0..40).filter(|number| *number != 3).map(|number| format!("m/{number:05}")).collect();
    expected.push("m/later".to_owned());
    assert_eq!(keys(&lake).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_concurrent_runs_add_each_trace_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    store_days(folder.path(), 2_000);
    // Days are synced oldest first. A run that reaches the newest day waits at the gate.
    let gate = Gate::close(&folder.path().join("traces"), "m/zzz");
    for days in 1..=3 {
        let mut process = program(folder.path()).args(SYNC).spawn().expect("it starts");
        // One of the counted folders is the log.
        wait_until(&mut process, || fs::read_dir(&lake).map_or(0, Iterator::count) > days).await;
        process.kill().await.expect("it runs");
    }
    gate.remove();
    let runs = [(); 4].map(|()| run(folder.path(), &SYNC));
    for (code, report) in futures_util::future::join_all(runs).await {
        assert_eq!(code, Some(0), "{report}");
    }
    let expected: Vec<String> = (0..2_000).map(|number| format!("m/{number:05}")).collect();
    assert_eq!(keys(&lake).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_is_completed_by_the_next() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    store_days(folder.path(), 1_000);
    let gate = Gate::close(&folder.path().join("traces"), "m/zzz");
    let mut process = program(folder.path()).args(SYNC).spawn().expect("it starts");
    wait_until(&mut process, || fs::read_dir(&lake).map_or(0, Iterator::count) > 2).await;
    signal(&process, "TERM");
    let output = process.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("run the same command again"), "{}", stderr(&output));
    gate.remove();
    store(folder.path(), "m/meanwhile", &trace("meanwhile"), 0);
    let (code, report) = run(folder.path(), &SYNC).await;
    assert_eq!((code, count(&report, "listed")), (Some(0), 1_001));
    assert_eq!(keys(&lake).await.len(), 1_001);
}

/// The clock is set back, a trace is deleted and stored again, and another is stored in the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_one_row_although_clocks_jump_and_traces_are_restored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let in_hours = |hours| SystemTime::now() + Duration::from_hours(hours);
    store_days(folder.path(), 4);
    assert_eq!(run(folder.path(), &SYNC).await.0, Some(0));
    store(folder.path(), "m/past", &trace("past"), 100_000);
    store_at(folder.path(), "m/future", &trace("future"), in_hours(1_000));
    store(folder.path(), "m/00003", &trace("number 3, restored"), 0);
    let (_, report) = run(folder.path(), &SYNC).await;
    assert_eq!((count(&report, "added"), count(&report, "removed, because their object no longer exists")), (3, 1));
    store(folder.path(), "m/00001", &trace("number 1"), 200_000);
    store_at(folder.path(), "m/past", &trace("past"), in_hours(2_000));
    assert_eq!(run(folder.path(), &SYNC).await.0, Some(0));
    assert_eq!(keys(&lake).await, ["m/00000", "m/00001", "m/00002", "m/00003", "m/future", "m/past"]);
    let (_, report) = run(folder.path(), &SYNC).await;
    assert_eq!((count(&report, "added"), count(&report, "files replaced")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_stored_again_within_a_second_has_its_new_row_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let second = SystemTime::UNIX_EPOCH + Duration::from_hours(498_696);
    for (content, millis) in [("first", 100), ("SECOND", 900), ("SECOND", 900)] {
        let path = folder.path().join("traces/m/1.json");
        if content == "SECOND" {
            fs::remove_file(path).expect("it is stored");
        }
        store_at(folder.path(), "m/1", &trace(content), second + Duration::from_millis(millis));
        assert_eq!(run(folder.path(), &[&SYNC[..], &["--retention-days", "0"]].concat()).await.0, Some(0));
        let lake = folder.path().join("lake");
        assert_eq!(keys(&lake).await, ["m/1"]);
        let [file] = &data_files(&lake)[..] else { panic!("one file") };
        assert!(column(&rows(file), "trace").value(0).contains(content), "{content}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_lake_continues_and_a_deleted_one_is_written_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store_days(folder.path(), 5);
    assert_eq!(count(&run(folder.path(), &SYNC).await.1, "added"), 5);
    fs::rename(folder.path().join("lake"), folder.path().join("moved")).expect("it exists");
    let (_, report) = run(folder.path(), &["lake", "sync", "-o", "moved"]).await;
    assert_eq!((count(&report, "listed"), count(&report, "added")), (5, 0));
    fs::remove_dir_all(folder.path().join("moved")).expect("it exists");
    assert_eq!(count(&run(folder.path(), &["lake", "sync", "-o", "moved"]).await.1, "added"), 5);
    assert_eq!(names(folder.path()), ["moved", "traces"], "there is no other state");
}

/// The lake of a folder's traces is written with the user's AWS configuration, not to the folder's S3.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_kept_in_a_bucket_of_the_user() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bucket = tempfile::tempdir().expect("a temporary folder");
    let bucket = bucket.path().join("my-lake");
    store_days(folder.path(), 4);
    // A user's own bucket does not have the trace bucket's policy.
    let s3 = FolderS3::open(&bucket).expect("a bucket").allow_overwrites().with_secret_key(ACCESS_KEY.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, s3.service(), std::future::pending()));
    for added in [4, 0] {
        let mut command = program(folder.path());
        command.args(["lake", "sync", "-o", "s3://my-lake/a/lake", "--retention-days", "7"]);
        command.env("AWS_ENDPOINT_URL", &url).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY);
        let output = command.output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(count(&stderr(&output), "added"), added);
    }
    assert_eq!(names(folder.path()), ["traces"]);
    assert_eq!(crate::import::objects(&folder.path().join("traces")).len(), 4, "nothing is written into the folder");
    assert!(names(&bucket.join("a/lake")).iter().any(|name| name == "_delta_log"), "{:?}", names(&bucket));
}

/// Starts, kills and overlaps runs at random. `EXPORT_SEED` repeats them, and `EXPORT_ROUNDS` sets their number.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_and_killed_runs_leave_each_trace_once() {
    let mut random = random();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut expected = Vec::new();
    let mut add = |random: &mut Rng, count: u64| {
        for _ in 0..count {
            let key = format!("{}/{:05}", ["a", "b", "c"][random.usize(..3)], expected.len());
            // Hours before and after the present.
            let hours = Duration::from_hours(random.u64(..100));
            let time = if random.bool() { SystemTime::now() - hours } else { SystemTime::now() + hours };
            store_at(folder.path(), &key, &trace(&key), time);
            expected.push(key);
        }
        expected.clone()
    };
    let mut keys = add(&mut random, 300);
    for _ in 0..rounds() {
        let count = 2 + random.u64(..3);
        let commands = (0..count).map(|_| {
            let mut command = program(folder.path());
            command.args(SYNC);
            command
        });
        overlap(&mut random, commands).await;
        // A restored trace: stored again under its key, at another time.
        let restored = &keys[random.usize(..keys.len())];
        store(folder.path(), restored, &trace(restored), random.u64(..10_000));
        keys = add(&mut random, 20);
    }
    let (code, report) = run(folder.path(), &SYNC).await;
    assert_eq!(code, Some(0), "{report}");
    keys.sort();
    let rows = super::keys(&folder.path().join("lake")).await;
    assert!(rows == keys, "{} rows of {} traces", rows.len(), keys.len());
}
