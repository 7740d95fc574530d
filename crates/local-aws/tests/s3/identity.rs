use std::{fs, os::unix::fs::symlink};

use local_aws::{
    s3::{FileStore, ID_KEY},
    testing::{BUCKET, Bucket},
};

#[tokio::test]
async fn the_folder_and_its_s3_report_one_id_and_no_listing_has_it() {
    let bucket = Bucket::new().await;
    let store = FileStore::read_only(&bucket.folder).expect("the folder");
    let id = store.id().expect("it can be read").expect("it can be created");
    let object = bucket.client.get_object().bucket(BUCKET).key(ID_KEY).send().await.expect("it exists");
    let object = object.body.collect().await.expect("it is short").into_bytes();
    assert_eq!(String::from_utf8_lossy(&object).trim(), id);
    let put = bucket.client.put_object().bucket(BUCKET).key(ID_KEY).if_none_match("*").send().await;
    put.expect_err("it exists");
    assert!(store.list(None).expect("a list").is_empty() && store.newest_first().expect("a list").is_empty());
    let list = bucket.client.list_objects_v2().bucket(BUCKET).send().await.expect("a list");
    assert!(list.contents().is_empty());
}

#[tokio::test]
async fn the_id_stays_with_its_folder_and_another_folder_has_another_id() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let path = root.path().join("traces");
    let id = || FileStore::open(&path).expect("a bucket").id().expect("it can be read").expect("it can be created");
    let first = id();
    assert_eq!(id(), first);
    fs::rename(&path, root.path().join("moved")).expect("it exists");
    fs::rename(root.path().join("moved"), &path).expect("it exists");
    assert_eq!(id(), first);
    fs::remove_dir_all(&path).expect("it exists");
    assert_ne!(id(), first);
}

#[tokio::test]
async fn a_folder_that_is_deleted_while_it_is_open_gets_another_id() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let store = FileStore::open(&root.path().join("traces")).expect("a bucket");
    let first = store.id().expect("it can be read");
    fs::remove_dir_all(store.root()).expect("it exists");
    store.write("m/1", b"{}", false).expect("the folder is created again");
    assert_ne!(store.id().expect("it can be read"), first);
}

#[tokio::test]
async fn a_file_that_is_no_id_is_refused_and_left_unchanged() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let store = FileStore::open(&root.path().join("traces")).expect("a bucket");
    let (id, elsewhere) = (store.root().join("~id"), root.path().join("elsewhere"));
    fs::write(&id, "notes").expect("it can be written");
    let error = store.id().expect_err("it is no id").to_string();
    assert!(error.contains("~id") && error.contains("delete it"), "{error}");
    assert_eq!(fs::read(&id).expect("it exists"), b"notes");
    // A link would let two folders share an id.
    fs::rename(&id, &elsewhere).expect("it exists");
    fs::write(&elsewhere, "7d4f2a90-6f0e-4a51-9f0c-2b6a3f1f9a11").expect("it can be written");
    symlink(&elsewhere, &id).expect("a link");
    store.id().expect_err("it is a link");
}
