//! Checks the promise that each function's binary matches the function's architecture.

use std::io::{Cursor, Read};

use anyhow::Context;
use bytes::Bytes;
use reqwest::Url;

use super::{
    aws_cli::aws,
    endpoint::client_for,
    report::{Mismatch, Report, Verdict, ensure},
    stack::Stack,
};

const ARCHITECTURE: &str = "the binary is built for the architecture of the function";

pub const PROMISES: &[&str] = &[ARCHITECTURE];

pub async fn check(stack: &Stack, report: &mut Report) {
    report.add(ARCHITECTURE, architecture(stack).await);
}

async fn architecture(stack: &Stack) -> anyhow::Result<Verdict> {
    for name in stack.all("AWS::Lambda::Function") {
        if let Err(mismatch) = binary(name).await? {
            return Ok(Verdict::Fails(mismatch));
        }
    }
    Ok(Verdict::Holds { measured: None })
}

async fn binary(name: &str) -> anyhow::Result<Result<(), Mismatch>> {
    let function = aws(&["lambda", "get-function", "--function-name", name]).await?;
    let expected = function["Configuration"]["Architectures"][0].as_str().unwrap_or("x86_64").to_owned();
    let url =
        function["Code"]["Location"].as_str().context("aws lambda get-function printed no location of the code")?;
    let url = url.parse().context("aws lambda get-function printed an invalid URL of the code")?;
    let code = download(&url).await.context("cannot download the function's code")?;
    let mut archive = zip::ZipArchive::new(Cursor::new(code)).context("the function's code is not a ZIP file")?;
    let Ok(mut bootstrap) = archive.by_name("bootstrap") else {
        // `sam build` leaves out the lake function while Queries is off.
        return Ok(Err(Mismatch::new(
            expected,
            format!("no binary in {name}: run `sam build` with the same parameters"),
        )));
    };
    let mut head = [0; 20];
    bootstrap.read_exact(&mut head).context("cannot read `bootstrap`")?;
    let actual = machine(head);
    Ok(ensure(actual == expected, expected.clone(), actual))
}

/// Downloads from Lambda's presigned URL, which is valid for a few minutes.
async fn download(url: &Url) -> anyhow::Result<Bytes> {
    let response = client_for(url)?.get(url.clone()).send().await?.error_for_status()?;
    Ok(response.bytes().await?)
}

/// Returns Lambda's name for the architecture of an executable, from the ELF field `e_machine`.
fn machine(head: [u8; 20]) -> String {
    match (&head[..4], u16::from_le_bytes([head[18], head[19]])) {
        (b"\x7fELF", 62) => "x86_64".to_owned(),
        (b"\x7fELF", 183) => "arm64".to_owned(),
        (b"\x7fELF", other) => format!("ELF machine {other}"),
        _ => "not an ELF file".to_owned(),
    }
}
