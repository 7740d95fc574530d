//! Tests the bucket id.

use attest::{place, store::Store};
use futures_util::future::join_all;
use lambda_http::{RequestExt, Service};
use local_aws::s3::{ACCESS_KEY, FolderS3};

use crate::support::{BUCKET, Bucket, event_with, handler_on};

#[tokio::test]
async fn all_who_ask_for_the_id_of_a_bucket_get_the_same_one() {
    assert_eq!(place::ID_KEY, local_aws::s3::ID_KEY);
    let bucket = Bucket::new().await;
    let ids = join_all((0..8).map(|_| place::bucket_id(&bucket.client, BUCKET))).await;
    let ids: Vec<_> = ids.into_iter().map(|id| id.expect("S3 answers").expect("it may be created")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(bucket.keys().await.is_empty(), "the id is no trace");
    let other = Bucket::new().await;
    assert_ne!(place::bucket_id(&other.client, BUCKET).await.expect("S3 answers").as_ref(), Some(&ids[0]));
}

#[tokio::test]
async fn a_reader_finds_the_id_and_creates_none() {
    let bucket = Bucket::new().await;
    let reader = bucket.read_only().await;
    assert_eq!(place::bucket_id(&reader.client, BUCKET).await.expect("S3 answers"), None);
    let id = place::bucket_id(&bucket.client, BUCKET).await.expect("S3 answers");
    assert!(id.is_some());
    assert_eq!(place::bucket_id(&reader.client, BUCKET).await.expect("S3 answers"), id);
}

#[tokio::test]
async fn an_object_of_others_under_the_key_is_no_id() {
    for object in [&b"notes"[..], b"", &[b'7'; 100]] {
        let bucket = Bucket::new().await;
        bucket.put(place::ID_KEY, object).await;
        assert_eq!(place::bucket_id(&bucket.client, BUCKET).await.expect("S3 answers"), None);
        assert_eq!(bucket.object(place::ID_KEY).await, object);
    }
}

#[tokio::test]
async fn a_response_has_the_id_that_the_connection_found() {
    let bucket = Bucket::new().await;
    let store = || {
        let config = FolderS3::sdk_config(bucket.address, ACCESS_KEY, attest::settings::http_client());
        Store::new(&config, BUCKET.to_owned())
    };
    assert_eq!(store().connect().await.expect("S3 answers"), None);
    let id = place::bucket_id(&bucket.client, BUCKET).await.expect("S3 answers");
    let found = store().connect().await.expect("S3 answers");
    assert_eq!(found, id);
    let handler = handler_on(bucket.address).identified_by(move || found.clone());
    for body in [r#"{"model":"m","created":1,"messages":[]}"#, ""] {
        let request = lambda_http::request::from_str(&event_with(body).to_string()).expect("a proxy event");
        let request = request.with_lambda_context(lambda_http::Context::default());
        let Ok(response) = handler.clone().into_service().call(request).await;
        let header = response.headers().get(place::ID_HEADER).and_then(|id| id.to_str().ok());
        assert_eq!(header, id.as_deref());
    }
}
