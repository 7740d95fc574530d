use anyhow::{Context, Result, ensure};
use reqwest::Url;

use crate::loopback::is_loopback;

/// Parses the option `--url`. Errors do not quote it, because it may contain a password.
pub fn parse(text: &str) -> Result<Url> {
    let advice = "--url is not a URL that begins with https:// or http://";
    let url = Url::parse(text).context(advice)?;
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), advice);
    Ok(url)
}

/// Returns a URL without user and password, for messages and files.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for a URL without a host, which `parse` refuses.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

/// Returns whether traces and the API key would cross a network unencrypted.
pub fn is_exposed(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

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
