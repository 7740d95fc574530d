//! The endpoint on a laptop: no AWS, no Docker. The handler is the deployed one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use attest::{
    handler::Handler,
    metrics::RequestLog,
    settings::{self, MAX_TRACE_BYTES},
    store::{Overwrites, Store},
};
use clap::Args;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use uuid::Uuid;

use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3, REGION},
};

use super::gateway;
use crate::{human_log, shutdown::stop_signal, storage::Source, view};

/// The trace of the printed curl line.
pub const EXAMPLE: &str =
    r#"{"model": "gpt-4o", "created": 1795305600, "messages": [{"role": "user", "content": "Hello!"}]}"#;

/// What the endpoint on this machine is started with.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The port of the endpoint, on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 9080)]
    pub port: u16,
    /// The key that requests must have as `x-api-key`; a new one at each start if not given
    #[arg(long, env = "API_KEY", hide_env_values = true, value_parser = api_key)]
    pub api_key: Option<String>,
    /// What is stored, and where.
    #[command(flatten)]
    pub store: StoreOptions,
    /// The port of the S3 of this process; 0 for any that is free
    #[arg(long, default_value_t = 9081)]
    pub s3_port: u16,
    /// The address of that S3: Docker's bridge, 172.17.0.1 on most, lets containers on Linux reach it. Elsewhere than on
    /// loopback its secret key is a new one at each start
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub s3_host: IpAddr,
    /// How long the body of a request may take, in seconds
    #[arg(long, default_value_t = gateway::BODY.as_secs())]
    pub body_seconds: u64,
}

/// What is stored, and where.
#[derive(Debug, Clone, Args)]
pub struct StoreOptions {
    /// The largest trace, in bytes
    #[arg(long, env = "MAX_TRACE_BYTES", default_value_t = MAX_TRACE_BYTES)]
    pub max_trace_bytes: usize,
    /// A real bucket to store into instead of the folder, with the credentials and region of your AWS profile
    #[arg(long)]
    pub bucket: Option<String>,
    /// The folder that the S3 of this process stores into; its name is the bucket's
    #[arg(long, default_value = "traces")]
    pub folder: PathBuf,
}

impl Options {
    /// An endpoint beside others on this machine.
    #[must_use]
    pub fn on_free_ports(store: StoreOptions) -> Self {
        Self {
            port: 0,
            api_key: None,
            store,
            s3_port: 0,
            s3_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            body_seconds: gateway::BODY.as_secs(),
        }
    }
}

/// Reads an API key that keeps somebody out.
pub fn api_key(key: &str) -> Result<String, &'static str> {
    if key.trim().is_empty() { Err("an empty API key would let everybody in") } else { Ok(key.to_owned()) }
}

/// An endpoint that runs in this process, until [`LocalEndpoint::stop`].
pub struct LocalEndpoint {
    /// The URL that traces are POSTed to.
    pub url: String,
    /// The key that requests must have.
    pub api_key: String,
    /// Where traces go, in a sentence, with the command that lists them.
    stored: String,
    gateway: (watch::Sender<bool>, JoinHandle<()>),
    s3: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl LocalEndpoint {
    /// Starts an endpoint that gives the line of each request to `log`.
    pub async fn start(options: Options, log: impl Fn(&[u8]) + Send + Sync + 'static) -> Result<Self, String> {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)), "--port").await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;

        let mut s3 = None;
        let (store, source, stored) = match options.store.bucket {
            Some(bucket) => {
                let config = settings::aws_config().await.map_err(|error| format!("{error}: set it or AWS_PROFILE"))?;
                let store = Store::new(&config, bucket.clone()).unproven();
                if let Err(error) = store.connect().await {
                    if error.is::<Overwrites>() {
                        return Err(error.to_string());
                    }
                    eprintln!("warning: cannot store into the bucket `{bucket}` yet: {error}");
                }
                let source = Source::new(&config, bucket.clone(), None);
                (store, source, format!("Traces are stored in the bucket `{bucket}`."))
            }
            None => {
                let folder = options.store.folder;
                let mut folder = FolderS3::open(&folder)
                    .map_err(|error| format!("cannot store into {}: {error}", folder.display()))?;
                let mut secret_key = ACCESS_KEY.to_owned();
                if !options.s3_host.is_loopback() {
                    secret_key = Uuid::new_v4().simple().to_string();
                    folder = folder.with_secret_key(secret_key.clone());
                }
                let bucket = folder.bucket().to_owned();
                let listener = listen(SocketAddr::from((options.s3_host, options.s3_port)), "--s3-port").await?;
                let mut address = listener.local_addr().map_err(|error| error.to_string())?;
                s3 = Some(spawn(|ended| serve(listener, folder.clone().service(), ended)));
                if address.ip().is_unspecified() {
                    address.set_ip(Ipv4Addr::LOCALHOST.into());
                }
                let stored = format!(
                    "Traces are stored in the folder and bucket `{bucket}`, which this process serves as S3:\n\n\
                     AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION={REGION} \
                     aws s3 ls --recursive --endpoint-url http://{address} s3://{bucket}\n"
                );
                let config = FolderS3::sdk_config(address, &secret_key, settings::http_client());
                let source = Source::new(&config, bucket.clone(), Some(folder));
                (Store::new(&config, bucket), source, stored)
            }
        };
        let api_key = options.api_key.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let handler = Handler::new(store, options.store.max_trace_bytes, RequestLog::new("local", log));
        let body_time = Duration::from_secs(options.body_seconds);
        let router = gateway::router(handler, &api_key, body_time, view::router(source));
        let gateway = spawn(|ended| serve(listener, TowerToHyperService::new(router), ended));
        Ok(Self { url: format!("http://{address}{}", gateway::PATH), api_key, stored, gateway, s3 })
    }

    /// Ends it once the requests under way are answered, the S3 after the gateway, for those requests still store.
    pub async fn stop(self) -> Result<(), String> {
        for (end, ended) in [Some(self.gateway), self.s3].into_iter().flatten() {
            let _ = end.send(true);
            ended.await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Spawns a server that runs until what this returns first says `true`.
fn spawn<S>(
    server: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> S,
) -> (watch::Sender<bool>, JoinHandle<()>)
where
    S: Future<Output = ()> + Send + 'static,
{
    let (end, mut ended) = watch::channel(false);
    let until = Box::pin(async move {
        let _ = ended.wait_for(|ended| *ended).await;
    });
    (end, tokio::spawn(server(until)))
}

/// Serves until Ctrl-C.
pub async fn run(options: Options) -> Result<(), String> {
    let laptop = LocalEndpoint::start(options, human_log::print).await?;
    let LocalEndpoint { url, api_key, stored, .. } = &laptop;
    println!("Listening on {url}. Try:\n");
    println!("curl -X POST {url} -H 'x-api-key: {api_key}' -H 'content-type: application/json' -d '{}'\n", EXAMPLE);
    println!("{stored}\nLook at them: {}/\n", url.trim_end_matches(gateway::PATH));
    println!("Ctrl-C stops it.");
    stop_signal().await;
    laptop.stop().await?;
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
