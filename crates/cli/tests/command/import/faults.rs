//! Tests `import` with failing endpoints and networks.

use std::time::Instant;

use tokio::{io::AsyncReadExt, time::Duration};

use super::*;

const URL: [&str; 3] = ["t.jsonl", "--api-key", "k"];

fn folder_with_lines(count: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines: Vec<_> = (0..count).map(|n| trace(n, 1)).collect();
    fs::write(folder.path().join("t.jsonl"), lines.join("\n")).expect("a file");
    folder
}

/// Imports to an endpoint. Returns the exit code, the standard error and the duration.
async fn import_into(url: &str, lines: usize, options: &[&str]) -> (Option<i32>, String, Duration) {
    let folder = folder_with_lines(lines);
    let start = Instant::now();
    let output = import(folder.path(), &[&URL[..], &["--url", url], options].concat()).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), start.elapsed())
}

/// Starts an endpoint that refuses everything for some seconds after the first request, and then stores traces.
async fn down_for(seconds: u64, status: StatusCode, retry_after: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let first = Arc::new(Mutex::new(None));
    let answer = move |_: Bytes| {
        let is_down =
            first.lock().expect("nobody panicked").get_or_insert_with(Instant::now).elapsed().as_secs() < seconds;
        let mut headers = HeaderMap::new();
        if is_down && !retry_after.is_empty() {
            headers.insert("retry-after", retry_after.parse().expect("a value"));
        }
        async move { (if is_down { status } else { StatusCode::CREATED }, headers, Json(json!({"id": "i", "key": "m/i"}))) }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/prod", post(answer))).await });
    url
}

#[tokio::test]
async fn a_short_outage_does_not_slow_the_rest_of_the_import() {
    for (seconds, status, retry_after, lines) in
        [(1, StatusCode::TOO_MANY_REQUESTS, "", 200), (8, StatusCode::SERVICE_UNAVAILABLE, "1", 4_000)]
    {
        let url = down_for(seconds, status, retry_after).await;
        let (code, said, took) = import_into(&url, lines, &[]).await;
        println!("{seconds} s of {status}, {lines} lines: {took:?}");
        assert_eq!(code, Some(0), "{said}");
        // The limiter's own tests measure the recovery in virtual time. These imports once took 388 s and 174 s.
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}

#[tokio::test]
async fn the_endpoint_cannot_ask_for_a_longer_pause_than_the_import_retries() {
    let never = "Fri, 31 Dec 9999 23:59:59 GMT";
    for retry_after in ["3600", "18446744073709551615", "99999999999999999999999", never] {
        for status in [429, 503, 504] {
            let (url, _) = stand_in(vec![(status, Some(retry_after)); 3]).await;
            let (code, said, took) = import_into(&url, 1, &["--retry-for", "1"]).await;
            assert_eq!(code, Some(2), "{status} {retry_after}: {said}");
            assert!(said.contains("confirmed nothing for 1 s") && said.contains("asks for a pause"), "{said}");
            assert!(took < Duration::from_mins(1), "{took:?}");
        }
    }
}

#[tokio::test]
async fn errors_that_cannot_pass_end_the_import_at_once() {
    // A TLS server answers plain HTTP with an alert (RFC 8446, section 6).
    let tls = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let tls_port = tls.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = tls.accept().await {
            let _ = connection.read(&mut [0; 1024]).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, &[0x15, 3, 3, 0, 2, 2, 10]).await;
        }
    });
    let (http, _) = stand_in(Vec::new()).await;
    for url in [
        "example.com/prod".to_owned(),
        "localhost:9080/prod".to_owned(),
        format!("http://127.0.0.1:{tls_port}/prod"),
        http.replace("http://", "https://"),
        "http://no-such-host.invalid/prod".to_owned(),
    ] {
        let (code, said, took) = import_into(&url, 3, &["--retry-for", "30"]).await;
        println!("{took:?}: {said}");
        assert_eq!(code, Some(2), "{url}: {said}");
        assert!(said.contains("--url"), "{said}");
        assert!(took < Duration::from_secs(30), "{url}: {took:?}");
    }
}

#[tokio::test]
async fn the_first_failure_is_reported_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    drop(listener);
    let folder = folder_with_lines(3);
    let mut command = program(folder.path());
    let mut process = command.arg("import").args(URL).args(["--url", &url, "--quiet"]).spawn().expect("it starts");
    let mut said = BufReader::new(process.stderr.take().expect("piped")).lines();
    let line = said.next_line().await.expect("UTF-8").expect("it says something");
    assert!(line.starts_with("warning: cannot reach") && line.contains("300 s"), "{line}");
    assert!(process.try_wait().expect("it is ours").is_none(), "it retries");
    process.kill().await.expect("it runs");
}

#[tokio::test]
async fn an_answer_of_the_gateway_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(0));
    let answer = move |_: Bytes| {
        *asked.lock().expect("nobody panicked") += 1;
        let is_first = *asked.lock().expect("nobody panicked") == 1;
        let gateway = Json(json!({"type": "urn:attest:problem:gateway", "title": "t"}));
        let stored = Json(json!({"id": "i", "key": "m/i"}));
        async move { if is_first { (StatusCode::INTERNAL_SERVER_ERROR, gateway) } else { (StatusCode::CREATED, stored) } }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/prod", post(answer))).await });
    let (code, said, _) = import_into(&url, 1, &[]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn nothing_for_this_machine_is_sent_to_a_proxy() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", proxy.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while proxy.accept().await.is_ok() {
            *counted.lock().expect("nobody panicked") += 1;
        }
    });
    let (url, _) = stand_in(Vec::new()).await;
    let by_name = url.replace("127.0.0.1", "localhost");
    for target in [&[][..], &["--url", &url, "--api-key", "k"], &["--url", &by_name, "--api-key", "k"]] {
        let folder = folder_with_lines(3);
        let mut command = program(folder.path());
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env(name, &address);
        }
        let output = command.args(["import", "t.jsonl"]).args(target).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{target:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(*asked.lock().expect("nobody panicked"), 0);
}

fn signal(process: &Child, name: &str) {
    let id = process.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().expect("kill runs").success());
}

#[tokio::test]
async fn signals_end_an_import_whose_standard_input_stays_open() {
    for name in ["-TERM", "-INT"] {
        let (url, asked) = stand_in(Vec::new()).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = program(folder.path());
        command.args(["import", "-", "--url", &url, "--api-key", "k"]).stdin(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut stdin = process.stdin.take().expect("piped");
        tokio::io::AsyncWriteExt::write_all(&mut stdin, (trace(1, 1) + "\n").as_bytes()).await.expect("it reads");
        while asked.lock().expect("nobody panicked").1.is_empty() {
            tokio::task::yield_now().await;
        }
        signal(&process, name);
        let output = process.wait_with_output().await.expect("it ends although its input is open");
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(counts(&output.stdout)["lines"], 1);
        drop(stdin);
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_requests_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let folder = folder_with_lines(1);
    let mut command = program(folder.path());
    let process = command.arg("import").args(URL).args(["--url", &url]).spawn().expect("it starts");
    let (_connection, _) = listener.accept().await.expect("it connects");
    let start = Instant::now();
    signal(&process, "-INT");
    signal(&process, "-TERM");
    let output = process.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    assert!(start.elapsed() < Duration::from_secs(9), "the requests in flight have 10 s: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_local_import_that_cannot_store_says_why() {
    let folder = folder_with_lines(1);
    // The folder's path is short enough, but the objects' paths are too long for any system.
    let mut deep = folder.path().to_owned();
    while deep.as_os_str().len() < 3_850 {
        deep.push("d".repeat(200.min(3_900 - deep.as_os_str().len())));
        fs::create_dir(&deep).expect("its path is short enough");
    }
    let line = format!(r#"{{"model":"{}","created":1,"messages":[]}}"#, "m".repeat(900));
    fs::write(folder.path().join("t.jsonl"), line).expect("a file");
    let traces = deep.join("traces").display().to_string();
    let output = import(folder.path(), &["t.jsonl", "--folder", &traces]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the path is longer than this system allows"), "{said}");
}

/// Starts a server that responds to every request with `answer`, and returns its URL.
async fn serve(answer: impl Fn(Bytes) -> axum::response::Response + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let route = post(move |body: Bytes| {
        let answer = answer(body);
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/prod", route)).await });
    url
}

#[tokio::test]
async fn lines_that_always_fail_do_not_keep_the_others_from_being_stored() {
    // After each 503 the rate limiter sends at 4, 2, 1 and 0.5 requests per second, because the endpoint may be down.
    // The fifth line is therefore sent within 4 s.
    for (status, failing) in
        [(StatusCode::GATEWAY_TIMEOUT, 40), (StatusCode::BAD_GATEWAY, 40), (StatusCode::SERVICE_UNAVAILABLE, 4)]
    {
        let stored = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let seen = Arc::clone(&stored);
        let url = serve(move |body| {
            if body.windows(6).any(|word| word == b"poison") {
                return (status, Json(json!({"detail": "d"}))).into_response();
            }
            seen.lock().expect("nobody panicked").insert(body);
            (StatusCode::CREATED, Json(json!({"id": "i", "key": "m/i"}))).into_response()
        })
        .await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let poison = (0..failing).map(|n| trace(n, 1).replace("\"x\"", "\"poison\""));
        let lines: Vec<_> = poison.chain((100..200).map(|n| trace(n, 1))).collect();
        fs::write(folder.path().join("t.jsonl"), lines.join("\n")).expect("a file");
        let output = import(folder.path(), &[&URL[..], &["--url", &url, "--retry-for", "8"]].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stored.lock().expect("nobody panicked").len()), (Some(2), 100), "{said}");
        assert!(said.contains(&format!("{failing} lines were read and not stored, the first is line 1:")), "{said}");
        assert_eq!(counts(&output.stdout)["stored"], 100);
    }
}

#[tokio::test]
async fn only_the_receipt_of_the_trace_confirms_a_line() {
    let html = |status: StatusCode| (status, axum::response::Html("<html>Sign in</html>")).into_response();
    let json = |body: Value| (StatusCode::CREATED, Json(body)).into_response();
    for n in 0..6 {
        let url = serve(move |_| match n {
            0 => html(StatusCode::OK),
            1 => html(StatusCode::CREATED),
            2 => json(json!({"ok": true})),
            3 => json(json!({"id": "other", "key": "m/i"})),
            4 => json(json!({"id": "i", "key": "other/i"})),
            _ => (StatusCode::CREATED, json!({"id": "i", "key": "m/i"}).to_string()).into_response(), // text/plain
        })
        .await;
        let (code, said, _) = import_into(&url, 1, &[]).await;
        assert_eq!(code, Some(2), "{n}: {said}");
        assert!(said.contains("without the receipt of the trace"), "{n}: {said}");
    }
}

#[tokio::test]
async fn a_response_has_a_largest_size_and_its_control_characters_are_escaped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut vec![0; 65_536]).await;
            let head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, head).await;
            let part = vec![b'x'; 1 << 20];
            // Write until the client closes the connection.
            while tokio::io::AsyncWriteExt::write_all(&mut connection, &part).await.is_ok() {}
        }
    });
    let (code, said, took) = import_into(&url, 1, &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("more than 1048576 bytes") && took < Duration::from_secs(30), "{took:?}: {said}");

    let hostile = "boom \u{1b}]0;title\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066} end";
    let url =
        serve(move |_| (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"detail": hostile}))).into_response()).await;
    let (code, said, _) = import_into(&url, 1, &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(r"boom \u001b]0;title\u0007\u009b2J\u007f\u202e\u2066 end"), "{said}");
}

#[tokio::test]
async fn a_password_in_the_url_is_in_no_output_and_in_no_file() {
    let (url, _) = stand_in(Vec::new()).await;
    let url = url.replace("http://", "http://jane:hunter2@");
    for (lines, url) in [(3, url.clone()), (3, url.replace("/prod", "/other")), (1, "ftp://jane:hunter2@a/".to_owned())]
    {
        let folder = folder_with_lines(lines);
        let output = import(folder.path(), &[&URL[..], &["--url", &url, "--retry-for", "0"]].concat()).await;
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("hunter2"), "{}", String::from_utf8_lossy(&said));
        for entry in fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let text = fs::read(&entry).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains("hunter2"), "{}", entry.display());
        }
    }
}

#[tokio::test]
async fn links_and_pipes_in_place_of_its_files_are_left_as_they_are() {
    let folder = folder_with_lines(1);
    let path = |name: &str| folder.path().join(name);
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(path(name)).status().expect("mkfifo runs");
        assert!(made.success());
    };
    let not_regular = async || {
        let output = import(folder.path(), &["t.jsonl"]).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains("not a regular file"), "{error}");
        fs::remove_file(path("t.jsonl.checkpoint")).expect("it is left");
    };
    fs::write(path("empty"), "").expect("a file");
    for name in ["empty", "absent"] {
        std::os::unix::fs::symlink(name, path("t.jsonl.checkpoint")).expect("a link");
        not_regular().await;
    }
    assert_eq!(fs::read(path("empty")).expect("it is left"), b"");
    assert!(!path("absent").exists());
    pipe("t.jsonl.checkpoint");
    not_regular().await;
    pipe("t.jsonl.rejected.jsonl");
    fs::write(path("t.jsonl"), format!("{}\nbad", trace(1, 1))).expect("a file");
    assert_eq!(import(folder.path(), &["t.jsonl"]).await.status.code(), Some(1));
    let others = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let reasons =
        others.filter(|name| name.to_string_lossy().contains("rejected") && path(&name.to_string_lossy()).is_file());
    assert_eq!(reasons.count(), 2, "another name is used");
}

#[tokio::test]
async fn rejected_lines_need_no_more_room_than_a_limit_and_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = GzEncoder::new(fs::File::create(folder.path().join("t.gz")).expect("a file"), Compression::fast());
    let part = vec![b'a'; 1 << 20];
    file.write_all(b"short\n{\"x\":\"").expect("a file");
    for _ in 0..100 {
        file.write_all(&part).expect("a file");
    }
    file.write_all(format!("\"}}\n{}\nlast", trace(1, 1)).as_bytes()).expect("a file");
    file.finish().expect("a file");
    let output = import(folder.path(), &["t.gz"]).await;
    let report = counts(&output.stdout);
    assert_eq!((output.status.code(), report["stored"], report["refused"]), (Some(1), 1, 3));
    let lines = folder.path().join("t.gz.rejected-lines.jsonl");
    let mut kept: Vec<_> = fs::read_to_string(&lines).expect("it exists").lines().map(str::to_owned).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["last", "short"]);
    let reasons = folder.path().join("t.gz.rejected.jsonl");
    let reasons_text = fs::read_to_string(&reasons).expect("it exists");
    assert_eq!(
        reasons_text.lines().filter(|line| line.contains("\"kept\":false") && line.contains("\"line\":2")).count(),
        1
    );
    for path in [lines, reasons, folder.path().join("t.gz.checkpoint")] {
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    // The next run recognizes these files and replaces them.
    assert_eq!(import(folder.path(), &["t.gz"]).await.status.code(), Some(1));
    assert!(!folder.path().join("t.gz.rejected-2.jsonl").exists());
}

#[tokio::test]
async fn the_key_comes_from_the_environment_without_white_space() {
    let (url, _) = stand_in(Vec::new()).await;
    for (name, value, code) in [
        ("ATTEST_API_KEY", "k\n", 0),
        ("API_KEY", " k ", 0),
        ("ATTEST_API_KEY", "k\u{7f}y", 2),
        ("ATTEST_API_KEY", " ", 2),
    ] {
        let folder = folder_with_lines(1);
        let mut command = program(folder.path());
        let output =
            command.args(["import", "t.jsonl", "--url", &url]).env(name, value).output().await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}={value:?}: {said}");
        assert_eq!(said.contains("warning: set ATTEST_API_KEY"), name == "API_KEY", "{said}");
    }
    let folder = folder_with_lines(1);
    let output = import(folder.path(), &["t.jsonl", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ATTEST_API_KEY"));
}
