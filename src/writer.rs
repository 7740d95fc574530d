//! The writer of a trace: the API key of the request and, with IAM authorization, its principal.
//!
//! Both are metadata of the stored object, not members of the trace. Comparing traces ignores them, so a repeat with
//! another API key is still a repeat, and the metadata keeps the first writer.

use std::collections::HashMap;

use lambda_http::{Request, RequestExt, request::RequestContext};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The metadata key for the API key's id. S3 adds `x-amz-meta-`.
pub const API_KEY_ID: &str = "api-key-id";

/// The metadata key for the principal's ARN.
pub const PRINCIPAL: &str = "principal";

/// The longest value that is kept, in bytes. S3 rejects an object with more than 2 KB of metadata (Amazon S3 User
/// Guide, "Working with object metadata"), which would cost the trace. The ARN of a user or a session has at most 700
/// bytes.
const MAX_BYTES: usize = 900;

/// The characters that are percent-encoded: a header value must be visible ASCII, and `%` starts each encoded byte.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// The writer of a trace, as values that are safe in a header. Unlike the key itself, an API key's id grants no access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    /// The id that API Gateway assigned to the key.
    pub api_key_id: Option<String>,
    pub principal: Option<String>,
}

impl Writer {
    /// Reads the writer of a request from the context that API Gateway adds to the event.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        match request.request_context_ref() {
            Some(RequestContext::ApiGatewayV1(context)) => {
                Self::new(context.identity.api_key_id.as_deref(), context.identity.user_arn.as_deref())
            }
            _ => Self::default(),
        }
    }

    /// Encodes both values for headers. Drops a value that is empty or too long.
    #[must_use]
    pub fn new(api_key_id: Option<&str>, principal: Option<&str>) -> Self {
        Self { api_key_id: api_key_id.and_then(header_value), principal: principal.and_then(header_value) }
    }

    #[must_use]
    pub fn of_metadata(metadata: &HashMap<String, String>) -> Self {
        Self { api_key_id: metadata.get(API_KEY_ID).cloned(), principal: metadata.get(PRINCIPAL).cloned() }
    }

    pub fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = [(API_KEY_ID, &self.api_key_id), (PRINCIPAL, &self.principal)];
        values.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Encodes a value for a header. Returns `None` for a value that is empty or too long.
fn header_value(value: &str) -> Option<String> {
    let encoded = utf8_percent_encode(value, ENCODED).to_string();
    (!encoded.is_empty() && encoded.len() <= MAX_BYTES).then_some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_safe_in_a_header() {
        let table = [
            ("a1b2c3d4e5", Some("a1b2c3d4e5")),
            ("arn:aws:iam::123456789012:user/team/jane", Some("arn:aws:iam::123456789012:user/team/jane")),
            (
                "arn:aws:sts::1:assumed-role/r/jane@example.com+=,.@-_",
                Some("arn:aws:sts::1:assumed-role/r/jane@example.com+=,.@-_"),
            ),
            ("Jäne\r\nx-evil: 1", Some("J%C3%A4ne%0D%0Ax-evil:%201")),
            ("100%", Some("100%25")),
            ("", None),
        ];
        for (value, expected) in table {
            assert_eq!(Writer::new(Some(value), None).api_key_id.as_deref(), expected, "{value}");
            assert_eq!(Writer::new(None, Some(value)).principal.as_deref(), expected, "{value}");
        }
        assert_eq!(Writer::new(None, Some(&"ü".repeat(200))), Writer::default());
    }
}
