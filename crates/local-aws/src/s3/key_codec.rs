//! Maps object keys to file paths and back.
//!
//! The path of an ordinary key is the key plus `.json`, so that `a` and `a/b` can both exist. `~` marks every
//! difference:
//!
//! - `~XX` is a byte that some file systems do not accept in a name.
//! - `~~` ends a piece of a name that is too long for one directory entry.
//! - `~` after a folder's `.json` distinguishes the folder from a file.
//! - `~00~` is an empty segment.

/// The longest file name without its extension, in bytes. File systems allow 255.
const NAME_BYTES: usize = 200;

/// Returns the file path of `key`, relative to the bucket's folder, with `/` as separator.
pub(super) fn path_of(key: &str) -> String {
    let mut path = String::new();
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let mut name = String::new();
        let dots = matches!(segment, "." | "..");
        for byte in segment.bytes() {
            if name.len() >= NAME_BYTES {
                path.push_str(&std::mem::take(&mut name));
                path.push_str("~~/");
            }
            match byte {
                b'~' | b'\\' | 0..0x20 | 0x7f.. => name.extend(['~', hex(byte >> 4), hex(byte & 15)]),
                b'.' if dots => name.push_str("~2E"),
                _ => name.push(char::from(byte)),
            }
        }
        path.push_str(&name);
        if segments.peek().is_none() {
            path.push_str(".json");
        } else if segment.is_empty() {
            path.push_str("~00~/");
        } else {
            path.push_str(if name.strip_suffix(".json").is_some() { "~/" } else { "/" });
        }
    }
    path
}

/// Returns the key of the file at `path`, or `None` if no key has this path.
pub(super) fn key_of(path: &str) -> Option<String> {
    let plain = path.strip_suffix(".json")?.replace("~~/", "").replace("~00~/", "/").replace(".json~/", ".json/");
    let mut bytes = Vec::new();
    let mut rest = plain.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'~' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    let key = String::from_utf8(bytes).ok()?;
    (path_of(&key) == path).then_some(key)
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).expect("four bits are a hexadecimal digit").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_key_is_its_path() {
        assert_eq!(path_of("allenai/OLMoE-1B-7B/7d4f"), "allenai/OLMoE-1B-7B/7d4f.json");
    }

    proptest! {
        #[test]
        fn every_key_has_its_own_path(key in prop_oneof![
            proptest::collection::vec(
                prop_oneof![Just("/"), Just("."), Just("~"), Just(".json"), Just("00"), Just("a"), Just("é")], 1..8
            ).prop_map(|parts| parts.concat()),
            "[a-z/~.%]{1,900}",
            "\\PC{1,300}",
        ]) {
            let path = path_of(&key);
            prop_assert!(path.split('/').all(|name| name.len() <= 255 && !matches!(name, "" | "." | "..")), "{path}");
            prop_assert_eq!(key_of(&path), Some(key));
        }
    }
}
