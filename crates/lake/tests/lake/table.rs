//! Tests the table: additions, races, removals, compaction, vacuum, synchronisation.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use arrow_array::cast::AsArray;
use arrow_cast::display::array_value_to_string;
use attest_lake::{
    LakeLocation, Table, append,
    maintain::{Gone, gone, maintain, vacuum},
    objects::Objects,
    sync::sync,
};
use futures_util::{StreamExt, future::join_all, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{S3, assert_rows, rows, store, trace};

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_added_once_to_a_folder_and_to_a_bucket() {
    let s3 = S3::start().await;
    let folder = s3.root.path().join("a lake");
    for location in [LakeLocation::folder(&folder).expect("a folder"), s3.lake()] {
        let table = Table::open(&location).await.expect("a table");
        let traces = s3.traces();
        let keys = store(&s3, "gpt-4o", 30).await;
        let added = append(&table, &traces, keys[..20].to_vec()).await.expect("added");
        assert_eq!((added.rows, added.known, added.absent), (20, 0, 0));
        let again = [&keys[10..], &keys[10..], &["gpt-4o/absent".to_owned()]].concat();
        let added = append(&table, &traces, again).await.expect("added");
        assert_eq!((added.rows, added.known, added.absent), (10, 10, 1));
        assert_rows(&table, Some(&s3), &keys).await;
        // Opening it again finds the same table.
        let table = Table::open(&location).await.expect("the table");
        assert_rows(&table, Some(&s3), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_not_traces_are_reported_and_left_out() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    for (key, json) in [("m/1", "{}"), ("m/2", "hello"), ("m/3", &*trace("x"))] {
        s3.put(key, json).await;
    }
    let keys = ["m/1", "m/2", "m/3"].map(str::to_owned).to_vec();
    let mut added = append(&table, &s3.traces(), keys).await.expect("added");
    added.invalid.sort();
    assert_eq!((added.rows, added.invalid), (1, vec!["m/1".to_owned(), "m/2".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_of_an_object_is_in_its_row_and_costs_no_request() {
    let s3 = S3::start().await;
    let folder = s3.root.path().join("a lake");
    let table = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.expect("a table");
    let put = s3.client.put_object().bucket("traces").key("m/1").body(trace("x").into_bytes().into());
    put.metadata("api-key-id", "a1b2").metadata("principal", "arn:aws:iam::1:user/jane").send().await.expect("stored");
    s3.put("m/2", &trace("by an earlier version")).await;
    let before = s3.gate.requests();
    append(&table, &s3.traces(), vec!["m/1".to_owned(), "m/2".to_owned()]).await.expect("added");
    assert_eq!(s3.gate.requests() - before, 2, "one request per object");
    s3.put("m/3", &trace("later")).await;
    append(&table, &s3.traces(), vec!["m/3".to_owned()]).await.expect("added");
    // The files are rewritten as one.
    assert_eq!(maintain(&table, &Gone::new()).await.expect("merged").replaced.len(), 2);
    let snapshot = table.load().await.expect("the table");
    let [file] = snapshot.files() else { panic!("one file") };
    let file = std::fs::File::open(folder.join(&file.path)).expect("a file");
    let mut rows = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
    let rows = rows.next().expect("a batch").expect("rows");
    for (name, expected) in [("api_key_id", "a1b2"), ("principal", "arn:aws:iam::1:user/jane")] {
        let keys = rows.column_by_name("key").expect("a column").as_string::<i32>();
        let column = rows.column_by_name(name).expect("a column").as_string::<i32>();
        let values: BTreeMap<_, _> = keys.iter().zip(column.iter()).collect();
        assert_eq!(values, [(Some("m/1"), Some(expected)), (Some("m/2"), None), (Some("m/3"), None)].into(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_times_of_a_trace_are_columns() {
    let s3 = S3::start().await;
    let folder = s3.root.path().join("a lake");
    let table = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.expect("a table");
    let start = r#"{"model":"m","created":1,"messages":[]"#;
    let timing = r#""timing":{"duration":1.5,"first_token":0.25}"#;
    let labels = r#""log":{"session_id":"s","user":"u","tags":["a","b"]}"#;
    s3.put("m/1", &format!("{start},{timing},{labels}}}")).await;
    s3.put("m/2", &format!("{start}}}")).await;
    append(&table, &s3.traces(), vec!["m/1".to_owned(), "m/2".to_owned()]).await.expect("added");
    let snapshot = table.load().await.expect("the table");
    let mut found = BTreeMap::new();
    for file in snapshot.files() {
        let file = std::fs::File::open(folder.join(&file.path)).expect("a file");
        let rows = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("Parquet");
        for rows in rows.map(|rows| rows.expect("rows")) {
            for (at, key) in rows.column_by_name("key").expect("a column").as_string::<i32>().iter().enumerate() {
                let values = ["session_id", "user", "tags", "duration", "first_token"].map(|name| {
                    let column = rows.column_by_name(name).expect("a column");
                    array_value_to_string(column, at).expect("a text")
                });
                found.insert(key.expect("a key").to_owned(), values.join(" "));
            }
        }
    }
    let expected = [("m/1", "s u [a, b] 1.5 0.25"), ("m/2", "    ")];
    assert_eq!(found, expected.map(|(key, values)| (key.to_owned(), values.to_owned())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_race_add_each_trace_once() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 40).await;
    let writers = (0..4).map(|writer| {
        let (location, traces, keys) = (s3.lake(), s3.traces(), keys.clone());
        async move {
            // All of them create the table, too.
            let table = Table::open(&location).await.expect("a table");
            for chunk in keys[writer * 5..].chunks(10) {
                append(&table, &traces, chunk.to_vec()).await.expect("added");
            }
        }
    });
    join_all(writers).await;
    let table = Table::open(&s3.lake()).await.expect("the table");
    assert_rows(&table, Some(&s3), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_removed_objects_are_removed_while_others_are_added() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 60).await;
    for chunk in keys[..40].chunks(4) {
        append(&table, &traces, chunk.to_vec()).await.expect("added");
    }
    for key in &keys[..10] {
        s3.delete(key).await;
    }
    let removal = async {
        // A key that still has an object, and one that never had a row.
        let reported = keys[..12].iter().cloned().chain(["m/never".to_owned()]);
        maintain(&table, &gone(&traces, reported).await.expect("looked up")).await.expect("maintained")
    };
    let additions = async {
        for chunk in keys[30..].chunks(5) {
            append(&table, &traces, chunk.to_vec()).await.expect("added");
        }
    };
    let (maintained, ()) = tokio::join!(removal, additions);
    assert_eq!(maintained.removed.len(), 10);
    assert_rows(&table, Some(&s3), &keys[10..]).await;
    maintain(&table, &Gone::new()).await.expect("merged");
    assert_eq!(table.load().await.expect("the table").files().len(), 1, "one file for the day");
    assert_rows(&table, Some(&s3), &keys[10..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_stored_again_keeps_its_new_row_only() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    s3.put("m/1", &trace("old")).await;
    append(&table, &traces, vec!["m/1".to_owned()]).await.expect("added");
    let old = traces.stored("m/1").await.expect("looked up").expect("it is stored");
    s3.delete("m/1").await;
    // S3 dates objects in whole seconds, so this waits for the next one.
    loop {
        s3.put("m/1", &trace("new")).await;
        if traces.stored("m/1").await.expect("looked up").is_some_and(|new| new.stored > old.stored) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    append(&table, &traces, vec!["m/1".to_owned()]).await.expect("added");
    let gone = gone(&traces, ["m/1".to_owned()]).await.expect("looked up");
    assert_eq!(maintain(&table, &gone).await.expect("maintained").removed, [old]);
    assert_rows(&table, Some(&s3), &["m/1".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_replaced_files_and_nothing_that_is_referred_to() {
    let s3 = S3::start().await;
    let folder = s3.root.path().join("files");
    let table = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 9).await;
    for chunk in keys.chunks(3) {
        append(&table, &traces, chunk.to_vec()).await.expect("added");
    }
    s3.delete(&keys[0]).await;
    let gone = gone(&traces, [keys[0].clone()]).await.expect("looked up");
    let maintained = maintain(&table, &gone).await.expect("maintained");
    assert_eq!(maintained.replaced.len(), 3);
    let week = Duration::from_hours(7 * 24);
    assert_eq!(vacuum(&table, week, &maintained.replaced).await.expect("vacuumed"), 0, "a query may still read them");
    assert_eq!(data_files(&folder).len(), 4);
    assert_eq!(vacuum(&table, Duration::ZERO, &maintained.replaced).await.expect("vacuumed"), 3);
    assert_rows(&table, None, &keys[1..]).await;
    // A file that a killed writer left behind is deleted after an hour.
    let [file] = &data_files(&folder)[..] else { panic!("one file is left") };
    let orphan = file.with_file_name(own_name());
    std::fs::write(&orphan, "PAR1").expect("it is written");
    assert_eq!(vacuum(&table, Duration::ZERO, &[]).await.expect("vacuumed"), 0, "its commit may still come");
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    std::fs::File::options().write(true).open(&orphan).and_then(|file| file.set_modified(old)).expect("it is older");
    assert_eq!(vacuum(&table, Duration::ZERO, &[]).await.expect("vacuumed"), 1);
    assert_rows(&table, None, &keys[1..]).await;
}

fn own_name() -> String {
    format!("attest-{}.parquet", uuid::Uuid::new_v4())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_makes_vacuum_fail_and_deletes_no_protected_file() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 4).await;
    for chunk in keys.chunks(2) {
        append(&table, &traces, chunk.to_vec()).await.expect("added");
    }
    // The version of a week ago has two files, which are merged only now.
    let folder = s3.root.path().join("lake/lake");
    let age = |path: &Path, hours: u64| {
        let time = std::time::SystemTime::now() - Duration::from_hours(hours);
        std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("it is older");
    };
    read_dir(&folder.join("_delta_log")).iter().chain(&data_files(&folder)).for_each(|path| age(path, 24 * 30));
    assert_eq!(maintain(&table, &Gone::new()).await.expect("merged").replaced.len(), 2);
    let week = Duration::from_hours(24 * 7);
    let mut failures = 0;
    for request in 1.. {
        s3.gate.fail(request);
        let vacuumed = vacuum(&table, week, &[]).await;
        let is_met = s3.gate.requests() >= request;
        s3.gate.fail(0);
        assert_eq!(data_files(&folder).len(), 3, "request {request}: {vacuumed:?}");
        if !is_met {
            assert_eq!(vacuumed.expect("no request failed"), 0);
            break;
        }
        failures += usize::from(vacuumed.is_err());
    }
    assert!(failures > 2, "{failures} failures");
    assert_eq!(vacuum(&table, Duration::ZERO, &[]).await.expect("vacuumed"), 2, "nothing protects them any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_reach_back_protects_the_files_of_its_oldest_version() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let keys = store(&s3, "m", 4).await;
    for chunk in keys.chunks(2) {
        append(&table, &s3.traces(), chunk.to_vec()).await.expect("added");
    }
    let folder = s3.root.path().join("lake/lake");
    let old = std::time::SystemTime::now() - Duration::from_hours(24 * 30);
    for file in data_files(&folder) {
        std::fs::File::options().write(true).open(file).and_then(|file| file.set_modified(old)).expect("it is older");
    }
    maintain(&table, &Gone::new()).await.expect("merged");
    let week = Duration::from_hours(24 * 7);
    // The log starts today, as if another program had deleted its older entries. Its first version has no files.
    let protected = vacuum(&table, week, &[]).await.expect("vacuumed");
    assert_eq!(protected, 2, "the oldest version has none of them");
    assert_rows(&table, Some(&s3), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_cannot_be_read_are_asked_for_once() {
    let s3 = S3::start().await;
    let traces = s3.traces();
    store(&s3, "m", 1).await;
    s3.gate.fail(1);
    assert!(traces.read("m/0000").await.is_err(), "a refusal only repeats itself");
    assert_eq!(s3.gate.requests(), 1);
    s3.gate.fail(0);
    assert!(traces.read("m/0000").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_begins_nothing_after_its_deadline() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let keys = store(&s3, "m", 3).await;
    let week = Duration::from_hours(24 * 7);
    let over = sync(&table, &s3.traces(), week, Some(std::time::Instant::now()), |_| ()).await.expect("it ends");
    assert!(!over.is_complete && over.added.rows == 0, "{over:?}");
    let later = std::time::Instant::now() + Duration::from_mins(10);
    let whole = sync(&table, &s3.traces(), week, Some(later), |_| ()).await.expect("synchronised");
    assert!(whole.is_complete, "{whole:?}");
    assert_rows(&table, Some(&s3), &keys).await;
}

/// Returns the Parquet files in the day folders of a lake.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let is_day = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("day="));
    let days = read_dir(folder).into_iter().filter(|path| is_day(path));
    days.flat_map(|day| read_dir(&day)).collect()
}

fn read_dir(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_loads_from_checkpoints() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 45).await;
    for key in &keys {
        append(&table, &traces, vec![key.clone()]).await.expect("added");
    }
    let log = s3.root.path().join("lake/lake/_delta_log");
    let names = std::fs::read_dir(log).expect("the log").flatten().map(|entry| entry.file_name().into_string());
    let names: Vec<String> = names.collect::<Result<_, _>>().expect("names are text");
    assert_eq!(names.iter().filter(|name| name.ends_with(".checkpoint.parquet")).count(), 2, "{names:?}");
    assert!(names.iter().any(|name| name == "_last_checkpoint"), "{names:?}");
    assert_rows(&table, Some(&s3), &keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn synchronisation_makes_the_table_equal_to_the_bucket() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 50).await;
    append(&table, &traces, keys[..20].to_vec()).await.expect("added");
    for key in &keys[..5] {
        s3.delete(key).await;
    }
    let week = Duration::from_hours(7 * 24);
    let (first, second) =
        tokio::join!(sync(&table, &traces, week, None, |_| ()), sync(&table, &traces, week, None, |_| ()));
    for synced in [first, second] {
        assert_eq!(synced.expect("synchronised").listed, 45);
    }
    assert_rows(&table, Some(&s3), &keys[5..]).await;
    let again = sync(&table, &traces, week, None, |_| ()).await.expect("synchronised");
    assert_eq!((again.added.rows, again.maintained.removed.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_that_is_dropped_anywhere_is_completed_by_the_next() {
    let s3 = S3::start().await;
    let table = Table::open(&s3.lake()).await.expect("a table");
    let traces = s3.traces();
    let keys = store(&s3, "m", 20).await;
    append(&table, &traces, keys[..10].to_vec()).await.expect("added");
    for key in &keys[..3] {
        s3.delete(key).await;
    }
    for millis in [1, 3, 10, 30, 60, 100] {
        let whole = sync(&table, &traces, Duration::ZERO, None, |_| ());
        let _ = tokio::time::timeout(Duration::from_millis(millis), whole).await;
    }
    sync(&table, &traces, Duration::ZERO, None, |_| ()).await.expect("synchronised");
    assert_rows(&table, Some(&s3), &keys[3..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trace_of_the_bucket_is_listed() {
    let s3 = S3::start().await;
    let keys = store(&s3, "gpt-4o", 5).await;
    s3.put("readme", "{}").await;
    let listed: Vec<String> = s3.traces().list().map(|entry| entry.expect("listed").key).collect().await;
    let mut listed: Vec<String> = stream::iter(listed).collect().await;
    listed.sort();
    assert_eq!(listed, keys, "an object without a fingerprint is not a trace");
    let table = Table::open(&s3.lake()).await.expect("a table");
    assert!(rows(&table).await.is_empty());
}
