//! Finds traces in the table by their text.

use arrow_array::{Array, cast::AsArray};
use attest::trace::MAX_DEPTH;
use futures_util::TryStreamExt;
use jiter::{Jiter, JiterResult, Peek};

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
    // Without an escape, the strings are the text of the JSON.
    json.contains(text) || (json.contains('\\') && has_string(json, text).unwrap_or(false))
}

fn has_string(json: &str, text: &str) -> JiterResult<bool> {
    let mut jiter = Jiter::new(json.as_bytes());
    let peek = jiter.peek()?;
    Strings { jiter, text, depth: 0 }.search(peek)
}

/// Searches the decoded strings of a JSON text. A number may have any size, because it is not converted.
struct Strings<'j> {
    jiter: Jiter<'j>,
    text: &'j str,
    depth: usize,
}

impl Strings<'_> {
    /// Searches a value. Stops at the first string that contains the text.
    fn search(&mut self, peek: Peek) -> JiterResult<bool> {
        match peek {
            Peek::String => Ok(self.jiter.known_str()?.contains(self.text)),
            // The endpoint stores nothing deeper.
            Peek::Array | Peek::Object if self.depth == MAX_DEPTH => self.jiter.known_skip(peek).map(|()| false),
            Peek::Array => {
                self.depth += 1;
                let mut next = self.jiter.known_array()?;
                while let Some(peek) = next {
                    if self.search(peek)? {
                        return Ok(true);
                    }
                    next = self.jiter.array_step()?;
                }
                self.depth -= 1;
                Ok(false)
            }
            Peek::Object => {
                self.depth += 1;
                let mut name = self.jiter.known_object()?;
                while let Some(member) = name {
                    if member.contains(self.text) {
                        return Ok(true);
                    }
                    let peek = self.jiter.peek()?;
                    if self.search(peek)? {
                        return Ok(true);
                    }
                    name = self.jiter.next_key()?;
                }
                self.depth -= 1;
                Ok(false)
            }
            _ => self.jiter.known_skip(peek).map(|()| false),
        }
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

    #[test]
    fn deep_nesting_and_long_numbers_do_not_hide_a_text() {
        let (open, close) = ("[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
        let json = format!(r#"{{"n":1e999,"m":{},"deep":{open}"\u006aane"{close}}}"#, "9".repeat(400));
        assert!(contains(&json, "jane"));
        assert!(!contains(&json, "john"));
    }
}
