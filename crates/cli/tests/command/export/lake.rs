//! A lake of Parquet files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use local_aws::{
    s3::ACCESS_KEY,
    testing::{BUCKET, Bucket},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    FINGERPRINT, Gate, command, export, folder_of, names, refusal, run, stderr, store, store_at, trace, wait_until,
};

/// Returns the Parquet files of a lake.
pub fn files(lake: &Path) -> Vec<PathBuf> {
    let days = names(lake).into_iter().filter(|name| name != ".attest").map(|day| lake.join(day));
    days.flat_map(|day| names(&day).into_iter().map(move |name| day.join(name)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect()
}

/// Returns the rows of a lake, each batch with the folder of its day.
fn rows(lake: &Path) -> Vec<(PathBuf, RecordBatch)> {
    files(lake)
        .into_iter()
        .flat_map(|path| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).expect("a file")).expect("Parquet");
            let batches = reader.build().expect("Parquet").map(|batch| batch.expect("rows")).collect::<Vec<_>>();
            batches.into_iter().map(move |batch| (path.parent().expect("a day").to_owned(), batch))
        })
        .collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).expect("the column exists").as_string()
}

/// Returns the keys of a lake's rows in their order.
pub fn keys(lake: &Path) -> Vec<String> {
    let rows = rows(lake);
    let keys = rows.iter().flat_map(|(_, batch)| column(batch, "key").iter().flatten().map(str::to_owned));
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_lake_has_one_row_per_trace_with_its_members_and_its_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = trace("m", "1", r#","usage":{"total_tokens":3.10},"choices":{"0":{}},"created":9e3,"own":[1]"#)
        .replacen(r#""created":1,"#, "", 1);
    store(folder.path(), "m/1", &object, 0);
    export(folder.path(), &["lake", "-o", "lake"]).await;
    let rows = rows(&folder.path().join("lake"));
    let [(day, row)] = &rows[..] else { panic!("one batch") };
    assert_eq!(day.file_name().and_then(|day| day.to_str()).map(str::len), Some("day=2026-11-22".len()));
    assert_eq!(column(row, "key").value(0), "m/1");
    assert_eq!(column(row, "trace").value(0), object);
    assert_eq!(column(row, "usage").value(0), r#"{"total_tokens":3.10}"#);
    assert_eq!(column(row, "choices").value(0), r#"{"0":{}}"#);
    assert_eq!(row.column_by_name("created").expect("it is there").as_primitive::<Int64Type>().value(0), 9_000);
    let messages = row.column_by_name("messages").expect("it is there").as_list::<i32>().value(0);
    assert_eq!(messages.as_struct().column(1).as_string::<i32>().value(0), "Grüße\n");
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_later_run_adds_new_traces_and_each_trace_is_in_the_lake_once() {
    let folder = folder_of(40);
    let lake = folder.path().join("lake");
    for state in [&["--state", "state"][..], &[]] {
        let arguments = [&["lake", "-o", "lake"], state].concat();
        assert_eq!(export(folder.path(), &arguments).await["exported"], 40);
        assert_eq!(export(folder.path(), &arguments).await["exported"], 0);
        assert_eq!(keys(&lake).len(), 40);
        assert_eq!(names(&lake).iter().filter(|name| name.starts_with("day=")).count(), 4, "a folder per day");
        store(folder.path(), "m/later", &trace("m", "later", ""), 0);
        assert_eq!(export(folder.path(), &arguments).await["exported"], 1);
        assert!(keys(&lake).contains(&"m/later".to_owned()));
        fs::remove_file(folder.path().join("traces/m/later.json")).expect("it exists");
        fs::remove_dir_all(&lake).expect("it exists");
    }
}

/// The clock is set back, a trace is deleted and stored again, and another is stored in the future.
#[tokio::test]
async fn a_lake_does_not_depend_on_a_clock() {
    let folder = folder_of(4);
    let lake = folder.path().join("lake");
    let arguments = ["lake", "-o", "lake", "--state", "state"];
    assert_eq!(export(folder.path(), &arguments).await["exported"], 4);
    store(folder.path(), "m/past", &trace("m", "past", ""), 100_000);
    store_at(folder.path(), "m/future", &trace("m", "future", ""), SystemTime::now() + Duration::from_hours(1_000));
    store(folder.path(), "m/00000", &trace("m", "00000", ""), 0);
    assert_eq!(export(folder.path(), &arguments).await["exported"], 2);
    store(folder.path(), "m/00001", &trace("m", "00001", ""), 200_000);
    store_at(folder.path(), "m/past", &trace("m", "past", ""), SystemTime::now() + Duration::from_hours(2_000));
    assert_eq!(export(folder.path(), &arguments).await["exported"], 0);
    assert_eq!(keys(&lake), ["m/00000", "m/00001", "m/00002", "m/00003", "m/future", "m/past"]);
    export(folder.path(), &["-o", "t.jsonl"]).await;
    assert_eq!(super::lines(&folder.path().join("t.jsonl")).len(), 6);
    // An export without a state folder of its own has them too.
    assert_eq!(export(folder.path(), &["lake", "-o", "other"]).await["exported"], 6);
}

#[tokio::test]
async fn objects_that_are_not_traces_are_reported_once_and_left_out() {
    let folder = folder_of(1);
    store(folder.path(), "m/broken", "{", 1);
    store(folder.path(), "m/half", r#"{"model":"m"}"#, 1);
    let output = run(folder.path(), &["lake", "-o", "lake"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("m/broken is not a trace") && stderr(&output).contains("m/half is not a trace"));
    assert_eq!(export(folder.path(), &["lake", "-o", "lake"]).await["not traces"], 0);
    assert_eq!(keys(&folder.path().join("lake")), ["m/00000"]);
}

#[tokio::test]
async fn exports_of_several_fingerprints_into_one_lake_at_once_keep_all_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fingerprints = ["a", "b", "c", "d"];
    for fingerprint in fingerprints {
        for n in 0..50 {
            let id = format!("{n:02}");
            store(folder.path(), &format!("{fingerprint}/{id}"), &trace(fingerprint, &id, ""), 10);
        }
    }
    let exports = fingerprints.map(|fingerprint| {
        command(folder.path(), &["lake", "-q", "-o", "lake", FINGERPRINT, fingerprint]).spawn().expect("it starts")
    });
    for export in exports {
        let output = export.wait_with_output().await.expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    assert_eq!(keys(&folder.path().join("lake")).len(), 200);
    assert_eq!(files(&folder.path().join("lake")).len(), 4);
}

#[tokio::test]
async fn a_lake_whose_export_was_killed_has_each_trace_once() {
    let folder = folder_of(1_000);
    let lake = folder.path().join("lake");
    let arguments = ["lake", "-q", "-o", "lake", "--state", "state"];
    // The gate is in the last of four days.
    let gate = Gate::close(&folder.path().join("traces"), "m/00100x");
    for count in 1..=3 {
        let mut process = command(folder.path(), &arguments).spawn().expect("it starts");
        wait_until(&mut process, || lake.exists() && files(&lake).len() >= count).await;
        process.kill().await.expect("it runs");
    }
    gate.remove();
    let report = export(folder.path(), &arguments).await;
    assert_eq!((report["exported"], report["deleted since they were listed"]), (1_000, 1));
    let expected: Vec<_> = (0..1_000).map(|n| format!("m/{n:05}")).collect();
    assert_eq!(keys(&lake), expected);
}

#[tokio::test]
async fn a_lake_whose_export_was_stopped_has_each_trace_once() {
    let folder = folder_of(1_000);
    let lake = folder.path().join("lake");
    let gate = Gate::close(&folder.path().join("traces"), "m/00100x");
    let mut process = command(folder.path(), &["lake", "-q", "-o", "lake"]).spawn().expect("it starts");
    wait_until(&mut process, || lake.exists() && !files(&lake).is_empty()).await;
    super::signal(&process, "TERM");
    let output = process.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("run the same command again"), "{}", stderr(&output));
    gate.remove();
    // A resumed run has an old listing. A trace that was stored meanwhile is exported too.
    store(folder.path(), "m/meanwhile", &trace("m", "meanwhile", ""), 0);
    let report = export(folder.path(), &["lake", "-o", "lake"]).await;
    assert_eq!(report["exported"], 1_001);
    assert_eq!(keys(&lake).len(), 1_001);
    assert_eq!(names(&lake.join(".attest")).len(), 1);
}

/// The lake of a folder's traces is written with the user's AWS configuration, not into the S3 of the folder.
#[tokio::test]
async fn a_folder_is_exported_into_a_bucket_of_the_user() {
    let folder = folder_of(4);
    let bucket = Bucket::new().await;
    let lake = format!("s3://{BUCKET}/a/lake");
    let export = |arguments: &[&str]| {
        let mut command = command(folder.path(), &[&["lake", "-o", &lake], arguments].concat());
        command.env("AWS_ENDPOINT_URL", format!("http://{}", bucket.address)).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY);
        command.output()
    };
    let output = export(&["--state", "state"]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let keys = bucket.keys().await;
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("a/lake/day=") && key.ends_with("-00001.parquet")), "{keys:?}");
    for key in &keys {
        assert!(bucket.object(key).await.starts_with(b"PAR1"));
    }
    assert_eq!(super::objects(&folder.path().join("traces")).len(), 4, "nothing is written into the folder");
    // The next run adds nothing, and one that keeps no state adds everything again under other names.
    let output = export(&["--state", "state"]).await.expect("it runs");
    assert_eq!((output.status.code(), super::counts(&output.stderr)["exported"]), (Some(0), 0));
    let output = export(&[]).await.expect("it runs");
    assert_eq!((output.status.code(), super::counts(&output.stderr)["exported"]), (Some(0), 4));
    assert_eq!(bucket.keys().await.len(), 8);
    assert_eq!(names(folder.path()), ["state", "traces"]);
}

#[tokio::test]
async fn a_lake_in_a_bucket_requires_a_region() {
    let folder = folder_of(1);
    let mut command = command(folder.path(), &["lake", "-o", "s3://bucket/lake"]);
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("AWS_REGION"), "{}", stderr(&output));
    assert!(!refusal(folder.path(), &["lake", "-o", "traces/m/00000.json"]).await.is_empty());
}
