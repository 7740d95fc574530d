//! Tests the ingest function with a misbehaving queue, and kills it at each of its requests.

use std::{collections::BTreeSet, path::Path, process::Command};

use attest_lake::Table;

use crate::{
    function::Function,
    gate::When,
    support::{assert_rows, rows},
};

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_objects_although_the_queue_misbehaves_and_every_request_is_killed_once() {
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let mut keys = Vec::new();
    let (mut delayed, mut lost) = (Vec::new(), 0);
    // Each run is killed one request later than the one before, until one is complete.
    let mut kills = 0;
    for request in 1.. {
        let when = if request % 2 == 0 { When::Before } else { When::After };
        if request % 4 == 1 {
            let key = format!("my%20model+1/{request:03}");
            function.store(&key).await;
            match request % 7 {
                0 => delayed.push(key.clone()),
                3 => lost += 1,
                _ => queue.send("stored", &key),
            }
            keys.push(key);
        }
        let report = function.run("ingest", Some((request, when))).await;
        queue.time_out();
        if report.is_some() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 10, "{kills} requests");
    for key in &delayed {
        queue.send("stored", key);
    }
    while queue.len() > 0 {
        function.complete("ingest").await;
        queue.time_out();
    }
    let table = Table::open(&s3.lake()).await.expect("the table");
    assert_eq!(rows(&table).await.len(), keys.len() - lost, "{lost} events were lost");
    let report = function.complete("sync").await;
    assert_eq!(report["added"], lost);
    assert_rows(&table, Some(s3), &keys).await;

    let stays = keys.split_off(keys.len() / 2);
    for key in &keys {
        s3.delete(key).await;
        queue.send("removed", key);
    }
    let report = function.complete("maintain").await;
    assert_eq!(report["removed"], keys.len());
    assert_rows(&table, Some(s3), &stays).await;
}

/// Copies a folder with its modification times, which are the times of storing.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().expect("cp is installed");
    assert!(copied.success());
}

/// Returns the keys of the table, each of which must have one row.
async fn keys_once(table: &Table) -> Vec<String> {
    let rows = rows(table).await;
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
    rows.into_keys().collect()
}

/// Every run that is killed starts with the same bucket, table and queue. Otherwise, the log would grow with each kill,
/// and with it the number of requests.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_is_killed_at_any_request_leaves_an_equal_table() {
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let mut keys = Vec::new();
    for run in 0..3 {
        for number in 0..4 {
            let key = format!("m/{run}{number}");
            function.store(&key).await;
            queue.send_once("stored", &key);
            keys.push(key);
        }
        function.complete("ingest").await;
    }
    let gone: BTreeSet<String> = keys.iter().step_by(3).cloned().collect();
    for key in &gone {
        s3.delete(key).await;
    }
    let stays: Vec<String> = keys.iter().filter(|key| !gone.contains(*key)).cloned().collect();
    let backup = tempfile::tempdir().expect("a temporary folder");
    copy(s3.root.path(), backup.path());
    let mut kills = 0;
    for request in 1.. {
        for entry in std::fs::read_dir(s3.root.path()).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
        }
        copy(backup.path(), s3.root.path());
        queue.clear();
        for key in &gone {
            queue.send("removed", key);
        }
        let when = if request % 2 == 0 { When::Before } else { When::After };
        let killed = function.run("maintain", Some((request, when))).await;
        let table = Table::open_existing(&s3.lake()).await.expect("the table");
        let left = keys_once(&table).await;
        assert!(left == keys || left == stays, "request {request}: {left:?}");
        if request % 8 == 0 {
            // Only sometimes, because the other readers take seconds.
            assert_rows(&table, Some(s3), &left).await;
        }
        if killed.is_some() {
            assert_eq!(left, stays);
            break;
        }
        kills += 1;
        queue.time_out();
        function.complete("maintain").await;
        assert_eq!(keys_once(&table).await, stays, "request {request}");
    }
    assert!(kills > 20, "{kills} requests");
    let table = Table::open_existing(&s3.lake()).await.expect("the table");
    assert_rows(&table, Some(s3), &stays).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_synchronisation_and_maintenance_race_without_losing_or_repeating_a_row() {
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let (mut keys, mut gone) = (Vec::new(), BTreeSet::new());
    for round in 0..4 {
        for number in 0..20 {
            let key = format!("m/{round}-{number:02}");
            function.store(&key).await;
            queue.send("stored", &key);
            keys.push(key);
        }
        for key in keys.iter().skip(round).step_by(9) {
            if gone.insert(key.clone()) {
                s3.delete(key).await;
                queue.send("removed", key);
            }
        }
        let never = std::future::pending;
        let tasks = ["ingest", "maintain", "ingest", "sync"];
        let runs = futures_util::future::join_all(tasks.map(|task| function.race(task, never()))).await;
        assert!(runs.iter().all(Option::is_some));
        queue.time_out();
    }
    function.complete("sync").await;
    keys.retain(|key| !gone.contains(key));
    let table = Table::open_existing(&s3.lake()).await.expect("the table");
    assert_rows(&table, Some(s3), &keys).await;
}
