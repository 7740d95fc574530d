//! The endpoint on a laptop: one command, no AWS, no Docker. The handler is the deployed one.

use std::{
    env, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use attest::{
    handler::Handler,
    log,
    metrics::RequestLog,
    settings::{self, MAX_TRACE_BYTES},
    store::{Overwrites, Store},
};
use clap::Parser;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, sync::watch};
use traces::{
    folder::{ACCESS_KEY, Folder, REGION},
    gateway, readable, serve,
};
use uuid::Uuid;

/// Keeps every chat trace POSTed to it: the endpoint on your own machine, with an S3 of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The port of the endpoint, on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 9080)]
    port: u16,
    /// The key that requests must have as `x-api-key`; a new one at each start if not given
    #[arg(long, env = "API_KEY", hide_env_values = true, value_parser = api_key)]
    api_key: Option<String>,
    /// The largest trace, in bytes
    #[arg(long, env = "MAX_TRACE_BYTES", default_value_t = MAX_TRACE_BYTES)]
    max_trace_bytes: usize,
    /// A real bucket to store into instead, with the credentials and region of your AWS profile
    #[arg(long)]
    bucket: Option<String>,
    /// The folder that the S3 of this process stores into; its name is the bucket's
    #[arg(long, default_value = "traces")]
    folder: PathBuf,
    /// The port of that S3; 0 for any that is free
    #[arg(long, default_value_t = 9081)]
    s3_port: u16,
    /// The address of that S3: Docker's bridge, 172.17.0.1 on most, lets containers on Linux reach it. Elsewhere than on
    /// loopback its secret key is a new one at each start
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    s3_host: IpAddr,
    /// How long the body of a request may take, in seconds
    #[arg(long, default_value_t = gateway::BODY.as_secs())]
    body_seconds: u64,
}

/// An API key that keeps somebody out.
fn api_key(key: &str) -> Result<String, &'static str> {
    if key.trim().is_empty() { Err("an empty API key would let everybody in") } else { Ok(key.to_owned()) }
}

#[tokio::main]
async fn main() -> ExitCode {
    log::start(env::var("RUST_LOG").ok().as_deref(), || readable::Lines);
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let (end, ended) = watch::channel(false);
    let until_the_end = |mut ended: watch::Receiver<bool>| async move {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)), "--port").await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;

    let mut s3 = None;
    let mut secret_key = ACCESS_KEY.to_owned();
    let (store, config, bucket) = match options.bucket {
        Some(bucket) => {
            let config = settings::aws_config().await.map_err(|error| format!("{error}: set it or AWS_PROFILE"))?;
            let store = Store::new(&config, bucket.clone()).unproven();
            if let Err(error) = store.connect().await {
                if error.is::<Overwrites>() {
                    return Err(error.to_string());
                }
                eprintln!("warning: cannot store into the bucket `{bucket}` yet: {error}");
            }
            (store, config, bucket)
        }
        None => {
            let mut folder = Folder::open(&options.folder)
                .map_err(|error| format!("cannot store into {}: {error}", options.folder.display()))?;
            if !options.s3_host.is_loopback() {
                secret_key = Uuid::new_v4().simple().to_string();
                folder = folder.with_secret_key(secret_key.clone());
            }
            let bucket = folder.bucket().to_owned();
            let listener = listen(SocketAddr::from((options.s3_host, options.s3_port)), "--s3-port").await?;
            let mut address = listener.local_addr().map_err(|error| error.to_string())?;
            s3 = Some(tokio::spawn(serve(listener, folder.service(), until_the_end(ended.clone()))));
            if address.ip().is_unspecified() {
                address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            let config = Folder::sdk_config(address, &secret_key);
            (Store::new(&config, bucket.clone()), config, bucket)
        }
    };
    let key = options.api_key.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let url = format!("http://{address}{}", gateway::PATH);
    println!("Listening on {url}. Try:\n");
    println!("curl -X POST {url} -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{}'\n", attest::EXAMPLE);
    if let (Some(endpoint), true) = (config.endpoint_url(), s3.is_some()) {
        println!("Traces are stored in the folder and bucket `{bucket}`, which this process serves as S3:\n");
        println!(
            "AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION={REGION} \
             aws s3 ls --recursive --endpoint-url {endpoint} s3://{bucket}\n"
        );
    } else {
        println!("Traces are stored in the bucket `{bucket}`.\n");
    }
    println!("Ctrl-C stops it.");

    let handler = Handler::new(store, options.max_trace_bytes, RequestLog::new("local", readable::print));
    let router = gateway::router(handler, &key, Duration::from_secs(options.body_seconds));
    serve(listener, TowerToHyperService::new(router), stop()).await;
    // The S3 ends after the gateway, for the requests under way still store.
    let _ = end.send(true);
    if let Some(s3) = s3 {
        s3.await.map_err(|error| error.to_string())?;
    }
    println!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {} of {} is taken; choose another with {option}", address.port(), address.ip())
        }
        _ => format!("cannot listen on {address}: {error}"),
    })
}

/// Waits for Ctrl-C, or for the signal by which services are stopped.
async fn stop() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a handler for SIGTERM can be set");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
