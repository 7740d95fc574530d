//! Tests that `export`, `forget` and the page select the same traces for a query.

mod generate;
mod plain;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::{
    export::{stderr, store_at},
    import::program,
    lake::versioned_s3::{VersionedS3, command},
};
use generate::{query, trace};
use plain::{Expression, StoredTrace};

const TRACES: usize = 200;
const QUERIES: usize = 200;

/// The number of commands that run concurrently.
const CONCURRENT: usize = 4;

/// A folder, its lake and its page, and a bucket with the same traces.
struct Doors<'a> {
    home: &'a Path,
    s3: String,
    page: String,
    keys_by_id: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn page_export_and_forget_select_what_a_plain_evaluation_selects() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (home, s3, mut rng) = (folder.path(), VersionedS3::default(), Rng::with_seed(34));
    let traces: Vec<StoredTrace> = (0..TRACES).map(|number| trace(&mut rng, number)).collect();
    for StoredTrace { key, json, stored, .. } in &traces {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*stored);
        store_at(home, key, json, time);
        s3.add("traces", key, Some(json.clone().into()), time);
    }
    let sync = program(home).args(["lake", "sync", "-q", "-o", "lake"]).output().await.expect("it runs");
    assert_eq!(sync.status.code(), Some(0), "{}", stderr(&sync));
    let (_view, page) = view(home).await;
    let keys_by_id = traces.iter().map(|trace| (trace.id.clone(), trace.key.clone())).collect();
    let doors = Doors { home, s3: s3.serve().await, page, keys_by_id };

    let queries: Vec<(String, Expression)> = (0..QUERIES).map(|_| query(&mut rng)).collect();
    let compared = stream::iter(&queries).map(|(text, expression)| {
        let holds = |trace: &&StoredTrace| expression.holds(trace);
        let expected: BTreeSet<String> = traces.iter().filter(holds).map(|trace| trace.key.clone()).collect();
        doors.compare(text, expected)
    });
    let sizes: Vec<usize> = compared.buffer_unordered(CONCURRENT).collect().await;
    let telling = sizes.iter().filter(|size| (1..TRACES).contains(*size)).count();
    assert!(telling > QUERIES / 2, "only {telling} queries select some traces and not all of them: {sizes:?}");
}

impl Doors<'_> {
    /// Asserts that all commands select the expected traces, and returns their number.
    async fn compare(&self, query: &str, expected: BTreeSet<String>) -> usize {
        let (exported, forgotten, shown) =
            tokio::join!(self.exported(query), self.would_be_forgotten(query), self.shown(query));
        assert_eq!(exported, expected, "export of {query}");
        assert_eq!(forgotten, expected, "forget of {query}");
        assert_eq!(shown, expected, "the page of {query}");
        expected.len()
    }

    /// Exports from the folder, or for some queries from the bucket, whose in-memory S3 is slower.
    async fn exported(&self, query: &str) -> BTreeSet<String> {
        let arguments = ["export", "-q", "-o", "-", "--query", query];
        let mut export = command(self.home, &self.s3, &arguments);
        if query.len().is_multiple_of(8) {
            export.args(["--bucket", "traces"]);
        }
        let output = export.output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{query}: {}", stderr(&output));
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let id = |line: &str| {
            let trace: Value = serde_json::from_str(line).expect("JSON");
            trace["id"].as_str().expect("a text").to_owned()
        };
        lines.lines().map(|line| self.keys_by_id[&id(line)].clone()).collect()
    }

    async fn would_be_forgotten(&self, query: &str) -> BTreeSet<String> {
        let forget = ["forget", "--lake", "lake", "--dry-run", "--query", query];
        let output = program(self.home).args(forget).output().await.expect("it runs");
        let keys = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        if keys.is_empty() {
            assert!(stderr(&output).contains("no trace of the lake matches"), "{query}: {}", stderr(&output));
        } else {
            assert_eq!(output.status.code(), Some(0), "{query}: {}", stderr(&output));
        }
        keys.lines().map(str::to_owned).collect()
    }

    /// Goes through all pages of the result.
    async fn shown(&self, query: &str) -> BTreeSet<String> {
        let mut shown = BTreeSet::new();
        let mut address = format!("traces?{}", encoded(&[("q", query)]));
        loop {
            let html = self.get(&address).await;
            let keys: Vec<&str> = texts_between(&html, "<li data-key=\"", "\"").collect();
            shown.extend(keys.iter().map(|key| unescaped(key)));
            let next = texts_between(&html, "rel=\"next\" href=\"/", "\"").next_back();
            match next.filter(|_| !keys.is_empty()) {
                Some(next) => address = unescaped(next),
                None => return shown,
            }
        }
    }

    async fn get(&self, address: &str) -> String {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let url: Uri = format!("{}{address}", self.page).parse().expect("a URL");
        let response = client.get(url).await.expect("an answer");
        assert!(response.status().is_success(), "{address}: {}", response.status());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }
}

/// Starts the page for the folder. Returns its root URL.
async fn view(home: &Path) -> (Child, String) {
    let mut view = program(home);
    let mut view = view.args(["view", "--port", "0"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(view.stdout.take().expect("piped")).read_line(&mut line).await.expect("UTF-8");
    let page = line.split_whitespace().last().expect("the URL of the page").to_owned();
    (view, page)
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    reqwest::Url::parse_with_params("http://a/", parameters).expect("a URL").query().expect("a query").to_owned()
}

fn texts_between<'a>(
    html: &'a str,
    before: &'a str,
    after: &'a str,
) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
    let texts: Vec<&str> = html.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect();
    texts.into_iter()
}

fn unescaped(html: &str) -> String {
    html.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
