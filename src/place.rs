//! Bucket ids, which distinguish a bucket from another one with the same name or URL.
//!
//! The id is an object in the bucket. The first client with write permission creates it, and it never changes. Tools
//! that resume earlier work compare ids, so they notice that a bucket was replaced.

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

/// The key of the object that contains the id.
///
/// No trace has this key, because trace keys contain a slash and no `~`. Athena skips objects whose name starts with
/// `_`.
pub const ID_KEY: &str = "_attest~id";

/// The response header that contains the store's id.
pub const ID_HEADER: &str = "attest-store";

/// The size limit of an id object, in bytes: a UUID and its line break fit. The template expires only larger objects.
const MAX_BYTES: i64 = 64;

/// The number of attempts to create the id while others create or delete it.
const ATTEMPTS: u32 = 3;

enum FoundId {
    Id(String),
    Absent,
    NotAnId,
}

/// Returns the id of a bucket. Creates the id first if the bucket has none.
///
/// Returns `None` if these credentials may not create the id, or if another object has its key.
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
            // Reads the id back, because on an S3 that ignores the condition another client may have replaced it.
            Ok(_) => {}
            Err(error) if is_taken(&error) => {}
            Err(error) if is_refused(&error) => return Ok(None),
            Err(error) => return Err(Box::new(error.into())),
        }
    }
    Ok(None)
}

/// Returns the id of a bucket without creating one, or `None` if these credentials find none.
pub async fn known_id(client: &Client, bucket: &str) -> Result<Option<String>, Box<Error>> {
    match read(client, bucket).await? {
        FoundId::Id(id) => Ok(Some(id)),
        FoundId::Absent | FoundId::NotAnId => Ok(None),
    }
}

/// Returns a name for the bucket on its endpoint. Messages show it, and it identifies a bucket that has no id.
#[must_use]
pub fn bucket_name(bucket: &str, endpoint: Option<&str>) -> String {
    format!("bucket {bucket} on {}", endpoint.unwrap_or("AWS"))
}

/// Returns the id of a bucket, if it has one. Sends a single request, without retries.
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
        // S3 returns 403 for an absent object if these credentials may not list the bucket.
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
