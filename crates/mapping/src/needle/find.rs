//! Finds where a string occurs, so that the page can highlight it.

use std::{borrow::Cow, ops::Range};

use unicode_normalization::char::canonical_combining_class;

use super::{LEVELS, Needle, normal, unescape};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// The text with its escapes decoded as far as necessary.
    pub text: Cow<'a, str>,
    /// The byte range of the occurrence in `text`.
    pub range: Range<usize>,
}

impl Needle {
    /// Returns the first occurrence on the first level that has one. Unlike [`is_in`](Self::is_in), finds nothing
    /// beyond 24 levels of escapes.
    #[must_use]
    pub fn find<'a>(&self, text: &'a str) -> Option<Occurrence<'a>> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..LEVELS {
            if let Some(range) = self.range_in(&text) {
                return Some(Occurrence { text, range });
            }
            text = Cow::Owned(unescape(&text, false)?);
        }
        None
    }

    /// Returns the byte range of the first occurrence after byte `from`, without decoding escapes.
    #[must_use]
    pub fn find_after(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let range = self.range_in(text.get(from..)?)?;
        Some(range.start + from..range.end + from)
    }

    fn range_in(&self, text: &str) -> Option<Range<usize>> {
        if self.text.is_empty() || !self.is_on_this_level(text) {
            return None;
        }
        if text.is_ascii() {
            let start = normal(text, self.case).find(&self.text)?;
            return Some(start..start + self.text.len());
        }
        // A text can be normalized character by character, each with the combining marks that follow it.
        let mut folded = String::with_capacity(text.len());
        let mut places: Vec<(usize, usize)> = Vec::new(); // where a character starts, in `folded` and in `text`
        let mut rest = text;
        while !rest.is_empty() {
            let mut characters = rest.char_indices().skip(1);
            let end =
                characters.find(|(_, mark)| canonical_combining_class(*mark) == 0).map_or(rest.len(), |(at, _)| at);
            places.push((folded.len(), text.len() - rest.len()));
            folded.push_str(&normal(&rest[..end], self.case));
            rest = &rest[end..];
        }
        places.push((folded.len(), text.len()));
        let start = folded.find(&self.text)?;
        let end = start + self.text.len();
        let first = places.partition_point(|(place, _)| *place <= start) - 1;
        let last = places.partition_point(|(place, _)| *place < end);
        Some(places[first].1..places.get(last)?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LetterCase, *};

    fn found(text: &str, word: &str) -> Option<String> {
        let occurrence = Needle::new(word, LetterCase::Ignored).find(text)?;
        Some(occurrence.text[occurrence.range].to_owned())
    }

    #[test]
    fn occurrences_are_found_as_they_are_written() {
        for (text, word, expected) in [
            ("Where is my Refund?", "refund", "Refund"),
            ("naïve Düsseldorf", "DÜSSELDORF", "Düsseldorf"),
            ("in Du\u{308}sseldorf.", "düsseldorf", "Du\u{308}sseldorf"),
            ("ΟΔΟΣ", "οδος", "ΟΔΟΣ"),
            (r#"{"city": "D\u00fcsseldorf"}"#, "düsseldorf", "Düsseldorf"),
            ("İstanbul", "i\u{307}s", "İs"),
            ("日本語テキスト", "本語", "本語"),
        ] {
            assert_eq!(found(text, word).as_deref(), Some(expected), "{word} in {text}");
        }
        assert_eq!(found("Hello", "refund"), None);
    }

    #[test]
    fn later_occurrences_are_found() {
        let word = Needle::new("ä", LetterCase::Ignored);
        assert_eq!(word.find_after("ä Ä a", 2), Some(3..5));
        assert_eq!(word.find_after("ä Ä a", 5), None);
        assert_eq!(word.find_after("ä", 9), None);
    }
}
