//! S3 on its worst day: the real SDK against an S3 that misbehaves on demand. Time is virtual: the clock runs on whenever
//! nothing else can, so that bounds hold on any machine and waits cost nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use attest::{
    handler::Handler,
    settings::MAX_TRACE_BYTES,
    store::{CHECK_KEY, Store},
};
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use futures_util::future::join_all;
use local_aws::{
    s3::{ACCESS_KEY, FolderS3},
    testing::{Fault, FaultProxy},
};
use tokio::time::Instant;

use crate::support::{BUCKET, Bucket, Log, handler_on, handler_with, post};

/// A bucket behind a proxy that injects faults.
pub struct FaultyBucket {
    bucket: Bucket,
    s3: FaultProxy,
}

impl FaultyBucket {
    pub async fn new() -> Self {
        let bucket = Bucket::new().await;
        let s3 = FaultProxy::before(bucket.address).await;
        Self { bucket, s3 }
    }

    pub fn handler(&self) -> Handler {
        handler_on(self.s3.address)
    }

    /// From now on the S3 behaves like one that keeps no checksum of what it stores.
    pub fn forget_checksums(&self) {
        self.s3.forget_checksums();
    }
}

/// The gateway gives up after 29 s; what the handler needs must leave room for the function's own start.
const BOUND: Duration = Duration::from_secs(22);

fn trace(id: &str) -> String {
    format!(r#"{{"model":"m","created":1,"messages":[],"id":"{id}"}}"#)
}

/// A fault that stays: the status of the contract, after that many requests, within the bound and with one log line
/// that names the cause; and afterwards the same handler stores again.
async fn lasting(fault: Fault, status: u16, requests: usize, cause: &str) {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    let log = Log::start();
    bucket.s3.always(Some(fault));
    let start = Instant::now();
    let answer = post(&handler, &trace("i")).await;
    assert!(start.elapsed() < BOUND, "{fault:?} took {:?}", start.elapsed());
    assert_eq!(answer.status, status, "{fault:?}: {}", log.text());
    assert_eq!(answer.retry_after.is_some(), status == 503);
    assert_eq!(answer.body["id"].as_str(), (status == 503).then_some("i"));
    assert_eq!(bucket.s3.requests(), requests, "{fault:?}: {}", log.text());
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line["cause"].is_string()).collect();
    assert_eq!(lines.len(), 1, "{}", log.text());
    assert!(lines[0]["cause"].as_str().is_some_and(|text| text.contains(cause)), "{fault:?}: {}", log.text());
    assert!(!answer.body.to_string().contains(cause), "told in general");

    bucket.s3.always(None);
    let answer = post(&handler, &trace("after")).await;
    assert_eq!(answer.status, 201, "{fault:?}: {}", log.text());
}

/// A fault that passes: the trace is stored, and a repetition finds it so.
async fn passing(faults: &[Fault], status: u16, bound: Duration) {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    let log = Log::start();
    bucket.s3.next(faults);
    let start = Instant::now();
    let answer = post(&handler, &trace("i")).await;
    assert!(start.elapsed() < bound, "{faults:?} took {:?}", start.elapsed());
    assert_eq!(answer.status, status, "{faults:?}: {}", log.text());
    let repeated = post(&handler, &trace("i")).await;
    assert_eq!((repeated.status, repeated.body), (200, answer.body), "{faults:?}");
    assert_eq!(bucket.bucket.keys().await, ["m/i"]);
}

const SOON: Duration = Duration::from_secs(4);

macro_rules! each {
    ($($name:ident: $test:expr;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            $test.await;
        }
    )*};
}

each! {
    slow_down_that_lasts: lasting(Fault::Refuse(503, "SlowDown"), 503, 3, "SlowDown");
    an_internal_error_that_lasts: lasting(Fault::Refuse(500, "InternalError"), 503, 3, "InternalError");
    access_denied_is_ours_and_not_retried: lasting(Fault::Refuse(403, "AccessDenied"), 500, 1, "AccessDenied");
    no_such_bucket_is_ours_and_not_retried: lasting(Fault::Refuse(404, "NoSuchBucket"), 500, 1, "NoSuchBucket");
    another_region_is_ours_and_not_retried: lasting(Fault::Refuse(301, "PermanentRedirect"), 500, 1, "PermanentRedirect");
    a_redirect_passes_later: lasting(Fault::Refuse(307, "TemporaryRedirect"), 503, 1, "TemporaryRedirect");
    a_bad_request_is_ours_and_not_retried: lasting(Fault::Refuse(400, "InvalidRequest"), 500, 1, "InvalidRequest");
    concurrent_writes_that_last: lasting(Fault::Refuse(409, "ConditionalRequestConflict"), 503, 3, "ConditionalRequestConflict");
    a_stall_before_the_answer: lasting(Fault::StallBefore, 503, 3, "timeout");
    a_stall_within_the_answer: lasting(Fault::StallWithin, 503, 3, "timeout");
    connections_that_are_cut: lasting(Fault::CutBeforeRead, 503, 3, "onnection");
    garbage_that_lasts: lasting(Fault::Garbage, 503, 3, "HTTP version");
    a_refusal_that_is_no_xml: lasting(Fault::GarbageBody(500), 503, 3, "500");

    slow_down_that_passes: passing(&[Fault::Refuse(503, "SlowDown")], 201, SOON);
    two_internal_errors: passing(&[Fault::Refuse(500, "InternalError"); 2], 201, SOON);
    a_concurrent_write: passing(&[Fault::Refuse(409, "ConditionalRequestConflict")], 201, SOON);
    a_connection_cut_before_the_request_was_read: passing(&[Fault::CutBeforeRead], 201, SOON);
    a_connection_cut_after_the_trace_was_stored: passing(&[Fault::CutAfterStored], 200, SOON);
    a_connection_cut_within_the_answer: passing(&[Fault::CutWithin], 200, SOON);
    a_stall_within_one_answer: passing(&[Fault::StallWithin], 200, Duration::from_secs(8));
    garbage_once: passing(&[Fault::Garbage], 201, SOON);
}

/// Only this request can have written under a random id, so its own write is what the retry met.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_an_assigned_id_is_201() {
    let bucket = FaultyBucket::new().await;
    bucket.s3.next(&[Fault::CutAfterStored]);
    let answer = post(&bucket.handler(), r#"{"model":"m","created":1,"messages":[]}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(bucket.bucket.keys().await, [answer.body["key"].as_str().expect("a key")]);
}

/// As after a freeze: the connection that the last request left behind is closed, or leads nowhere.
#[tokio::test(start_paused = true)]
async fn a_connection_that_died_since_the_last_request() {
    for (fault, bound) in [(Fault::CloseAfter, SOON), (Fault::DeafAfter, Duration::from_secs(8))] {
        let bucket = FaultyBucket::new().await;
        let handler = bucket.handler();
        bucket.s3.next(&[fault]);
        assert_eq!(post(&handler, &trace("first")).await.status, 201);
        let start = Instant::now();
        assert_eq!(post(&handler, &trace("second")).await.status, 201, "{fault:?}");
        assert!(start.elapsed() < bound, "{fault:?} took {:?}", start.elapsed());
    }
}

/// The look at what is stored may fail as the write may: nothing is promised then.
#[tokio::test(start_paused = true)]
async fn a_look_at_what_is_stored_that_fails() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    assert_eq!(post(&handler, &trace("i")).await.status, 201);
    for (faults, status) in [
        // To the deployed role, which may not list: the object was deleted since.
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(403, "AccessDenied")], 503),
        // To a role that may.
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(404, "NotFound")], 503),
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(503, "SlowDown")], 200),
    ] {
        bucket.s3.next(&faults);
        assert_eq!(post(&handler, &trace("i")).await.status, status, "{faults:?}");
    }
}

/// The log line of a misconfiguration says what to change.
#[tokio::test(start_paused = true)]
async fn a_misconfiguration_says_what_to_change() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    for (status, code, remedy) in [
        (404, "NoSuchBucket", "create the bucket that BUCKET_NAME names"),
        (301, "PermanentRedirect", "deploy the stack in the bucket's region"),
        (400, "AuthorizationHeaderMalformed", "deploy the stack in the bucket's region"),
        (403, "AccessDenied", "allow the function's role s3:PutObject and s3:GetObject"),
        (403, "InvalidAccessKeyId", "the credentials are not valid for this S3"),
        (400, "KMS.DisabledException", "the KMS key must be enabled"),
    ] {
        let log = Log::start();
        bucket.s3.next(&[Fault::Refuse(status, code)]);
        assert_eq!(post(&handler, &trace("i")).await.status, 500, "{code}");
        let lines = log.lines();
        let cause = lines[0]["cause"].as_str().expect("a cause");
        assert!(cause.contains(code) && cause.contains(remedy), "{cause}");
    }
}

/// A client that named no id learns it from the 503, and repeats with it.
#[tokio::test(start_paused = true)]
async fn a_503_says_the_id_by_which_to_repeat() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    for fault in [Fault::CutBeforeRead, Fault::CutAfterStored] {
        let sent = r#"{"model":"m","created":1,"messages":[]}"#;
        bucket.s3.always(Some(fault));
        // Stored, but nobody can confirm it: the look at what is there fails too.
        let answer = post(&handler, sent).await;
        bucket.s3.always(None);
        assert_eq!(answer.status, 503, "{fault:?}");
        let id = answer.body["id"].as_str().expect("an id");
        let repeated = post(&handler, &sent.replacen('{', &format!(r#"{{"id":"{id}","#), 1)).await;
        let expected = if matches!(fault, Fault::CutBeforeRead) { 201 } else { 200 };
        assert_eq!(repeated.status, expected, "{fault:?}");
    }
}

/// A thousand requests that failed after all their retries leave the next one as many as on the first day.
#[tokio::test(start_paused = true)]
async fn after_a_bad_hour_the_next_fault_is_retried_as_on_the_first_day() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    bucket.s3.always(Some(Fault::Refuse(503, "SlowDown")));
    for _ in 0..10 {
        let traces: Vec<String> = (0..100).map(|n| trace(&n.to_string())).collect();
        for answer in join_all(traces.iter().map(|trace| post(&handler, trace))).await {
            assert_eq!(answer.status, 503);
        }
    }
    assert_eq!(bucket.s3.requests(), 3000, "each was retried, at once with others too");
    bucket.s3.always(None);
    bucket.s3.next(&[Fault::Refuse(500, "InternalError"); 2]);
    assert_eq!(post(&handler, &trace("after")).await.status, 201);
    assert_eq!(bucket.s3.requests(), 3);
}

/// A source of credentials that hangs until it is told to answer.
#[derive(Clone, Debug, Default)]
struct Hanging(Arc<AtomicBool>);

impl ProvideCredentials for Hanging {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        if self.0.load(Ordering::SeqCst) {
            let credentials = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "test");
            future::ProvideCredentials::ready(Ok(credentials))
        } else {
            future::ProvideCredentials::new(std::future::pending())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_hang_end_in_503_in_time_and_the_next_request_is_served() {
    let bucket = Bucket::new().await;
    let source = Hanging::default();
    let config = FolderS3::sdk_config(bucket.address, ACCESS_KEY, attest::settings::http_client()).into_builder();
    let config = config.credentials_provider(SharedCredentialsProvider::new(source.clone())).build();
    let handler = handler_with(Store::new(&config, BUCKET.to_owned()), MAX_TRACE_BYTES);
    let start = Instant::now();
    assert_eq!(post(&handler, &trace("i")).await.status, 503);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    source.0.store(true, Ordering::SeqCst);
    assert_eq!(post(&handler, &trace("i")).await.status, 201);
}

/// An S3 that ignores `If-None-Match` never gets as far as a 201.
#[tokio::test(start_paused = true)]
async fn an_s3_that_would_overwrite_is_found_out_before_the_first_201() {
    let bucket = FaultyBucket::new().await;
    let store = || {
        Store::new(
            &FolderS3::sdk_config(bucket.s3.address, ACCESS_KEY, attest::settings::http_client()),
            BUCKET.to_owned(),
        )
        .unproven()
    };
    bucket.s3.ignore_conditions(true);
    let error = store().connect().await.expect_err("it would overwrite");
    assert!(error.to_string().starts_with("this S3 ignores If-None-Match"), "{error}");
    let handler = handler_with(store(), MAX_TRACE_BYTES);
    let log = Log::start();
    assert_eq!(post(&handler, &trace("i")).await.status, 500);
    assert!(log.text().contains("this S3 ignores If-None-Match"), "{}", log.text());
    assert_eq!(bucket.bucket.keys().await, [CHECK_KEY]);

    // One that honours it is asked once, also if it could not be reached at first.
    bucket.s3.ignore_conditions(false);
    let store = store();
    bucket.s3.always(Some(Fault::CutBeforeRead));
    store.connect().await.expect_err("it cannot be reached");
    bucket.s3.always(None);
    bucket.s3.requests();
    let handler = handler_with(store, MAX_TRACE_BYTES);
    for (id, requests) in [("i", 2), ("j", 1)] {
        assert_eq!(post(&handler, &trace(id)).await.status, 201);
        assert_eq!(bucket.s3.requests(), requests);
    }
}

/// With a key of its own, each object says so, as a bucket policy may demand.
#[tokio::test(start_paused = true)]
async fn a_kms_key_is_named_in_every_write() {
    let bucket = FaultyBucket::new().await;
    let key = "arn:aws:kms:us-east-1:123456789012:key/k";
    for kms_key in [None, Some(key)] {
        let store = Store::new(
            &FolderS3::sdk_config(bucket.s3.address, ACCESS_KEY, attest::settings::http_client()),
            BUCKET.to_owned(),
        );
        let handler = handler_with(store.encrypted_with(kms_key.map(ToOwned::to_owned)), MAX_TRACE_BYTES);
        assert_eq!(post(&handler, &trace(kms_key.map_or("plain", |_| "encrypted"))).await.status, 201);
        let head = bucket.s3.last_head();
        for (header, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", key),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ("if-none-match", "*"),
        ] {
            let is_sent = head.lines().any(|line| line == format!("{header}: {value}"));
            assert_eq!(is_sent, kms_key.is_some() || header == "if-none-match", "{header}: {head}");
        }
    }
}
