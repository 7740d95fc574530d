//! Tests `serve` on folders that are deleted, symlinked, unwritable or locked.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::{Endpoint, VALID, program};

fn trace(model: &str, id: &str) -> String {
    format!(r#"{{"model":"{model}","created":1,"messages":[],"id":"{id}"}}"#)
}

#[tokio::test]
async fn a_folder_deleted_while_it_is_served_is_created_again() {
    let endpoint = Endpoint::start().await;
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
    fs::remove_dir_all(endpoint.folder.path().join("traces")).expect("the folder exists");
    let (status, answer) = endpoint.post(VALID).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(endpoint.stored(answer["key"].as_str().expect("a key")).starts_with(VALID.trim_end_matches('}')));
}

#[tokio::test]
async fn what_the_command_creates_is_for_its_owner_only_whatever_the_umask_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("t.jsonl"), VALID).expect("the folder is writable");
    let script = r#"umask 000; exec "$0" "$@""#;
    let import = ["import", "t.jsonl", "--folder", "new/traces", "--state", "state"];
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_attest")]).args(import);
    let output = command.output().await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut folders = vec![folder.path().join("new"), folder.path().join("state")];
    let mut found = 0;
    while let Some(path) = folders.pop() {
        let metadata = path.metadata().expect("it exists");
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        found += 1;
        if metadata.is_dir() {
            folders.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
    }
    assert!(found >= 8, "{found} files and folders");
}

/// A 503 would make clients repeat the request forever.
#[tokio::test]
async fn what_only_a_person_can_repair_is_a_500_with_its_cause_in_the_log() {
    let endpoint = Endpoint::start().await;
    let traces = endpoint.folder.path().canonicalize().expect("it exists").join("traces");
    let path = |name: &str| traces.join(name);
    fs::write(path("file"), "text").expect("the folder is writable");
    fs::create_dir_all(path("folder/a.json")).expect("the folder is writable");
    symlink("/no/such/folder", path("dangling")).expect("the folder is writable");
    fs::create_dir(path("link")).expect("the folder is writable");
    symlink("/no/such/file", path("link/a.json")).expect("the folder is writable");
    symlink(path("loop"), path("loop")).expect("the folder is writable");
    let mut models = vec!["file", "file/below", "folder", "dangling", "dangling/below", "link", "loop"];
    // On Linux, `/dev/shm` is a separate file system, to which a hard link cannot lead.
    let disk = tempfile::tempdir_in("/dev/shm");
    if let Ok(disk) = &disk {
        symlink(disk.path(), path("disk")).expect("the folder is writable");
        models.push("disk");
    }
    for model in &models {
        for _ in 0..2 {
            let (status, answer) = endpoint.post(trace(model, "a")).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{model}: {answer}");
            assert!(!answer.to_string().contains("traces/"), "{answer}");
        }
    }
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
    assert_eq!(fs::read(path("file")).expect("it is there"), b"text");
    assert_eq!(fs::read_dir(path("~incoming")).expect("it is there").count(), 0);
    let (_, log, _) = endpoint.stop().await;
    for (line, model) in log.lines().zip(models.iter().flat_map(|model| [model, model])) {
        let name = traces.join(model.split('/').next().expect("a name"));
        let is_disk = *model == "disk";
        let cause = if is_disk { "is on another file system" } else { "is in the way: move it" };
        assert!(line.starts_with("500  ") && line.contains(cause), "{model}: {line}");
        assert!(line.contains(name.to_str().expect("UTF-8")), "{model}: {line}");
    }
}

#[tokio::test]
async fn what_is_stored_through_a_linked_folder_is_listed_and_exported() {
    let endpoint = Endpoint::start().await;
    let (folder, traces) = (endpoint.folder.path().to_owned(), endpoint.folder.path().join("traces"));
    fs::create_dir_all(folder.join("elsewhere/below")).expect("the folder is writable");
    symlink(folder.join("elsewhere"), traces.join("linked")).expect("the folder is writable");
    // A listing that follows a link to a parent folder would never end.
    symlink(&traces, traces.join("again")).expect("the folder is writable");
    symlink("..", traces.join("up")).expect("the folder is writable");
    symlink("/", traces.join("root")).expect("the folder is writable");
    symlink(traces.join("loop"), traces.join("loop")).expect("the folder is writable");
    symlink(folder.join("elsewhere"), folder.join("elsewhere/below/self")).expect("the folder is writable");
    for model in ["plain", "linked", "linked/below"] {
        assert_eq!(endpoint.post(trace(model, "a")).await.0, StatusCode::CREATED);
    }
    symlink(traces.join("plain/a.json"), traces.join("plain/b.json")).expect("the folder is writable");
    symlink("/no/such/file", traces.join("plain/c.json")).expect("the folder is writable");
    let expected = ["linked/a", "linked/below/a", "plain/a", "plain/b"];
    let listed = endpoint.s3().list_objects_v2().bucket("traces").send().await.expect("a list");
    let keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, expected);
    for object in listed.contents() {
        let get = endpoint.s3().get_object().bucket("traces").key(object.key().expect("a key")).send().await;
        assert_eq!(get.expect("what is listed can be read").content_length(), object.size());
    }
    let export = program(&folder).args(["export", "-q", "-o", "x.jsonl"]).output().await.expect("it runs");
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let lines = fs::read_to_string(folder.join("x.jsonl")).expect("it is written");
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
}

/// Runs `serve` in a folder that it must refuse. Returns its message.
async fn refusal(folder: &Path) -> String {
    let output = program(folder).args(["--port", "0", "--s3-port", "0"]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[tokio::test]
async fn files_of_others_in_place_of_the_stores_own_are_left_as_they_are() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (traces, important) = (folder.path().join("traces"), folder.path().join("important"));
    fs::create_dir(&traces).expect("the folder is writable");
    fs::create_dir(&important).expect("the folder is writable");
    for text in ["precious\n", ""] {
        fs::write(important.join("file"), text).expect("the folder is writable");
        symlink(important.join("file"), traces.join("~lock")).expect("the folder is writable");
        assert!(refusal(folder.path()).await.contains("~lock is not a file of this program"));
        fs::remove_file(traces.join("~lock")).expect("the link is left");
    }
    symlink(important.join("absent"), traces.join("~lock")).expect("the folder is writable");
    assert!(refusal(folder.path()).await.contains("~lock is not a file of this program"));
    assert!(!important.join("absent").exists());
    fs::remove_file(traces.join("~lock")).expect("the link is left");
    fs::write(traces.join("~lock"), "notes").expect("the folder is writable");
    assert!(refusal(folder.path()).await.contains("~lock is not a file of this program"));
    assert_eq!(fs::read(traces.join("~lock")).expect("it is left"), b"notes");
    fs::remove_file(traces.join("~lock")).expect("it is left");

    symlink(&important, traces.join("~incoming")).expect("the folder is writable");
    assert!(refusal(folder.path()).await.contains("~incoming is not a file of this program"));
    assert!(important.join("file").exists());
}

#[tokio::test]
async fn a_lock_of_another_program_is_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("traces")).expect("the folder is writable");
    let lock = File::create(folder.path().join("traces/~lock")).expect("the folder is writable");
    lock.lock().expect("it is free");
    assert!(refusal(folder.path()).await.contains("another process holds"));
}

/// `nc -N` closes its sending side after the request (RFC 9112, section 9.6).
#[tokio::test]
async fn a_client_that_half_closes_after_its_request_gets_its_response() {
    let endpoint = Endpoint::start().await;
    let address = endpoint.url.trim_start_matches("http://").trim_end_matches("/prod").to_owned();
    for n in 0..10 {
        let body = trace("m", &n.to_string());
        let mut connection = TcpStream::connect(&address).await.expect("it listens");
        let head = format!(
            "POST /prod HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            endpoint.key,
            body.len()
        );
        connection.write_all(head.as_bytes()).await.expect("it reads");
        connection.shutdown().await.expect("it can be half closed");
        let mut response = String::new();
        connection.read_to_string(&mut response).await.expect("UTF-8");
        assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
    }
}

#[tokio::test]
async fn an_object_of_400_mib_is_stored_and_read_in_bounded_memory() {
    const MIB: usize = 400;
    let endpoint = Endpoint::start_in(Arc::new(tempfile::tempdir().expect("a temporary folder"))).await;
    let file = endpoint.folder.path().join("large");
    File::create(&file).and_then(|file| file.set_len((MIB << 20) as u64)).expect("the folder is writable");
    let body = aws_sdk_s3::primitives::ByteStream::from_path(&file).await.expect("it can be read");
    let put = endpoint.s3().put_object().bucket("traces").key("m/large").if_none_match("*").body(body);
    put.send().await.expect("it is stored");
    let mut object =
        endpoint.s3().get_object().bucket("traces").key("m/large").send().await.expect("it can be read").body;
    let mut read = 0;
    while let Some(bytes) = object.try_next().await.expect("it can be read") {
        read += bytes.len();
    }
    assert_eq!(read, MIB << 20);
    let (_, _, memory) = endpoint.stop().await;
    assert!((1..100).contains(&memory), "{memory} MiB");
}
