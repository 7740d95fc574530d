//! The built ingest function under a Runtime API, with a real S3 and a queue that misbehaves.

use std::{process::Stdio, time::Duration};

use attest_lake::Table;
use bytes::Bytes;
use local_aws::runtime_api::RuntimeApi;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    gate::When,
    queue::Queue,
    support::{S3, assert_rows, rows, trace},
};

/// The time after which a run counts as hanging.
const LIMIT: Duration = Duration::from_secs(40);

struct Function {
    s3: S3,
    queue: Queue,
}

impl Function {
    async fn start() -> Self {
        let s3 = S3::start().await;
        let queue = Queue::start(s3.gate.clone()).await;
        Self { s3, queue }
    }

    /// Runs a task in a new process. Returns `None` if it was killed at the chosen request.
    async fn run(&self, task: &str, kill: Option<(usize, When)>) -> Option<Value> {
        self.s3.gate.close(kill);
        let runtime = RuntimeApi::start().await.expect("a free port");
        let mut function = Command::new(env!("CARGO_BIN_EXE_attest-lake"));
        function.env_clear().stdout(Stdio::null()).kill_on_drop(true);
        let environment = [
            ("AWS_LAMBDA_RUNTIME_API", runtime.address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "lake".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "lake".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "lake".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_S3", format!("http://{}", self.s3.address)),
            ("AWS_ENDPOINT_URL_SQS", format!("http://{}", self.queue.address)),
            ("BUCKET_NAME", "traces".to_owned()),
            ("LAKE_URL", "s3://lake/lake".to_owned()),
            ("STORED_QUEUE_URL", self.queue.url("stored")),
            ("REMOVED_QUEUE_URL", self.queue.url("removed")),
            ("RETENTION_DAYS", "0".to_owned()),
        ];
        let mut function = function.envs(environment).spawn().expect("the function starts");
        let event = Bytes::from(format!(r#"{{"task":"{task}"}}"#));
        let report = tokio::select! {
            report = runtime.invoke(event) => Some(report.expect("the task succeeds")),
            () = self.s3.gate.reached() => None,
            () = tokio::time::sleep(LIMIT) => panic!("{task} hangs, {kill:?}"),
        };
        function.kill().await.expect("it is killed");
        self.s3.gate.close(None);
        report.map(|report| serde_json::from_slice(&report).expect("a report"))
    }

    async fn store(&self, key: &str) {
        self.s3.put(key, &trace(key)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_objects_although_the_queue_misbehaves_and_every_request_is_killed_once() {
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let mut keys = Vec::new();
    let (mut delayed, mut lost) = (Vec::new(), 0);
    // Each run is killed one request later than the one before, until one is complete.
    let mut kills = 0;
    for request in 1.. {
        let when = if request % 2 == 0 { When::Before } else { When::After };
        if request % 4 == 1 {
            let key = format!("my%20model+1/{request:03}");
            function.store(&key).await;
            match request % 7 {
                0 => delayed.push(key.clone()),
                3 => lost += 1,
                _ => queue.send("stored", &key),
            }
            keys.push(key);
        }
        let report = function.run("ingest", Some((request, when))).await;
        queue.time_out();
        if report.is_some() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 10, "{kills} requests");
    for key in &delayed {
        queue.send("stored", key);
    }
    while queue.len() > 0 {
        function.run("ingest", None).await.expect("it is not killed");
        queue.time_out();
    }
    let table = Table::open(&s3.lake()).await.expect("the table");
    assert_eq!(rows(&table).await.len(), keys.len() - lost, "{lost} events were lost");
    let report = function.run("sync", None).await.expect("it is not killed");
    assert_eq!(report["added"], lost);
    assert_rows(&table, Some(s3), &keys).await;

    // Removals.
    let stays = keys.split_off(keys.len() / 2);
    for key in &keys {
        s3.delete(key).await;
        queue.send("removed", key);
    }
    let report = function.run("maintain", None).await.expect("it is not killed");
    assert_eq!(report["removed"], keys.len());
    assert_rows(&table, Some(s3), &stays).await;
}
