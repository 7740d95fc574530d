//! Tests tables that other programs have changed in ways that Delta allows, and tables of earlier versions.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use attest_lake::{LakeLocation, Table, append, maintain, objects::Objects};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use crate::support::{S3, assert_rows, rows, store};

async fn lake(s3: &S3, keys: &[String]) -> (PathBuf, Table) {
    let folder = s3.root.path().join("files");
    let table = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.expect("a table");
    append(&table, &s3.traces(), keys.to_vec()).await.expect("added");
    (folder, table)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let log = fs::read_dir(folder.join("_delta_log")).expect("the log").map(|entry| entry.expect("an entry").path());
    log.filter(|path| path.extension().is_some_and(|name| name == "json")).collect()
}

fn edit(folder: &Path, from: &str, to: &str) {
    let mut edited = 0;
    for entry in entries(folder) {
        let text = fs::read_to_string(&entry).expect("the log");
        edited += text.matches(from).count();
        fs::write(&entry, text.replacen(from, to, 1)).expect("it is written");
    }
    assert!(edited > 0, "the log has no {from}");
}

/// Rewrites a data file as deltalake does: with Arrow's view types, which the file's metadata declares.
fn with_views(folder: &Path) {
    let days = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let day = days.into_iter().find(|path| path.to_string_lossy().contains("day=")).expect("a day");
    let file = fs::read_dir(day).expect("a folder").next().expect("a file").expect("an entry").path();
    let size = fs::metadata(&file).expect("a file").len();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).expect("a file")).expect("Parquet");
    let batch = reader.build().expect("Parquet").next().expect("a batch").expect("rows");
    // Other writers may also order the columns differently.
    let columns = (0..batch.num_columns()).rev().map(|place| {
        let (field, column) = (batch.schema_ref().field(place).clone(), batch.column(place));
        if *field.data_type() != DataType::Utf8 {
            return (field, Arc::clone(column));
        }
        let views = arrow_cast::cast(column, &DataType::Utf8View).expect("a text");
        (Field::new(field.name(), DataType::Utf8View, true), views)
    });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the same rows");
    let mut writer =
        ArrowWriter::try_new(File::create(&file).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("it is written");
    writer.close().expect("it is written");
    let written = fs::metadata(&file).expect("a file").len();
    edit(folder, &format!("\"size\":{size}"), &format!("\"size\":{written}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_other_arrow_types_and_comments_on_columns_are_read_and_rewritten() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 6).await;
    let (folder, _) = lake(&s3, &keys[..5]).await;
    with_views(&folder);
    let key = r#"\"name\":\"key\",\"type\":\"string\",\"nullable\":true,\"metadata\":{"#;
    edit(&folder, key, &format!(r#"{key}\"comment\":\"the key in S3\""#));
    let table = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.expect("a lake");
    assert_eq!(rows(&table).await.len(), 5);
    s3.delete(&keys[0]).await;
    append(&table, &s3.traces(), keys[5..].to_vec()).await.expect("added");
    let gone = maintain::gone(&s3.traces(), keys[..1].to_vec()).await.expect("looked up");
    assert_eq!(maintain::maintain(&table, &gone).await.expect("maintained").removed.len(), 1);
    assert_rows(&table, None, &keys[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_no_lake_is_refused_with_the_reason() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 1).await;
    for (from, to, reason) in [
        (r#"\"name\":\"model\""#, r#"\"name\":\"maker\""#, "it has no column `model`"),
        (
            r#"\"name\":\"model\",\"type\":\"string\""#,
            r#"\"name\":\"model\",\"type\":\"long\""#,
            "its column `model` has another type",
        ),
        (
            r#"{\"name\":\"model\""#,
            r#"{\"name\":\"mine\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}},{\"name\":\"model\""#,
            "it has another column, `mine`",
        ),
    ] {
        let (folder, _) = lake(&s3, &keys).await;
        edit(&folder, from, to);
        let error = Table::open(&LakeLocation::folder(&folder).expect("a folder")).await.map(drop).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
        fs::remove_dir_all(&folder).expect("it is deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_earlier_version_gets_its_missing_columns() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 3).await;
    let (folder, _) = lake(&s3, &keys[..2]).await;
    let (text, number) = (r#"\"string\""#, r#"\"double\""#);
    let list = r#"{\"type\":\"array\",\"elementType\":\"string\",\"containsNull\":true}"#;
    for (column, kind) in [
        ("etag", text),
        ("api_key_id", text),
        ("principal", text),
        ("session_id", text),
        ("user", text),
        ("tags", list),
        ("duration", number),
        ("first_token", number),
    ] {
        let field = format!(r#"{{\"name\":\"{column}\",\"type\":{kind},\"nullable\":true,\"metadata\":{{}}}},"#);
        edit(&folder, &field, "");
    }
    let location = LakeLocation::folder(&folder).expect("a folder");
    let old = Table::open_existing(&location).await.expect("a lake");
    let version = old.load().await.expect("the table").version();
    let table = Table::open(&location).await.expect("a lake");
    assert_eq!(table.load().await.expect("the table").version(), version + 1);
    append(&table, &s3.traces(), keys.clone()).await.expect("added");
    assert_rows(&table, None, &keys).await;
    let again = Table::open(&location).await.expect("a lake");
    assert_eq!(again.load().await.expect("the table").version(), version + 2, "the columns are added once");
    assert!(s3.traces().stored(&keys[0]).await.expect("looked up").is_some_and(|entry| entry.etag.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_works_in_a_folder_of_any_name() {
    let s3 = S3::start().await;
    let keys = store(&s3, "m", 2).await;
    let root = tempfile::tempdir().expect("a temporary folder");
    for name in ["my%20data", "a%2Fb", "back\\slash", "two words", "Grüße", "50%", "a#b?c"] {
        let folder = root.path().join(name);
        for keys in [&keys[..1], &keys[..]] {
            let location = LakeLocation::folder(&folder).expect("a folder");
            let table = Table::open(&location).await.expect("a lake");
            append(&table, &s3.traces(), keys.to_vec()).await.expect("added");
            assert_eq!(rows(&table).await.len(), keys.len(), "{name}");
        }
        assert_eq!(entries(&folder).len(), 3, "{name}: a commit to create it, and one per row");
    }
    let names = fs::read_dir(root.path()).expect("a folder").count();
    assert_eq!(names, 7, "no other folder was written");
}
