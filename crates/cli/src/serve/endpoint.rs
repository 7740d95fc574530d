//! An endpoint that runs in this process.

use std::{
    future::Future,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use attest::{
    handler::Handler,
    metrics::RequestLog,
    settings,
    store::{ConnectError, Store},
};
use attest_otlp::{metrics::BatchLog, service::Receiver};
use attest_storage::{Location, PlaceId, TraceReader, aws_config};
use attest_terminal::note;
use axum::http::StatusCode;
use hyper_util::service::TowerToHyperService;
use local_aws::{
    http::serve,
    s3::{FileStore, FolderS3, ServedS3},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use uuid::Uuid;

use super::{gateway, options::ServeOptions, otlp};

/// An endpoint that runs until [`LocalEndpoint::stop`].
pub struct LocalEndpoint {
    pub url: String,
    pub api_key: String,
    /// Whether this start created the key. A given key is never printed.
    pub(super) is_own_key: bool,
    /// The S3 of this process, if traces are stored in a folder.
    pub(super) served_s3: Option<ServedS3>,
    /// A sentence about the location of the traces, with the command that lists them.
    pub(super) stored: String,
    /// The URL of the listener on OpenTelemetry's port, if the port was free.
    pub otlp_url: Option<String>,
    gateway: Server,
    otlp: Option<Server>,
    s3: Option<Server>,
}

struct OpenedStore {
    store: Store,
    store_id: Box<dyn Fn() -> Option<String> + Send + Sync>,
    reader: TraceReader,
    stored: String,
    s3: Option<(Server, ServedS3)>,
}

impl LocalEndpoint {
    /// Starts an endpoint that passes each request's log line to `log`.
    pub async fn start(options: ServeOptions, log: impl Fn(&[u8]) + Send + Sync + 'static) -> Result<Self> {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)), "--port").await?;
        let address = listener.local_addr().context("cannot read the address of the endpoint")?;
        let opened = match options.store.location.location() {
            Location::Bucket(bucket) => open_bucket(&bucket).await?,
            Location::Folder(folder) => open_folder(&folder, &options).await?,
        };
        let OpenedStore { store, store_id, reader, stored, s3 } = opened;
        let (s3, served_s3) = s3.unzip();
        let is_own_key = options.api_key.is_none();
        let api_key = options.api_key.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let log = Arc::new(log);
        let batch_log = Arc::clone(&log);
        let batch_log = BatchLog::new("local", move |line| batch_log(line));
        let max_bytes = options.store.max_trace_bytes;
        let receiver = Receiver::new(store.clone(), max_bytes, options.otel_spans.into(), batch_log);
        let handler = Handler::new(store, max_bytes, RequestLog::new("local", move |line: &[u8]| log(line)));
        let handler = handler.identified_by(store_id);
        let body_time = gateway::BODY;
        let otlp = otlp::listen(options.otlp_port).await?;
        let otlp_url = otlp.as_ref().map(|(_, address)| format!("http://{address}"));
        let otlp = otlp.map(|(listener, _)| {
            let signals = gateway::otlp_routes(receiver.clone(), "", &api_key, body_time);
            let router = gateway::explained(signals.fallback(async || StatusCode::FORBIDDEN));
            Server::spawn(|shutdown| serve(listener, TowerToHyperService::new(router), shutdown))
        });
        let page =
            attest_view::router(reader).merge(gateway::otlp_routes(receiver, gateway::PATH, &api_key, body_time));
        let router = gateway::router(handler, &api_key, body_time, page);
        let gateway = Server::spawn(|shutdown| serve(listener, TowerToHyperService::new(router), shutdown));
        Ok(Self {
            url: format!("http://{address}{}", gateway::PATH),
            api_key,
            is_own_key,
            served_s3,
            otlp_url,
            stored,
            gateway,
            otlp,
            s3,
        })
    }

    /// Stops after the requests in flight are answered. The S3 stops after the gateway, because these requests still
    /// store traces.
    pub async fn stop(self) -> Result<()> {
        for server in [Some(self.gateway), self.otlp, self.s3].into_iter().flatten() {
            server.stop().await?;
        }
        Ok(())
    }
}

async fn open_bucket(bucket: &str) -> Result<OpenedStore> {
    let config = aws_config().await?;
    let store = Store::new(&config, bucket.to_owned()).verifying_conditional_writes();
    // An endpoint that starts while S3 is unreachable does not report the bucket's id.
    let mut store_id = None;
    match store.connect().await {
        Ok(_) => store_id = PlaceId::of_bucket(&config, bucket).await.ok().and_then(|place| place.id),
        Err(error @ ConnectError::IgnoresIfNoneMatch) => bail!(error),
        Err(error @ ConnectError::Unreachable(_)) => {
            note!("warning: cannot store into the bucket `{bucket}` yet: {error}");
        }
    }
    let reader = TraceReader::over_bucket(&config, bucket.to_owned());
    let stored = format!("Traces are stored in the bucket `{bucket}`.");
    Ok(OpenedStore { store, store_id: Box::new(move || store_id.clone()), reader, stored, s3: None })
}

async fn open_folder(folder: &Path, options: &ServeOptions) -> Result<OpenedStore> {
    let files = FileStore::open(folder).with_context(|| format!("cannot store into {}", folder.display()))?;
    let bucket = files.bucket().to_owned();
    let s3 = FolderS3::new(files.clone());
    let listener = listen(SocketAddr::from((options.s3_host, options.s3_port)), "--s3-port").await?;
    let access = s3.served_on(listener.local_addr().context("cannot read the address of the S3")?);
    let server = Server::spawn(|shutdown| serve(listener, s3.service(), shutdown));
    let stored = format!(
        "Traces are stored in the folder and bucket `{bucket}`, which this process serves as S3:\n\n\
         {}\n",
        access.list_command()
    );
    let config = access.sdk_config(settings::http_client());
    let identified = files.clone();
    Ok(OpenedStore {
        store: Store::new(&config, bucket),
        store_id: Box::new(move || identified.id().ok().flatten()),
        reader: TraceReader::over_folder(files).served_at(access.url()),
        stored,
        s3: Some((server, access)),
    })
}

pub(super) async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("port {} of {} is in use: choose another one with {option}", address.port(), address.ip())
        }
        listener => listener.with_context(|| format!("cannot listen on {address}")),
    }
}

struct Server {
    shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Spawns a server. Passes it a future that completes when the server must stop.
    fn spawn<S>(server: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> S) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let (shutdown, mut requested) = watch::channel(false);
        let requested = Box::pin(async move {
            let _ = requested.wait_for(|is_requested| *is_requested).await;
        });
        Self { shutdown, task: tokio::spawn(server(requested)) }
    }

    async fn stop(self) -> Result<()> {
        let _ = self.shutdown.send(true);
        self.task.await.context("a server of the endpoint panicked")
    }
}
