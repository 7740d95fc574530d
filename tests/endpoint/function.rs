//! Tests the deployed binary under Lambda's Runtime API.

use std::process::{Output, Stdio};

use hyper::body::Bytes;
use local_aws::{runtime_api::RuntimeApi, testing::FaultProxy};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    support::{BUCKET, Bucket, event_file},
    tls,
};

fn function(api: &str) -> Command {
    let mut function = Command::new(env!("CARGO_BIN_EXE_attest-lambda"));
    function
        .env_clear()
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", api)])
        .envs([("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local"), ("AWS_REGION", "us-east-1")])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    function
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("a log is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[tokio::test]
async fn the_function_logs_its_settings_and_answers_an_event() {
    let bucket = Bucket::new().await;
    let api = RuntimeApi::start().await.expect("a free port");
    let process = function(&api.address.to_string())
        .env("BUCKET_NAME", BUCKET)
        // The template sets an empty value if S3EndpointUrl is `aws`.
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

/// API Gateway never sends these events. Each of them fails its own invocation only.
#[tokio::test]
async fn an_invalid_event_is_an_error_and_the_next_event_is_answered() {
    let bucket = Bucket::new().await;
    let api = RuntimeApi::start().await.expect("a free port");
    let process = function(&api.address.to_string())
        .envs([("BUCKET_NAME", BUCKET), ("AWS_ENDPOINT_URL_S3", &*format!("http://{}", bucket.address))])
        .env("RUST_LOG", "trace")
        .spawn()
        .expect("it starts");
    let mut events: Vec<String> = ["", "[]", "{}", r#""what nobody may read""#, r#"{"body": "what nobody may read"#]
        .map(ToOwned::to_owned)
        .into();
    for (name, value) in [
        ("isBase64Encoded", json!(true)),
        ("isBase64Encoded", json!("what nobody may read")),
        ("headers", json!(["what nobody may read"])),
        ("body", json!({"model": "what nobody may read"})),
    ] {
        let mut event = event_file("events/minimal.json");
        event["body"] = "what nobody may read".into();
        event[name] = value;
        events.push(event.to_string());
    }
    for event in events {
        assert_eq!(api.invoke(Bytes::from(event.clone())).await, None, "{event}");
    }
    let answer = api.invoke(Bytes::from(event_file("events/minimal.json").to_string())).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains(r#""statusCode":201"#), "{answer:?}");

    let pid = process.id().expect("it runs").to_string();
    assert!(Command::new("kill").arg(pid).status().await.expect("kill runs").success());
    let lines = lines(&process.wait_with_output().await.expect("it ends"));
    assert_eq!(lines.last().expect("a line")["status"], 201, "{lines:?}");
    assert!(!format!("{lines:?}").contains("what nobody may read"), "{lines:?}");
}

#[tokio::test]
async fn traces_are_stored_over_tls_if_the_certificate_is_trusted() {
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
async fn a_missing_or_invalid_setting_is_reported_in_one_line() {
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

/// The alarms depend on the metrics in the log line of a request, so no log level may suppress it.
#[tokio::test]
async fn metrics_do_not_depend_on_the_log_level() {
    let bucket = Bucket::new().await;
    for (level, count) in [("error", 1), ("warn", 1), ("info", 2)] {
        let api = RuntimeApi::start().await.expect("a free port");
        let process = function(&api.address.to_string())
            .envs([("BUCKET_NAME", BUCKET), ("RUST_LOG", level)])
            .env("AWS_ENDPOINT_URL_S3", format!("http://{}", bucket.address))
            .spawn()
            .expect("it starts");
        api.invoke(Bytes::from(event_file("events/minimal.json").to_string())).await.expect("an answer");
        let pid = process.id().expect("it runs").to_string();
        assert!(Command::new("kill").arg(pid).status().await.expect("kill runs").success());
        let lines = lines(&process.wait_with_output().await.expect("it ends"));
        assert_eq!(lines.len(), count, "{level}: {lines:?}");
        assert_eq!(lines[count - 1]["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Attest", "{lines:?}");
    }
}

/// The template sets `AWS_ENDPOINT_URL` if S3EndpointUrl is not `aws`.
#[tokio::test]
async fn the_function_does_not_start_on_an_s3_that_would_overwrite() {
    let bucket = Bucket::new().await;
    let s3 = FaultProxy::before(bucket.address).await;
    s3.ignore_conditions(true);
    let output = function("127.0.0.1:1")
        .envs([("BUCKET_NAME", BUCKET), ("AWS_ENDPOINT_URL", &*format!("http://{}", s3.address)), ("RUST_LOG", "warn")])
        .output()
        .await
        .expect("it ends");
    let lines = lines(&output);
    assert_eq!((output.status.code(), lines.len()), (Some(1), 1), "{lines:?}");
    assert!(lines[0]["error"].as_str().is_some_and(|error| error.starts_with("this S3 ignores If-None-Match")));
}
