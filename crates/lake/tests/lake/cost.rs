//! Tests that the requests, time and memory of a run do not grow with the table.
//!
//! `LAKE_ROWS` sets the size of the largest table, and `LAKE_FUNCTION` the path of a release build of the function.
//! `LAKE_RATE` sets the number of traces per second that it must reach.

#![expect(clippy::cast_precision_loss, reason = "the numbers are far below 2^53")]

use std::{env, time::Duration};

use attest::writer::Writer;
use attest_lake::{
    Entry, Error, LakeLocation, Object, Result, Table, append,
    maintain::{Gone, maintain},
    objects::Objects,
};
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use jiff::Timestamp;

use crate::{
    function::{Function, Run},
    support::{S3, trace},
};

/// The number of runs per size. Each run writes a commit, and every 20th commit writes a checkpoint, so each size
/// includes one.
const RUNS: usize = 20;

const NEW: usize = 50;

/// The number of days over which the generated traces are spread.
const DAYS: u64 = 10;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Generates traces instead of storing them. A key that ends with `/N` has the trace N.
struct Generated;

impl Objects for Generated {
    fn list(&self) -> BoxStream<'_, Result<Entry>> {
        stream::empty().boxed()
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>>> {
        let read = async move {
            let number: u64 = key.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a generated key");
            let second = 1_790_000_000 + i64::try_from(86_400 * (number % DAYS) + number % 86_400).expect("small");
            let stored = Timestamp::from_second(second).expect("a time of 2026");
            let entry = Entry::new(key.to_owned(), stored, None);
            Ok::<_, Error>(Some(Object { entry, json: trace(&content(number)).into(), writer: Writer::default() }))
        };
        read.boxed()
    }

    fn stored<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        async move { Ok(self.read(key).await?.map(|object| object.entry)) }.boxed()
    }
}

/// Returns a string of about 200 characters that compresses like a conversation, not like a constant.
fn content(number: u64) -> String {
    let words = (0..12).map(|word| format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(word * 5)));
    words.collect::<Vec<_>>().join(" ")
}

/// Adds the traces from `from` to `to`, and merges their files.
async fn grow(table: &Table, from: u64, to: u64) {
    for begin in (from..to).step_by(20_000) {
        let keys = (begin..to.min(begin + 20_000)).map(|number| format!("existing/{number:07}")).collect();
        append(table, &Generated, keys).await.expect("added");
    }
    maintain(table, &Gone::new()).await.expect("merged");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_time_and_memory_of_a_run_do_not_grow_with_the_table() {
    let largest = number("LAKE_ROWS").unwrap_or(100_000);
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let table = Table::open(&s3.lake()).await.expect("a table");
    // The first checkpoint must exist before the measurement, because each later run reads one.
    for number in 0..RUNS {
        append(&table, &Generated, vec![format!("existing/{:07}", 9_000_000 + number)]).await.expect("added");
    }
    let (mut rows, mut results) = (0, Vec::new());
    for size in [largest / 100, largest / 10, largest] {
        grow(&table, rows, size).await;
        rows = size;
        let mut runs: Vec<Run> = Vec::new();
        for run in 0..RUNS {
            for number in 0..NEW {
                let key = format!("new/{size}-{run}-{number}");
                function.store(&key).await;
                queue.send_once("stored", &key);
            }
            runs.push(function.run("ingest", None).await.expect("it is not killed"));
            assert_eq!(runs[run].report["added"], NEW);
            queue.clear();
        }
        let requests: usize = runs.iter().map(|run| run.requests).sum();
        let time: Duration = runs.iter().filter_map(|run| run.cpu).sum();
        let peak = runs.iter().filter_map(|run| run.peak_mib).max();
        println!(
            "{size} rows, {} files: {:.2} requests per new trace, {:.0} ms of CPU per run, {peak:?} MiB",
            runs[RUNS - 1].report["files"],
            requests as f64 / (RUNS * NEW) as f64,
            time.as_secs_f64() * 1e3 / RUNS as f64,
        );
        results.push((requests, time, peak));
    }
    for (requests, time, peak) in &results[1..] {
        let (first_requests, first_time, first_peak) = &results[0];
        assert!(requests * 10 <= first_requests * 11, "{results:?}");
        // The limit is generous because times are noisy. A time that grows with the table would be 100 times as long.
        assert!(*time <= *first_time * 3, "{results:?}");
        assert!(peak.zip(*first_peak).is_none_or(|(peak, first)| peak <= first + 64), "{results:?}");
    }
    assert!(s3.traces().stored("new/0").await.expect("looked up").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_reads_a_small_file_with_two_requests() {
    let s3 = S3::start().await;
    let mut requests = Vec::new();
    for files in [2, 10] {
        let table =
            Table::open(&LakeLocation::bucket(&format!("s3://lake/{files}"), &s3.config).expect("a location")).await;
        let table = table.expect("a table");
        for number in 0..files {
            // One file of one day, too large to be read with the request for its footer.
            let keys = (0..200).map(|row| format!("existing/{}", DAYS * (1_000 * number + row))).collect();
            append(&table, &Generated, keys).await.expect("added");
        }
        s3.gate.close(None);
        maintain(&table, &Gone::new()).await.expect("merged");
        requests.push(s3.gate.requests());
    }
    // Per file: the footer, the columns of the only row group, and its log entry, which the kernel reads twice.
    assert!(requests[1] - requests[0] <= 8 * 4 + 4, "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_run_needs_bounded_memory() {
    let traces = number("LAKE_RUN").unwrap_or(3_000);
    let function = Function::start().await;
    let (s3, queue) = (&function.s3, &function.queue);
    let puts = stream::iter(0..traces).map(|number| {
        let (key, json) = (format!("m/{number:06}"), trace(&content(number).repeat(5)));
        async move { s3.put(&key, &json).await }
    });
    puts.buffer_unordered(16).collect::<Vec<()>>().await;
    (0..traces).for_each(|number| queue.send_once("stored", &format!("m/{number:06}")));
    let run = function.run("ingest", None).await.expect("it is not killed");
    assert_eq!(run.report["added"], traces);
    let rate = traces as f64 / run.time.as_secs_f64();
    println!(
        "{traces} traces in {:?}: {rate:.0} per second, {:?} of CPU, {} requests, {:?} MiB",
        run.time, run.cpu, run.requests, run.peak_mib
    );
    assert!(run.peak_mib.is_none_or(|peak| peak < 512), "{run:?}");
    assert!(number("LAKE_RATE").is_none_or(|required| rate >= required as f64), "{run:?}");
}
