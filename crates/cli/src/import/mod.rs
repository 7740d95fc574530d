//! `import`: JSON Lines → the endpoint, each line once, whatever interrupts it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use attest::{problem::Problem, trace::Trace};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    progress::Progress,
    serve::{self, LocalEndpoint, StoreOptions},
    shutdown,
};
use checkpoint::{Checkpoint, Mark, Reader};
use lines::{Line, MAX_LINE, Source, Text};
use provider::Provider;
use report::{Counts, Rejected};
use send::{Endpoint, Outcome};

mod checkpoint;
mod lines;
mod pace;
mod provider;
mod report;
mod send;

/// How long the requests under way have after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

/// What `import` is started with.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Each line is one trace, plain or compressed with gzip or zstd. Running the same command again, after whatever
interruption, stores nothing twice: a line's Idempotency-Key follows from its bytes, and FILE.checkpoint says what is
confirmed. What the endpoint refuses is in FILE.rejected.jsonl with every violation, and the lines themselves in
FILE.rejected-lines.jsonl, to be mended and imported.

Exit status:
  0  every line is stored
  1  some lines were refused
  2  the import could not go on, or was stopped: run it again")]
pub struct Options {
    /// Files in JSON Lines, plain, gzip or zstd; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The endpoint's URL, as the stack's output says it. Without one the traces go where `serve` with the same options
    /// would store them
    #[arg(long, requires = "api_key")]
    url: Option<String>,
    /// The endpoint's API key
    #[arg(long, env = "API_KEY", hide_env_values = true, value_parser = serve::parse_api_key)]
    api_key: Option<String>,
    #[command(flatten)]
    store: StoreOptions,
    /// How many requests are under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Whose log format the lines have, if they are not traces yet
    #[arg(long)]
    from: Option<Provider>,
    /// The folder for the checkpoints, instead of beside each file
    #[arg(long)]
    state: Option<PathBuf>,
    /// Validate only: send nothing, and write no checkpoint
    #[arg(long)]
    dry_run: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What a line is given to.
enum Target {
    Endpoint(Box<Endpoint>),
    /// The endpoint's own validation.
    DryRun {
        max_trace_bytes: usize,
    },
}

/// How a file's import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Interrupted,
}

/// Imports the files one after the other.
pub async fn run(options: Options) -> ExitCode {
    let mut laptop = None;
    let result = match target(&options, &mut laptop).await {
        Ok((target, name)) => import_all(&options, &Arc::new(target), &name).await,
        Err(error) => Err(error),
    };
    if let Some(laptop) = laptop {
        let _ = laptop.stop().await;
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What lines are given to, and its name for the checkpoint. An endpoint that was started for it is left in `laptop`.
async fn target(options: &Options, laptop: &mut Option<LocalEndpoint>) -> Result<(Target, String), String> {
    if options.dry_run {
        return Ok((Target::DryRun { max_trace_bytes: options.store.max_trace_bytes }, String::new()));
    }
    let concurrency = options.concurrency.into();
    if let (Some(url), Some(api_key)) = (&options.url, &options.api_key) {
        return Ok((Target::Endpoint(Endpoint::new(url, api_key, concurrency)?.into()), url.clone()));
    }
    let name = match &options.store.location.bucket {
        Some(bucket) => format!("bucket {bucket}"),
        None => {
            let folder = &options.store.location.folder;
            let path = fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
            let path = path.map_err(|error| format!("cannot store into {}: {error}", folder.display()))?;
            format!("folder {}", path.display())
        }
    };
    let started = laptop.insert(
        LocalEndpoint::start(serve::Options::on_free_ports(options.store.clone()), |_| ())
            .await
            .map_err(|error| format!("{error:#}"))?,
    );
    Ok((Target::Endpoint(Endpoint::new(&started.url, &started.api_key, concurrency)?.into()), name))
}

async fn import_all(options: &Options, target: &Arc<Target>, name: &str) -> Result<ExitCode, String> {
    let mut has_refused = false;
    for path in &options.files {
        let mut counts = Counts { is_dry_run: options.dry_run, ..Counts::default() };
        let end = import(options, path, target, name, &mut counts).await;
        println!("{}:\n{counts}", path.display());
        match end {
            Ok(End::Done) => {}
            Ok(End::Interrupted) => return Err("stopped; the same command goes on from here".to_owned()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        has_refused |= counts.refused + counts.conflicts > 0;
    }
    Ok(if has_refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Imports one file. `counts` is right however it ends.
async fn import(
    options: &Options,
    path: &Path,
    target: &Arc<Target>,
    name: &str,
    counts: &mut Counts,
) -> Result<End, String> {
    let source = Source::new(path.to_owned());
    let base = if source.is_stdin() { PathBuf::from("stdin") } else { path.to_owned() };
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let checkpoint =
        checkpoint(options, &source, &format!("{name} {:?}", options.from)).map_err(failed("the checkpoint"))?;
    let confirmed = if options.dry_run { Ok(Reader::none()) } else { checkpoint.reader() };
    let mut lines = source.lines(confirmed.map_err(failed("the checkpoint"))?).map_err(failed("cannot read it"))?;
    let mut rejected = Rejected::new(base).map_err(failed("the file of what is refused"))?;
    let size = fs::metadata(path).ok().map(|file| file.len()).filter(|_| !source.is_stdin());
    let mut progress = Progress::new(path.display().to_string(), "lines", size, source.read, options.quiet);

    let (mut last_line, mut end, mut is_reading) = (0, Ok(End::Done), true);
    let mut under_way = JoinSet::new();
    let mut stop = std::pin::pin!(shutdown::stop_signal());
    let mut deadline = std::pin::pin!(None);
    while is_reading || !under_way.is_empty() {
        tokio::select! {
            line = lines.recv(), if is_reading && under_way.len() < options.concurrency.into() => match line {
                Some(Ok(line)) => {
                    last_line = line.number;
                    counts.lines += 1;
                    if let Text::Confirmed = line.text {
                        counts.skipped += 1;
                    } else {
                        let (target, from) = (Arc::clone(target), options.from);
                        under_way.spawn(async move {
                            let outcome = target.take(&line, from).await;
                            (line, outcome)
                        });
                    }
                }
                Some(Err(error)) => {
                    end = Err(format!("cannot read it: {error}"));
                    is_reading = false;
                }
                None => is_reading = false,
            },
            Some(done) = under_way.join_next() => {
                let (mut line, outcome) = done.map_err(|error| error.to_string())?;
                match outcome {
                    Ok(Outcome::Refused(problem)) => {
                        if problem["status"] == 409 { counts.conflicts += 1 } else { counts.refused += 1 }
                        rejected.write(line.number, problem, &mut line.text).map_err(failed("the file of what is refused"))?;
                    }
                    Ok(outcome) => {
                        if matches!(outcome, Outcome::Stored) { counts.stored += 1 } else { counts.already_there += 1 }
                        checkpoint.confirm(line.number, line.mark).map_err(failed("the checkpoint"))?;
                    }
                    Err(error) => {
                        // One reason is enough: the others under way have the same.
                        end = Err(format!("line {}: {error}", line.number));
                        is_reading = false;
                        under_way.abort_all();
                        while under_way.join_next().await.is_some() {}
                    }
                }
            }
            () = &mut stop, if deadline.is_none() => {
                end = Ok(End::Interrupted);
                is_reading = false;
                deadline.set(Some(tokio::time::sleep(GRACE)));
            }
            () = async { deadline.as_mut().as_pin_mut().expect("checked").await }, if deadline.is_some() => break,
        }
        progress.update(counts.lines);
    }
    progress.finish();
    if let Some((reasons, lines)) = rejected.finish().map_err(failed("the file of what is refused"))? {
        eprintln!("{}: why lines were refused; {}: those lines, to be mended", reasons.display(), lines.display());
    }
    checkpoint.sync().map_err(failed("the checkpoint"))?;
    if end == Ok(End::Done) {
        counts.repeated = Some(checkpoint.repeated(last_line).map_err(failed("the checkpoint"))?);
    }
    end
}

/// The checkpoint of a file; standard input has one only where `--state` says.
fn checkpoint(options: &Options, source: &Source, target: &str) -> io::Result<Checkpoint> {
    let name = if source.is_stdin() { Path::new("stdin").as_os_str() } else { source.path.as_os_str() };
    let path = match &options.state {
        _ if options.dry_run => None,
        Some(folder) => {
            // Files of one name in several folders have a checkpoint each.
            let whole = if source.is_stdin() { PathBuf::from(name) } else { source.path.canonicalize()? };
            let digest = Mark::of(Sha256::digest(whole.as_os_str().as_encoded_bytes()).into()).to_string();
            let name = Path::new(name).file_name().unwrap_or(name).to_string_lossy();
            Some(folder.join(format!("{name}.{}.checkpoint", &digest[..8])))
        }
        None if source.is_stdin() => None,
        None => {
            let mut path = name.to_owned();
            path.push(".checkpoint");
            Some(PathBuf::from(path))
        }
    };
    match path {
        Some(path) => Checkpoint::open(&path, target),
        None => Checkpoint::temporary(),
    }
}

impl Target {
    /// Gives a line to the endpoint, or to its validation.
    async fn take(&self, line: &Line, from: Option<Provider>) -> Result<Outcome, String> {
        let Text::Whole(text) = &line.text else {
            return Ok(refused(413, "too-large", &format!("The line has more than {MAX_LINE} bytes.")));
        };
        let trace = match from {
            None => text.clone(),
            Some(provider) => match provider::to_trace(provider, text) {
                Ok(trace) => Bytes::from(trace),
                Err(why) => return Ok(refused(400, "unmapped", &why)),
            },
        };
        match self {
            Self::Endpoint(endpoint) => endpoint.send(&line.mark.to_string(), trace).await,
            Self::DryRun { max_trace_bytes } => Ok(validate(&trace, *max_trace_bytes)),
        }
    }
}

/// Says what the endpoint would, without storing.
fn validate(trace: &[u8], limit: usize) -> Outcome {
    let result = if trace.len() > limit {
        Err(Problem::TooLarge { limit, size: trace.len() })
    } else {
        Trace::parse(trace.to_vec(), || Uuid::nil().to_string())
    };
    match result {
        Ok(_) => Outcome::Stored,
        Err(problem) => Outcome::Refused(serde_json::from_str(&problem.body()).expect("problem details are JSON")),
    }
}

fn refused(status: u16, name: &str, detail: &str) -> Outcome {
    Outcome::Refused(json!({"type": format!("urn:attest:problem:{name}"), "status": status, "detail": detail}))
}
