//! Tests the bucket policy, under which nobody overwrites an object.

use aws_sdk_s3::{operation::put_object::builders::PutObjectFluentBuilder, types::ChecksumAlgorithm};
use local_aws::testing::{BUCKET, Bucket};

use crate::failure;

fn put(bucket: &Bucket, body: &str) -> PutObjectFluentBuilder {
    bucket.client.put_object().bucket(BUCKET).key("k").body(body.as_bytes().to_vec().into())
}

#[tokio::test]
async fn a_write_without_if_none_match_is_denied() {
    let bucket = Bucket::new().await;
    assert_eq!(failure(put(&bucket, "{}").send().await), (403, "AccessDenied".to_owned()));
    assert_eq!(failure(put(&bucket, "{}").if_match("\"1\"").send().await), (403, "AccessDenied".to_owned()));
    assert_eq!(bucket.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_conditional_write_never_replaces_an_object() {
    let bucket = Bucket::new().await;
    put(&bucket, "{}").if_none_match("*").send().await.expect("the key is free");
    let again = put(&bucket, "[]").if_none_match("*").send().await;
    assert_eq!(failure(again), (412, "PreconditionFailed".to_owned()));
    assert_eq!(bucket.object("k").await, b"{}");
    assert_eq!(failure(put(&bucket, "[]").if_none_match("\"1\"").send().await), (501, "NotImplemented".to_owned()));
}

#[tokio::test]
async fn a_bucket_without_the_policy_replaces_objects() {
    let bucket = Bucket::overwritable().await;
    for body in ["{}", "[]"] {
        put(&bucket, body).send().await.expect("the object is stored");
    }
    assert_eq!(bucket.object("k").await, b"[]");
    assert_eq!(failure(put(&bucket, "{}").if_none_match("*").send().await).0, 412);
    assert_eq!(failure(put(&bucket, "{}").if_match("\"1\"").send().await), (501, "NotImplemented".to_owned()));
    assert_eq!(bucket.object("k").await, b"[]");
}

#[tokio::test]
async fn an_upload_in_parts_is_denied() {
    let bucket = Bucket::new().await;
    let upload = bucket.client.create_multipart_upload().bucket(BUCKET).key("k").send().await;
    assert_eq!(failure(upload), (403, "AccessDenied".to_owned()));
}

#[tokio::test]
async fn no_bucket_can_be_created() {
    let bucket = Bucket::new().await;
    for (name, code) in [(BUCKET, (409, "BucketAlreadyOwnedByYou")), ("another", (403, "AccessDenied"))] {
        let (status, error) = failure(bucket.client.create_bucket().bucket(name).send().await);
        assert_eq!((status, error.as_str()), code);
    }
}

#[tokio::test]
async fn a_copy_is_a_write() {
    let bucket = Bucket::new().await;
    bucket.put("ä/b c", b"{}").await;
    let copy = |to: &str, is_conditional: bool| {
        let copy = bucket.client.copy_object().bucket(BUCKET).key(to).copy_source(format!("{BUCKET}/%C3%A4/b%20c"));
        copy.set_if_none_match(is_conditional.then(|| "*".to_owned()))
    };
    assert_eq!(failure(copy("k", false).send().await), (403, "AccessDenied".to_owned()));
    copy("k", true).send().await.expect("the key is free");
    assert_eq!(bucket.object("k").await, b"{}");
    assert_eq!(failure(copy("k", true).send().await), (412, "PreconditionFailed".to_owned()));
    let other = copy("other", true).copy_source_if_match("\"1\"").send().await;
    assert_eq!(failure(other), (412, "PreconditionFailed".to_owned()));
    let missing = copy("other", true).copy_source(format!("{BUCKET}/x")).send().await;
    assert_eq!(failure(missing), (404, "NoSuchKey".to_owned()));
    let foreign = copy("other", true).copy_source("another/k").send().await;
    assert_eq!(failure(foreign), (404, "NoSuchBucket".to_owned()));
    assert_eq!(bucket.keys().await, ["k", "ä/b c"]);
}

#[tokio::test]
async fn a_damaged_object_is_rejected_by_its_checksum() {
    let bucket = Bucket::new().await;
    let put = || put(&bucket, "{}").if_none_match("*");
    let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for put in [
        put().checksum_crc32("AAAAAA=="),
        put().checksum_crc32_c("AAAAAA=="),
        put().checksum_crc64_nvme("AAAAAAAAAAA="),
        put().checksum_sha1("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        put().checksum_sha256(wrong),
    ] {
        assert_eq!(failure(put.send().await), (400, "BadDigest".to_owned()));
    }
    let stored = put().checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.expect("the checksum is right");
    assert_eq!(stored.checksum_sha256(), Some("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="));
}

#[tokio::test]
async fn a_wrong_md5_is_rejected() {
    let bucket = Bucket::new().await;
    let put = |md5: &str| put(&bucket, "{}").if_none_match("*").content_md5(md5);
    assert_eq!(failure(put("AAAAAAAAAAAAAAAAAAAAAA==").send().await), (400, "BadDigest".to_owned()));
    assert_eq!(bucket.keys().await, Vec::<String>::new());
    put("mZFLkyvTelC5g8XnyQrpOw==").send().await.expect("the MD5 is right");
}

/// An object must not be stored if a header asks for something that this S3 does not do.
#[tokio::test]
async fn a_header_on_which_s3_would_act_is_refused() {
    let bucket = Bucket::new().await;
    for (name, value) in [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-expected-bucket-owner", "123456789012"),
        ("x-amz-checksum-md5", "mZFLkyvTelC5g8XnyQrpOw=="),
        ("content-encoding", "gzip"),
    ] {
        let put = put(&bucket, "{}").if_none_match("*").customize();
        let put = put.mutate_request(move |request| drop(request.headers_mut().insert(name, value)));
        assert_eq!(failure(put.send().await), (501, "NotImplemented".to_owned()), "{name}");
    }
    assert_eq!(bucket.keys().await, Vec::<String>::new());
    for (name, value) in [
        ("x-amz-acl", "private"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-meta-mtime", "1"),
        ("content-encoding", "aws-chunked"),
    ] {
        let put = put(&bucket, "{}").key(name).if_none_match("*").customize();
        let put = put.mutate_request(move |request| drop(request.headers_mut().insert(name, value)));
        put.send().await.expect(name);
    }
}

#[tokio::test]
async fn a_folder_that_is_opened_for_reading_is_never_changed() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"{}").await;
    let reader = bucket.read_only().await;
    assert_eq!(reader.object("k").await, b"{}");
    let put = reader.client.put_object().bucket(BUCKET).key("other").if_none_match("*").send().await;
    assert_eq!(failure(put), (403, "AccessDenied".to_owned()));
    let delete = reader.client.delete_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(failure(delete), (403, "AccessDenied".to_owned()));
    assert_eq!(bucket.keys().await, ["k"]);
}
