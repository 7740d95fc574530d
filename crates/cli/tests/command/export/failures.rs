//! Tests `export` with disks, folders and buckets that refuse an operation.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};
use tokio::{net::TcpListener, process::Command};

use super::{command, counts, export, folder_of, lines, lines_of, names, run, stderr};

/// Runs the program as the folder's owner if the tests run as root, because root may write everywhere.
pub fn unprivileged(command: &mut Command, folder: &Path) {
    let owner = fs::metadata(folder).expect("the folder exists").uid();
    if owner == 0 {
        command.uid(65_534);
    }
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_reported_before_anything_is_read() {
    let folder = folder_of(1);
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("the folder is writable");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("the owner may");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the owner may");
    // The object cannot be read either. An export that reads first would report that instead.
    fs::remove_file(folder.path().join("traces/m/00000.json")).expect("it exists");
    fs::create_dir(folder.path().join("traces/m/00000.json")).expect("the folder is writable");
    for arguments in [&["-o", "locked/t.jsonl"][..], &["fine-tuning", "-o", "locked/t.jsonl"]] {
        let mut command = command(folder.path(), arguments);
        unprivileged(&mut command, folder.path());
        let output = command.output().await.expect("the program is readable by everybody");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains("locked") && message.contains("Permission denied"), "{message}");
        assert!(!message.contains("exported\n"), "{message}");
    }
}

/// A file size limit stands in for a disk that becomes full: in both cases, a write fails.
#[tokio::test]
async fn an_export_that_a_full_disk_stops_resumes_when_there_is_room() {
    let folder = folder_of(1_000);
    let arguments = ["export", "-q", "-o", "t.jsonl"];
    let output = with_limited_files(folder.path(), &arguments).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot write") && stderr(&output).contains(folder.path().to_str().expect("UTF-8"))
    );
    export(folder.path(), &arguments[1..]).await;
    assert!(lines(&folder.path().join("t.jsonl")) == lines_of(1_000));
    assert_eq!(names(folder.path()), ["t.jsonl", "traces"]);
}

/// Runs the program with a file size limit of 24 blocks.
pub async fn with_limited_files(folder: &Path, arguments: &[&str]) -> Output {
    let script = r#"trap "" XFSZ; ulimit -f 24; exec "$0" "$@""#;
    let mut limited = Command::new("sh");
    limited.current_dir(folder).args(["-c", script, env!("CARGO_BIN_EXE_attest")]).args(arguments);
    limited.output().await.expect("sh is installed")
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_device_is_reported() {
    let folder = folder_of(1);
    let output = run(folder.path(), &["-o", "/dev/full"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot write to /dev/full: No space left on device"), "{}", stderr(&output));
}

/// An S3 whose reader may not list the whole bucket. AWS then answers 403 for an absent object.
#[derive(Clone)]
struct RestrictedS3 {
    s3: String,
    folder: Arc<PathBuf>,
    deletes: bool,
}

/// Forwards listings, but denies reading objects. With `deletes`, deletes an object first, so later listings lack it.
async fn restricted(State(restricted): State<RestrictedS3>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if let Some(key) = path.strip_prefix("/traces/").filter(|key| !key.is_empty()) {
        if restricted.deletes {
            let _ = fs::remove_file(restricted.folder.join(format!("{key}.json")));
        }
        let error = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        return (StatusCode::FORBIDDEN, error).into_response();
    }
    let uri = format!("{}{}", restricted.s3, request.uri().path_and_query().expect("a request has a path"));
    *request.uri_mut() = uri.parse().expect("a URI");
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    client.request(request).await.expect("the S3 answers").into_response()
}

#[tokio::test]
async fn a_403_counts_as_deleted_only_if_the_key_is_no_longer_listed() {
    for deletes in [true, false] {
        let folder = folder_of(3);
        let traces = FolderS3::open(&folder.path().join("traces")).expect("a bucket");
        let traces = traces.with_secret_key(ACCESS_KEY.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let s3 = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, traces.service(), std::future::pending()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = RestrictedS3 { s3, folder: Arc::new(folder.path().join("traces")), deletes };
        let router = Router::new().fallback(restricted).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut command = command(folder.path(), &["-o", "t.jsonl", "--bucket", "traces"]);
        command.env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY);
        let output = command.output().await.expect("it runs");
        if deletes {
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert_eq!(counts(&output.stderr)["deleted since they were listed"], 3);
            assert_eq!(lines(&folder.path().join("t.jsonl")).len(), 0);
        } else {
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(stderr(&output).contains("cannot read m/00000") && stderr(&output).contains("AccessDenied"));
            assert!(!folder.path().join("t.jsonl").exists());
        }
    }
}
