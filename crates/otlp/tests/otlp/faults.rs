//! Tests that the receiver, with a faulty S3, never confirms a span that is not stored, and always responds in time.
//!
//! Time is virtual: the clock advances whenever no task can run.

use std::{collections::BTreeSet, time::Duration};

use local_aws::testing::{Bucket, Fault, FaultProxy};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Endpoint, numbered, request};

/// Python's exporter gives up 10 s after its first attempt.
const BOUND: Duration = Duration::from_secs(8);

async fn faulty() -> (Bucket, FaultProxy) {
    let bucket = Bucket::new().await;
    let s3 = FaultProxy::before(bucket.address).await;
    (bucket, s3)
}

fn batch() -> Value {
    request(&(0..40).map(numbered).collect::<Vec<_>>())
}

/// Sends the batch, and checks that the response is true. Returns its status.
async fn send(endpoint: &Endpoint, bucket: &Bucket) -> u16 {
    let start = Instant::now();
    let answer = endpoint.json("/v1/traces", &batch()).await;
    assert!(start.elapsed() <= BOUND, "{:?}", start.elapsed());
    if answer.status == 200 {
        assert_eq!(bucket.keys().await.into_iter().collect::<BTreeSet<_>>().len(), 40);
    } else {
        assert_eq!((answer.status, &answer.json()["code"]), (503, &serde_json::json!(14)));
    }
    answer.status
}

#[tokio::test(start_paused = true)]
async fn each_lasting_fault_is_a_503_in_time_and_the_next_batch_is_stored() {
    for fault in [
        Fault::Refuse(503, "SlowDown"),
        Fault::Refuse(500, "InternalError"),
        Fault::Refuse(403, "AccessDenied"),
        Fault::Refuse(404, "NoSuchBucket"),
        Fault::StallBefore,
        Fault::StallWithin,
        Fault::CutBeforeRead,
        Fault::CutAfterStored,
        Fault::CutWithin,
        Fault::Garbage,
        Fault::GarbageBody(500),
    ] {
        let (bucket, s3) = faulty().await;
        let endpoint = Endpoint::on(s3.address);
        s3.always(Some(fault));
        assert_eq!(send(&endpoint, &bucket).await, 503, "{fault:?}");
        let line = endpoint.log().remove(0);
        assert!(line["level"] == "ERROR" && line["reason"].is_string(), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
        s3.always(None);
        assert_eq!(send(&endpoint, &bucket).await, 200, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_span_fails_the_batch_unless_a_retry_stores_it() {
    for (fault, times, status) in [
        (Fault::Refuse(503, "SlowDown"), 1, 200),
        (Fault::CutAfterStored, 1, 200),
        (Fault::CutWithin, 1, 200),
        (Fault::Garbage, 1, 200),
        (Fault::Refuse(403, "AccessDenied"), 1, 503),
        (Fault::StallBefore, 3, 503),
    ] {
        let (bucket, s3) = faulty().await;
        let endpoint = Endpoint::on(s3.address);
        s3.next(&vec![fault; times]);
        let first = send(&endpoint, &bucket).await;
        assert!(first == status || first == 200, "{fault:?}: {first}");
        assert_eq!(send(&endpoint, &bucket).await, 200, "{fault:?}");
    }
}
