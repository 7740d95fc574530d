//! Tests listings: pages, delimiters and encoded names, in both versions of the operation.

use aws_sdk_s3::{
    operation::list_objects_v2::builders::ListObjectsV2FluentBuilder,
    types::{CommonPrefix, EncodingType, Object},
};
use local_aws::testing::{BUCKET, Bucket};

use crate::failure;

const KEYS: [&str; 6] = ["a", "a%2Fb/1", "a/b", "a/c d", "b/~", "b/ü"];

async fn bucket() -> Bucket {
    let bucket = Bucket::new().await;
    for key in KEYS {
        bucket.put(key, b"{}").await;
    }
    bucket
}

async fn all_pages(list: ListObjectsV2FluentBuilder) -> (Vec<String>, Vec<String>) {
    let pages = list.into_paginator().send().collect::<Result<Vec<_>, _>>().await.expect("a list");
    let (mut all_keys, mut all_prefixes) = (Vec::new(), Vec::new());
    for page in pages {
        assert_eq!(page.key_count(), i32::try_from(page.contents().len() + page.common_prefixes().len()).ok());
        all_keys.extend(keys(page.contents()));
        all_prefixes.extend(prefixes(page.common_prefixes()));
    }
    (all_keys, all_prefixes)
}

fn keys(objects: &[Object]) -> impl Iterator<Item = String> {
    objects.iter().filter_map(|object| object.key().map(str::to_owned))
}

fn prefixes(prefixes: &[CommonPrefix]) -> impl Iterator<Item = String> {
    prefixes.iter().filter_map(|common| common.prefix().map(str::to_owned))
}

#[tokio::test]
async fn a_listing_has_every_key_once_whatever_its_pages_and_its_encoding() {
    let bucket = bucket().await;
    let list = || bucket.client.list_objects_v2().bucket(BUCKET);
    for size in [1, 2, 1_000] {
        assert_eq!(all_pages(list().max_keys(size)).await.0, KEYS, "{size} a page");
    }
    assert_eq!(all_pages(list().prefix("a/")).await.0, ["a/b", "a/c d"]);
    assert_eq!(all_pages(list().start_after("a/b").max_keys(2)).await.0, &KEYS[3..]);
    let encoded = all_pages(list().encoding_type(EncodingType::Url).max_keys(4)).await.0;
    assert_eq!(encoded, ["a", "a%252Fb/1", "a/b", "a/c%20d", "b/%7E", "b/%C3%BC"]);
}

#[tokio::test]
async fn a_listing_of_many_files_in_one_folder_has_every_key_once() {
    let bucket = Bucket::new().await;
    let mut expected: Vec<_> = (0..1_500).map(|number| format!("many/{number}")).collect();
    bucket.put(&expected[0], b"{}").await;
    for key in &expected {
        std::fs::write(bucket.folder.join(format!("{key}.json")), "{}").expect("the folder is writable");
    }
    expected.sort_unstable();
    assert_eq!(all_pages(bucket.client.list_objects_v2().bucket(BUCKET)).await.0, expected);
}

#[tokio::test]
async fn an_empty_delimiter_is_none() {
    let bucket = bucket().await;
    let (keys, prefixes) = all_pages(bucket.client.list_objects_v2().bucket(BUCKET).delimiter("")).await;
    assert_eq!((keys.as_slice(), prefixes.len()), (KEYS.map(str::to_owned).as_slice(), 0));
    let list = bucket.client.list_objects().bucket(BUCKET).delimiter("").send().await.expect("a list");
    assert_eq!(self::keys(list.contents()).collect::<Vec<_>>(), KEYS);
}

#[tokio::test]
async fn keys_with_a_common_beginning_count_as_one_name() {
    let bucket = bucket().await;
    let list = || bucket.client.list_objects_v2().bucket(BUCKET);
    for size in [1, 2, 1_000] {
        let (keys, prefixes) = all_pages(list().delimiter("/").max_keys(size)).await;
        assert_eq!((keys, prefixes), (vec!["a".to_owned()], ["a%2Fb/", "a/", "b/"].map(str::to_owned).to_vec()));
    }
    let (keys, prefixes) = all_pages(list().prefix("a/").delimiter("/")).await;
    assert_eq!((keys.as_slice(), prefixes.len()), (["a/b", "a/c d"].map(str::to_owned).as_slice(), 0));
    let (keys, prefixes) = all_pages(list().delimiter("%2F")).await;
    assert_eq!((keys.len(), prefixes), (5, vec!["a%2F".to_owned()]));
}

#[tokio::test]
async fn a_page_of_no_keys_is_empty_and_complete() {
    let bucket = bucket().await;
    let page = bucket.client.list_objects_v2().bucket(BUCKET).max_keys(0).send().await.expect("a list");
    assert_eq!((page.contents().len(), page.key_count(), page.max_keys()), (0, Some(0), Some(0)));
    assert_eq!((page.is_truncated(), page.next_continuation_token()), (Some(false), None));
    let page = bucket.client.list_objects().bucket(BUCKET).max_keys(0).send().await.expect("a list");
    assert_eq!((page.contents().len(), page.is_truncated(), page.next_marker()), (0, Some(false), None));
}

#[tokio::test]
async fn invalid_parameters_of_a_listing_are_rejected() {
    let bucket = bucket().await;
    let list = || bucket.client.list_objects_v2().bucket(BUCKET);
    for list in [list().max_keys(-1), list().continuation_token("%FF"), list().continuation_token("")] {
        assert_eq!(failure(list.send().await), (400, "InvalidArgument".to_owned()));
    }
}

#[tokio::test]
async fn the_first_version_of_the_operation_pages_by_marker() {
    let bucket = bucket().await;
    for delimiter in [None, Some("/")] {
        let (mut names, mut marker) = (Vec::new(), None);
        loop {
            let list = bucket.client.list_objects().bucket(BUCKET).max_keys(1).set_marker(marker);
            let page = list.set_delimiter(delimiter.map(str::to_owned)).send().await.expect("a list");
            names.extend(keys(page.contents()).chain(prefixes(page.common_prefixes())));
            assert_eq!(page.next_marker().is_some(), delimiter.is_some() && page.is_truncated() == Some(true));
            if page.is_truncated() != Some(true) {
                break;
            }
            marker = names.last().cloned();
        }
        let expected: &[&str] = if delimiter.is_some() { &["a", "a%2Fb/", "a/", "b/"] } else { &KEYS };
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_marker_of_a_clients_own_finds_what_was_stored_just_now() {
    let bucket = bucket().await;
    let list = || bucket.client.list_objects().bucket(BUCKET).marker("b/~").send();
    assert_eq!(keys(list().await.expect("a list").contents()).collect::<Vec<_>>(), ["b/ü"]);
    bucket.put("c", b"{}").await;
    assert_eq!(keys(list().await.expect("a list").contents()).collect::<Vec<_>>(), ["b/ü", "c"]);
}

#[tokio::test]
async fn a_listing_of_versions_has_each_object_once() {
    let bucket = bucket().await;
    let (mut found, mut marker) = (Vec::new(), None);
    loop {
        let list = bucket.client.list_object_versions().bucket(BUCKET).max_keys(4).set_key_marker(marker);
        let page = list.send().await.expect("a list");
        assert!(page.versions().iter().all(|version| version.version_id() == Some("null")));
        found.extend(page.versions().iter().filter_map(|version| version.key().map(str::to_owned)));
        marker = page.next_key_marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(found, KEYS);
}
