//! The S3 in a folder, for those who read from it with other tools: ranges, pages, encoded names.

use aws_sdk_s3::{primitives::ByteStream, types::EncodingType};

use local_aws::testing::{BUCKET, Bucket};

#[tokio::test]
async fn a_range_of_an_object_is_served() {
    let bucket = Bucket::new().await;
    let put = bucket.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"0123456789"));
    put.send().await.expect("it is stored");
    for (range, part, content_range) in [
        ("bytes=2-4", "234", Some("bytes 2-4/10")),
        ("bytes=8-99", "89", Some("bytes 8-9/10")),
        ("bytes=-3", "789", Some("bytes 7-9/10")),
        ("bytes=0-", "0123456789", Some("bytes 0-9/10")),
    ] {
        let got = bucket.client.get_object().bucket(BUCKET).key("k").range(range).send().await.expect("it is there");
        assert_eq!(got.content_range(), content_range, "{range}");
        let body = got.body.collect().await.expect("it is whole").into_bytes();
        assert_eq!(body, part.as_bytes(), "{range}");
    }
    let beyond = bucket.client.get_object().bucket(BUCKET).key("k").range("bytes=10-").send().await;
    let beyond = beyond.expect_err("there is nothing");
    assert_eq!(beyond.raw_response().map(|response| response.status().as_u16()), Some(416));
}

#[tokio::test]
async fn a_listing_has_every_key_once_whatever_its_pages_and_its_encoding() {
    let bucket = Bucket::new().await;
    let keys = ["a", "a%2Fb/1", "a/b", "a/c d", "b/~", "b/ü"];
    for key in keys {
        let put = bucket.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"{}"));
        put.send().await.expect("it is stored");
    }
    let list = || bucket.client.list_objects_v2().bucket(BUCKET);
    let listed = |list: aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder| async move {
        let pages = list.into_paginator().send().collect::<Result<Vec<_>, _>>().await.expect("it is listed");
        let objects = pages.into_iter().flat_map(|page| page.contents.unwrap_or_default());
        objects.filter_map(|object| object.key).collect::<Vec<_>>()
    };
    for size in [1, 2, 1_000] {
        assert_eq!(listed(list().max_keys(size)).await, keys, "{size} a page");
    }
    assert_eq!(listed(list().prefix("a/")).await, ["a/b", "a/c d"]);
    assert_eq!(listed(list().start_after("a/b").max_keys(2)).await, &keys[3..]);
    let encoded = listed(list().encoding_type(EncodingType::Url).max_keys(4)).await;
    assert_eq!(encoded, ["a", "a%252Fb/1", "a/b", "a/c%20d", "b/%7E", "b/%C3%BC"]);
}
