//! Bucket promises: the stored bytes, the policy against overwriting, no public access, encryption.

use std::fs;

use anyhow::{Context, bail};
use attest::writer::{API_KEY_ID, PRINCIPAL};
use serde_json::Value;

use super::{
    aws_cli::{aws, aws_result},
    endpoint::Endpoint,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
    storing::Stored,
};

const BYTES: &str = "the stored object is the sent trace, byte for byte";
const WRITER: &str = "the stored object names its API key";
const OVERWRITE: &str = "a put without If-None-Match is denied";
const PUBLIC: &str = "the bucket is not public";
const ENCRYPTION: &str = "traces are encrypted as the stack specifies";

/// The largest number of bytes of a wrong object that the report shows.
const SHOWN: usize = 300;

pub const PROMISES: &[&str] = &[BYTES, WRITER, OVERWRITE, PUBLIC, ENCRYPTION];

pub async fn check(stack: &Stack, endpoint: &Endpoint, stored: &[Stored], report: &mut Report) {
    match stored.first() {
        Some(first) => {
            report.add(BYTES, bytes(stack, stored).await);
            report.add(WRITER, writer(stack, first).await);
            report.add(ENCRYPTION, encryption(stack, first).await);
        }
        None => {
            report.not_checked(BYTES, "no trace was stored");
            report.not_checked(WRITER, "no trace was stored");
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

async fn bytes(stack: &Stack, stored: &[Stored]) -> anyhow::Result<Verdict> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let file = folder.path().join("trace.json");
    let path = file.to_str().context("the path of the temporary folder is not UTF-8")?;
    for stored in stored {
        aws(&["s3api", "get-object", "--bucket", stack.bucket()?, "--key", &stored.key, path]).await?;
        let found = fs::read(&file).context("cannot read the object")?;
        let shown = |bytes: &[u8]| {
            format!("{} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]))
        };
        if found != stored.bytes {
            return Ok(Verdict::Fails(Mismatch::new(shown(&stored.bytes), shown(&found))));
        }
    }
    Ok(Verdict::Holds { measured: None })
}

/// Checks that the object's metadata names one of the account's API keys, and a principal if the API requires
/// signatures.
async fn writer(stack: &Stack, stored: &Stored) -> anyhow::Result<Verdict> {
    let head = aws(&["s3api", "head-object", "--bucket", stack.bucket()?, "--key", &stored.key]).await?;
    let id = head["Metadata"][API_KEY_ID].as_str().unwrap_or_default();
    if id.is_empty() || aws_result(&["apigateway", "get-api-key", "--api-key", id]).await?.is_err() {
        return Ok(Verdict::Fails(Mismatch::new("the id of an API key", format!("{API_KEY_ID}: {id:?}"))));
    }
    let is_signed = stack.parameter("Authorization").is_ok_and(|of| of == "AWS_IAM");
    let principal = head["Metadata"][PRINCIPAL].as_str().unwrap_or_default();
    Ok(ensure(principal.starts_with("arn:") || !is_signed, "the ARN of the principal", principal).into())
}

async fn encryption(stack: &Stack, stored: &Stored) -> anyhow::Result<Verdict> {
    let head = aws(&["s3api", "head-object", "--bucket", stack.bucket()?, "--key", &stored.key]).await?;
    let text = |name: &str| head[name].as_str().unwrap_or("none").to_owned();
    let (algorithm, key) = (text("ServerSideEncryption"), text("SSEKMSKeyId"));
    let verdict = match (stack.parameter("KmsKeyArn")?, stack.parameter("BucketName")?) {
        ("none", "create") => ensure(algorithm == "AES256", "AES256", algorithm),
        ("none", _) => ensure(algorithm != "none", "the bucket's default encryption", algorithm),
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
    if !stack.creates_bucket()? && !requires_absence(bucket).await? {
        let reason = "the policy of this existing bucket does not require If-None-Match (docs/operating.md)".to_owned();
        return Ok(Verdict::NotChecked { reason });
    }
    let trace = endpoint.new_trace();
    let key = trace.key().context("a trace of the check has a key")?;
    let file = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    fs::write(file.path(), &trace.json).context("cannot write the temporary file")?;
    let path = file.path().to_str().context("the path of the temporary file is not UTF-8")?;
    endpoint.remember(key.clone());
    let put = aws_result(&["s3api", "put-object", "--bucket", bucket, "--key", &key, "--body", path]).await?;
    let actual = match put {
        Err(error) => error,
        Ok(stored) => {
            let mut delete = vec!["s3api", "delete-object", "--bucket", bucket, "--key", &key];
            // In a versioned bucket, a deletion without the version leaves the object behind.
            delete.extend(stored["VersionId"].as_str().into_iter().flat_map(|version| ["--version-id", version]));
            aws(&delete).await?;
            "the object was stored, then deleted".to_owned()
        }
    };
    // The caller's own permissions may also deny the write. Only AWS's error message says whether the policy did.
    Ok(ensure(actual.contains("AccessDenied"), "AccessDenied", &actual).into())
}

/// Returns whether a bucket's policy has a condition on `If-None-Match`.
async fn requires_absence(bucket: &str) -> anyhow::Result<bool> {
    match aws_result(&["s3api", "get-bucket-policy", "--bucket", bucket]).await? {
        Ok(found) => Ok(found["Policy"].as_str().is_some_and(|policy| policy.contains("s3:if-none-match"))),
        Err(error) if error.contains("NoSuchBucketPolicy") => Ok(false),
        Err(error) => bail!(error),
    }
}

async fn public_access(stack: &Stack) -> anyhow::Result<Verdict> {
    let bucket = stack.bucket()?;
    let expected = "all four settings of the public access block";
    let block = match aws_result(&["s3api", "get-public-access-block", "--bucket", bucket]).await? {
        Ok(found) => found["PublicAccessBlockConfiguration"].clone(),
        Err(error) if error.contains("NoSuchPublicAccessBlockConfiguration") => Value::Null,
        Err(error) => bail!(error),
    };
    let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    let missing: Vec<_> = names.into_iter().filter(|name| block[name] != Value::Bool(true)).collect();
    if missing.is_empty() || stack.creates_bucket()? {
        return Ok(ensure(missing.is_empty(), expected, format!("not {}", missing.join(", "))).into());
    }
    // An existing bucket needs no public access block if neither its policy nor its ACL is public.
    let policy = match aws_result(&["s3api", "get-bucket-policy-status", "--bucket", bucket]).await? {
        Ok(found) => found["PolicyStatus"]["IsPublic"] == Value::Bool(true),
        Err(error) if error.contains("NoSuchBucketPolicy") => false,
        Err(error) => bail!(error),
    };
    let acl = aws(&["s3api", "get-bucket-acl", "--bucket", bucket]).await?["Grants"].to_string();
    let acl = acl.contains("/global/AllUsers") || acl.contains("/global/AuthenticatedUsers");
    let verdict = ensure(!policy && !acl, expected, format!("a public {}", if policy { "policy" } else { "ACL" }));
    verdict.map_or_else(
        |mismatch| Ok(Verdict::Fails(mismatch)),
        |()| Ok(Verdict::Holds { measured: Some(format!("no public policy or ACL, but not {}", missing.join(", "))) }),
    )
}
