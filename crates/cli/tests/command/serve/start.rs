//! Tests the endpoint's start: its ports, its keys and its output.

use std::process::{Output, Stdio};

use local_aws::{
    s3::ACCESS_KEY,
    testing::{BUCKET, Bucket, FaultProxy},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};

use super::{Endpoint, program};

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_option_to_change_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (arguments, option) in
        [(["--port", &port, "--s3-port", "0"], "--port"), (["--port", "0", "--s3-port", &port], "--s3-port")]
    {
        let output = program(folder.path()).args(arguments).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, format!("error: port {port} of 127.0.0.1 is in use: choose another one with {option}\n"));
    }
}

#[tokio::test]
async fn an_empty_api_key_is_rejected_and_bucket_name_in_the_environment_is_ignored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for key in ["", " \t"] {
        for command in
            [program(folder.path()).env("ATTEST_API_KEY", key), program(folder.path()).args(["--api-key", key])]
        {
            let output = command.output().await.expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("an empty API key would let everybody in"), "{said}");
        }
    }
    let mut command = program(folder.path());
    command.args(["--port", "0", "--s3-port", "0"]).envs([
        ("BUCKET_NAME", "somebody-s"),
        ("ATTEST_API_KEY", "k"),
        ("API_KEY", "another"),
    ]);
    let mut process = command.spawn().expect("it starts");
    let mut said = BufReader::new(process.stdout.take().expect("piped")).lines();
    while let Some(line) = said.next_line().await.expect("UTF-8") {
        assert!(!line.contains("somebody-s"), "{line}");
        if line.contains("Ctrl-C") {
            return;
        }
    }
    panic!("it did not start");
}

#[tokio::test]
async fn a_bucket_on_an_s3_that_would_overwrite_is_rejected_at_start() {
    let bucket = Bucket::new().await;
    let s3 = FaultProxy::before(bucket.address).await;
    s3.ignore_conditions(true);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = program(folder.path());
    command
        .args(["--port", "0", "--bucket", BUCKET])
        .env_remove("AWS_PROFILE")
        .envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY), ("AWS_REGION", "us-east-1")])
        .env("AWS_ENDPOINT_URL_S3", format!("http://{}", s3.address));
    let output = command.output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: this S3 ignores If-None-Match") && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn a_folder_beside_a_bucket_is_rejected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in [&["serve"][..], &["import", "t.jsonl"], &["export", "-o", "t.jsonl"], &["view"]] {
        let mut program = program(folder.path());
        let output = program.args(command).args(["--bucket", "b", "--folder", "f"]).output().await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cannot be used with"), "{said}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_key_is_never_shown_even_if_it_is_not_valid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in
        [&["serve", "--port", "0", "--s3-port", "0"][..], &["import", "x.jsonl", "--url", "http://127.0.0.1:1"]]
    {
        for key in ["sk-very secret", "sk-very\nsecret", "sk-very-secr\u{e9}t"] {
            let by_variable = program(folder.path()).args(command).env("ATTEST_API_KEY", key).output().await;
            let by_option = program(folder.path()).args(command).args(["--api-key", key]).output().await;
            for output in [by_variable, by_option] {
                let output = output.expect("it runs");
                assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
                assert!(stderr(&output).contains("visible ASCII characters"), "{}", stderr(&output));
                assert!(!stderr(&output).contains("sk-very") && output.stdout.is_empty(), "{}", stderr(&output));
            }
        }
    }
}

/// Output ends up in logs, so only a key that this start created is printed.
#[tokio::test]
async fn a_given_key_is_not_printed_and_white_space_around_it_does_not_count() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = program(folder.path());
    command.args(["--port", "0", "--s3-port", "0", "--ready-file", "ready.json"]);
    let mut process = command.env("ATTEST_API_KEY", "sk-given\n").spawn().expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut printed = String::new();
    while !printed.contains("Ctrl-C") {
        printed += &lines.next_line().await.expect("UTF-8").expect("it starts");
    }
    assert!(!printed.contains("sk-given") && printed.contains("$ATTEST_API_KEY"), "{printed}");
    let url = printed.split("Listening on ").nth(1).and_then(|rest| rest.split(". Try").next()).expect("a URL");
    let client = super::Client::builder(super::TokioExecutor::new()).build_http::<super::Full<super::Bytes>>();
    for (key, status) in [("sk-given", 201), ("sk-other", 403)] {
        let request = super::Request::post(url).header("x-api-key", key).body(super::VALID.into()).expect("a request");
        assert_eq!(client.request(request).await.expect("a response").status().as_u16(), status);
    }
}

#[tokio::test]
async fn the_ready_file_has_the_addresses_and_the_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = program(folder.path());
    command.args(["--port", "0", "--s3-port", "0", "--api-key", "k", "--ready-file", "/dev/stderr"]);
    let mut process = command.spawn().expect("it starts");
    let mut ready = [0; 512];
    let read = process.stderr.as_mut().expect("piped").read(&mut ready).await.expect("it is written");
    let ready: Value = serde_json::from_slice(&ready[..read]).expect("the ready file is JSON");
    assert_eq!((&ready["api_key"], &ready["s3_access_key"]), (&"k".into(), &ACCESS_KEY.into()));
    assert!(ready["s3_secret_key"].as_str().expect("a key").len() >= 32);
    for (name, end) in [("url", "/prod"), ("s3_url", "")] {
        let url = ready[name].as_str().expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:") && url.ends_with(end), "{url}");
    }
}

#[tokio::test]
async fn the_ready_file_is_private_and_ends_with_its_own_endpoint() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ready.json");
    for is_replaced in [false, true] {
        let mut command = program(folder.path());
        command.args(["--port", "0", "--s3-port", "0", "--ready-file", "ready.json"]).stderr(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        while !path.exists() {
            assert!(process.try_wait().expect("it can be queried").is_none(), "it ended too early");
            tokio::task::yield_now().await;
        }
        assert_eq!(std::fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        if is_replaced {
            std::fs::rename(&path, folder.path().join("old")).expect("the folder is writable");
            std::fs::write(&path, "{}").expect("the folder is writable");
        }
        let pid = process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs").success());
        assert!(process.wait().await.expect("it ends").success());
        assert_eq!(path.exists(), is_replaced);
    }
}

#[tokio::test]
async fn another_address_admits_the_printed_secret_key_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut endpoint = Endpoint::start_with(std::sync::Arc::new(folder), &["--s3-host", "0.0.0.0"]).await;
    let secret = endpoint.ready["s3_secret_key"].as_str().expect("a key").to_owned();
    for (secret, is_right) in [(secret.as_str(), true), (ACCESS_KEY, false)] {
        let list = endpoint.s3_with(secret).list_objects_v2().bucket("traces").send().await;
        assert_eq!(list.is_ok(), is_right, "{secret}");
    }
    endpoint.ready["s3_secret_key"] = "".into();
}
