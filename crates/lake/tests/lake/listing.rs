//! Tests listings of an S3 that misbehaves.

use attest_lake::objects::{Bucket, Objects};
use futures_util::StreamExt;
use local_aws::{http::serve, s3::FolderS3, testing::http_client};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        ObjectVersion, Timestamp,
    },
    service::S3ServiceBuilder,
};
use tokio::net::TcpListener;

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// Each request returns the first page, so the listing would never end.
    Repeats,
    NotSorted,
    FewerKeysThanCounted,
    NoEnd,
    EmptyPage,
    NoMarker,
    SameMarker,
}

/// A bucket with the keys `m/1` to `m/4`, two on a page.
#[derive(Debug, Clone, Copy)]
struct Faulty(Fault);

#[async_trait::async_trait]
impl S3 for Faulty {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let after = request.input.start_after.filter(|_| !matches!(self.0, Fault::Repeats)).unwrap_or_default();
        let mut keys: Vec<String> = (1..=4).map(|id| format!("m/{id}")).filter(|key| *key > after).collect();
        let is_truncated = keys.len() > 2;
        keys.truncate(2);
        match self.0 {
            Fault::NotSorted => keys.reverse(),
            Fault::EmptyPage => keys.clear(),
            _ => {}
        }
        let key_count = i32::try_from(keys.len()).ok();
        if matches!(self.0, Fault::FewerKeysThanCounted) {
            keys.pop();
        }
        let object = |key| Object {
            key: Some(key),
            last_modified: Some(Timestamp::from(std::time::SystemTime::now())),
            ..Object::default()
        };
        Ok(S3Response::new(ListObjectsV2Output {
            contents: Some(keys.into_iter().map(object).collect()),
            is_truncated: Some(is_truncated).filter(|_| !matches!(self.0, Fault::NoEnd)),
            next_continuation_token: is_truncated.then(|| "next".to_owned()),
            key_count,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_object_versions(
        &self,
        _: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let version =
            ObjectVersion { key: Some("m/1".to_owned()), version_id: Some("a".to_owned()), ..ObjectVersion::default() };
        let (is_truncated, next_key_marker) = match self.0 {
            Fault::NoMarker => (Some(true), None),
            Fault::SameMarker => (Some(true), Some("m/1".to_owned())),
            Fault::NoEnd => (None, None),
            _ => (Some(false), None),
        };
        Ok(S3Response::new(ListObjectVersionsOutput {
            versions: Some(vec![version]),
            is_truncated,
            next_key_marker,
            ..ListObjectVersionsOutput::default()
        }))
    }
}

async fn bucket(fault: Fault) -> Bucket {
    let mut service = S3ServiceBuilder::new(Faulty(fault));
    service.set_auth(SimpleAuth::from_single("local", "local"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, service.build(), std::future::pending()));
    Bucket::new(&FolderS3::sdk_config(address, "local", http_client()), "traces".to_owned())
}

#[tokio::test]
async fn a_listing_that_does_not_advance_or_is_cut_off_fails() {
    for fault in
        [Fault::None, Fault::Repeats, Fault::NotSorted, Fault::FewerKeysThanCounted, Fault::NoEnd, Fault::EmptyPage]
    {
        let bucket = bucket(fault).await;
        let entries: Vec<_> = bucket.list().take(100).collect().await;
        let error = entries.iter().find_map(|entry| entry.as_ref().err());
        match fault {
            Fault::None => assert!(error.is_none() && entries.len() == 4, "{entries:?}"),
            _ => assert!(
                error.is_some_and(|error| error.to_string().contains("cannot be trusted")),
                "{fault:?}: {error:?}"
            ),
        }
    }
    for fault in [Fault::None, Fault::NoMarker, Fault::SameMarker, Fault::NoEnd] {
        let versions = bucket(fault).await.all_versions("m/").await;
        match fault {
            Fault::None => assert_eq!(versions.expect("listed").len(), 1),
            _ => assert!(versions.is_err_and(|error| error.to_string().contains("cannot be trusted")), "{fault:?}"),
        }
    }
}
