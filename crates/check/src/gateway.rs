//! Checks the promise about API Gateway's own errors. A client cannot cause most of them, so their settings are read.

use anyhow::Context;
use attest::problem::MEDIA_TYPE;
use serde_json::Value;

use super::{
    aws_cli::aws,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
};

const RESPONSES: &str = "API Gateway's own errors are set to problem details";

pub const PROMISES: &[&str] = &[RESPONSES];

/// Each gateway response: its type, its status, the end of its `type` member, and whether it has `Retry-After`.
///
/// A throttled function causes INTEGRATION_FAILURE (docs/operating.md, "Failures").
const EXPECTED: [(&str, &str, &str, bool); 9] = [
    ("INTEGRATION_FAILURE", "503", "unavailable", true),
    ("INTEGRATION_TIMEOUT", "503", "unavailable", true),
    ("THROTTLED", "429", "throttled", true),
    ("QUOTA_EXCEEDED", "429", "quota", false),
    ("INVALID_API_KEY", "403", "forbidden", false),
    ("MISSING_AUTHENTICATION_TOKEN", "403", "gateway", false),
    ("REQUEST_TOO_LARGE", "413", "too-large", false),
    ("UNSUPPORTED_MEDIA_TYPE", "415", "gateway", false),
    ("DEFAULT_5XX", "", "gateway", false),
];

pub async fn check(stack: &Stack, report: &mut Report) {
    report.add(RESPONSES, responses(stack).await);
}

async fn responses(stack: &Stack) -> anyhow::Result<Verdict> {
    let api = stack.one("AWS::ApiGateway::RestApi")?;
    let found = aws(&["apigateway", "get-gateway-responses", "--rest-api-id", api]).await?;
    let found = found["items"].as_array().context("aws apigateway get-gateway-responses printed no items")?;
    for (kind, status, name, has_pause) in EXPECTED {
        let response = found.iter().find(|of| of["responseType"] == kind).unwrap_or(&Value::Null);
        let header = |name: &str| response["responseParameters"][format!("gatewayresponse.header.{name}")].as_str();
        let template = response["responseTemplates"]["application/json"].as_str().unwrap_or_default();
        let holds = response["statusCode"].as_str().unwrap_or_default() == status
            && header("Content-Type") == Some(&format!("'{MEDIA_TYPE}'"))
            && template.contains(&format!("\"urn:attest:problem:{name}\""))
            && header("Retry-After").is_some() == has_pause;
        if let Err(mismatch) = ensure(holds, format!("{kind}: {status} {name} as {MEDIA_TYPE}"), response.to_string()) {
            return Ok(Verdict::Fails(Mismatch::new(mismatch.expected, mismatch.actual)));
        }
    }
    Ok(Verdict::Holds { measured: None })
}
