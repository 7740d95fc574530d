//! The id of a bucket, which distinguishes it from another bucket with the same name or behind the same URL.
//!
//! The id is an object in the bucket. The first user with permission to write creates it, and it never changes. Tools
//! that continue earlier work compare ids, so they notice that a bucket was replaced.

use aws_sdk_s3::{
    Client, Error,
    config::retry::RetryConfig,
    error::SdkError,
    operation::{
        get_object::{GetObjectError, GetObjectOutput},
        put_object::PutObjectError,
    },
    primitives::ByteStream,
};
use uuid::Uuid;

use crate::s3_error::status;

/// The key of the object that holds the id.
///
/// The key of a trace has neither `~` nor a first segment without a slash. Athena skips objects whose name begins with
/// `_`.
pub const ID_KEY: &str = "_attest~id";

/// The response header with the id of the store that contains the trace.
pub const ID_HEADER: &str = "attest-store";

/// The largest object that is read as an id, in bytes: a UUID and its line break. The template expires larger objects only.
const MAX_BYTES: i64 = 64;

/// The number of attempts to create the id while others create or delete it.
const ATTEMPTS: u32 = 3;

enum FoundId {
    Id(String),
    Absent,
    NotAnId,
}

/// Returns the id of a bucket, and creates it first if the bucket has none.
///
/// Returns `None` if there is no id and these credentials may not create it.
pub async fn bucket_id(client: &Client, bucket: &str) -> Result<Option<String>, Box<Error>> {
    for _ in 0..ATTEMPTS {
        match read(client, bucket).await? {
            FoundId::Id(id) => return Ok(Some(id)),
            FoundId::NotAnId => return Ok(None),
            FoundId::Absent => {}
        }
        let id = format!("{}\n", Uuid::new_v4());
        let put = client.put_object().bucket(bucket).key(ID_KEY).if_none_match("*").content_type("text/plain");
        match put.body(ByteStream::from(id.into_bytes())).send().await {
            // The next read returns the id of the first of several writers, also on an S3 that ignores the condition.
            Ok(_) => {}
            Err(error) if is_taken(&error) => {}
            Err(error) if is_refused(&error) => return Ok(None),
            Err(error) => return Err(Box::new(error.into())),
        }
    }
    Ok(None)
}

/// Returns the id of a bucket, or `None` if it has none that these credentials may read. Creates nothing.
pub async fn known_id(client: &Client, bucket: &str) -> Result<Option<String>, Box<Error>> {
    match read(client, bucket).await? {
        FoundId::Id(id) => Ok(Some(id)),
        FoundId::Absent | FoundId::NotAnId => Ok(None),
    }
}

/// Returns the bucket and its S3 as one name, for messages, and as the identity of a bucket without an id.
#[must_use]
pub fn bucket_name(bucket: &str, endpoint: Option<&str>) -> String {
    format!("bucket {bucket} on {}", endpoint.unwrap_or("AWS"))
}

/// Returns the id of a bucket if it has one. Sends one request and does not repeat it.
pub(crate) async fn existing_id(client: &Client, bucket: &str) -> Result<Option<String>, SdkError<GetObjectError>> {
    let once = aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled());
    let object = client.get_object().bucket(bucket).key(ID_KEY).customize().config_override(once).send().await?;
    Ok(match parse(object).await {
        FoundId::Id(id) => Some(id),
        FoundId::Absent | FoundId::NotAnId => None,
    })
}

async fn read(client: &Client, bucket: &str) -> Result<FoundId, Box<Error>> {
    match client.get_object().bucket(bucket).key(ID_KEY).send().await {
        Ok(object) => Ok(parse(object).await),
        // S3 answers 403 for an absent object if these credentials may not list the bucket.
        Err(error) if status(&error) == Some(403) => Ok(FoundId::Absent),
        Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(FoundId::Absent),
        Err(error) => Err(Box::new(error.into())),
    }
}

async fn parse(object: GetObjectOutput) -> FoundId {
    if object.content_length().is_none_or(|length| length > MAX_BYTES) {
        return FoundId::NotAnId;
    }
    let Ok(bytes) = object.body.collect().await else { return FoundId::NotAnId };
    std::str::from_utf8(&bytes.into_bytes()).ok().and_then(parse_id).map_or(FoundId::NotAnId, FoundId::Id)
}

fn parse_id(text: &str) -> Option<String> {
    Uuid::try_parse(text.trim_ascii()).ok().map(|id| id.to_string())
}

/// Returns whether another writer has created the object, or is creating it.
fn is_taken(error: &SdkError<PutObjectError>) -> bool {
    matches!(status(error), Some(409 | 412))
}

/// Returns whether S3 refuses the write, rather than being unable to complete it.
fn is_refused(error: &SdkError<PutObjectError>) -> bool {
    status(error).is_some_and(|status| (400..500).contains(&status) || status == 501)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    #[test]
    fn an_expiration_that_spares_the_id_removes_every_trace() {
        let smallest = br#"{"model":"","created":0,"messages":[],"id":"0","system_fingerprint":"0","object":""}"#;
        let smallest = Trace::parse(smallest.to_vec(), String::new).expect("it is valid").json.len();
        assert!(i64::try_from(smallest).is_ok_and(|smallest| smallest > MAX_BYTES), "{smallest}");
        let rule = format!("ObjectSizeGreaterThan: \"{MAX_BYTES}\"");
        assert!(include_str!("../template.yaml").contains(&rule), "{rule}");
    }
}
