//! The minimal program: it reads an event, sends a signed PUT on a blocking socket, and responds.
//!
//! It has no validation, retries or log. Any error ends it.

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::SystemTime,
};

use aws_sdk_s3::config::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use aws_smithy_types::base64;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use uuid::Uuid;

#[derive(Deserialize)]
struct Event {
    body: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = env::var("AWS_ENDPOINT_URL_S3")?;
    let host = endpoint.trim_start_matches("https://");
    let (bucket, region) = (env::var("BUCKET_NAME")?, env::var("AWS_REGION")?);
    let credentials =
        Credentials::new(env::var("AWS_ACCESS_KEY_ID")?, env::var("AWS_SECRET_ACCESS_KEY")?, None, None, "environment");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(File::open(env::var("SSL_CERT_FILE")?)?) {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(tls), host.split(':').next().unwrap_or(host).to_owned().try_into()?)?;
    let mut s3 = BufReader::new(StreamOwned::new(tls, connect(host)?));
    let mut lambda = BufReader::new(connect(&env::var("AWS_LAMBDA_RUNTIME_API")?)?);
    loop {
        let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: lambda\r\n\r\n";
        let (head, event) = exchange(&mut lambda, next, &[])?;
        let request = header(&head, "lambda-runtime-aws-request-id").ok_or("an invocation has an id")?.to_owned();
        let event: Event = serde_json::from_slice(&event)?;
        let mut trace: Value = serde_json::from_slice(&base64::decode(event.body)?)?;
        let id = Uuid::new_v4().to_string();
        let fingerprint = trace["model"].as_str().ok_or("a trace has a model")?.to_owned();
        trace["id"] = id.as_str().into();
        trace["object"] = "chat.trace".into();
        trace["system_fingerprint"] = fingerprint.as_str().into();
        let trace = serde_json::to_vec(&trace)?;

        let path = format!("/{bucket}/{fingerprint}/{id}");
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.clone().into();
        let params = SigningParams::builder().identity(&identity).region(&region).name("s3").time(SystemTime::now());
        let headers = [("if-none-match", "*")].into_iter();
        let uri = format!("{endpoint}{path}");
        let to_sign = SignableRequest::new("PUT", &*uri, headers, SignableBody::UnsignedPayload)?;
        let (signature, _) = sign(to_sign, &params.settings(settings).build()?.into())?.into_parts();
        let mut put = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\nif-none-match: *\r\n");
        for (name, value) in signature.headers() {
            put.extend([name, ": ", value, "\r\n"]);
        }
        put.extend(["content-length: ", &trace.len().to_string(), "\r\n\r\n"]);
        let (answer, _) = exchange(&mut s3, &put, &trace)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(answer.into());
        }

        let answer = json!({"statusCode": 201, "body": json!({"id": id}).to_string()}).to_string();
        let post = format!(
            "POST /2018-06-01/runtime/invocation/{request}/response HTTP/1.1\r\nhost: lambda\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        exchange(&mut lambda, &post, answer.as_bytes())?;
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange<S: Read + Write>(
    stream: &mut BufReader<S>,
    head: &str,
    body: &[u8],
) -> Result<(String, Vec<u8>), Box<dyn Error>> {
    stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
    stream.get_mut().flush()?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err("the connection ended".into());
        }
    }
    let mut body = vec![0; header(&head, "content-length").map_or(Ok(0), str::parse)?];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|line| line.0.eq_ignore_ascii_case(name))
        .map(|line| line.1)
}
