//! Tests buckets to which others also write, with objects that cannot be read.

use std::time::{Duration, Instant};

use attest_lake::{
    Error, Table,
    ingest::{Lake, Queues, RunReport, Task},
    sync::sync,
};

use crate::{
    function::Function,
    refusal::Answer,
    support::{S3, assert_rows, store},
};

/// The memory limit of a run with large objects, in MiB. Each of these objects has 2,048 MiB.
const MEMORY: u64 = 512;

/// Objects that S3 refuses to return, with status and error code (Amazon S3 API Reference, "List of error codes").
const REFUSED: [(&str, u16, &str); 5] = [
    ("archive/1", 403, "InvalidObjectState"),
    ("customer/1", 400, "InvalidRequest"),
    ("policy/1", 403, "AccessDenied"),
    ("policy/2", 403, "AccessDenied"),
    ("key/1", 400, "KMS.DisabledException"),
];

/// Stores two objects of 2 GiB, and others that are refused. Returns their keys.
async fn store_foreign(s3: &S3) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, has_length) in [("backup/disk", true), ("backup/stream", false)] {
        s3.put(key, "large").await;
        s3.refusals.set(key, Answer::Large { has_length });
        keys.push(key.to_owned());
    }
    for (key, status, code) in REFUSED {
        s3.put(key, "unread").await;
        s3.refusals.refuse(key, status, code);
        keys.push(key.to_owned());
    }
    keys
}

/// Runs a task in this process.
async fn run(function: &Function, task: Task) -> Result<RunReport, Error> {
    let config = aws_sdk_sqs::config::Builder::from(&function.s3.config);
    let config = config.endpoint_url(format!("http://{}", function.queue.address)).build();
    let (stored, removed) = (function.queue.url("stored"), function.queue.url("removed"));
    let queues = Queues { client: aws_sdk_sqs::Client::from_conf(config), stored, removed };
    let table = Table::open(&function.s3.lake()).await.expect("a table");
    let lake = Lake { table, objects: &function.s3.traces(), queues, retention: Duration::from_hours(24) };
    lake.run(task, Instant::now() + Duration::from_mins(5)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_cannot_be_read_are_counted_by_reason_and_keep_no_other_out() {
    let function = Function::start().await;
    let keys = store(&function.s3, "m", 3).await;
    for key in store_foreign(&function.s3).await.iter().chain(&keys) {
        function.queue.send_once("stored", key);
    }
    let table = Table::open(&function.s3.lake()).await.expect("a table");
    for (task, added) in [("ingest", 3), ("sync", 0)] {
        let run = function.run(task, None).await.expect("it is not killed");
        for (name, count) in [("added", added), ("too_large", 2), ("archived", 1), ("customer_key", 1), ("denied", 3)] {
            assert_eq!(run.report[name], count, "{task}, {name}: {}", run.report);
        }
        assert!(run.peak_mib.is_none_or(|peak| peak < MEMORY), "{task}: {:?} MiB", run.peak_mib);
        assert_rows(&table, Some(&function.s3), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_denied_all_objects_fails_and_confirms_no_message() {
    let function = Function::start().await;
    let keys = store(&function.s3, "m", 3).await;
    for key in &keys {
        function.s3.refusals.refuse(key, 403, "AccessDenied");
        function.queue.send_once("stored", key);
    }
    for task in [Task::Ingest, Task::Sync] {
        let error = run(&function, task).await.expect_err("access is denied").to_string();
        assert!(error.contains("denied to all 3 objects"), "{error}");
    }
    assert_eq!(function.queue.len(), 3, "no message is deleted");
    function.queue.time_out();
    function.s3.refusals.clear();
    assert_eq!(run(&function, Task::Ingest).await.expect("access is back").added, 3);
    assert_rows(&Table::open(&function.s3.lake()).await.expect("a table"), Some(&function.s3), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_that_only_lacks_foreign_objects_fails_if_it_can_read_no_other() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 2).await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let week = Duration::from_hours(24 * 7);
    assert_eq!(sync(&table, &s3.traces(), week, None, |_| ()).await.expect("synchronised").added.rows, 2);
    s3.put("policy/1", "unread").await;
    s3.refusals.refuse("policy/1", 403, "AccessDenied");
    let synced = sync(&table, &s3.traces(), week, None, |_| ()).await.expect("the others can be read");
    assert_eq!(synced.added.skipped.iter().count(), 1);
    for key in &keys {
        s3.refusals.refuse(key, 403, "AccessDenied");
    }
    assert!(sync(&table, &s3.traces(), week, None, |_| ()).await.is_err(), "access is lost");
    assert_rows(&table, Some(&s3), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_do_not_concern_one_object_fail_the_run_and_confirm_no_message() {
    for (status, code) in
        [(503, "SlowDown"), (500, "InternalError"), (403, "InvalidAccessKeyId"), (400, "ExpiredToken")]
    {
        let function = Function::start().await;
        let keys = store(&function.s3, "m", 2).await;
        function.s3.refusals.refuse(&keys[0], status, code);
        for key in &keys {
            function.queue.send_once("stored", key);
        }
        let error = run(&function, Task::Ingest).await.expect_err(code).to_string();
        assert!(error.contains(&keys[0]), "{code}: {error}");
        assert_eq!(function.queue.len(), 2, "{code}: no message is deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_go_on_beside_objects_that_cannot_be_read() {
    let function = Function::start().await;
    let keys = store(&function.s3, "m", 3).await;
    run(&function, Task::Sync).await.expect("synchronised");
    function.s3.delete(&keys[0]).await;
    for key in store_foreign(&function.s3).await.iter().chain(&keys[..1]) {
        function.queue.send_once("removed", key);
    }
    let report = run(&function, Task::Maintain).await.expect("the others can be read");
    let counts = (report.removed, report.archived, report.customer_key, report.denied);
    assert_eq!(counts, (1, 1, 1, 3), "{report:?}");
    let table = Table::open(&function.s3.lake()).await.expect("a table");
    assert_rows(&table, Some(&function.s3), &keys[1..]).await;
    function.queue.clear();
    for key in &keys[1..] {
        function.s3.refusals.refuse(key, 403, "AccessDenied");
        function.queue.send_once("removed", key);
    }
    assert!(run(&function, Task::Maintain).await.is_err(), "access is lost");
    assert_eq!(function.queue.len(), 2, "no message is deleted");
    assert_rows(&table, Some(&function.s3), &keys[1..]).await;
}
