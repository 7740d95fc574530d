//! S3's part: one bucket, whose objects are files in a folder, served by `s3s` (signatures, XML and all).
//!
//! `s3s-fs` would do this, but checks `If-None-Match` before it writes, not atomically, and cannot hold every key: one
//! with a long name, or one that begins with another key and a slash.
//!
//! An object survives a crash of the process and of the machine once its write is confirmed. It is written to a temporary
//! file in `~incoming`, which is synced; then it gets its name in one step that fails if the name is taken; then its folder
//! is synced. A temporary file never outlives an error, and what a killed process left in `~incoming` is deleted at the
//! next start. Files are readable by their owner only, as traces are private.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use s3s::{
    Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        Bucket, CommonPrefix, ETag, ETagCondition, EncodingType, GetObjectInput, GetObjectOutput, HeadBucketInput,
        HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    },
    path::check_bucket_name,
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use uuid::Uuid;

/// The access key of this S3, and its secret key while it is on loopback, where it guards nothing.
pub const ACCESS_KEY: &str = "local";

/// The region that this S3 says it is in.
pub const REGION: &str = "us-east-1";

/// The longest name that a file gets, in bytes; file systems allow 255.
const NAME_BYTES: usize = 200;

/// Where files are written before they get their name: no key's path begins so.
const INCOMING: &str = "~incoming";

/// The file that every process locks that stores into the folder: shared while it runs, alone to empty `~incoming`.
const LOCK: &str = "~lock";

/// A bucket in a folder.
#[derive(Debug, Clone)]
pub struct FolderS3 {
    bucket: String,
    root: PathBuf,
    secret_key: String,
    listing: Arc<Mutex<Option<Listing>>>,
    newest: Arc<Mutex<Option<Listing>>>,
    /// Held as long as the folder may be written to.
    lock: Option<Arc<fs::File>>,
}

/// Every object's key, size and time, in the order of the keys, for the pages after the first.
#[derive(Debug, Clone)]
struct Listing {
    made: Instant,
    objects: Arc<Vec<(String, u64, SystemTime)>>,
}

/// What a listing with `encoding-type=url` does not percent-encode (Amazon S3 API Reference, `ListObjectsV2`).
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// How long a listing of the newest is new.
const FRESH: Duration = Duration::from_secs(1);

/// How long a listing serves its further pages.
const LISTING: Duration = Duration::from_mins(1);

impl FolderS3 {
    /// Opens the bucket in the folder `root`, which is made if there is none. Its name is the folder's, which must be a
    /// bucket's name (AWS: "General purpose bucket naming rules").
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let mut folder = Self::read_only(root)?;
        let incoming = folder.root.join(INCOMING);
        let root = &folder.root;
        let lock = fs::File::create(root.join(LOCK))?;
        if incoming.exists() && lock.try_lock().is_ok() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        lock.lock_shared()?;
        check_links(&incoming)?;
        folder.lock = Some(Arc::new(lock));
        Ok(folder)
    }

    /// Opens the bucket in a folder that is there, to read it: nothing in it is touched.
    pub fn read_only(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let bucket = root.file_name().and_then(|name| name.to_str()).filter(|name| check_bucket_name(name));
        let bucket = bucket.ok_or_else(|| {
            let why = "its name is no bucket's: 3 to 63 of the characters a-z, 0-9, `.` and `-`";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        let bucket = bucket.to_owned();
        Ok(Self {
            bucket,
            root,
            secret_key: ACCESS_KEY.to_owned(),
            listing: Arc::default(),
            newest: Arc::default(),
            lock: None,
        })
    }

    /// The same with another secret key than the known one.
    #[must_use]
    pub fn with_secret_key(self, secret_key: String) -> Self {
        Self { secret_key, ..self }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The bucket as an HTTP service.
    #[must_use]
    pub fn service(self) -> S3Service {
        let auth = SimpleAuth::from_single(ACCESS_KEY, self.secret_key.as_str());
        let mut service = S3ServiceBuilder::new(self);
        service.set_auth(auth);
        service.build()
    }

    /// The configuration for a client of the S3 that is served on `address` with this secret key.
    #[must_use]
    pub fn sdk_config(address: SocketAddr, secret_key: &str, http_client: SharedHttpClient) -> SdkConfig {
        let credentials = Credentials::new(ACCESS_KEY, secret_key, None, None, "local");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client)
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(format!("http://{address}"))
            .build()
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(path_of(key))
    }

    /// Writes an object whole or not at all; `Ok(false)` if there is one already and it may not be replaced.
    fn write(&self, key: &str, object: &[u8], replace: bool) -> io::Result<bool> {
        let path = self.path(key);
        let folder = path.parent().expect("an object's file is in a folder");
        fs::create_dir_all(folder)?;
        let mut file = NamedTempFile::new_in(self.root.join(INCOMING))?;
        file.write_all(object)?;
        file.as_file().sync_all()?;
        let named = if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
        let is_written = match named {
            Ok(_) => true,
            Err(error) if !replace && error.error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error.error),
        };
        // Names that another write made count too: it may not have synced them yet.
        folder.ancestors().take_while(|folder| folder.starts_with(&self.root)).try_for_each(sync)?;
        Ok(is_written)
    }

    fn read(&self, key: &str) -> S3Result<(Vec<u8>, SystemTime)> {
        let path = self.path(key);
        let read = || Ok((fs::read(&path)?, fs::metadata(&path)?.modified()?));
        read().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => s3_error!(NoSuchKey),
            _ => refused(error),
        })
    }

    /// Every object, the newest first; made anew when it is older than a second.
    pub fn newest_first(&self) -> io::Result<Arc<Vec<(String, u64, SystemTime)>>> {
        let mut kept = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.made.elapsed() < FRESH) {
            return Ok(Arc::clone(&kept.objects));
        }
        let mut objects = list(&self.root)?;
        objects.sort_unstable_by(|(key, _, stored), other| (other.2, key).cmp(&(*stored, &other.0)));
        let objects = Arc::new(objects);
        *kept = Some(Listing { made: Instant::now(), objects: Arc::clone(&objects) });
        Ok(objects)
    }

    /// The listing that a page is cut from: a new one for the first page, that of the first page for the next.
    fn listing(&self, is_first: bool) -> io::Result<Arc<Vec<(String, u64, SystemTime)>>> {
        let kept = self.listing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| !is_first && kept.made.elapsed() < LISTING) {
            return Ok(kept.objects);
        }
        let mut objects = list(&self.root)?;
        objects.sort_unstable();
        let objects = Arc::new(objects);
        let listing = Listing { made: Instant::now(), objects: Arc::clone(&objects) };
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(listing);
        Ok(objects)
    }
}

/// Every object's key, size and time, in no order.
fn list(root: &Path) -> io::Result<Vec<(String, u64, SystemTime)>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while !folders.is_empty() {
        let listed = folders.par_iter().map(|(folder, prefix)| list_folder(folder, prefix));
        let listed: Vec<_> = listed.collect::<io::Result<_>>()?;
        folders.clear();
        for entry in listed.into_iter().flatten() {
            match entry {
                Listed::Folder(path, prefix) => folders.push((path, prefix)),
                Listed::Object(key, size, stored) => found.push((key, size, stored)),
            }
        }
    }
    Ok(found)
}

/// What is in a folder.
enum Listed {
    Folder(PathBuf, String),
    Object(String, u64, SystemTime),
}

/// Asks for the files of one folder on all processors, for that takes most of the time.
fn list_folder(folder: &Path, prefix: &str) -> io::Result<Vec<Listed>> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    let listed = entries.into_par_iter().map(|entry| {
        let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
        if entry.file_type()?.is_dir() {
            return Ok((name != INCOMING).then(|| Listed::Folder(entry.path(), format!("{prefix}{name}/"))));
        }
        let Some(key) = key_of(&format!("{prefix}{name}")) else { return Ok(None) };
        let metadata = entry.metadata()?;
        Ok(Some(Listed::Object(key, metadata.len(), metadata.modified()?)))
    });
    listed.filter_map(io::Result::transpose).collect()
}

/// Finds out whether files here can get a name in one step that fails if the name is taken: by a hard link, or by what the
/// system has for it.
fn check_links(incoming: &Path) -> io::Result<()> {
    let name = incoming.join(format!("check-{}", Uuid::new_v4()));
    let named = NamedTempFile::new_in(incoming)?.persist_noclobber(&name);
    named.map_err(|error| match error.error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => error.error,
        _ => io::Error::other(format!(
            "the file system has no hard links ({}), without which a trace could be overwritten: choose another --folder",
            error.error
        )),
    })?;
    fs::remove_file(name)
}

/// What a client of this S3 is told of an error of the file system. No status of these says that trying again helps.
fn refused(error: io::Error) -> S3Error {
    let (code, message) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("DiskFull", "the disk is full: make room on it, or choose another --folder")
        }
        io::ErrorKind::InvalidFilename => {
            ("PathTooLong", "the path is longer than this system allows: choose a --folder with a shorter path")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => (
            "FolderNotWritable",
            "the folder may not be written to: give this user the permission, or choose another --folder",
        ),
        _ => return S3Error::internal_error(error),
    };
    let mut refused = S3Error::with_message(S3ErrorCode::Custom(code.into()), format!("{message} ({error})"));
    refused.set_status_code(StatusCode::BAD_REQUEST);
    refused
}

/// Syncs a folder, so that the names in it survive a crash of the machine (fsync(2)).
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened, and the file system keeps its names.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Where a key's file is: the key itself and `.json`, so that `a` and `a/b` can both be there. `~` marks what differs:
/// `~XX` is a byte that file systems may not take as it is, `~~` ends a part of a name that is too long for one, and
/// `~` behind a folder's `.json` tells it from a file.
fn path_of(key: &str) -> String {
    let mut path = String::new();
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let mut name = String::new();
        let dots = matches!(segment, "." | "..");
        for byte in segment.bytes() {
            if name.len() >= NAME_BYTES {
                path.push_str(&std::mem::take(&mut name));
                path.push_str("~~/");
            }
            match byte {
                b'~' | b'\\' | 0..0x20 | 0x7f.. => name.extend(['~', hex(byte >> 4), hex(byte & 15)]),
                b'.' if dots => name.push_str("~2E"),
                _ => name.push(char::from(byte)),
            }
        }
        path.push_str(&name);
        if segments.peek().is_none() {
            path.push_str(".json");
        } else if segment.is_empty() {
            path.push_str("~00~/");
        } else {
            path.push_str(if name.strip_suffix(".json").is_some() { "~/" } else { "/" });
        }
    }
    path
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).expect("four bits are a digit").to_ascii_uppercase()
}

/// The key whose file is at `path`; `None` for a file that no key has.
fn key_of(path: &str) -> Option<String> {
    let plain = path.strip_suffix(".json")?.replace("~~/", "").replace("~00~/", "/").replace(".json~/", ".json/");
    let mut bytes = Vec::new();
    let mut rest = plain.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'~' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    let key = String::from_utf8(bytes).ok()?;
    (path_of(&key) == path).then_some(key)
}

/// Runs what waits for the disk where it keeps no other request waiting.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)
}

fn sha256(object: &[u8]) -> String {
    aws_smithy_types::base64::encode(Sha256::digest(object))
}

fn length(bytes: usize) -> Option<i64> {
    i64::try_from(bytes).ok()
}

#[async_trait::async_trait]
impl S3 for FolderS3 {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, checksum_sha256, if_none_match, .. } = request.input;
        self.check_bucket(&bucket)?;
        let replace = match if_none_match {
            None => true,
            Some(ETagCondition::Any) => false,
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "If-None-Match takes * only")),
        };
        let mut object = Vec::new();
        let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        while let Some(bytes) = body.try_next().await.map_err(|_| s3_error!(IncompleteBody))? {
            object.extend_from_slice(&bytes);
        }
        let checksum = sha256(&object);
        if checksum_sha256.is_some_and(|expected| expected != checksum) {
            return Err(s3_error!(BadDigest));
        }
        let folder = self.clone();
        let written = on_disk(move || folder.write(&key, &object, replace)).await?.map_err(refused)?;
        if !written {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(checksum.clone())),
            checksum_sha256: Some(checksum),
            ..PutObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let HeadObjectInput { bucket, key, checksum_mode, .. } = request.input;
        self.check_bucket(&bucket)?;
        let folder = self.clone();
        let (object, modified) = on_disk(move || folder.read(&key)).await??;
        let checksum = sha256(&object);
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(object.len()),
            content_type: Some("application/json".to_owned()),
            e_tag: Some(ETag::Strong(checksum.clone())),
            checksum_sha256: checksum_mode.map(|_| checksum),
            last_modified: Some(Timestamp::from(modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        self.check_bucket(&bucket)?;
        let folder = self.clone();
        let (object, modified) = on_disk(move || folder.read(&key)).await??;
        let (e_tag, object) = (ETag::Strong(sha256(&object)), Bytes::from(object));
        let (part, content_range) = match range {
            None => (object, None),
            Some(range) => {
                let whole = object.len() as u64;
                let range = range.check(whole)?;
                let content_range = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
                let place = |at: u64| usize::try_from(at).expect("it is within the object");
                (object.slice(place(range.start)..place(range.end)), Some(content_range))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(part.len()),
            content_range,
            content_type: Some("application/json".to_owned()),
            e_tag: Some(e_tag),
            last_modified: Some(Timestamp::from(modified)),
            body: Some(StreamingBlob::from(Body::from(part))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let made = fs::metadata(&self.root).and_then(|root| root.modified()).map_err(S3Error::internal_error)?;
        let bucket =
            Bucket { name: Some(self.bucket.clone()), creation_date: Some(Timestamp::from(made)), ..Bucket::default() };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let folder = self.clone();
        let is_first = input.continuation_token.is_none();
        let found = on_disk(move || folder.listing(is_first)).await?.map_err(S3Error::internal_error)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let most = input.max_keys.and_then(|most| usize::try_from(most).ok()).unwrap_or(1000).min(1000);
        let (mut contents, mut prefixes): (Vec<Object>, Vec<CommonPrefix>) = (Vec::new(), Vec::new());
        let mut last: Option<String> = None;
        let mut is_truncated = false;
        let begin = found.partition_point(|(key, ..)| *key <= after || *key < prefix);
        for (key, size, modified) in &found[begin..] {
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            // What stands behind the next delimiter counts as one name, the common prefix.
            let common = input.delimiter.as_deref().and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            let name = common.map_or(key.as_str(), |common| &key[..prefix.len() + common]);
            if name <= &*after || last.as_deref() == Some(name) {
                continue;
            }
            if contents.len() + prefixes.len() == most {
                is_truncated = true;
                break;
            }
            last = Some(name.to_owned());
            if common.is_some() {
                prefixes.push(CommonPrefix { prefix: last.clone() });
            } else {
                contents.push(Object {
                    key: last.clone(),
                    size: i64::try_from(*size).ok(),
                    last_modified: Some(Timestamp::from(*modified)),
                    ..Object::default()
                });
            }
        }
        let next_continuation_token = if is_truncated { last } else { None };
        let (mut prefix, mut delimiter, mut start_after) = (input.prefix, input.delimiter, input.start_after);
        if input.encoding_type.as_ref().is_some_and(|encoding| encoding.as_str() == EncodingType::URL) {
            let names = contents.iter_mut().filter_map(|object| object.key.as_mut());
            let names = names.chain(prefixes.iter_mut().filter_map(|common| common.prefix.as_mut()));
            for name in names.chain([&mut prefix, &mut delimiter, &mut start_after].into_iter().flatten()) {
                *name = utf8_percent_encode(name, URL).to_string();
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            encoding_type: input.encoding_type,
            prefix,
            delimiter,
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            max_keys: i32::try_from(most).ok(),
            is_truncated: Some(is_truncated),
            next_continuation_token,
            continuation_token: input.continuation_token,
            start_after,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..ListObjectsV2Output::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incoming(folder: &FolderS3) -> usize {
        fs::read_dir(folder.root.join(INCOMING)).expect("it is there").count()
    }

    #[test]
    fn what_a_killed_process_left_is_deleted_at_the_next_start_only() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let first = FolderS3::open(&root.path().join("traces")).expect("a bucket");
        fs::write(first.root.join(INCOMING).join("half"), "{").expect("it can be written");
        let second = FolderS3::open(&root.path().join("traces")).expect("the same bucket");
        assert_eq!(incoming(&second), 1, "the first may still be writing it");
        drop((first, second));
        assert_eq!(incoming(&FolderS3::open(&root.path().join("traces")).expect("the same bucket")), 0);
    }

    #[test]
    fn a_folder_whose_name_is_no_buckets_is_refused() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for name in ["t", "My Traces", "-traces"] {
            let error = FolderS3::open(&root.path().join(name)).map(drop).expect_err("S3 would refuse every request");
            assert!(error.to_string().contains("3 to 63"), "{error}");
        }
    }

    #[test]
    fn a_write_that_fails_or_finds_the_name_taken_leaves_no_temporary_file() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = FolderS3::open(&root.path().join("traces")).expect("a bucket");
        fs::create_dir(folder.path("taken-by-a-folder")).expect("it can be made");
        assert!(folder.write("taken-by-a-folder", b"{}", true).is_err());
        assert!(folder.write("a/b", b"{}", false).expect("it is written"));
        assert!(!folder.write("a/b", b"[]", false).expect("it is there"));
        assert_eq!(fs::read(folder.path("a/b")).expect("it is there"), b"{}");
        assert_eq!(incoming(&folder), 0);
    }

    /// None of them passes by itself, so none is answered as if it did.
    #[test]
    fn what_the_file_system_refuses_is_said_clearly() {
        for (kind, code) in [
            (io::ErrorKind::StorageFull, "DiskFull"),
            (io::ErrorKind::QuotaExceeded, "DiskFull"),
            (io::ErrorKind::InvalidFilename, "PathTooLong"),
            (io::ErrorKind::ReadOnlyFilesystem, "FolderNotWritable"),
        ] {
            let error = refused(kind.into());
            assert_eq!((error.code().as_str(), error.status_code()), (code, Some(StatusCode::BAD_REQUEST)));
        }
    }

    #[test]
    fn an_ordinary_key_is_its_path() {
        assert_eq!(path_of("allenai/OLMoE-1B-7B/7d4f"), "allenai/OLMoE-1B-7B/7d4f.json");
    }

    proptest! {
        #[test]
        fn every_key_has_a_path_of_its_own(key in prop_oneof![
            proptest::collection::vec(
                prop_oneof![Just("/"), Just("."), Just("~"), Just(".json"), Just("00"), Just("a"), Just("é")], 1..8
            ).prop_map(|parts| parts.concat()),
            "[a-z/~.%]{1,900}",
            "\\PC{1,300}",
        ]) {
            let path = path_of(&key);
            prop_assert!(path.split('/').all(|name| name.len() <= 255 && !matches!(name, "" | "." | "..")), "{path}");
            prop_assert_eq!(key_of(&path), Some(key));
        }
    }
}
