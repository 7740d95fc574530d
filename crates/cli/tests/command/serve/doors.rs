//! Tests requests that other sites can make a browser send to the page, the endpoint and the S3 of `serve` and `view`.

use std::{process::Stdio, time::Duration};

use aws_sdk_s3::presigning::PresigningConfig;
use hyper::StatusCode;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Endpoint, VALID, exchange, program};

/// Returns requests to each port, each as its address, method, target and body.
fn requests(endpoint: &Endpoint) -> Vec<(String, &'static str, String, &'static str)> {
    let address = endpoint.url.trim_start_matches("http://").trim_end_matches("/prod").to_owned();
    let s3 = endpoint.ready["s3_url"].as_str().expect("a URL").trim_start_matches("http://").to_owned();
    vec![
        (address.clone(), "GET", "/trace?key=m/a".to_owned(), ""),
        (address.clone(), "GET", "/view.css".to_owned(), ""),
        (address.clone(), "GET", "/openapi.yaml".to_owned(), ""),
        (address.clone(), "POST", "/prod".to_owned(), VALID),
        (address, "OPTIONS", "/prod".to_owned(), ""),
        (s3.clone(), "GET", "/traces?list-type=2".to_owned(), ""),
        (s3.clone(), "POST", "/traces?delete".to_owned(), "<Delete><Object><Key>m/a</Key></Object></Delete>"),
        (s3, "PUT", "/traces/m/b".to_owned(), VALID),
    ]
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or("no response")
}

#[tokio::test]
async fn foreign_hosts_and_sites_are_refused_on_every_port_with_a_log_line() {
    let endpoint = Endpoint::start().await;
    let trace = VALID.replace("[]", r#"[], "id":"a", "system_fingerprint":"m""#);
    assert_eq!(endpoint.post(trace).await.0, StatusCode::CREATED);
    let mut refusals = Vec::new();
    for (address, method, target, body) in requests(&endpoint) {
        let port = address.split(':').nth(1).expect("a port");
        for (headers, expected, logged) in [
            ("host: evil.example\r\n".to_owned(), "421", "421  foreign-host  evil.example"),
            (format!("host: 127.0.0.1.evil.example:{port}\r\n"), "421", "421  foreign-host  127.0.0.1.evil.example"),
            (
                format!(
                    "host: evil.example:{port}\r\norigin: http://evil.example:{port}\r\nsec-fetch-site: same-origin\r\n"
                ),
                "421",
                "421  foreign-host  evil.example",
            ),
            (
                format!("host: {address}\r\norigin: https://evil.example\r\n"),
                "403",
                "403  foreign-site  https://evil.example",
            ),
            (
                format!("host: {address}\r\norigin: http://127.0.0.1:1\r\n"),
                "403",
                "403  foreign-site  http://127.0.0.1:1",
            ),
            (format!("host: {address}\r\norigin: null\r\n"), "403", "403  foreign-site  null"),
            (format!("host: {address}\r\nsec-fetch-site: cross-site\r\n"), "403", "403  foreign-site  cross-site"),
            (format!("host: {address}\r\nsec-fetch-site: same-site\r\n"), "403", "403  foreign-site  same-site"),
            (String::new(), "400", "400  bad-host"),
            (format!("host: {address}\r\nhost: {address}\r\n"), "400", "400  bad-host"),
        ] {
            let head = format!("{headers}x-api-key: {}\r\ncontent-length: {}\r\n", endpoint.key, body.len());
            let request = format!("{method} {target} HTTP/1.1\r\n{head}connection: close\r\n\r\n{body}");
            let response = exchange(&address, &request).await;
            assert_eq!(status(&response), expected, "{request}\n{response}");
            assert!(response.contains("cross-origin-resource-policy: same-origin"), "{response}");
            assert!(!response.contains("access-control-allow"), "{response}");
            refusals.push(logged);
        }
        // If the request target has the absolute form, `Host` does not count (RFC 9112, section 3.2.2).
        let request =
            format!("{method} http://evil.example{target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&exchange(&address, &request).await), "421");
        let request = format!("{method} {target} HTTP/1.0\r\nhost: evil.example\r\n\r\n");
        assert_eq!(status(&exchange(&address, &request).await), "421");
        refusals.extend(["421  foreign-host  evil.example"; 2]);
    }
    let files: Vec<_> = std::fs::read_dir(endpoint.folder.path().join("traces/m")).expect("it exists").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let (_, log, _) = endpoint.stop().await;
    let lines: Vec<_> = log.lines().skip(1).collect(); // the first line is for the stored trace
    assert_eq!(lines.len(), refusals.len(), "{log}");
    for (line, refusal) in lines.iter().zip(refusals) {
        assert!(line.starts_with(refusal), "{line} instead of {refusal}");
    }
}

#[tokio::test]
async fn a_request_across_sites_does_not_reveal_whether_a_trace_exists() {
    let endpoint = Endpoint::start().await;
    let trace = VALID.replace("[]", r#"[], "id":"a", "system_fingerprint":"m""#);
    assert_eq!(endpoint.post(trace).await.0, StatusCode::CREATED);
    let address = endpoint.url.trim_start_matches("http://").trim_end_matches("/prod");
    let get = async |target: &str, headers: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
        exchange(address, &head).await
    };
    for route in ["/trace?key=m/", "/raw?key=m/", "/share?key=m/"] {
        for mode in ["no-cors\r\nsec-fetch-dest: image", "navigate\r\nsec-fetch-dest: document"] {
            let headers = format!("sec-fetch-site: cross-site\r\nsec-fetch-mode: {mode}\r\n");
            let known = get(&format!("{route}a"), &headers).await;
            let date = known.lines().find(|line| line.starts_with("date: ")).expect("a date").to_owned();
            let absent = get(&format!("{route}none"), &headers).await;
            let absent = absent.lines().map(|line| if line.starts_with("date: ") { &date } else { line });
            assert!(absent.eq(known.lines()), "{known}");
        }
        // Browsers send these values if the user typed the address, or followed a link on the page itself.
        for site in ["none", "same-origin"] {
            let headers = format!("sec-fetch-site: {site}\r\n");
            assert_eq!(status(&get(&format!("{route}a"), &headers).await), "200");
            assert_eq!(status(&get(&format!("{route}none"), &headers).await), "404");
        }
    }
    let page = get("/trace?key=m/a", "").await;
    for header in
        ["cache-control: no-store", "cross-origin-opener-policy: same-origin", "x-content-type-options: nosniff"]
    {
        assert!(page.contains(header), "{page}");
    }
}

#[tokio::test]
async fn only_the_printed_secret_key_opens_the_s3() {
    let endpoint = Endpoint::start().await;
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
    let secret = endpoint.ready["s3_secret_key"].as_str().expect("a key").to_owned();
    assert_eq!(endpoint.ready["s3_access_key"], "local");
    assert!(secret.len() >= 32, "{secret}");
    let line = endpoint.printed.iter().find(|line| line.contains("aws s3 ls")).expect("how to list");
    assert!(line.contains(&format!(" AWS_SECRET_ACCESS_KEY={secret} ")), "{line}");
    endpoint.s3().list_objects_v2().bucket("traces").send().await.expect("the key is right");
    for wrong in ["local", "", &secret[1..], &secret.to_uppercase()] {
        let list = endpoint.s3_with(wrong).list_objects_v2().bucket("traces").send().await;
        assert!(list.is_err(), "{wrong}");
    }
    let s3 = endpoint.ready["s3_url"].as_str().expect("a URL").trim_start_matches("http://");
    let unsigned = format!("GET /traces?list-type=2 HTTP/1.1\r\nhost: {s3}\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&exchange(s3, &unsigned).await), "403");
    // Everybody on this machine can read the page, so it does not show the secret key.
    let address = endpoint.url.trim_start_matches("http://").trim_end_matches("/prod");
    let listed = endpoint.s3().list_objects_v2().bucket("traces").send().await.expect("the key is right");
    let key = listed.contents()[0].key().expect("a key").to_owned();
    let page = format!("GET /trace?key={key} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let page = exchange(address, &page).await;
    assert!(page.contains("aws s3 cp --endpoint-url") && !page.contains(&secret), "{page}");
    assert_ne!(Endpoint::start().await.ready["s3_secret_key"], secret.as_str(), "each start has its own key");
}

#[tokio::test]
async fn a_signed_url_for_a_foreign_host_is_refused() {
    let endpoint = Endpoint::start().await;
    let s3 = endpoint.ready["s3_url"].as_str().expect("a URL").trim_start_matches("http://");
    let soon = PresigningConfig::expires_in(Duration::from_mins(1)).expect("it is valid");
    let trace = VALID.replace("[]", r#"[], "id":"a", "system_fingerprint":"m""#);
    assert_eq!(endpoint.post(trace).await.0, StatusCode::CREATED);
    let get = endpoint.s3().get_object().bucket("traces").key("m/a");
    let signed = get.presigned(soon).await.expect("it is signed");
    let target = signed.uri().trim_start_matches("http://").trim_start_matches(s3);
    let get = |host: &str| format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&exchange(s3, &get(s3)).await), "200");
    assert_eq!(status(&exchange(s3, &get("evil.example")).await), "421");
}

/// Browsers send such forms to other sites without a preflight request.
#[tokio::test]
async fn the_s3_takes_no_form() {
    let endpoint = Endpoint::start().await;
    let s3 = endpoint.ready["s3_url"].as_str().expect("a URL").trim_start_matches("http://");
    let part =
        |name: &str, value: &str| format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let fields = [part("key", "m/forged"), part("if-none-match", "*")].concat();
    let body = format!("{fields}{}--B--\r\n", part("file\"; filename=\"x", VALID));
    let head = format!(
        "POST /traces HTTP/1.1\r\nhost: {s3}\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    assert_eq!(status(&exchange(s3, &(head + &body)).await), "403");
    assert!(!endpoint.folder.path().join("traces/m").exists());
}

#[tokio::test]
async fn view_guards_its_page_and_its_s3() {
    let endpoint = Endpoint::start().await;
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
    let mut command = program(endpoint.folder.path());
    let mut view = command.args(["view", "--port", "0"]).stderr(Stdio::null()).spawn().expect("it starts");
    let mut printed = BufReader::new(view.stdout.take().expect("piped")).lines();
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("Ctrl-C")) {
        lines.push(printed.next_line().await.expect("UTF-8").expect("it starts"));
    }
    let page = lines[0].trim_start_matches("Open http://").trim_end_matches('/');
    let list = lines.iter().find(|line| line.contains("aws s3 ls")).expect("how to list");
    let s3 = list.split("--endpoint-url http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    assert!(!list.contains("AWS_SECRET_ACCESS_KEY=local"), "{list}");
    for (address, own) in [(page, "200"), (s3, "403")] {
        for (headers, expected) in [
            (format!("host: {address}\r\n"), own),
            (format!("host: {address}\r\nsec-fetch-site: cross-site\r\n"), "403"),
            ("host: evil.example\r\n".to_owned(), "421"),
        ] {
            let request = format!("GET / HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
            assert_eq!(status(&exchange(address, &request).await), expected, "{request}");
        }
    }
}
