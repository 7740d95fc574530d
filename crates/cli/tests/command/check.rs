//! Tests that `check` confirms every promise on the local endpoint, and reports each one that a proxy breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
};

use axum::Router;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

use breaks::{BREAKS, OTHER_KEY};
use proxy::{KEY, TemporaryKey, endpoint};

mod breaks;
mod proxy;

const CHECKS: usize = 3;

/// The result of a check: the verdicts by promise, the whole report, and the exit status.
struct Checked {
    verdicts: BTreeMap<String, String>,
    report: Value,
    status: Option<i32>,
}

/// Runs `check` with the proxy's URL, and with `check/aws`, the stand-in for the AWS CLI, on the path.
async fn check(url: &str, arguments: &[&str], broken: &str) -> Checked {
    let output = command(url, arguments, broken).stderr(Stdio::inherit()).output().await.expect("attest runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let lines = report["promises"].as_array().expect("promises");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let verdicts = lines.iter().map(|line| (text(&line["promise"]), text(&line["verdict"]))).collect();
    Checked { verdicts, report, status: output.status.code() }
}

fn command(url: &str, arguments: &[&str], broken: &str) -> Command {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/command/check");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.args(["check", "--json", "--api-key", KEY, "--url", &format!("{url}/prod")]).args(arguments);
    command.env("PATH", path).env("BROKEN", broken).env("SERVER", url).env_remove("AWS_ENDPOINT_URL");
    command
}

#[tokio::test]
async fn every_promise_holds_on_the_local_endpoint_or_says_why_it_is_not_checked() {
    let url = endpoint(None, TemporaryKey::Limited).await;
    let checked = check(&url, &[], "").await;
    assert_eq!(checked.status, Some(0), "{}", checked.report);
    for line in checked.report["promises"].as_array().expect("promises") {
        match line["verdict"].as_str() {
            Some("holds") => {}
            Some("not_checked") => {
                let reason = line["reason"].as_str().expect("a reason");
                assert!(
                    ["--stack is not given", "the URL is not HTTPS", "requests are not signed"].contains(&reason),
                    "{line}"
                );
            }
            _ => panic!("{line}"),
        }
    }
    let left = checked.report["left"].as_array().expect("the keys that are left");
    assert!(left.len() > 90 && left.iter().all(|key| key.as_str().is_some_and(|key| key.starts_with("attest-check/"))));
}

#[tokio::test]
async fn each_promise_that_a_proxy_breaks_is_reported() {
    let whole = check(&endpoint(None, TemporaryKey::Limited).await, &[], "").await;
    let holding: BTreeSet<_> =
        whole.verdicts.iter().filter(|(_, verdict)| *verdict == "holds").map(|(of, _)| of.as_str()).collect();
    let broken: BTreeSet<_> = BREAKS.iter().map(|of| of.promise).collect();
    assert_eq!(broken, holding, "each promise that is checked is broken");
    let checks = BREAKS.iter().enumerate().map(async |(number, broken)| {
        let checked = check(&endpoint(Some(broken), TemporaryKey::Limited).await, &[], "").await;
        let verdict = checked.verdicts.get(broken.promise).map(String::as_str);
        let is_reported = checked.status == Some(1) && verdict == Some("fails");
        (!is_reported).then(|| format!("{number}: {}: {:?}", broken.promise, checked.status))
    });
    let missed: Vec<_> =
        stream::iter(checks).buffer_unordered(CHECKS).filter_map(async |missed| missed).collect().await;
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The promises that an endpoint breaks if it ignores usage plans.
const THROTTLED: &str = "a key over its rate gets 429 as problem details";
const QUOTA: &str = "a key over its quota gets 429 as problem details";

/// The values of `BROKEN` that `check/aws` knows, and the promise that each one breaks.
const STACK_BREAKS: &[(&str, &str)] = &[
    ("bytes", "the stored object is the sent trace, byte for byte"),
    ("overwrite", "a put without If-None-Match is denied"),
    ("public", "the bucket is not public"),
    ("encryption", "traces are encrypted as the stack specifies"),
    ("architecture", "the binary is built for the architecture of the function"),
    ("alarms", "the alarms exist and are enabled"),
    ("subscription", "the e-mail subscription of the alarms is confirmed"),
    ("content of logs", "the log contains no message content"),
    ("content of otel-logs", "the log contains no message content"),
    ("status", "the log has a line for the request"),
    ("metrics", "the metrics arrive"),
    ("build", "the binary is built for the architecture of the function"),
    ("notifications", "the bucket reports stored and removed objects to the lake"),
    ("schedules", "the schedules of the lake are enabled"),
    ("queries", "the saved queries run"),
    ("writer", "the stored object names its API key"),
    ("gateway", "API Gateway's own errors are set to problem details"),
    ("ringing", "no alarm is in state ALARM"),
    ("ingest", "a run of the lake succeeds"),
    ("runs", "each task of the lake has succeeded in time"),
    ("dead-letters", "the lake has no dead letters"),
    ("row", "a stored trace becomes one row of the lake"),
];

#[tokio::test]
async fn every_promise_of_a_stack_holds_and_its_traces_are_deleted() {
    let checked = check(&endpoint(None, TemporaryKey::Limited).await, &["--stack", "traces"], "").await;
    assert_eq!(checked.status, Some(0), "{}", checked.report);
    let unchecked: Vec<_> = checked.verdicts.iter().filter(|(_, verdict)| *verdict != "holds").collect();
    let unchecked: Vec<_> =
        unchecked.into_iter().map(|(promise, verdict)| (promise.as_str(), verdict.as_str())).collect();
    let expected = ["TLS below 1.2 is refused", "an unsigned request with a valid API key gets 403"];
    assert_eq!(unchecked, expected.map(|promise| (promise, "not_checked")), "{}", checked.report);
    assert_eq!(checked.report["left"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn an_alarm_on_a_run_that_is_not_due_yet_is_no_failure() {
    let checked = check(&endpoint(None, TemporaryKey::Limited).await, &["--stack", "traces"], "night").await;
    assert_eq!(checked.status, Some(0), "{}", checked.report);
    assert_eq!(checked.verdicts["no alarm is in state ALARM"], "not_checked", "{}", checked.report);
}

#[tokio::test]
async fn each_promise_of_a_stack_that_is_broken_is_reported() {
    let url = endpoint(None, TemporaryKey::Limited).await;
    let (alone, whole) = (check(&url, &[], "").await, check(&url, &["--stack", "traces"], "").await);
    let of_stack = whole.verdicts.iter().filter(|(of, verdict)| *verdict == "holds" && alone.verdicts[*of] != "holds");
    let of_stack: BTreeSet<_> = of_stack.map(|(promise, _)| promise.as_str()).collect();
    let broken = STACK_BREAKS.iter().map(|(_, promise)| *promise).chain([THROTTLED, QUOTA]);
    assert_eq!(broken.collect::<BTreeSet<_>>(), of_stack, "each promise that is checked is broken once");
    for (broken, promise) in STACK_BREAKS {
        let checked = check(&url, &["--stack", "traces", "--wait", "0"], broken).await;
        assert_eq!(checked.status, Some(1), "{broken}: {}", checked.report);
        assert_eq!(checked.verdicts[*promise], "fails", "{broken}: {}", checked.report);
    }
}

#[tokio::test]
async fn a_key_that_is_not_limited_is_reported() {
    for (temporary, of_quota) in [(TemporaryKey::Accepted, "fails"), (TemporaryKey::WithoutPause, "holds")] {
        let checked = check(&endpoint(None, temporary).await, &["--stack", "traces"], "").await;
        assert_eq!(checked.verdicts[THROTTLED], "fails", "{}", checked.report);
        assert_eq!(checked.verdicts[QUOTA], of_quota, "{}", checked.report);
    }
}

#[tokio::test]
async fn an_interrupted_check_deletes_its_temporary_key_and_its_traces() {
    let url = endpoint(None, TemporaryKey::Unknown).await;
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = command(&url, &["--stack", "traces"], "");
        let child = command.env("LOG", &log).stdout(Stdio::piped()).spawn().expect("attest runs");
        let calls = || std::fs::read_to_string(&log).unwrap_or_default();
        while !calls().contains("create-usage-plan-key") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let id = child.id().expect("it runs").to_string();
        let kill = Command::new("kill").args(["-s", signal, &id]).status().await.expect("kill runs");
        assert!(kill.success());
        let output = child.wait_with_output().await.expect("it ends");
        assert_eq!(output.status.code(), Some(2), "{signal}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
        assert_eq!(report["interrupted"], true);
        let calls = calls();
        for call in ["apigateway delete-api-key", "apigateway delete-usage-plan", "s3api delete-objects"] {
            assert!(calls.contains(call), "{signal}: {call}: {calls}");
        }
    }
}

#[tokio::test]
async fn the_report_is_json_and_nothing_that_a_terminal_executes_whatever_the_endpoint_answers() {
    let hostile = "\u{1b}[31m\u{202e}\u{9b}";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = Router::new().fallback(move || async move { hostile });
    tokio::spawn(async move { axum::serve(listener, answer).await });
    let output = command(&url, &[], "").output().await.expect("attest runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains(|char: char| char.is_control() && char != '\n' || char == '\u{202e}'), "{text}");
    let report: Value = serde_json::from_str(&text).expect("the report is JSON");
    let promises = report["promises"].as_array().expect("promises");
    assert!(promises.iter().any(|line| line["actual"].as_str().is_some_and(|of| of.contains(hostile))), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_report_that_is_not_written_is_no_success() {
    let url = endpoint(None, TemporaryKey::Limited).await;
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let child = command(&url, &[], "").stdout(full).stderr(Stdio::piped()).spawn().expect("attest runs");
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("cannot write to standard output"), "{error}");
}

#[tokio::test]
async fn http_to_another_host_is_warned_about() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, "{}\n").expect("the file is writable");
    let path = file.path().to_str().expect("UTF-8");
    for arguments in [&["check"][..], &["import", path, "--retry-for", "0"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        command.args(arguments).args(["--url", "http://user:secret@attest.example/", "--api-key", "k"]);
        // Nothing listens at this proxy's address, so the test sends nothing to the network.
        let output = command.env("http_proxy", "http://127.0.0.1:1").output().await.expect("attest runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("warning: http://attest.example/ is not encrypted"), "{arguments:?}: {error}");
        assert!(!error.contains("secret"), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn only_sent_traces_are_deleted() {
    let checked = check(&endpoint(Some(&OTHER_KEY), TemporaryKey::Limited).await, &[], "").await;
    let left: Vec<_> = checked.report["left"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    assert!(left.len() > 50 && left.iter().all(|key| !key.contains("other")), "{left:?}");
}

#[tokio::test]
async fn traces_that_may_not_be_deleted_are_named() {
    let checked = check(&endpoint(None, TemporaryKey::Limited).await, &["--stack", "traces"], "delete").await;
    assert_eq!(checked.report["left"], serde_json::json!(["attest-check/kept"]));
    assert_eq!(checked.report["left_because"], "AccessDenied");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_checked_ends_in_exit_status_2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for (url, key) in
        [(format!("http://{address}/prod"), "key"), (endpoint(None, TemporaryKey::Limited).await + "/prod", "wrong")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        let output = command.args(["check", "--url", &url, "--api-key", key]).output().await.expect("attest runs");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(&url) && error.contains("check --url"), "{error}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.args(["check", "--api-key", "key"]).env("ATTEST_URL", format!("http://jane:hunter2@{address}/prod"));
    for arguments in [&[][..], &["--help"]] {
        let output = command.args(arguments).output().await.expect("attest runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("--url") && !said.contains("hunter2"), "{said}");
    }
}
