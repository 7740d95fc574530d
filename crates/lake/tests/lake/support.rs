//! An S3 with a bucket for traces and one for a lake, and independent readers of the lake.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Command, sync::Arc};

use attest_lake::{LakeLocation, Table, objects::Bucket};
use aws_config::SdkConfig;
use aws_sdk_s3::{Client, primitives::ByteStream};
use hyper::{
    Request, Response,
    body::Incoming,
    service::{Service, service_fn},
};
use local_aws::{http::serve, s3::FolderS3, testing::http_client};
use s3s::{Body, auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Mutex};

use crate::{gate::Gate, refusal::Refusals};

/// Serves as both access key id and secret key.
const KEY: &str = "local";

pub struct S3 {
    pub config: SdkConfig,
    pub client: Client,
    pub address: SocketAddr,
    pub root: TempDir,
    pub gate: Gate,
    pub refusals: Refusals,
}

impl S3 {
    pub async fn start() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        for bucket in ["traces", "lake"] {
            std::fs::create_dir(root.path().join(bucket)).expect("a folder");
        }
        let mut service = S3ServiceBuilder::new(FileSystem::new(root.path()).expect("the folder exists"));
        service.set_auth(SimpleAuth::from_single(KEY, KEY));
        let service = service.build();
        // s3s-fs checks `If-None-Match` and writes in two steps. Allowing one conditional write at a time makes them
        // atomic, as on AWS.
        let (conditional, gate, refusals) = (Arc::new(Mutex::new(())), Gate::default(), Refusals::default());
        let (passed, refused) = (gate.clone(), refusals.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (service, conditional, gate) = (service.clone(), Arc::clone(&conditional), passed.clone());
            let refused = refused.clone();
            async move {
                let is_failing = gate.is_failing();
                gate.pass(async {
                    if is_failing {
                        return Ok(Response::builder().status(403).body(Body::empty()).expect("a response"));
                    }
                    if let Some(refusal) = refused.of(&request) {
                        return Ok(refusal);
                    }
                    let is_conditional = request.headers().contains_key("if-none-match");
                    let _one = if is_conditional { Some(conditional.lock().await) } else { None };
                    Service::<Request<Incoming>>::call(&service, request).await
                })
                .await
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(serve(listener, service, std::future::pending()));
        let config = FolderS3::sdk_config(address, KEY, http_client());
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Self { config, client: Client::from_conf(s3), address, root, gate, refusals }
    }

    pub fn traces(&self) -> Bucket {
        Bucket::new(&self.config, "traces".to_owned())
    }

    pub fn lake(&self) -> LakeLocation {
        LakeLocation::bucket("s3://lake/lake", &self.config).expect("it is a location")
    }

    pub async fn put(&self, key: &str, json: &str) {
        let body = ByteStream::from(json.as_bytes().to_vec());
        self.client.put_object().bucket("traces").key(key).body(body).send().await.expect("it is stored");
    }

    pub async fn delete(&self, key: &str) {
        self.client.delete_object().bucket("traces").key(key).send().await.expect("it is deleted");
    }
}

pub fn trace(content: &str) -> String {
    let messages = serde_json::json!([{"role": "user", "content": content}]);
    serde_json::json!({"model": "m", "created": 1_795_305_600, "messages": messages}).to_string()
}

pub async fn store(s3: &S3, prefix: &str, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|number| format!("{prefix}/{number:04}")).collect();
    for key in &keys {
        s3.put(key, &trace(key)).await;
    }
    keys
}

/// Returns the number of rows per key, as this crate reads the table.
pub async fn rows(table: &Table) -> BTreeMap<String, usize> {
    let snapshot = table.load().await.expect("the table");
    let mut rows = BTreeMap::new();
    for file in snapshot.files() {
        for entry in snapshot.keys(vec![file.clone()]).await.expect("its keys") {
            *rows.entry(entry.key).or_default() += 1;
        }
    }
    let counted: u64 = snapshot.files().iter().map(attest_lake::DataFile::rows).sum();
    assert_eq!(usize::try_from(counted).ok(), Some(rows.values().sum()), "the statistics count the rows");
    rows
}

/// Asserts that the table has one row per key. If `LAKE_READERS` points to a Python that has the two independent
/// readers, they must agree.
pub async fn assert_rows(table: &Table, s3: Option<&S3>, keys: &[String]) {
    let expected: BTreeMap<String, usize> = keys.iter().map(|key| (key.clone(), 1)).collect();
    assert_eq!(rows(table).await, expected);
    let Some(python) = std::env::var_os("LAKE_READERS") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/lake_readers.py");
    let mut reader = Command::new(python);
    reader.arg(script).arg(table.location().to_string());
    if let Some(s3) = s3 {
        reader.arg(s3.address.to_string());
    }
    let output = tokio::task::spawn_blocking(move || reader.output()).await.expect("it ran").expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list of keys");
    let mut keys = keys.to_vec();
    keys.sort();
    assert_eq!(read, keys, "both readers");
}
