//! The promise that the function's binary matches the architecture of the function.

use std::io::{Cursor, Read};

use anyhow::Context;
use bytes::Bytes;
use reqwest::Url;

use super::{
    aws_cli::aws,
    endpoint::client_for,
    report::{Report, Verdict, ensure},
    stack::Stack,
};

const ARCHITECTURE: &str = "the binary is built for the architecture of the function";

/// The promises of this module.
pub const PROMISES: &[&str] = &[ARCHITECTURE];

/// Checks the promises.
pub async fn check(stack: &Stack, report: &mut Report) {
    report.add(ARCHITECTURE, architecture(stack).await);
}

async fn architecture(stack: &Stack) -> anyhow::Result<Verdict> {
    let function = aws(&["lambda", "get-function", "--function-name", stack.function()?]).await?;
    let expected = function["Configuration"]["Architectures"][0].as_str().unwrap_or("x86_64").to_owned();
    let url = function["Code"]["Location"].as_str().context("aws lambda get-function names no code")?;
    let url = url.parse().context("aws lambda get-function names no URL of the code")?;
    let code = download(&url).await.context("cannot download the function's code")?;
    let mut archive = zip::ZipArchive::new(Cursor::new(code)).context("the function's code is not a ZIP file")?;
    let mut bootstrap = archive.by_name("bootstrap").context("the function's code has no `bootstrap`")?;
    let mut head = [0; 20];
    bootstrap.read_exact(&mut head).context("cannot read `bootstrap`")?;
    let actual = machine(head);
    Ok(ensure(actual == expected, expected.clone(), actual).into())
}

/// Downloads from a URL that Lambda signed for some minutes.
async fn download(url: &Url) -> anyhow::Result<Bytes> {
    let response = client_for(url)?.get(url.clone()).send().await?.error_for_status()?;
    Ok(response.bytes().await?)
}

/// Returns Lambda's name of the processor that an executable is for: the field `e_machine` of ELF.
fn machine(head: [u8; 20]) -> String {
    match (&head[..4], u16::from_le_bytes([head[18], head[19]])) {
        (b"\x7fELF", 62) => "x86_64".to_owned(),
        (b"\x7fELF", 183) => "arm64".to_owned(),
        (b"\x7fELF", other) => format!("machine {other} of ELF"),
        _ => "not an ELF file".to_owned(),
    }
}
