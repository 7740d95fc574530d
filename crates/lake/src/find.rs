//! Finds traces in the table by their text.

use arrow_array::{Array, cast::AsArray};
use futures_util::TryStreamExt;
use serde_json::Value;

use crate::{
    Error, Result, Table,
    columns::Entry,
    data_file::{entry, keys_of, read_rows},
};

/// Returns the traces that contain a text, in their JSON or in one of its strings.
///
/// A string may be written with escapes, such as `\u00fc`, so the decoded strings are searched too. Case matters.
pub async fn find(table: &Table, text: &str) -> Result<Vec<Entry>> {
    let snapshot = table.load().await?;
    let mut found = Vec::new();
    for file in snapshot.files() {
        let path = snapshot.path(file)?;
        let failed = |error| Error::Parquet(path.to_string(), error);
        let mut batches = read_rows(&table.location().store, &path, file.size).await?;
        while let Some(rows) = batches.try_next().await.map_err(failed)? {
            let other = || Error::OtherTable(path.to_string());
            let (keys, times) = keys_of(&rows).ok_or_else(other)?;
            let traces =
                rows.column_by_name("trace").and_then(|traces| traces.as_string_opt::<i32>()).ok_or_else(other)?;
            let matches =
                (0..rows.num_rows()).filter(|row| !traces.is_null(*row) && contains(traces.value(*row), text));
            found.extend(matches.map(|row| entry(keys, times, row)));
        }
    }
    found.sort();
    Ok(found)
}

fn contains(json: &str, text: &str) -> bool {
    json.contains(text) || serde_json::from_str(json).is_ok_and(|value: Value| has_string(&value, text))
}

fn has_string(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| has_string(item, text)),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains(text) || has_string(value, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_escaped_strings_and_names() {
        let json = r#"{"messages":[{"role":"user","content":"Gr\u00fc\u00dfe\nan jane@example.com"}],"na\u006de":1}"#;
        for text in ["Grüße", "Grüße\nan", "jane@example.com", "name", r"Gr\u00fc"] {
            assert!(contains(json, text), "{text}");
        }
        for text in ["grüße", "john"] {
            assert!(!contains(json, text), "{text}");
        }
    }
}
