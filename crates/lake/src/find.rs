//! Finds traces in the table by their text.

use attest::trace::MAX_DEPTH;
use jiter::{Jiter, JiterResult, Peek};

use crate::{Result, Table, columns::Entry, scan::Scan};

/// Returns the traces that contain a text, in their JSON or in one of its strings.
///
/// A string may be written with escapes, such as `\u00fc`, so the decoded strings are searched too. Case matters.
pub async fn find(table: &Table, text: &str) -> Result<Vec<Entry>> {
    let mut scan = Scan::begin(table, None).await?;
    let mut found = Vec::new();
    while let Some(rows) = scan.next(|_| true).await? {
        let matches = rows.traces.into_iter().filter(|(_, json)| contains(json, text));
        found.extend(matches.map(|(entry, _)| entry));
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
