//! Tests the deletion of objects, and of the whole folder.

use std::fs;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use local_aws::testing::{BUCKET, Bucket};

use crate::failure;

fn identifier(key: &str) -> ObjectIdentifier {
    ObjectIdentifier::builder().key(key).build().expect("a key is all it needs")
}

fn names(bucket: &Bucket) -> Vec<String> {
    let entries = fs::read_dir(&bucket.folder).expect("the folder exists");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("Unicode"));
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('~')).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_so_are_the_folders_that_it_leaves_empty() {
    let bucket = Bucket::new().await;
    for key in ["a/b/1", "a/b/2", "a/c"] {
        bucket.put(key, b"{}").await;
    }
    let delete = |key| bucket.client.delete_object().bucket(BUCKET).key(key).send();
    delete("a/b/1").await.expect("it is deleted");
    assert_eq!(bucket.keys().await, ["a/b/2", "a/c"]);
    let get = bucket.client.get_object().bucket(BUCKET).key("a/b/1").send().await;
    assert_eq!(failure(get), (404, "NoSuchKey".to_owned()));
    delete("a/b/2").await.expect("it is deleted");
    assert!(!bucket.folder.join("a/b").exists());
    delete("a/c").await.expect("it is deleted");
    assert_eq!(names(&bucket), Vec::<String>::new());
    bucket.put("a/b/1", b"{}").await;
    assert_eq!(bucket.keys().await, ["a/b/1"]);
}

#[tokio::test]
async fn deleting_an_object_that_does_not_exist_succeeds() {
    let bucket = Bucket::new().await;
    bucket.put("a/b", b"{}").await;
    for key in ["x", "a", "a/b/c", "y/z"] {
        bucket.client.delete_object().bucket(BUCKET).key(key).send().await.expect("S3 confirms it");
    }
    assert_eq!(bucket.keys().await, ["a/b"]);
}

#[tokio::test]
async fn a_version_or_a_condition_that_does_not_apply_deletes_nothing() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"{}").await;
    let delete = || bucket.client.delete_object().bucket(BUCKET).key("k");
    assert_eq!(failure(delete().version_id("1").send().await), (400, "InvalidArgument".to_owned()));
    assert_eq!(failure(delete().if_match("\"1\"").send().await), (501, "NotImplemented".to_owned()));
    assert_eq!(bucket.keys().await, ["k"]);
    delete().version_id("null").send().await.expect("the only version");
    assert_eq!(bucket.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn many_objects_are_deleted_by_one_request() {
    let bucket = Bucket::new().await;
    let keys = ["a/1", "a/2", "a%2Fb", "ü/<&>"];
    for key in keys {
        bucket.put(key, b"{}").await;
    }
    let wrong = ObjectIdentifier::builder().key("a/2").version_id("1").build().expect("a key is all it needs");
    let delete = Delete::builder().set_objects(Some(vec![identifier("a/1"), wrong, identifier("x")]));
    let delete = delete.build().expect("it has objects");
    let outcome = bucket.client.delete_objects().bucket(BUCKET).delete(delete).send().await.expect("S3 answers");
    let deleted: Vec<_> = outcome.deleted().iter().filter_map(|deleted| deleted.key()).collect();
    assert_eq!(deleted, ["a/1", "x"]);
    let errors: Vec<_> = outcome.errors().iter().map(|error| (error.key(), error.code())).collect();
    assert_eq!(errors, [(Some("a/2"), Some("InvalidArgument"))]);
    let delete = Delete::builder().set_objects(Some(keys.map(identifier).to_vec())).quiet(true);
    let delete = delete.build().expect("it has objects");
    let outcome = bucket.client.delete_objects().bucket(BUCKET).delete(delete).send().await.expect("S3 answers");
    assert_eq!((outcome.deleted().len(), outcome.errors().len()), (0, 0));
    assert_eq!(names(&bucket), Vec::<String>::new());
}

#[tokio::test]
async fn one_request_deletes_at_most_a_thousand_objects() {
    let bucket = Bucket::new().await;
    let objects = (0..=1000).map(|number| identifier(&number.to_string())).collect();
    let delete = Delete::builder().set_objects(Some(objects)).build().expect("it has objects");
    let outcome = bucket.client.delete_objects().bucket(BUCKET).delete(delete).send().await;
    assert_eq!(failure(outcome), (400, "MalformedXML".to_owned()));
}

/// A deletion removes the folder that it leaves empty, just before a write puts a file into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_write_is_lost_to_a_deletion_in_the_same_folder() {
    const ROUNDS: usize = 40;
    let bucket = std::sync::Arc::new(Bucket::new().await);
    let tasks = (0..4).map(|task| {
        let bucket = std::sync::Arc::clone(&bucket);
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let key = format!("deep/folder/{task}");
                bucket.put(&key, round.to_string().as_bytes()).await;
                assert_eq!(bucket.object(&key).await, round.to_string().as_bytes());
                bucket.client.delete_object().bucket(BUCKET).key(&key).send().await.expect("it is deleted");
            }
            bucket.put(&format!("deep/folder/last-{task}"), b"{}").await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no write is lost");
    }
    assert_eq!(bucket.keys().await, (0..4).map(|task| format!("deep/folder/last-{task}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_write_creates_a_deleted_folder_again() {
    let bucket = Bucket::new().await;
    bucket.put("a/1", b"{}").await;
    fs::remove_dir_all(&bucket.folder).expect("it can be deleted");
    let list = bucket.client.list_objects_v2().bucket(BUCKET).send().await.expect_err("the bucket is gone");
    let list = list.into_service_error().to_string() + &format!("{:?}", bucket.folder);
    assert!(list.contains("NoSuchBucket") || list.contains("does not exist"), "{list}");
    let get = bucket.client.get_object().bucket(BUCKET).key("a/1").send().await;
    assert_eq!(failure(get), (404, "NoSuchKey".to_owned()));
    bucket.put("a/2", b"{}").await;
    assert_eq!(bucket.keys().await, ["a/2"]);
    // A process that starts now must not mistake the temporary files of this one for leftovers.
    fs::write(bucket.folder.join("~incoming/in-flight"), "{").expect("it can be written");
    local_aws::s3::FileStore::open(&bucket.folder).expect("the same bucket");
    assert!(bucket.folder.join("~incoming/in-flight").exists());
}

#[tokio::test]
async fn a_listing_of_a_deleted_folder_names_the_folder() {
    use aws_sdk_s3::error::ProvideErrorMetadata;

    let bucket = Bucket::new().await;
    fs::remove_dir_all(&bucket.folder).expect("it can be deleted");
    let error = bucket.client.list_objects_v2().bucket(BUCKET).send().await.expect_err("the bucket is gone");
    assert_eq!(error.code(), Some("NoSuchBucket"));
    let message = error.message().unwrap_or_default();
    assert!(message.contains(&bucket.folder.display().to_string()), "{message}");
    assert_eq!(failure(bucket.client.head_bucket().bucket(BUCKET).send().await).0, 404);
}

/// A folder that cannot be recreated must result in an error that no client retries.
#[tokio::test]
async fn a_write_into_a_folder_that_cannot_be_created_again_is_not_retryable() {
    let bucket = Bucket::new().await;
    fs::remove_dir_all(&bucket.folder).expect("it can be deleted");
    fs::write(&bucket.folder, "not a folder").expect("it can be written");
    let put = bucket.client.put_object().bucket(BUCKET).key("k").if_none_match("*").body(b"{}".to_vec().into());
    let (status, code) = failure(put.send().await);
    assert_eq!(code, "NoSuchBucket", "{status}");
}
