//! Builds the URLs of pages that other pages link to.

/// Omits the parameters in `more` that are empty.
pub fn trace_url(key: &str, more: &[(&str, &str)]) -> String {
    let more = more.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = [("key", key)].iter().chain(more).copied().collect();
    format!("/trace?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

/// Returns the URL of a conversation as Markdown. Appending `&of=` and a fragment selects a turn or a call.
pub fn markdown_url(key: &str) -> String {
    format!("/markdown?{}", serde_urlencoded::to_string([("key", key)]).unwrap_or_default())
}

/// Returns the URL for downloading all traces that a query selects.
pub fn export_url(q: &str) -> String {
    format!("/export?{}", serde_urlencoded::to_string([("q", q)]).unwrap_or_default())
}

pub fn session_url(id: &str) -> String {
    format!("/session?{}", serde_urlencoded::to_string([("id", id)]).unwrap_or_default())
}
