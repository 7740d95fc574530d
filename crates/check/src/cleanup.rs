//! Deletes the traces that the check stored, if the permissions allow it.

use serde_json::{Value, json};

use super::{aws_cli::aws, stack::Stack};

pub struct Left {
    pub keys: Vec<String>,
    pub reason: Option<String>,
}

/// The largest number of keys in one S3 request.
const PER_REQUEST: usize = 1000;

pub async fn delete(stack: Option<&Stack>, keys: Vec<String>) -> Left {
    let Some(stack) = stack else {
        return Left { keys, reason: Some("--stack is not given".to_owned()) };
    };
    let mut left = Left { keys: Vec::new(), reason: None };
    for keys in keys.chunks(PER_REQUEST) {
        match delete_some(stack, keys).await {
            Ok(errors) => {
                left.reason = errors.first().map(|(_, reason)| reason.clone()).or(left.reason);
                left.keys.extend(errors.into_iter().map(|(key, _)| key));
            }
            Err(error) => {
                left.reason = Some(format!("{error:#}"));
                left.keys.extend_from_slice(keys);
            }
        }
    }
    left
}

/// Returns the keys that could not be deleted, with the reasons.
async fn delete_some(stack: &Stack, keys: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let objects: Vec<_> = keys.iter().map(|key| json!({"Key": key})).collect();
    let request = json!({"Objects": objects, "Quiet": true}).to_string();
    let answer = aws(&["s3api", "delete-objects", "--bucket", stack.bucket()?, "--delete", &request]).await?;
    let errors = answer["Errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(errors.iter().map(|error| (text(&error["Key"]), text(&error["Code"]))).collect())
}
