//! Tests that every pair of fingerprint and id has a unique key, which decodes into the pair.

use std::collections::HashMap;

use attest::key::{Key, KeyError, MAX_BYTES};
use proptest::prelude::*;

#[test]
fn ordinary_names_are_literal_and_others_are_encoded() {
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
fn empty_names_and_keys_over_the_limit_are_rejected() {
    assert_eq!(Key::new("", "i"), Err(KeyError::EmptyFingerprint));
    assert_eq!(Key::new("f", ""), Err(KeyError::EmptyId));
    assert!(Key::new("f", &"i".repeat(1022)).is_ok());
    assert_eq!(Key::new("f", &"i".repeat(1023)), Err(KeyError::TooLong(1025)));
    assert_eq!(Key::new("f", &"é".repeat(171)), Err(KeyError::TooLong(1028)));
}

#[test]
fn strings_that_no_pair_encodes_are_not_keys() {
    for key in ["", "a", "/a", "a/", "a//b", "a/./b", "../b", "a/b%2fc", "a/%41", "a/%", "a/%FF", "a b/c"] {
        assert_eq!(Key::read(key), None, "{key}");
    }
}

/// Generates names that are likely to collide: slashes, dots, percent signs and their encodings.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just("/"), Just("."), Just("%"), Just("%2F"), Just("2F"), Just("%2E"), Just("a"), Just("é")],
            1..6
        )
        .prop_map(|parts| parts.concat()),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn every_key_decodes_into_its_pair(fingerprint in name(), id in name()) {
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
