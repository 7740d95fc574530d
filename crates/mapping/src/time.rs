//! Parses times as whole seconds, because a trace does not store fractions.

use jiff::Timestamp;

use super::json::{Json, Members};

/// The members in which providers report the time of a response.
const MEMBERS: [&str; 3] = ["created", "created_at", "timestamp"];

pub fn created(members: &Members) -> Option<i64> {
    MEMBERS.iter().find_map(|name| members.get(name).and_then(seconds))
}

/// Returns the whole seconds since 1970 for a number, a number in a string, or an RFC 3339 time. A time without an
/// offset is in UTC.
pub fn seconds(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => of_number(number.get()),
        Json::String(text) => of_number(text).or_else(|| of_time(text)),
        _ => None,
    }
}

fn of_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return if digits.len() <= 19 { text.parse().ok() } else { None };
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    // Rust accepts more than JSON does, such as `1.`.
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let number: f64 = text.parse().ok().filter(|_| !mantissa.ends_with('.'))?;
    #[expect(clippy::cast_possible_truncation, reason = "it is less than 2^53")]
    (number.abs() < 9_007_199_254_740_992.0).then(|| number.floor() as i64)
}

fn of_time(text: &str) -> Option<i64> {
    let (time, rest) = text.split_at_checked(19)?;
    if !matches!(time.as_bytes()[10], b'T' | b't' | b' ') || time.as_bytes()[16] != b':' {
        return None;
    }
    // The fraction is dropped, because the whole seconds are the floor.
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if offset.len() == fraction.len() {
                return None;
            }
            offset
        }
        None => rest,
    };
    let offset = if offset.is_empty() { "Z" } else { offset };
    let is_offset = matches!(offset, "Z" | "z") || offset.len() == 6 && offset.as_bytes()[3] == b':';
    let time: Timestamp = is_offset.then(|| format!("{time}{offset}").parse().ok())??;
    Some(time.as_second())
}
