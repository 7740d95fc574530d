//! Checks what every response must have: its status, its media type, and each member of its body.

use std::{fmt, time::Duration};

use attest::problem::MEDIA_TYPE;
use bytes::Bytes;
use reqwest::header::{self, HeaderMap};
use serde_json::Value;

use super::{
    probe::Trace,
    report::{Mismatch, ensure},
};

/// The largest number of characters of a response that a report shows.
const SHOWN: usize = 200;

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub took: Duration,
    /// The start of the body, without the API key.
    shown: String,
}

impl Answer {
    pub fn new(status: u16, headers: HeaderMap, body: Bytes, took: Duration, api_key: &str) -> Self {
        let shown = String::from_utf8_lossy(&body).replace(api_key, "[API key]").chars().take(SHOWN).collect();
        Self { status, headers, body, took, shown }
    }

    /// Returns the value of a header, or an empty string.
    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the headers and the body as one string, for searching.
    pub fn text(&self) -> String {
        let headers =
            self.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        headers.chain([String::from_utf8_lossy(&self.body).into_owned()]).collect()
    }

    /// Requires this status and the receipt of this trace.
    pub fn receipt(&self, status: u16, trace: &Trace) -> Result<(), Mismatch> {
        let receipt = self.json(status, "application/json")?;
        let expected = trace.receipt();
        ensure(receipt == expected, expected.to_string(), self.to_string())
    }

    /// Returns the body, which must be JSON. Requires this status and media type.
    pub fn json(&self, status: u16, media_type: &str) -> Result<Value, Mismatch> {
        ensure(self.status == status, status.to_string(), self.to_string())?;
        let found = self.header(header::CONTENT_TYPE);
        ensure(found == media_type, format!("{status} as {media_type}"), format!("{status} as {found}"))?;
        serde_json::from_slice(&self.body).map_err(|error| Mismatch::new("JSON", format!("{self} ({error})")))
    }

    /// Returns the problem details (RFC 9457) of a refused request. Requires this status and one of these types.
    pub fn problem(&self, status: u16, kinds: &[&str]) -> Result<Value, Mismatch> {
        let problem = self.json(status, MEDIA_TYPE)?;
        let kind = problem["type"].as_str().unwrap_or_default().strip_prefix("urn:attest:problem:");
        let is_expected = kind.is_some_and(|kind| kinds.contains(&kind));
        ensure(
            is_expected,
            format!("the type urn:attest:problem:{}", kinds.join(" or ")),
            problem["type"].to_string(),
        )?;
        let is_text = |name: &str| problem[name].as_str().is_some_and(|text| !text.is_empty());
        ensure(is_text("title") && is_text("detail"), "title and detail", self.to_string())?;
        // API Gateway's own errors may omit the status.
        let agrees = problem["status"].is_null() || problem["status"] == status;
        ensure(agrees, format!("the status {status} in the body"), problem["status"].to_string())?;
        Ok(problem)
    }

    /// Requires `Retry-After` in seconds (RFC 9110, section 10.2.3).
    pub fn retry_after(&self) -> Result<(), Mismatch> {
        let found = self.header(header::RETRY_AFTER);
        ensure(found.parse::<u32>().is_ok(), "Retry-After in seconds", format!("Retry-After: {found:?}"))
    }

    /// Returns whether API Gateway responded before it knew the API, so that the API's gateway responses do not apply.
    ///
    /// It may refuse a compressed or an oversized body that early (API Gateway Developer Guide, "Call an API method
    /// with a compressed payload"). Its own errors only have the member `message`.
    pub fn is_before_routing(&self) -> bool {
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let members = body.as_object().map_or(0, serde_json::Map::len);
        self.header(header::CONTENT_TYPE) == "application/json"
            && members == 1
            && (body["message"].is_string() || body["Message"].is_string())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.shown)
    }
}
