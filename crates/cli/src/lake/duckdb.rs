//! Selects rows with SQL through the DuckDB CLI, because an SQL engine would be larger than the rest of this program.
//!
//! A condition may contain other people's text, so it can access only the rows. DuckDB's own parser checks that it is
//! one expression. Only the syntax tree that the parser returns is executed, without access to files, the network,
//! extensions or settings.

use std::{ffi::OsStr, path::Path, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use attest_lake::LakeFile;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

/// The name of the file whose rows are selected.
const ROWS: &str = "rows.parquet";

#[derive(Debug)]
pub struct Condition {
    /// The serialized syntax tree of the statement that selects keys.
    statement: String,
    folder: TempDir,
}

impl Condition {
    /// Checks that the text is exactly one expression.
    pub async fn parse(condition: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot use the temporary folder")?;
        let statement = parse(folder.path(), condition).await?;
        // Apart from the condition, the tree must equal that of the same statement with another condition.
        let mut rest = without_places(statement.clone());
        let mut expected = without_places(parse(folder.path(), "true").await?);
        let place = "/statements/0/node/where_clause";
        let found = rest.pointer_mut(place).map(Value::take);
        expected.pointer_mut(place).map(Value::take);
        ensure!(rest == expected, "--where takes one condition, such as \"model = 'gpt-4o'\"");
        // Each file is searched separately, so a subquery would see only part of the rows.
        ensure!(!found.is_some_and(|found| has_subquery(&found)), "--where takes no subquery");
        Ok(Self { statement: statement.to_string(), folder })
    }

    /// Returns the keys of the rows in a file for which the condition holds.
    pub async fn keys(&self, file: &LakeFile) -> Result<Vec<String>> {
        let folder = TempDir::new_in(self.folder.path()).context("cannot use the temporary folder")?;
        file.copy_to(&folder.path().join(ROWS)).await?;
        let script = format!(
            "SET autoinstall_known_extensions = false;
             SET autoload_known_extensions = false;
             SET GLOBAL TimeZone = 'UTC';
             SET allowed_paths = ['{ROWS}'];
             SET enable_external_access = false;
             SET lock_configuration = true;
             CREATE VIEW rows AS SELECT *, DATE '1970-01-01' + (epoch_us(stored) // 86400000000)::INTEGER AS day
             FROM read_parquet('{ROWS}');
             SELECT * FROM json_execute_serialized_sql({});",
            quoted(&self.statement)
        );
        let output = run(folder.path(), &script).await?;
        Ok(output.lines().map(str::to_owned).collect())
    }
}

/// Parses the statement that selects keys by a condition, and returns its syntax tree.
async fn parse(folder: &Path, condition: &str) -> Result<Value> {
    // A trailing comment in the condition must not hide the parenthesis. A single-line literal is never taken for a
    // command.
    let escaped = quoted(&format!("SELECT key FROM rows WHERE (\n{condition}\n)")).replace('\n', "' || chr(10) || '");
    ensure!(!escaped.contains(['\r', '\0']), "--where takes no control characters");
    let output = run(folder, &format!("SELECT json_serialize_sql({escaped});")).await?;
    let tree: Value = serde_json::from_str(&output).context("unexpected output of duckdb")?;
    if let Some(message) = tree["error_message"].as_str() {
        bail!("--where is not a condition that DuckDB understands: {message}");
    }
    Ok(tree)
}

/// Returns the tree without source positions, which differ between equal expressions.
fn without_places(mut tree: Value) -> Value {
    match &mut tree {
        Value::Object(members) => {
            members.remove("query_location");
            members.values_mut().for_each(|value| *value = without_places(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = without_places(value.take())),
        _ => {}
    }
    tree
}

fn has_subquery(tree: &Value) -> bool {
    match tree {
        Value::Object(members) => {
            members.get("class").and_then(Value::as_str) == Some("SUBQUERY") || members.values().any(has_subquery)
        }
        Value::Array(values) => values.iter().any(has_subquery),
        _ => false,
    }
}

/// Runs a script in a folder, without the user's settings and environment.
async fn run(folder: &Path, script: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut duckdb = Command::new("duckdb")
        .args(["-init", "/dev/null", "-bail", "-noheader", "-list"])
        .env_clear()
        .envs([(OsStr::new("PATH"), path.as_os_str()), (OsStr::new("HOME"), folder.as_os_str())])
        .current_dir(folder)
        .kill_on_drop(true)
        // The command line would show the condition to other users.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the DuckDB CLI (`duckdb`): install it (https://duckdb.org/install), or use --keys")?;
    let mut input = duckdb.stdin.take().context("duckdb has no standard input")?;
    // If DuckDB exits early, its error message contains the reason.
    let _ = input.write_all(script.as_bytes()).await;
    drop(input);
    let output = duckdb.wait_with_output().await.context("cannot run the DuckDB CLI (`duckdb`)")?;
    let error = String::from_utf8_lossy(&output.stderr);
    // The other lines quote the statement.
    let first = error.lines().next().unwrap_or_default();
    ensure!(output.status.success() && error.is_empty(), "duckdb: {first} (version 1.2 or later is required)");
    String::from_utf8(output.stdout).context("duckdb did not print text")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
