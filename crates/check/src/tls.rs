//! Checks the promise that TLS below 1.2 is refused. Uses curl, because rustls does not support these versions.

use anyhow::Context;
use reqwest::Url;
use tokio::process::Command;

use super::report::{Mismatch, Report, Verdict};
use attest_terminal::url::{is_loopback, shown};

const PROMISE: &str = "TLS below 1.2 is refused";

pub async fn check(url: &Url, report: &mut Report) {
    if url.scheme() != "https" {
        return report.not_checked(PROMISE, "the URL is not HTTPS");
    }
    report.add(PROMISE, old_tls(url).await);
}

async fn old_tls(url: &Url) -> anyhow::Result<Verdict> {
    let mut curl = Command::new("curl");
    // OpenSSL offers TLS 1.1 only at security level 0.
    curl.args(["--silent", "--show-error", "--insecure", "--output", "/dev/null", "--max-time", "20"]);
    curl.args(["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]);
    if is_loopback(url) {
        curl.args(["--noproxy", "*"]);
    }
    // Other users can see the command line, so the URL is passed without its password.
    let output = curl.arg(shown(url)).output().await.context("cannot run curl")?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(match output.status.code() {
        Some(0) => Verdict::Fails(Mismatch::new("a TLS alert from the server", "a connection with TLS 1.1 or 1.0")),
        // 35 is CURLE_SSL_CONNECT_ERROR. The alert shows that the server, not curl, refused the connection.
        Some(35) if error.contains("alert protocol version") || error.contains("alert handshake failure") => {
            Verdict::Holds { measured: None }
        }
        _ => Verdict::NotChecked { reason: format!("curl cannot offer TLS 1.1 here: {error}") },
    })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// Starts a TLS server that supports only this version. Returns the process, which is killed when dropped, and its
    /// URL.
    async fn server(version: &str) -> (tokio::process::Child, Url) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let (key, certificate) = (file("key.pem"), file("certificate.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]);
        openssl.args(["-keyout", &key, "-out", &certificate]).stderr(Stdio::null());
        assert!(openssl.status().await.expect("openssl runs").success());
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-accept", "127.0.0.1:0", "-www", version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        openssl.args(["-key", &key, "-cert", &certificate]);
        let mut server = openssl.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("openssl runs");
        let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        loop {
            let line = lines.next_line().await.expect("UTF-8").expect("openssl s_server prints its port");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (server, format!("https://{address}/").parse().expect("a URL"));
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_tls_1_1_keeps_the_promise() {
        let (_server, url) = server("-tls1_2").await;
        let verdict = old_tls(&url).await.expect("curl runs");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_server_that_accepts_tls_1_1_breaks_the_promise() {
        let (_server, url) = server("-tls1_1").await;
        let verdict = old_tls(&url).await.expect("curl runs");
        assert!(matches!(verdict, Verdict::Fails(_)), "{verdict:?}");
    }
}
