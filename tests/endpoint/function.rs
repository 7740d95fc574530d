//! The deployed program itself, under Lambda's Runtime API.

use std::process::{Output, Stdio};

use attest::local::runtime_api::RuntimeApi;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command};

use crate::{
    support::{BUCKET, Bucket, event_file},
    tls,
    unwell::read_message,
};

fn function(api: &str) -> Command {
    let mut function = Command::new(env!("CARGO_BIN_EXE_attest"));
    function
        .env_clear()
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", api)])
        .envs([("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local"), ("AWS_REGION", "us-east-1")])
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    function
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("a log is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[tokio::test]
async fn it_answers_an_event_and_says_its_settings_at_start() {
    let bucket = Bucket::new().await;
    let api = RuntimeApi::start().await.expect("a free port");
    let process = function(&api.address.to_string())
        .env("BUCKET_NAME", BUCKET)
        // As the template sets it where there is none.
        .envs([("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_S3", &*format!("http://{}", bucket.address))])
        .spawn()
        .expect("it starts");
    let event = event_file("tests/prod_attest.json").to_string();
    let answer = api.invoke(Bytes::from(event)).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let receipt: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("it is JSON");
    assert_eq!(bucket.keys().await, [receipt["key"].as_str().expect("a key")]);

    let pid = process.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(pid).status().await.expect("kill runs").success());
    let lines = lines(&process.wait_with_output().await.expect("it ends"));
    assert_eq!((&lines[0]["message"], &lines[0]["bucket"]), (&"starting".into(), &BUCKET.into()));
    assert_eq!((&lines[1]["status"], &lines[1]["key"], lines.len()), (&201.into(), &receipt["key"], 2));
}

#[tokio::test]
async fn what_is_no_event_is_an_error_and_the_next_event_is_answered() {
    let bucket = Bucket::new().await;
    let api = RuntimeApi::start().await.expect("a free port");
    let process = function(&api.address.to_string())
        .envs([("BUCKET_NAME", BUCKET), ("AWS_ENDPOINT_URL_S3", &*format!("http://{}", bucket.address))])
        .spawn()
        .expect("it starts");
    for event in ["", "[]", r#""what nobody may read""#, r#"{"body": "what nobody may read"#] {
        assert_eq!(api.invoke(Bytes::from(event)).await, None, "{event}");
    }
    let answer = api.invoke(Bytes::from(event_file("events/minimal.json").to_string())).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains(r#""statusCode":201"#), "{answer:?}");

    let pid = process.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(pid).status().await.expect("kill runs").success());
    let lines = lines(&process.wait_with_output().await.expect("it ends"));
    assert_eq!(lines.iter().filter(|line| line["message"] == "the event is no JSON object").count(), 4, "{lines:?}");
    assert!(!format!("{lines:?}").contains("what nobody may read"), "{lines:?}");
}

/// A Runtime API that answers one request on each connection, with what is next in its list.
async fn unfriendly_api(answers: &[&str]) -> (String, impl Future<Output = Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let answers: Vec<_> = answers.iter().map(|answer| format!("HTTP/1.1 {answer}")).collect();
    let requests = async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut function, _) = listener.accept().await.expect("a connection");
            let request = read_message(&mut function, false).await.expect("a request");
            function.write_all(answer.as_bytes()).await.expect("it listens");
            requests.push(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned());
        }
        requests
    };
    (address, requests)
}

#[tokio::test]
async fn it_lives_as_long_as_the_runtime_api_lets_it() {
    const EVENT: &str = "200 OK\r\nLambda-Runtime-Aws-Request-Id: a\r\ncontent-length: 2\r\n\r\n{}";
    let refusing = |status| [EVENT, "202 X\r\ncontent-length: 0\r\n\r\n", EVENT, status];
    let settings = [("BUCKET_NAME", BUCKET), ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")];
    let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1";
    let response = "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1";
    for (answers, said) in [
        (
            &[EVENT, "202 X\r\ncontent-length: 0\r\n\r\n", "410 X\r\ncontent-length: 0\r\n\r\n"][..],
            "no event but status 410",
        ),
        (&refusing("413 X\r\ncontent-length: 0\r\n\r\n"), "onnection"),
        (&refusing("500 X\r\ncontent-length: 0\r\n\r\n"), "failed with status 500"),
        (&refusing("200"), "onnection"),
        (&["200 OK\r\ncontent-length: 2\r\n\r\n{}"], "no event but status 200"),
    ] {
        let (address, requests) = unfriendly_api(answers).await;
        let process = function(&address).envs(settings).spawn().expect("it starts");
        let requests = requests.await;
        let output = process.wait_with_output().await.expect("it ends");
        let expected: Vec<_> = [next, response].into_iter().cycle().take(answers.len()).collect();
        assert_eq!(requests, expected);
        let lines = lines(&output);
        let last = lines.last().expect("a line");
        assert_eq!((output.status.code(), &last["message"]), (Some(1), &"cannot run".into()), "{lines:?}");
        assert!(last["error"].as_str().is_some_and(|error| error.contains(said)), "{said}: {lines:?}");
        let was_refused = answers.last().is_some_and(|answer| answer.starts_with("413"));
        let refusals = lines.iter().filter(|line| line["message"] == "the Runtime API did not take the answer");
        assert_eq!(refusals.count(), usize::from(was_refused), "{lines:?}");
    }
}

#[tokio::test]
async fn it_stores_over_tls_if_it_knows_the_certificate() {
    let bucket = Bucket::new().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (known, other) = (folder.path().join("known.pem"), folder.path().join("other.pem"));
    let endpoint = tls::before(bucket.address, &known).await;
    tls::before(bucket.address, &other).await;
    for (certificate, status) in [(known, 201), (other, 503)] {
        let api = RuntimeApi::start().await.expect("a free port");
        let _process = function(&api.address.to_string())
            .envs([("BUCKET_NAME", BUCKET), ("AWS_ENDPOINT_URL_S3", &endpoint)])
            .env("SSL_CERT_FILE", certificate)
            .spawn()
            .expect("it starts");
        let event = event_file("events/minimal.json").to_string();
        let answer = api.invoke(Bytes::from(event)).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
        assert_eq!(answer["statusCode"], status, "{answer}");
    }
}

#[tokio::test]
async fn a_setting_that_is_missing_or_wrong_is_one_clear_line() {
    for (variables, said) in [
        (vec![], "the environment variable BUCKET_NAME is not set"),
        (vec![("BUCKET_NAME", "")], "the environment variable BUCKET_NAME is not set"),
        (vec![("BUCKET_NAME", "b"), ("AWS_REGION", "")], "the environment variable AWS_REGION is not set"),
        (
            vec![("BUCKET_NAME", "b"), ("MAX_TRACE_BYTES", "5 MiB")],
            r#"the environment variable MAX_TRACE_BYTES is "5 MiB", not a number of bytes above 0"#,
        ),
    ] {
        let output = function("127.0.0.1:1").envs(variables).output().await.expect("it runs");
        let lines = lines(&output);
        assert_eq!((output.status.code(), lines.len()), (Some(1), 1), "{lines:?}");
        assert_eq!(lines[0]["error"], said);
    }
}
