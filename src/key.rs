//! S3 object keys: fingerprint and id ↔ `fingerprint/id`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest key that S3 accepts, in UTF-8 bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_BYTES: usize = 1024;

/// The bytes that are percent-encoded: all but `A–Z a–z 0–9 ! - _ . * ' ( ) : @ + = ,`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b':')
    .remove(b'@')
    .remove(b'+')
    .remove(b'=')
    .remove(b',');

/// The object key of a trace. Different pairs of fingerprint and id never share a key, and each key decodes into its
/// pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    EmptyFingerprint,
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
                write!(f, "The key, fingerprint/id, has {bytes} bytes; S3 accepts at most {MAX_BYTES}.")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
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
                // An empty segment encodes the slash after it. The last segment, if empty, encodes the slash before it.
                let belongs_to_empty_segment = segment.is_empty() || (at + 1 == last && segments[last].is_empty());
                key.push_str(if belongs_to_empty_segment { "%2F" } else { "/" });
            }
        }
        key.push('/');
        push_segment(&mut key, id);
        if key.len() > MAX_BYTES {
            return Err(KeyError::TooLong(key.len()));
        }
        Ok(Self(key))
    }

    /// Decodes a key into its fingerprint and id. Returns `None` for a key that [`Key::new`] never returns.
    #[must_use]
    pub fn read(key: &str) -> Option<(String, String)> {
        let (fingerprint, id) = key.rsplit_once('/')?;
        let decode = |part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let pair = (decode(fingerprint)?, decode(id)?);
        (Self::new(&pair.0, &pair.1).ok()?.as_str() == key).then_some(pair)
    }

    /// Returns the key as S3 receives it.
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
