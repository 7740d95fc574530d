//! Signs requests to an API whose authorization is `AWS_IAM`, with Signature Version 4.

use std::time::SystemTime;

use anyhow::Context;
use attest_storage::aws_config;
use aws_config::SdkConfig;
use aws_sdk_s3::config::ProvideCredentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use reqwest::Request;

/// API Gateway's service name in the scope of a signature.
const SERVICE: &str = "execute-api";

pub struct Signer {
    config: SdkConfig,
}

impl Signer {
    /// Loads the region and the credentials from the environment and the profile.
    pub async fn load() -> anyhow::Result<Self> {
        let config = aws_config().await?;
        Ok(Self { config })
    }

    pub async fn sign(&self, request: &mut Request) -> anyhow::Result<()> {
        let provider = self.config.credentials_provider().context("no AWS credentials are configured")?;
        let identity = provider.provide_credentials().await.context("no AWS credentials")?.into();
        let region = self.config.region().map(ToString::to_string).unwrap_or_default();
        let params = SigningParams::builder().identity(&identity).region(&region).name(SERVICE);
        let params = params.time(SystemTime::now()).settings(SigningSettings::default()).build()?.into();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let url = request.url().as_str();
        let signable = SignableRequest::new(request.method().as_str(), url, headers, SignableBody::Bytes(body))?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let (headers, _) = instructions.into_parts();
        for header in headers {
            let name = header.name().parse::<reqwest::header::HeaderName>()?;
            request.headers_mut().insert(name, header.value().parse()?);
        }
        Ok(())
    }
}
