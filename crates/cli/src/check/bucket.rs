//! Promises of the bucket: the stored bytes, the policy against overwriting, no public access, encryption.

use std::fs;

use anyhow::Context;
use serde_json::Value;
use uuid::Uuid;

use super::{
    aws_cli::{aws, aws_error},
    endpoint::{Endpoint, FINGERPRINT},
    report::{Report, Verdict, ensure},
    stack::Stack,
    storing::Stored,
};

const BYTES: &str = "the stored object is the sent trace, byte for byte";
const OVERWRITE: &str = "a put without If-None-Match is denied";
const PUBLIC: &str = "the bucket is not public";
const ENCRYPTION: &str = "traces are encrypted as the stack says";

/// The promises of this module.
pub const PROMISES: &[&str] = &[BYTES, OVERWRITE, PUBLIC, ENCRYPTION];

/// Checks the promises.
pub async fn check(stack: &Stack, endpoint: &Endpoint, stored: Option<&Stored>, report: &mut Report) {
    match stored {
        Some(stored) => {
            report.add(BYTES, bytes(stack, stored).await);
            report.add(ENCRYPTION, encryption(stack, stored).await);
        }
        None => {
            report.not_checked(BYTES, "no trace was stored");
            report.not_checked(ENCRYPTION, "no trace was stored");
        }
    }
    if stack.is_stand_in {
        report.not_checked(OVERWRITE, "this stand-in for AWS does not enforce policies");
    } else {
        report.add(OVERWRITE, overwrite(stack, endpoint).await);
    }
    report.add(PUBLIC, public_access(stack).await);
}

async fn bytes(stack: &Stack, stored: &Stored) -> anyhow::Result<Verdict> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let file = folder.path().join("trace.json");
    let path = file.to_str().context("the temporary folder has no UTF-8 path")?;
    aws(&["s3api", "get-object", "--bucket", stack.bucket()?, "--key", &stored.key, path]).await?;
    let found = fs::read(&file).context("cannot read the object")?;
    let actual = String::from_utf8_lossy(&found).into_owned();
    Ok(ensure(found == stored.bytes, String::from_utf8_lossy(&stored.bytes), actual).into())
}

async fn encryption(stack: &Stack, stored: &Stored) -> anyhow::Result<Verdict> {
    let head = aws(&["s3api", "head-object", "--bucket", stack.bucket()?, "--key", &stored.key]).await?;
    let text = |name: &str| head[name].as_str().unwrap_or("none").to_owned();
    let (algorithm, key) = (text("ServerSideEncryption"), text("SSEKMSKeyId"));
    let verdict = match (stack.parameter("KmsKeyArn")?, stack.parameter("BucketName")?) {
        ("none", "create") => ensure(algorithm == "AES256", "AES256", algorithm),
        ("none", _) => ensure(algorithm != "none", "encryption by the default of the bucket", algorithm),
        (expected, _) => ensure(
            algorithm == "aws:kms" && key == expected,
            format!("aws:kms with {expected}"),
            format!("{algorithm} with {key}"),
        ),
    };
    Ok(verdict.into())
}

async fn overwrite(stack: &Stack, endpoint: &Endpoint) -> anyhow::Result<Verdict> {
    let bucket = stack.bucket()?;
    let key = format!("{FINGERPRINT}/{}", Uuid::new_v4());
    let file = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    fs::write(file.path(), endpoint.trace("overwrite", 1)).context("cannot write the temporary file")?;
    let path = file.path().to_str().context("the temporary file has no UTF-8 path")?;
    let error = aws_error(&["s3api", "put-object", "--bucket", bucket, "--key", &key, "--body", path]).await?;
    if error.is_none() {
        aws(&["s3api", "delete-object", "--bucket", bucket, "--key", &key]).await?;
    }
    let actual = error.unwrap_or_else(|| "the object was stored, and deleted again".to_owned());
    // Your own permissions may deny it as well. The message of AWS names the policy that does.
    Ok(ensure(actual.contains("AccessDenied"), "AccessDenied", &actual).into())
}

async fn public_access(stack: &Stack) -> anyhow::Result<Verdict> {
    let found = aws(&["s3api", "get-public-access-block", "--bucket", stack.bucket()?]).await?;
    let block = &found["PublicAccessBlockConfiguration"];
    let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    let is_private = names.iter().all(|name| block[name] == Value::Bool(true));
    Ok(ensure(is_private, "all four settings of the public access block", block.to_string()).into())
}
