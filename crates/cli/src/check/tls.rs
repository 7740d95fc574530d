//! The promise that TLS below 1.2 is refused. rustls does not speak it, so curl asks.

use anyhow::Context;
use reqwest::Url;
use tokio::process::Command;

use super::{
    endpoint::is_loopback,
    report::{Mismatch, Report, Verdict},
};

const PROMISE: &str = "TLS below 1.2 is refused";

/// Checks the promise.
pub async fn check(url: &Url, report: &mut Report) {
    if url.scheme() != "https" {
        return report.not_checked(PROMISE, "the URL is not HTTPS");
    }
    report.add(PROMISE, old_tls(url).await);
}

async fn old_tls(url: &Url) -> anyhow::Result<Verdict> {
    let mut curl = Command::new("curl");
    // OpenSSL offers TLS 1.1 at security level 0 only.
    curl.args(["--silent", "--show-error", "--insecure", "--output", "/dev/null", "--max-time", "20"]);
    curl.args(["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]);
    if is_loopback(url) {
        curl.args(["--noproxy", "*"]);
    }
    let output = curl.arg(url.as_str()).output().await.context("cannot run curl")?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(match output.status.code() {
        Some(0) => Verdict::Fails(Mismatch::new("an alert of the server", "a connection with TLS 1.1 or 1.0")),
        // 35 is CURLE_SSL_CONNECT_ERROR. The alert shows that the server refused, not curl.
        Some(35) if error.contains("alert protocol version") => Verdict::Holds { measured: None },
        _ => Verdict::NotChecked { reason: format!("curl cannot offer TLS 1.1 here: {error}") },
    })
}
