//! Decides whether a response confirms that a trace is stored (docs/api.md, "When a trace is stored").
//!
//! Other servers also answer 200 and 201: a captive portal, a login page, another service behind a wrong URL.

use std::borrow::Cow;

use attest::key::Key;
use serde::Deserialize;

/// The members of a trace that determine its key.
#[derive(Deserialize)]
struct SentTrace<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    system_fingerprint: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ReceivedReceipt<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

/// What the body of a 200 or 201 confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    Trace,
    /// A trace with this fingerprint, but not with the sent id.
    OtherId,
    Nothing,
}

/// Returns what a response with this media type and body confirms after `trace` was sent.
pub fn confirms(media_type: Option<&str>, body: &[u8], trace: &[u8]) -> Confirmed {
    let essence = media_type.and_then(|media_type| media_type.split(';').next()).unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Confirmed::Nothing;
    }
    let (Ok(receipt), Ok(sent)) =
        (serde_json::from_slice::<ReceivedReceipt<'_>>(body), serde_json::from_slice::<SentTrace<'_>>(trace))
    else {
        return Confirmed::Nothing;
    };
    let fingerprint = sent.system_fingerprint.unwrap_or(sent.model);
    if Key::new(&fingerprint, &receipt.id).is_ok_and(|key| key.as_str() == receipt.key) {
        if sent.id.is_none_or(|id| id == receipt.id) { Confirmed::Trace } else { Confirmed::OtherId }
    } else {
        Confirmed::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receipt_of_the_trace_confirms_it() {
        let trace = br#"{"model":"m","created":1,"messages":[],"id":"a/b","system_fingerprint":"f"}"#;
        let without_id = br#"{"model":"m/1","created":1,"messages":[]}"#;
        let receipt = br#"{"id":"a/b","object":"chat.trace","system_fingerprint":"f","key":"f/a%2Fb"}"#;
        for media_type in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(confirms(Some(media_type), receipt, trace), Confirmed::Trace, "{media_type}");
        }
        assert_eq!(confirms(Some("application/json"), br#"{"id":"x","key":"m/1/x"}"#, without_id), Confirmed::Trace);
        assert_eq!(confirms(Some("application/json"), br#"{"id":"x","key":"f/x"}"#, trace), Confirmed::OtherId);
        for media_type in [None, Some(""), Some("text/html"), Some("text/plain"), Some("application/problem+json")] {
            assert_eq!(confirms(media_type, receipt, trace), Confirmed::Nothing, "{media_type:?}");
        }
        for body in [
            "",
            "<html>Sign in</html>",
            "{}",
            "[]",
            r#"{"ok":true}"#,
            r#"{"id":"a/b"}"#,
            r#"{"key":"f/a%2Fb"}"#,
            r#"{"id":"a/b","key":"f/other"}"#,
            r#"{"id":"a/b","key":"m/a%2Fb"}"#,
            r#"{"id":"a/b","key":"f/a/b"}"#,
            r#"{"id":1,"key":"f/1"}"#,
            r#"{"id":"a/b","key":"f/a%2Fb""#,
        ] {
            assert_eq!(confirms(Some("application/json"), body.as_bytes(), trace), Confirmed::Nothing, "{body}");
        }
    }
}
