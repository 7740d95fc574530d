//! A bucket of one's own: a real S3 on loopback, over a temporary folder.

use std::{net::SocketAddr, path::Path};

use aws_sdk_s3::{Client, config::SharedHttpClient};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};

/// The bucket's name.
pub const BUCKET: &str = "traces";

/// A real S3 on loopback, and a client of its own to look into it.
pub struct Bucket {
    /// The address of the S3.
    pub address: SocketAddr,
    /// A client with the right credentials.
    pub client: Client,
    _root: TempDir,
}

impl Bucket {
    /// Serves an empty bucket in a temporary folder.
    pub async fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = root.path().join(BUCKET);
        Self::over(root, &folder).await
    }

    /// A bucket over a folder whose own path leaves no room for a long key's.
    pub async fn in_a_deep_folder() -> Self {
        let limit = if cfg!(target_os = "linux") { 4096 } else { 1024 };
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let mut folder = root.path().to_owned();
        while folder.as_os_str().len() < limit - 400 {
            folder.push("d".repeat(200));
        }
        folder.push(BUCKET);
        Self::over(root, &folder).await
    }

    async fn over(root: TempDir, folder: &Path) -> Self {
        let folder = FolderS3::open(folder).expect("a bucket can be made in it");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(serve(listener, folder.service(), std::future::pending()));
        let config = FolderS3::sdk_config(address, ACCESS_KEY, http_client());
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        Self { address, client: Client::from_conf(config.build()), _root: root }
    }

    /// The bytes stored under `key`.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        let object = self.client.get_object().bucket(BUCKET).key(key).send().await.expect(key);
        object.body.collect().await.expect("a whole body").to_vec()
    }

    /// Every key, in order.
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

/// Returns an HTTP client without TLS, because this S3 is on loopback.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}
