//! Tests the handler and the real SDK against an S3 that misbehaves on demand.
//!
//! Time is virtual: the clock advances whenever no task can run. Time limits therefore hold on any machine, and waiting
//! costs nothing.

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

    /// Makes S3 behave as if it stored no checksums.
    pub fn forget_checksums(&self) {
        self.s3.forget_checksums();
    }
}

/// The longest time that the handler may take. The gateway gives up after 29 s, which includes the start of the
/// function.
const BOUND: Duration = Duration::from_secs(22);

fn trace(id: &str) -> String {
    format!(r#"{{"model":"m","created":1,"messages":[],"id":"{id}"}}"#)
}

/// Checks a lasting fault: the response has this status after this number of requests, and one log line contains the
/// cause.
///
/// After the fault, the same handler stores traces again.
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
    assert!(!answer.body.to_string().contains(cause), "the client receives a general sentence");

    bucket.s3.always(None);
    let answer = post(&handler, &trace("after")).await;
    assert_eq!(answer.status, 201, "{fault:?}: {}", log.text());
}

/// Checks a transient fault: the trace is stored, and a repeated request is a 200.
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
    a_lasting_slow_down_is_a_503: lasting(Fault::Refuse(503, "SlowDown"), 503, 3, "SlowDown");
    a_lasting_internal_error_is_a_503: lasting(Fault::Refuse(500, "InternalError"), 503, 3, "InternalError");
    access_denied_is_a_500_and_not_retried: lasting(Fault::Refuse(403, "AccessDenied"), 500, 1, "AccessDenied");
    a_missing_bucket_is_a_500_and_not_retried: lasting(Fault::Refuse(404, "NoSuchBucket"), 500, 1, "NoSuchBucket");
    a_bucket_in_another_region_is_a_500_and_not_retried: lasting(Fault::Refuse(301, "PermanentRedirect"), 500, 1, "PermanentRedirect");
    a_temporary_redirect_is_a_503: lasting(Fault::Refuse(307, "TemporaryRedirect"), 503, 1, "TemporaryRedirect");
    a_bad_request_is_a_500_and_not_retried: lasting(Fault::Refuse(400, "InvalidRequest"), 500, 1, "InvalidRequest");
    lasting_concurrent_writes_are_a_503: lasting(Fault::Refuse(409, "ConditionalRequestConflict"), 503, 3, "ConditionalRequestConflict");
    a_stall_before_the_response_is_a_503: lasting(Fault::StallBefore, 503, 3, "timeout");
    a_stall_within_the_response_is_a_503: lasting(Fault::StallWithin, 503, 3, "timeout");
    lasting_connection_cuts_are_a_503: lasting(Fault::CutBeforeRead, 503, 3, "onnection");
    lasting_garbage_is_a_503: lasting(Fault::Garbage, 503, 3, "HTTP version");
    an_error_that_is_not_xml_is_a_503: lasting(Fault::GarbageBody(500), 503, 3, "500");

    a_transient_slow_down_is_retried: passing(&[Fault::Refuse(503, "SlowDown")], 201, SOON);
    two_internal_errors_are_retried: passing(&[Fault::Refuse(500, "InternalError"); 2], 201, SOON);
    a_concurrent_write_is_retried: passing(&[Fault::Refuse(409, "ConditionalRequestConflict")], 201, SOON);
    a_connection_cut_before_the_request_is_retried: passing(&[Fault::CutBeforeRead], 201, SOON);
    a_connection_cut_after_the_write_is_recognised_as_stored: passing(&[Fault::CutAfterStored], 200, SOON);
    a_connection_cut_within_the_response_is_recognised_as_stored: passing(&[Fault::CutWithin], 200, SOON);
    a_stall_within_one_response_is_recognised_as_stored: passing(&[Fault::StallWithin], 200, Duration::from_secs(8));
    one_garbage_response_is_retried: passing(&[Fault::Garbage], 201, SOON);
}

/// No other request knows a random id, so the object that the retry finds comes from its own request.
#[tokio::test(start_paused = true)]
async fn a_lost_response_to_an_assigned_id_is_201() {
    let bucket = FaultyBucket::new().await;
    bucket.s3.next(&[Fault::CutAfterStored]);
    let answer = post(&bucket.handler(), r#"{"model":"m","created":1,"messages":[]}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(bucket.bucket.keys().await, [answer.body["key"].as_str().expect("a key")]);
}

/// After Lambda has frozen the process, the pooled connection may be closed, or its peer may no longer respond.
#[tokio::test(start_paused = true)]
async fn a_connection_that_died_between_requests_costs_no_trace() {
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

/// In every case, the key is taken and reading the stored object fails.
#[tokio::test(start_paused = true)]
async fn each_failed_comparison_gets_its_status() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    assert_eq!(post(&handler, &trace("i")).await.status, 201);
    for (faults, status) in [
        // A role that may not list gets 403 for an object that was deleted in between. The second attempt succeeds.
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(403, "AccessDenied")], 200),
        // A role that may not decrypt the object gets 403 every time.
        ([Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(403, "AccessDenied")].repeat(2), 500),
        // A role that may list gets 404 for an object that was deleted in between.
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(404, "NotFound")], 503),
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(503, "SlowDown")], 200),
    ] {
        let log = Log::start();
        bucket.s3.next(&faults);
        assert_eq!(post(&handler, &trace("i")).await.status, status, "{faults:?}");
        let names_the_object = log.text().contains("an object exists under m/i and cannot be read");
        assert_eq!(names_the_object, status == 500, "{}", log.text());
    }
    // The object was deleted in between, so the second attempt stores the trace.
    bucket.s3.next(&[Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(403, "AccessDenied")]);
    assert_eq!(post(&handler, &trace("new")).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_misconfiguration_contains_the_fix() {
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

/// A client that sent no id learns it from the 503.
#[tokio::test(start_paused = true)]
async fn a_503_contains_the_id_for_a_safe_retry() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    for fault in [Fault::CutBeforeRead, Fault::CutAfterStored] {
        let sent = r#"{"model":"m","created":1,"messages":[]}"#;
        bucket.s3.always(Some(fault));
        // With the second fault, the trace is stored, but neither the write nor the comparison is confirmed.
        let answer = post(&handler, sent).await;
        bucket.s3.always(None);
        assert_eq!(answer.status, 503, "{fault:?}");
        let id = answer.body["id"].as_str().expect("an id");
        let repeated = post(&handler, &sent.replacen('{', &format!(r#"{{"id":"{id}","#), 1)).await;
        let expected = if matches!(fault, Fault::CutBeforeRead) { 201 } else { 200 };
        assert_eq!(repeated.status, expected, "{fault:?}");
    }
}

/// The SDK's default retry quota would be used up after a thousand failed requests.
#[tokio::test(start_paused = true)]
async fn an_outage_does_not_reduce_later_retries() {
    let bucket = FaultyBucket::new().await;
    let handler = bucket.handler();
    bucket.s3.always(Some(Fault::Refuse(503, "SlowDown")));
    for _ in 0..10 {
        let traces: Vec<String> = (0..100).map(|n| trace(&n.to_string())).collect();
        for answer in join_all(traces.iter().map(|trace| post(&handler, trace))).await {
            assert_eq!(answer.status, 503);
        }
    }
    assert_eq!(bucket.s3.requests(), 3000, "each request was tried three times");
    bucket.s3.always(None);
    bucket.s3.next(&[Fault::Refuse(500, "InternalError"); 2]);
    assert_eq!(post(&handler, &trace("after")).await.status, 201);
    assert_eq!(bucket.s3.requests(), 3);
}

/// A credentials provider that hangs until its flag is set.
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
async fn hanging_credentials_end_in_503_in_time_and_the_next_request_is_served() {
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

#[tokio::test(start_paused = true)]
async fn an_s3_that_would_overwrite_is_detected_before_the_first_201() {
    let bucket = FaultyBucket::new().await;
    let store = || {
        Store::new(
            &FolderS3::sdk_config(bucket.s3.address, ACCESS_KEY, attest::settings::http_client()),
            BUCKET.to_owned(),
        )
        .verifying_conditional_writes()
    };
    bucket.s3.ignore_conditions(true);
    let error = store().connect().await.expect_err("S3 ignores conditions");
    assert!(error.to_string().starts_with("this S3 ignores If-None-Match"), "{error}");
    let handler = handler_with(store(), MAX_TRACE_BYTES);
    let log = Log::start();
    assert_eq!(post(&handler, &trace("i")).await.status, 500);
    assert!(log.text().contains("this S3 ignores If-None-Match"), "{}", log.text());
    assert_eq!(bucket.bucket.keys().await, [CHECK_KEY]);

    // An S3 that honours conditions is verified once, even if it was unreachable at first.
    bucket.s3.ignore_conditions(false);
    let store = store();
    bucket.s3.always(Some(Fault::CutBeforeRead));
    store.connect().await.expect_err("S3 is unreachable");
    bucket.s3.always(None);
    bucket.s3.requests();
    let handler = handler_with(store, MAX_TRACE_BYTES);
    for (id, requests) in [("i", 2), ("j", 1)] {
        assert_eq!(post(&handler, &trace(id)).await.status, 201);
        assert_eq!(bucket.s3.requests(), requests);
    }
}

/// A bucket policy may require these headers.
#[tokio::test(start_paused = true)]
async fn every_write_names_the_kms_key() {
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
