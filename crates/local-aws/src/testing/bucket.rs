//! A bucket for one test: a real S3 on loopback, over a temporary folder.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aws_sdk_s3::{Client, config::SharedHttpClient, primitives::ByteStream};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};

pub const BUCKET: &str = "traces";

#[derive(Debug)]
pub struct Bucket {
    pub address: SocketAddr,
    /// A client with the right credentials.
    pub client: Client,
    pub folder: PathBuf,
    _root: TempDir,
}

impl Bucket {
    /// Serves an empty bucket with the policy of the deployed stack: a write needs `If-None-Match: *`.
    #[must_use]
    pub async fn new() -> Self {
        let (root, folder) = temporary();
        Self::serve(root, &folder, open(&folder)).await
    }

    /// Serves an empty bucket without a policy, like the bucket of a lake: a write replaces an object.
    #[must_use]
    pub async fn overwritable() -> Self {
        let (root, folder) = temporary();
        Self::serve(root, &folder, open(&folder).allow_overwrites()).await
    }

    /// Serves a bucket in a folder with a long path, so that the path of a long key exceeds the system's limit.
    #[must_use]
    pub async fn in_a_deep_folder() -> Self {
        let limit = if cfg!(target_os = "linux") { 4096 } else { 1024 };
        let root = tempfile::tempdir().expect("a temporary folder can be created");
        let mut folder = root.path().to_owned();
        while folder.as_os_str().len() < limit - 400 {
            folder.push("d".repeat(200));
        }
        folder.push(BUCKET);
        Self::serve(root, &folder, open(&folder)).await
    }

    /// Serves the same folder again, read-only.
    #[must_use]
    pub async fn read_only(&self) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder can be created");
        let s3 = FolderS3::read_only(&self.folder).expect("the folder exists").with_secret_key(ACCESS_KEY.to_owned());
        Self::serve(root, &self.folder, s3).await
    }

    async fn serve(root: TempDir, folder: &Path, s3: FolderS3) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        tokio::spawn(serve(listener, s3.service(), std::future::pending()));
        let config = FolderS3::sdk_config(address, ACCESS_KEY, http_client());
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        Self { address, client: Client::from_conf(config.build()), folder: folder.to_owned(), _root: root }
    }

    pub async fn put(&self, key: &str, object: &[u8]) {
        let body = ByteStream::from(object.to_vec());
        let put = self.client.put_object().bucket(BUCKET).key(key).if_none_match("*").body(body);
        put.send().await.expect("the object is stored");
    }

    pub async fn object(&self, key: &str) -> Vec<u8> {
        let object = self.client.get_object().bucket(BUCKET).key(key).send().await.expect(key);
        object.body.collect().await.expect("a whole body").to_vec()
    }

    pub async fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.expect("a list");
            keys.extend(page.contents().iter().map(|object| object.key().expect("an object has a key").to_owned()));
        }
        keys
    }
}

fn temporary() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a temporary folder can be created");
    let folder = root.path().join(BUCKET);
    (root, folder)
}

fn open(folder: &Path) -> FolderS3 {
    let s3 = FolderS3::open(folder).expect("a bucket can be created in the folder");
    s3.with_secret_key(ACCESS_KEY.to_owned()) // the tests know it
}

/// Returns an HTTP client without TLS, because this S3 is on loopback.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}
