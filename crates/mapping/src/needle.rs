//! Decides whether a trace contains a string, for both `forget` and the page's search.
//!
//! A trace is JSON whose strings may contain JSON again: tool arguments and results, often with escapes such as
//! `\u00fc`. A reader of the conversation sees the decoded text, so the search decodes the escapes of every level. It
//! decodes them wherever they occur instead of parsing, because JSON that a model left incomplete is still readable.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

mod find;

pub use find::Occurrence;

/// The number of levels that are searched one by one. Each level doubles the backslashes before a quote, so 22 levels
/// fill 4 MiB.
const LEVELS: usize = 24;

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterCase {
    Matters,
    Ignored,
}

/// A string to search for. Canonically equivalent strings are equal, such as `ü` and `u` with a combining diaeresis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    text: String,
    case: LetterCase,
}

impl Needle {
    #[must_use]
    pub fn new(text: &str, case: LetterCase) -> Self {
        Self { text: normal(text, case).into_owned(), case }
    }

    /// Returns the normalized string, which is what is compared.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the string occurs in `text`, on any level of decoding its escapes.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let mut text = Cow::Borrowed(text);
        for _ in 0..LEVELS {
            if self.is_on_this_level(&text) {
                return true;
            }
            match unescape(&text, false) {
                Some(decoded) => text = Cow::Owned(decoded),
                None => return false,
            }
        }
        // With `\u005c`, a level costs only five bytes, so a string may have more levels. They are decoded in one pass,
        // in linear time.
        self.is_on_this_level(&text) || unescape(&text, true).is_some_and(|decoded| self.is_on_this_level(&decoded))
    }

    fn is_on_this_level(&self, text: &str) -> bool {
        normal(text, self.case).contains(&self.text)
    }
}

/// Normalizes a string to NFC, and to lower case if case is ignored.
fn normal(text: &str, case: LetterCase) -> Cow<'_, str> {
    // `str::to_lowercase` converts a sigma according to its context, which a substring lacks.
    let lower = |character: char| if character == 'ς' { 'σ'.to_lowercase() } else { character.to_lowercase() };
    match case {
        LetterCase::Matters if is_nfc(text) => Cow::Borrowed(text),
        LetterCase::Matters => Cow::Owned(text.nfc().collect()),
        LetterCase::Ignored if text.is_ascii() => Cow::Owned(text.to_ascii_lowercase()),
        // Composed letters have lower-case forms that decomposed ones may lack, and lower case may decompose.
        LetterCase::Ignored => Cow::Owned(text.nfc().flat_map(lower).nfc().collect()),
    }
}

/// Decodes the JSON escapes in a string, once or until none is left. Returns `None` if it has none.
fn unescape(text: &str, completely: bool) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    let mut has_escape = false;
    while let Some(place) = rest.find('\\') {
        decoded.push_str(&rest[..place]);
        rest = &rest[place..];
        let Some((mut character, mut length)) = escape(rest) else {
            decoded.push('\\');
            rest = &rest[1..];
            continue;
        };
        has_escape = true;
        // A decoded backslash may start the next level's escape.
        while completely && character == '\\' {
            let Some((next, taken)) = escape_after_backslash(&rest[length..]) else { break };
            (character, length) = (next, length + taken);
        }
        decoded.push(character);
        rest = &rest[length..];
    }
    has_escape.then(|| {
        decoded.push_str(rest);
        decoded
    })
}

/// Decodes the escape at the start of a string (RFC 8259, section 7). Returns its character and its length in bytes.
fn escape(text: &str) -> Option<(char, usize)> {
    let (character, length) = escape_after_backslash(text.strip_prefix('\\')?)?;
    Some((character, length + 1))
}

fn escape_after_backslash(text: &str) -> Option<(char, usize)> {
    let simple = match text.as_bytes().first()? {
        b'u' => {
            let first = unit(text)?;
            let second = || text.get(5..)?.strip_prefix('\\').and_then(unit);
            let units = [first, second().unwrap_or_default()];
            let character = char::decode_utf16(units).next()?.ok()?;
            return Some((character, if character.len_utf16() == 2 { 11 } else { 5 }));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        _ => return None,
    };
    Some((simple, 1))
}

/// Parses `uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn contains(text: &str, needle: &str) -> bool {
        Needle::new(needle, LetterCase::Matters).is_in(text)
    }

    #[test]
    fn texts_are_found_in_escaped_strings_and_names() {
        let json = r#"{"messages":[{"role":"user","content":"Gr\u00fc\u00dfe\nan jane@example.com"}],"na\u006de":1}"#;
        for text in ["Grüße", "Grüße\nan", "jane@example.com", "name", r"Gr\u00fc", "Gru\u{308}ße"] {
            assert!(contains(json, text), "{text}");
        }
        for text in ["grüße", "john"] {
            assert!(!contains(json, text), "{text}");
        }
    }

    #[test]
    fn json_that_is_cut_off_or_within_other_text_is_decoded() {
        for json in [
            r#"{"city": "D\u00fcsseldorf"#,
            r#"data: {"city": "D\u00fcsseldorf"}"#,
            r#""\"{\\\"city\\\":\\\"D\\u00fcsseldorf"#,
        ] {
            assert!(contains(json, "Düsseldorf"), "{json}");
        }
        assert!(contains(r#"{"path":"C:\\new"}"#, r"C:\new"), "a text with a backslash");
        assert!(contains(r#"{"path":"C:\\new"}"#, r"C:\\new"), "as it is written");
        assert!(contains(r#"{"emoji":"\ud83d\ude00"}"#, "😀"));
        for unpaired in [r"\ud83d", r"\ud83d\u0041", r"\ude00", r"\u00g0", r"\u", r"\", r"\x"] {
            assert!(!contains(unpaired, "😀"), "{unpaired}");
        }
    }

    #[test]
    fn case_is_ignored_on_request_in_every_script() {
        for (text, needle) in [
            ("DÜSSELDORF", "düsseldorf"),
            ("du\u{308}sseldorf", "DÜSSELDORF"),
            ("ΟΔΟΣ", "οδος"),
            ("οδός", "ΟΔΌΣ"),
            ("A Refund", "refund"),
        ] {
            assert!(Needle::new(needle, LetterCase::Ignored).is_in(text), "{needle}");
            assert!(!contains(text, needle), "{needle}");
        }
    }

    #[test]
    fn many_levels_are_decoded_in_linear_time() {
        let deep = format!("\\u005c{}u006aane", "u005c".repeat(800_000));
        assert!(contains(&deep, "jane"));
        assert!(!contains(&deep, "john"));
    }

    /// Formats a string as a JSON string. `is_ascii` escapes all other characters, as Python's `json.dumps` does.
    fn quoted(text: &str, is_ascii: bool) -> String {
        let mut quoted = String::new();
        for character in serde_json::to_string(text).expect("a string").chars() {
            if is_ascii && !character.is_ascii() {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(quoted, "\\u{unit:04x}").expect("a string takes everything");
                }
            } else {
                quoted.push(character);
            }
        }
        quoted
    }

    proptest! {
        #[test]
        fn a_text_is_found_on_every_level_in_both_normal_forms(
            before in any::<String>(),
            text in r#"[a-zäöüßéñ"\\/\n😀 ]{1,12}"#,
            after in "[a-z ]*",
            levels in prop::collection::vec(any::<bool>(), 1..6),
            is_decomposed in any::<bool>(),
        ) {
            let stored: String = if is_decomposed { text.nfd().collect() } else { text.clone() };
            let mut json = format!("{before}{stored}{after}");
            for is_ascii in levels {
                json = format!(r#"{{"result": [{}, 1]}}"#, quoted(&json, is_ascii));
            }
            prop_assert!(contains(&json, &text));
            prop_assert!(Needle::new(&text.to_uppercase().to_lowercase(), LetterCase::Ignored).is_in(&json.to_lowercase()) || text.contains('ß'));
        }

        #[test]
        fn a_character_that_no_level_has_is_not_found(json in any::<String>()) {
            let json = quoted(&json.replace('\u{10ffff}', ""), false);
            prop_assume!(!json.to_lowercase().contains("udfff"));
            let is_found = contains(&json, "\u{10ffff}");
            prop_assert!(!is_found);
        }
    }
}
