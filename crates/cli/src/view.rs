//! `view`: the page without the endpoint.

use std::{fs, net::Ipv4Addr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
#[cfg(feature = "lake")]
use attest_storage::LakeIndex;
use attest_storage::{FilesReader, Fingerprint, LocationOptions, TraceReader, serve_folder};
use attest_terminal::{progress::Progress, result, shutdown::stop_signal};
use attest_view::{no_such_page, router};
use clap::Args;
use hyper_util::service::TowerToHyperService;
use local_aws::http::serve;
use tokio::net::TcpListener;

#[cfg(feature = "lake")]
use crate::lake::source::{check, source_of};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Files are read once before the page starts, and only an index of them is kept in memory. The text of a compressed file,
or of a pipe, is copied to the temporary folder until the command ends; TMPDIR chooses the folder.")]
pub struct ViewOptions {
    /// Show the traces in these JSON Lines files, plain or compressed with gzip or zstd, or in folders of them
    #[arg(value_name = "FILE", conflicts_with_all = ["bucket", "folder"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    location: LocationOptions,
    /// Only traces of exactly this fingerprint: `a` does not select the fingerprint `a/b`
    #[arg(long, value_parser = Fingerprint::new)]
    fingerprint: Option<Fingerprint>,
    /// Search this lake of the traces instead of the traces themselves: a folder, or s3://BUCKET/PREFIX
    #[cfg(feature = "lake")]
    #[arg(long, conflicts_with = "files")]
    lake: Option<String>,
    /// The port of the page on 127.0.0.1, or 0 for any free port
    #[arg(long, default_value_t = 9082)]
    port: u16,
}

pub async fn run(options: ViewOptions) -> Result<()> {
    let mut listed = String::new();
    let traces = match &options.files[..] {
        [] => TraceReader::open(&options.location.location()).await?,
        files => TraceReader::over_files(indexed(files.to_vec()).await?),
    };
    let mut traces = traces.restricted_to(options.fingerprint);
    if let Some(store) = traces.folder().cloned() {
        let s3 = serve_folder(store).await?;
        listed = format!("The traces as S3:\n\n{}\n\n", s3.list_command());
        traces = traces.served_at(s3.url());
    }
    #[cfg(feature = "lake")]
    if let Some(lake) = &options.lake {
        let lake = LakeIndex::open(lake).await?;
        check(lake.table(), &source_of(&options.location.location()).await?).await?;
        traces = traces.indexed_by(lake);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on port {}: choose another one with --port", options.port))?;
    let _ = result!("Open http://{}/\n{listed}Press Ctrl-C to stop.", listener.local_addr()?);
    serve(listener, TowerToHyperService::new(router(traces).fallback(no_such_page)), stop_signal()).await;
    Ok(())
}

async fn indexed(paths: Vec<PathBuf>) -> Result<FilesReader> {
    let read = Arc::default();
    let sizes = paths.iter().map(|path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len()));
    let mut progress = Progress::new("Indexing".to_owned(), "traces", sizes.sum(), Arc::clone(&read), false);
    let index = move || {
        let files = FilesReader::open(&paths, &read, |traces| progress.update(traces));
        progress.finish();
        files
    };
    tokio::task::spawn_blocking(index).await.context("the index cannot be built")?
}
