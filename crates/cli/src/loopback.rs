//! Recognizes URLs of this machine.

use std::net::IpAddr;

use reqwest::Url;

/// Returns whether a URL refers to this machine. Through a proxy, its traces and keys would leave the machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address.map(|address| address.to_canonical()) {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
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
}
