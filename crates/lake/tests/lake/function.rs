//! Runs the built function under a Runtime API, with an S3 and a queue.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use local_aws::runtime_api::RuntimeApi;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    gate::When,
    queue::Queue,
    support::{S3, trace},
};

/// The time after which a run counts as hanging.
const LIMIT: Duration = Duration::from_mins(2);

pub struct Function {
    pub s3: S3,
    pub queue: Queue,
}

#[derive(Debug)]
pub struct Run {
    pub report: Value,
    pub requests: usize,
    pub time: Duration,
    /// The CPU time of the process, on Linux. Unlike `time`, it does not depend on other processes.
    pub cpu: Option<Duration>,
    /// The peak memory of the process, on Linux.
    pub peak_mib: Option<u64>,
}

impl Function {
    pub async fn start() -> Self {
        let s3 = S3::start().await;
        let queue = Queue::start(s3.gate.clone()).await;
        Self { s3, queue }
    }

    /// Runs a task to completion in a new process. Returns its report.
    pub async fn complete(&self, task: &str) -> Value {
        self.run(task, None).await.expect("it is not killed").report
    }

    /// Runs a task in a new process. Returns `None` if the process was killed at the chosen request.
    pub async fn run(&self, task: &str, kill: Option<(usize, When)>) -> Option<Run> {
        self.s3.gate.close(kill);
        let run = self.race(task, self.s3.gate.reached()).await;
        self.s3.gate.close(None);
        run
    }

    /// Runs a task in a new process, which is killed if `killed` completes first.
    pub async fn race(&self, task: &str, killed: impl Future<Output = ()>) -> Option<Run> {
        let runtime = RuntimeApi::start().await.expect("a free port");
        // `LAKE_FUNCTION` may point to a release build, for measurements.
        let program = std::env::var_os("LAKE_FUNCTION").unwrap_or_else(|| env!("CARGO_BIN_EXE_attest-lake").into());
        let mut function = Command::new(PathBuf::from(program));
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
        let begin = Instant::now();
        let report = tokio::select! {
            report = runtime.invoke(event) => Some(report.expect("the task succeeds")),
            () = killed => None,
            () = tokio::time::sleep(LIMIT) => panic!("{task} hangs"),
        };
        let run = report.map(|report| Run {
            report: serde_json::from_slice(&report).expect("a report"),
            requests: self.s3.gate.requests(),
            time: begin.elapsed(),
            cpu: function.id().and_then(cpu),
            peak_mib: function.id().and_then(peak_mib),
        });
        function.kill().await.expect("it is killed");
        run
    }

    pub async fn store(&self, key: &str) {
        self.s3.put(key, &trace(key)).await;
    }
}

/// Returns the CPU time of a running process, on Linux (proc(5): `utime` and `stime`, usually in hundredths of a
/// second).
fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<i64> = stat.rsplit(')').next()?.split(' ').filter_map(|field| field.parse().ok()).collect();
    // The fields after the name: the state is a letter, so `utime`, field 14 of the line, is the eleventh number.
    Some(Duration::from_millis(10 * u64::try_from(fields.get(10)? + fields.get(11)?).ok()?))
}

/// Returns the peak memory of a running process in MiB, on Linux.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}
