//! Fingerprint and id ↔ the key of the object in S3, `fingerprint/id`.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The longest key that S3 takes, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_BYTES: usize = 1024;

/// What is percent-encoded: all but `A–Z a–z 0–9 ! - _ . * ' ( ) : @ + = ,`.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'$')
    .add(b'%')
    .add(b'&')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'~');

/// The key of one trace. Two different pairs never share one, and each reads back into its pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// Why a fingerprint and an id make no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The fingerprint is the empty string.
    EmptyFingerprint,
    /// The id is the empty string.
    EmptyId,
    /// The key would have this many bytes, over [`MAX_BYTES`].
    TooLong(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyFingerprint => f.write_str("The fingerprint is empty, so the trace has no key."),
            Self::EmptyId => f.write_str("The id is empty, so the trace has no key."),
            Self::TooLong(bytes) => {
                write!(f, "The key, fingerprint/id, has {bytes} bytes; S3 takes at most {MAX_BYTES}.")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// Makes the key `fingerprint/id`.
    pub fn new(fingerprint: &str, id: &str) -> Result<Self, KeyError> {
        if fingerprint.is_empty() {
            return Err(KeyError::EmptyFingerprint);
        }
        if id.is_empty() {
            return Err(KeyError::EmptyId);
        }
        let mut key = String::with_capacity(fingerprint.len() + id.len() + 1);
        let segments: Vec<&str> = fingerprint.split('/').collect();
        let last = segments.len() - 1;
        for (at, segment) in segments.iter().enumerate() {
            push_segment(&mut key, segment);
            if at < last {
                // An empty segment's slash is the one behind it; the last segment's is the one before it.
                let of_an_empty_segment = segment.is_empty() || (at + 1 == last && segments[last].is_empty());
                key.push_str(if of_an_empty_segment { "%2F" } else { "/" });
            }
        }
        key.push('/');
        push_segment(&mut key, id);
        if key.len() > MAX_BYTES {
            return Err(KeyError::TooLong(key.len()));
        }
        Ok(Self(key))
    }

    /// Reads a key back into its fingerprint and id; `None` for a key that no pair has.
    #[must_use]
    pub fn read(key: &str) -> Option<(String, String)> {
        let (fingerprint, id) = key.rsplit_once('/')?;
        let decode = |part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let pair = (decode(fingerprint)?, decode(id)?);
        (Self::new(&pair.0, &pair.1).ok()?.as_str() == key).then_some(pair)
    }

    /// The key as S3 is given it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn push_segment(key: &mut String, segment: &str) {
    match segment {
        "." => key.push_str("%2E"),
        ".." => key.push_str("%2E%2E"),
        _ => key.extend(utf8_percent_encode(segment, ENCODED)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stand_as_they_are_and_others_are_encoded() {
        for (fingerprint, id, key) in [
            ("gpt-4o-2024-08-06", "7d4f", "gpt-4o-2024-08-06/7d4f"),
            ("allenai/OLMoE-1B-7B", "7d4f", "allenai/OLMoE-1B-7B/7d4f"),
            ("Az09!-_.*'():@+=,", "Az09!-_.*'():@+=,", "Az09!-_.*'():@+=,/Az09!-_.*'():@+=,"),
            ("100%", "a/b", "100%25/a%2Fb"),
            ("~ #?&\\", "é\u{1F600}\0", "%7E%20%23%3F%26%5C/%C3%A9%F0%9F%98%80%00"),
            ("a//b", "i", "a/%2Fb/i"),
            ("/a", "i", "%2Fa/i"),
            ("a/", "i", "a%2F/i"),
            ("/", "i", "%2F/i"),
            ("a//", "i", "a/%2F/i"),
            ("../../etc/passwd", ".", "%2E%2E/%2E%2E/etc/passwd/%2E"),
            (".", "..", "%2E/%2E%2E"),
            ("...", ".hidden", ".../.hidden"),
        ] {
            let made = Key::new(fingerprint, id).expect(fingerprint);
            assert_eq!(made.as_str(), key);
            assert_eq!(Key::read(key), Some((fingerprint.to_owned(), id.to_owned())));
        }
    }

    #[test]
    fn empty_names_and_keys_over_the_limit_are_refused() {
        assert_eq!(Key::new("", "i"), Err(KeyError::EmptyFingerprint));
        assert_eq!(Key::new("f", ""), Err(KeyError::EmptyId));
        assert!(Key::new("f", &"i".repeat(1022)).is_ok());
        assert_eq!(Key::new("f", &"i".repeat(1023)), Err(KeyError::TooLong(1025)));
        assert_eq!(Key::new("f", &"é".repeat(171)), Err(KeyError::TooLong(1028)));
    }

    #[test]
    fn what_no_pair_has_is_no_key() {
        for key in ["", "a", "/a", "a/", "a//b", "a/./b", "../b", "a/b%2fc", "a/%41", "a/%", "a/%FF", "a b/c"] {
            assert_eq!(Key::read(key), None, "{key}");
        }
    }

    /// Names that are likely to collide if anything can: slashes, dots, percent signs and what they encode to.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(
                prop_oneof![
                    Just("/"),
                    Just("."),
                    Just("%"),
                    Just("%2F"),
                    Just("2F"),
                    Just("%2E"),
                    Just("a"),
                    Just("é")
                ],
                1..6
            )
            .prop_map(|parts| parts.concat()),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn every_key_reads_back_into_its_pair(fingerprint in name(), id in name()) {
            if let Ok(key) = Key::new(&fingerprint, &id) {
                prop_assert_eq!(Key::read(key.as_str()), Some((fingerprint, id)));
                prop_assert!(key.as_str().len() <= MAX_BYTES);
                prop_assert!(key.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            }
        }

        #[test]
        fn different_pairs_never_share_a_key(pairs in proptest::collection::vec((name(), name()), 2..64)) {
            let mut keys = HashMap::new();
            for pair in pairs {
                if let Ok(key) = Key::new(&pair.0, &pair.1) {
                    let first = keys.entry(key.as_str().to_owned()).or_insert_with(|| pair.clone());
                    prop_assert_eq!(&*first, &pair);
                }
            }
        }
    }
}
