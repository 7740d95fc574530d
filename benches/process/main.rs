//! Measures the built function as a process, and compares it with a minimal program.
//!
//! Both run under Lambda's Runtime API and store into an S3 over TLS, all on loopback. `BOOTSTRAP` replaces the default
//! build, `target/release/attest-lambda`. The benchmark runs only on Linux, because it reads `/proc`.

//! `--memory` and `--s3-ms` set Lambda's share of a CPU and the latency of S3, and so show how long a client waits.
//! `--spans` measures the OpenTelemetry function instead, without a comparison.

#![allow(clippy::print_stdout, reason = "a benchmark reports to its terminal")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use clap::Parser;
use event::{event, trace};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    service::{Service, service_fn},
};
use local_aws::{
    http::serve,
    runtime_api::RuntimeApi,
    s3::{ACCESS_KEY, FolderS3, REGION},
};
use serde_json::Value;
use tokio::net::TcpListener;

#[path = "../common/event.rs"]
mod event;
#[path = "../../tests/common/tls.rs"]
mod tls;

/// The number of processes per program and trace size. Each result is their median.
const ROUNDS: usize = 5;

const FIGURES: [&str; 6] = ["cold CPU", "cold wall", "warm CPU", "warm wall", "memory", "size"];

/// The values of [`FIGURES`], in that order, in milliseconds and MiB.
type Figures = [f64; 6];

#[derive(Parser)]
struct Options {
    /// The memory in MB that determines the share of a CPU after init (cgroups v1, root), or 0 for a full CPU
    #[arg(long, default_value_t = 0)]
    memory: u32,
    /// The latency of S3 in milliseconds
    #[arg(long, default_value_t = 0)]
    s3_ms: u64,
    /// The number of spans of 4 KB in a batch for `attest-otlp`, which is then measured instead
    #[arg(long, default_value_t = 0)]
    spans: usize,
    /// A flag that cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if options.spans > 0 {
        return measure_batches(&options, root).await;
    }
    let ours = env::var_os("BOOTSTRAP").map_or_else(|| root.join("target/release/attest-lambda"), PathBuf::from);
    let minimal = root.join("target/release/examples/minimal");
    assert!(
        ours.exists() && minimal.exists() && Path::new("/proc/self/schedstat").exists(),
        "on Linux, first: cargo build --locked --release --bin attest-lambda --example minimal"
    );
    let share = (options.memory > 0).then(|| CpuShare::new(options.memory));
    println!("medians of {ROUNDS} processes; ms and MiB, with the ratio to a minimal program in brackets\n");
    println!("{:>10}{}", "trace", FIGURES.map(|figure| format!("{figure:>18}")).concat());
    for (name, bytes, traces) in [("1 KB", 1_000, 300), ("100 KB", 100_000, 60), ("4 MB", 4_000_000, 10)] {
        let event = Bytes::from(event(&trace(bytes)));
        let stored = Requests { event: &|_| event.clone(), warm: traces, status: 201 };
        let (mut of_ours, mut of_minimal) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_ours.push(measure(&ours, &stored, share.as_ref(), options.s3_ms).await);
            of_minimal.push(measure(&minimal, &stored, share.as_ref(), options.s3_ms).await);
        }
        let cell = |figure: usize| {
            let (ours, minimal) = (median(&of_ours, figure), median(&of_minimal, figure));
            format!("{:>18}", format!("{ours:.2} ({:.2})", ours / minimal))
        };
        println!("{name:>10}{}", std::array::from_fn::<_, 6, _>(cell).concat());
    }
}

/// Measures batches of one span and of `--spans` spans.
async fn measure_batches(options: &Options, root: &Path) {
    let program = env::var_os("BOOTSTRAP").map_or_else(|| root.join("target/release/attest-otlp"), PathBuf::from);
    assert!(program.exists(), "on Linux, first: cargo build --locked --release -p attest-otlp");
    let share = (options.memory > 0).then(|| CpuShare::new(options.memory));
    println!("medians of {ROUNDS} processes; ms and MiB\n");
    println!("{:>10}{}", "spans", FIGURES.map(|figure| format!("{figure:>12}")).concat());
    for (spans, warm) in [(1, 100), (options.spans, 10)] {
        let requests = Requests { event: &|number| Bytes::from(event(&batch(spans, number))), warm, status: 200 };
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(measure(&program, &requests, share.as_ref(), options.s3_ms).await);
        }
        let cell = |figure: usize| format!("{:>12.2}", median(&rounds, figure));
        println!("{spans:>10}{}", std::array::from_fn::<_, 6, _>(cell).concat());
    }
}

/// Returns a batch in OTLP's JSON encoding. Each span has about 4 KB and its own id.
fn batch(spans: usize, number: u32) -> String {
    let attribute = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
    let text = "Hello, how are you? I am well, thanks! \"Übung macht den Meister\"\n".repeat(52);
    let messages = serde_json::json!([{"role": "user", "parts": [{"type": "text", "content": text}]}]).to_string();
    let span = |span: usize| {
        serde_json::json!({
            "traceId": format!("{:032x}", number + 1), "spanId": format!("{:016x}", span + 1), "name": "chat",
            "startTimeUnixNano": "1795305600000000000", "endTimeUnixNano": "1795305601000000000",
            "attributes": [attribute("gen_ai.operation.name", "chat"), attribute("gen_ai.request.model", "gpt-4o"),
                           attribute("gen_ai.input.messages", &messages)],
        })
    };
    let spans: Vec<_> = (0..spans).map(span).collect();
    serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

fn median(rounds: &[Figures], figure: usize) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The requests to one process: the first one, and `warm` more.
struct Requests<'r> {
    event: &'r dyn Fn(u32) -> Bytes,
    warm: u32,
    status: u16,
}

/// Runs one process: a cold start, then the warm requests.
async fn measure(program: &Path, requests: &Requests<'_>, share: Option<&CpuShare>, s3_ms: u64) -> Figures {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = FolderS3::open(&root.path().join("traces")).expect("a bucket").with_secret_key(ACCESS_KEY.to_owned());
    let certificate = root.path().join("certificate.pem");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let s3 = tls::before(listener.local_addr().expect("an address"), &certificate).await;
    let objects = folder.service();
    let service = service_fn(move |request: Request<Incoming>| {
        let objects = objects.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(s3_ms)).await;
            Service::call(&objects, request).await
        }
    });
    tokio::spawn(serve(listener, service, std::future::pending()));
    let api = RuntimeApi::start().await.expect("a free port");
    let first = (requests.event)(0);
    let start = Instant::now();
    let process = tokio::process::Command::new(program)
        .env_clear()
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", &*api.address.to_string())])
        .envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY), ("AWS_REGION", REGION)])
        .envs([("BUCKET_NAME", "traces"), ("AWS_ENDPOINT_URL_S3", &*s3)])
        .env("SSL_CERT_FILE", certificate)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let id = process.id().expect("it runs");
    api.asked().await;
    if let Some(share) = share {
        share.hold(id);
    }
    requests.send(&api, first).await;
    let cold_wall = start.elapsed();
    api.asked().await;
    let cold_cpu = cpu(id);
    let mut walls = Vec::new();
    for number in 1..=requests.warm {
        walls.push([requests.send(&api, (requests.event)(number)).await; 6]);
        api.asked().await;
    }
    let warm_cpu = (cpu(id) - cold_cpu) / f64::from(requests.warm);
    let size = fs::metadata(program).expect("it exists").len();
    #[expect(clippy::cast_precision_loss, reason = "a program is smaller than 4 PiB")]
    let size = size as f64 / 1024.0 / 1024.0;
    [cold_cpu, milliseconds(cold_wall), warm_cpu, median(&walls, 0), peak_memory(id), size]
}

/// The CPU share that Lambda assigns after init, in periods of 20 ms.
///
/// The share is the memory divided by 1,769 MB (AWS Lambda Developer Guide, "Configure Lambda function memory").
struct CpuShare(PathBuf);

impl CpuShare {
    fn new(memory: u32) -> Self {
        let folder = PathBuf::from(format!("/sys/fs/cgroup/cpu/attest-{}", std::process::id()));
        fs::create_dir(&folder).expect("root, and cgroups v1");
        fs::write(folder.join("cpu.cfs_period_us"), "20000").expect("a period");
        fs::write(folder.join("cpu.cfs_quota_us"), (20_000 * memory / 1769).to_string()).expect("a quota");
        Self(folder)
    }

    fn hold(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).expect("the process runs");
    }
}

impl Drop for CpuShare {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Requests<'_> {
    /// Sends an event. Returns the time until the response, in milliseconds.
    async fn send(&self, api: &RuntimeApi, event: Bytes) -> f64 {
        let start = Instant::now();
        let answer = api.invoke(event).await.expect("the program answers");
        let took = milliseconds(start.elapsed());
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert_eq!(answer["statusCode"], self.status, "{answer}");
        took
    }
}

/// Returns the CPU time of a process in milliseconds (proc(5), `schedstat`).
fn cpu(id: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("the process runs");
    let nanoseconds: f64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok())
        .sum();
    nanoseconds / 1e6
}

/// Returns the peak memory of a process in MiB (proc(5), `VmHWM`).
fn peak_memory(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux reports it");
    line.trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}
