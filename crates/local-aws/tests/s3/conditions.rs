use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use local_aws::testing::{BUCKET, Bucket};

use crate::failure;

const HOUR: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "the fields have the names of the headers")]
struct Read {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<DateTime>,
    if_unmodified_since: Option<DateTime>,
}

impl Read {
    /// Sends the conditions with a GET and with a HEAD, and returns the status of both.
    async fn status(&self, bucket: &Bucket) -> u16 {
        let get = bucket
            .client
            .get_object()
            .bucket(BUCKET)
            .key("k")
            .set_if_match(self.if_match.clone())
            .set_if_none_match(self.if_none_match.clone())
            .set_if_modified_since(self.if_modified_since)
            .set_if_unmodified_since(self.if_unmodified_since);
        let head = bucket
            .client
            .head_object()
            .bucket(BUCKET)
            .key("k")
            .set_if_match(self.if_match.clone())
            .set_if_none_match(self.if_none_match.clone())
            .set_if_modified_since(self.if_modified_since)
            .set_if_unmodified_since(self.if_unmodified_since);
        let get = get.send().await;
        let get = if get.is_ok() { 200 } else { failure(get).0 };
        let head = head.send().await;
        let head = if head.is_ok() { 200 } else { failure(head).0 };
        assert_eq!(get, head, "{self:?}");
        get
    }
}

#[tokio::test]
async fn a_read_respects_its_conditions_in_the_order_of_rfc_9110() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"{}").await;
    let head = bucket.client.head_object().bucket(BUCKET).key("k").send().await.expect("the object exists");
    let tag = || head.e_tag().map(str::to_owned);
    let other = || Some("\"0123456789abcdef\"".to_owned());
    let any = || Some("*".to_owned());
    let exact = head.last_modified().copied();
    let before = Some(DateTime::from(SystemTime::now() - HOUR));
    let after = Some(DateTime::from(SystemTime::now() + HOUR));
    let read = Read::default;
    for (condition, status) in [
        (read(), 200),
        (Read { if_match: tag(), ..read() }, 200),
        (Read { if_match: any(), ..read() }, 200),
        (Read { if_match: other(), ..read() }, 412),
        (Read { if_none_match: tag(), ..read() }, 304),
        (Read { if_none_match: any(), ..read() }, 304),
        (Read { if_none_match: other(), ..read() }, 200),
        (Read { if_modified_since: before, ..read() }, 200),
        (Read { if_modified_since: exact, ..read() }, 304),
        (Read { if_modified_since: after, ..read() }, 304),
        (Read { if_unmodified_since: before, ..read() }, 412),
        (Read { if_unmodified_since: exact, ..read() }, 200),
        (Read { if_unmodified_since: after, ..read() }, 200),
        // An entity tag takes precedence over a time.
        (Read { if_match: tag(), if_unmodified_since: before, ..read() }, 200),
        (Read { if_none_match: other(), if_modified_since: after, ..read() }, 200),
        (Read { if_none_match: tag(), if_modified_since: before, ..read() }, 304),
        // The first failed condition decides.
        (Read { if_match: other(), if_none_match: tag(), ..read() }, 412),
    ] {
        assert_eq!(condition.status(&bucket).await, status, "{condition:?}");
    }
}

#[tokio::test]
async fn the_entity_tag_is_the_same_in_every_response() {
    let bucket = Bucket::new().await;
    let put = bucket.client.put_object().bucket(BUCKET).key("k").if_none_match("*").body(b"{}".to_vec().into());
    let put = put.send().await.expect("the object is stored");
    let tag = put.e_tag().expect("S3 returns an entity tag");
    assert!(tag.starts_with('"') && tag.contains('-'), "{tag} is not the MD5 of the object, and must not look like it");
    let head = bucket.client.head_object().bucket(BUCKET).key("k").send().await.expect("the object exists");
    let get = bucket.client.get_object().bucket(BUCKET).key("k").send().await.expect("the object exists");
    let list = bucket.client.list_objects_v2().bucket(BUCKET).send().await.expect("a list");
    let list_v1 = bucket.client.list_objects().bucket(BUCKET).send().await.expect("a list");
    for other in [head.e_tag(), get.e_tag(), list.contents()[0].e_tag(), list_v1.contents()[0].e_tag()] {
        assert_eq!(other, Some(tag));
    }
}
