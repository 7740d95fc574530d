//! Endpoint URLs on the command line.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use url::Url;

use crate::note;

/// Parses the value of `--url`. Errors do not quote it, because it may contain a password.
pub fn parse(text: &str) -> Result<Url> {
    let advice = "--url is not a URL that begins with https:// or http://";
    let url = Url::parse(text).context(advice)?;
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), advice);
    Ok(url)
}

/// Returns a URL without user name and password, for messages and files.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for a URL without a host, which `parse` refuses.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

/// Returns whether a URL refers to this machine. Such a URL must bypass any proxy, or traces and keys would leave the
/// machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address.map(|address| address.to_canonical()) {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

pub fn warn_if_exposed(url: &Url) {
    if is_exposed(url) {
        note!("warning: {} is not encrypted: others can read the traces and the API key", shown(url));
    }
}

/// Returns whether traces and the API key would cross a network unencrypted.
fn is_exposed(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_this_machine_are_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1:9080/prod", true),
            ("http://127.8.9.1/", true),
            ("http://[::1]:9080/prod", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://0.0.0.0:9080/", true),
            ("http://LOCALHOST/", true),
            ("http://localhost./", true),
            ("http://a.localhost/", true),
            ("https://example.com/prod", false),
            ("https://localhost.example.com/", false),
            ("http://128.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("it is a URL")), expected, "{url}");
        }
    }

    #[test]
    fn only_http_to_another_machine_is_exposed() {
        for (url, expected) in
            [("http://127.0.0.1:9080/prod", false), ("http://example.com/", true), ("https://example.com/", false)]
        {
            assert_eq!(is_exposed(&parse(url).expect("it is a URL")), expected, "{url}");
        }
    }

    #[test]
    fn urls_without_a_scheme_are_rejected_and_not_quoted() {
        for url in [
            "example.com/prod",
            "localhost:9080/prod",
            "127.0.0.1:9080",
            "",
            "ftp://user:secret@a/",
            "file:///a",
            "https:",
            "https://user:secret@",
        ] {
            let error = format!("{:#}", parse(url).expect_err(url));
            assert!(error.contains("https://") && !error.contains("secret"), "{error}");
        }
        let url = parse("https://user:secret@example.com/prod").expect("it is a URL");
        assert_eq!(shown(&url), "https://example.com/prod");
    }
}
