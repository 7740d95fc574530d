//! Tests `lake sync` and `forget` by running the built program on the endpoint's folder.

mod failures;
pub mod foreign;
mod forget;
mod forget_query;
mod random;
mod source;
mod sync;
pub mod versioned_s3;
mod versions;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow_array::{RecordBatch, StringArray, cast::AsArray};
use attest_lake::{LakeLocation, Table};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{export::store, import::program};

fn trace(content: &str) -> String {
    let messages = serde_json::json!([{"role": "user", "content": content}]);
    serde_json::json!({"model": "m", "created": 1, "messages": messages}).to_string()
}

fn store_days(folder: &Path, traces: u64) {
    for number in 0..traces {
        store(folder, &format!("m/{number:05}"), &trace(&format!("number {number}")), 1_440 * (number % 4));
    }
}

async fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(folder).args(arguments).output().await.expect("it runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn count(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim().strip_suffix(name)).unwrap_or_else(|| panic!("{report}"));
    line.trim().replace(',', "").parse().expect("a number")
}

/// Returns the keys of the lake's current version, in order.
async fn keys(lake: &Path) -> Vec<String> {
    let table = Table::open(&LakeLocation::folder(lake).expect("a folder")).await.expect("the table");
    let snapshot = table.load().await.expect("the table");
    let mut keys = Vec::new();
    for file in snapshot.files() {
        keys.extend(snapshot.keys(vec![file.clone()]).await.expect("its keys").into_iter().map(|entry| entry.key));
    }
    keys.sort();
    let rows: u64 = snapshot.files().iter().map(attest_lake::DataFile::rows).sum();
    assert_eq!(rows, keys.len() as u64, "no file repeats a key");
    keys
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

fn data_files(lake: &Path) -> Vec<PathBuf> {
    let mut files = files(lake);
    files.retain(|file| {
        file.extension().is_some_and(|name| name == "parquet") && !file.to_string_lossy().contains("_delta_log")
    });
    files
}

fn rows(file: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("a file")).expect("Parquet");
    reader.build().expect("Parquet").next().expect("a batch").expect("rows")
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).expect("a column").as_string()
}
