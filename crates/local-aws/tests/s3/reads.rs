use aws_sdk_s3::types::ChecksumMode;
use local_aws::testing::{BUCKET, Bucket};

use crate::failure;

#[tokio::test]
async fn a_range_of_an_object_is_served() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"0123456789").await;
    for (range, part, content_range) in [
        ("bytes=2-4", "234", Some("bytes 2-4/10")),
        ("bytes=8-99", "89", Some("bytes 8-9/10")),
        ("bytes=-3", "789", Some("bytes 7-9/10")),
        ("bytes=-99", "0123456789", Some("bytes 0-9/10")),
        ("bytes=0-", "0123456789", Some("bytes 0-9/10")),
    ] {
        let got =
            bucket.client.get_object().bucket(BUCKET).key("k").range(range).send().await.expect("the object exists");
        assert_eq!(got.content_range(), content_range, "{range}");
        let body = got.body.collect().await.expect("a whole body").into_bytes();
        assert_eq!(body, part.as_bytes(), "{range}");
    }
}

#[tokio::test]
async fn a_range_beyond_the_object_is_rejected() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"0123456789").await;
    bucket.put("empty", b"").await;
    for (key, range) in [("k", "bytes=10-"), ("k", "bytes=-0"), ("empty", "bytes=0-"), ("empty", "bytes=-3")] {
        let get = bucket.client.get_object().bucket(BUCKET).key(key).range(range).send().await;
        assert_eq!(failure(get), (416, "InvalidRange".to_owned()), "{range} of {key}");
    }
}

#[tokio::test]
async fn a_head_has_the_size_and_on_request_the_checksum() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"{}").await;
    let head = || bucket.client.head_object().bucket(BUCKET).key("k");
    let plain = head().send().await.expect("the object exists");
    assert_eq!((plain.content_length(), plain.content_type()), (Some(2), Some("application/json")));
    assert_eq!(plain.checksum_sha256(), None);
    let with_checksum = head().checksum_mode(ChecksumMode::Enabled).send().await.expect("the object exists");
    // echo -n '{}' | sha256sum | xxd -r -p | base64
    assert_eq!(with_checksum.checksum_sha256(), Some("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="));
}

#[tokio::test]
async fn an_object_that_does_not_exist_is_reported_as_such() {
    let bucket = Bucket::new().await;
    bucket.put("a/b/c", b"{}").await;
    // Neither the folder of a key nor a key that continues another one is an object.
    for key in ["x", "a", "a/b", "a/b/c/d"] {
        let get = bucket.client.get_object().bucket(BUCKET).key(key).send().await;
        assert_eq!(failure(get), (404, "NoSuchKey".to_owned()), "{key}");
        let head = bucket.client.head_object().bucket(BUCKET).key(key).send().await;
        assert_eq!(failure(head).0, 404, "{key}");
    }
    let get = bucket.client.get_object().bucket("another").key("a/b/c").send().await;
    assert_eq!(failure(get), (404, "NoSuchBucket".to_owned()));
}

#[tokio::test]
async fn the_bucket_has_a_location_and_no_versioning() {
    let bucket = Bucket::new().await;
    let location = bucket.client.get_bucket_location().bucket(BUCKET).send().await.expect("the bucket exists");
    assert!(location.location_constraint().is_none_or(|location| location.as_str().is_empty()), "us-east-1 has none");
    let versioning = bucket.client.get_bucket_versioning().bucket(BUCKET).send().await.expect("the bucket exists");
    assert_eq!(versioning.status(), None);
    bucket.client.head_bucket().bucket(BUCKET).send().await.expect("the bucket exists");
    let buckets = bucket.client.list_buckets().send().await.expect("a list");
    assert_eq!(buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect::<Vec<_>>(), [BUCKET]);
}

#[tokio::test]
async fn the_only_version_of_an_object_is_null() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"{}").await;
    let get = |version| bucket.client.get_object().bucket(BUCKET).key("k").version_id(version).send();
    get("null").await.expect("every object has this version");
    assert_eq!(failure(get("3HL4kqtJlcpXroDTDmJ").await), (400, "InvalidArgument".to_owned()));
}
