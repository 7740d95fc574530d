use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use attest_terminal::{fail, note, result};
use tokio::{select, sync::mpsc};

use super::{
    checkpoint::{Checkpoint, Opened},
    file_import::{FileImport, ImportEnd},
    identity::Destination,
    input::InputFile,
    options::ImportOptions,
    run_files::RunFiles,
    stop::ImportStop,
    target::{Started, Target},
};

pub async fn run(options: ImportOptions) -> ExitCode {
    match import(&options).await {
        Ok(code) => code,
        Err(error) => fail(&error, 2),
    }
}

async fn import(options: &ImportOptions) -> Result<ExitCode> {
    let stop = ImportStop::listen()?;
    // Check every file before anything is written or sent.
    let check = |path| InputFile::check(path).with_context(|| path.display().to_string());
    let files: Vec<_> = options.files.iter().map(|path| check(path.as_path())).collect::<Result<_>>()?;

    let (warnings, mut warned) = mpsc::unbounded_channel();
    let Started { target, destination, local } = select! {
        started = Target::start(options, warnings) => started?,
        () = stop.requested(1) => bail!("stopped"),
    };
    let result = import_files(options, files, &Arc::new(target), destination.as_ref(), &stop, &mut warned).await;
    if let Some(local) = local {
        select! {
            _ = local.stop() => {}
            () = stop.requested(2) => {}
        }
    }
    result
}

async fn import_files(
    options: &ImportOptions,
    files: Vec<InputFile>,
    target: &Arc<Target>,
    destination: Option<&Destination>,
    stop: &ImportStop,
    warned: &mut mpsc::UnboundedReceiver<String>,
) -> Result<ExitCode> {
    let mut has_rejected = false;
    for file in files {
        let path = file.path.display().to_string();
        let is_stream = file.is_stream();
        let failed = || path.clone();
        let run_files = destination.map(|_| RunFiles::new(&file, options.state.as_deref()));
        let run_files = run_files.transpose().with_context(failed)?;
        let _lock = run_files.as_ref().map(|files| files.lock(&file)).transpose().with_context(failed)?;
        let checkpoint = checkpoint(options, run_files.as_ref(), destination, target, stop, &path).await;
        let checkpoint = checkpoint.with_context(failed)?;
        let rejected = run_files.as_ref().map(RunFiles::rejected);

        let mut import = FileImport::new(options, file, Arc::clone(target), checkpoint, rejected);
        let end = import.run(stop, warned).await;
        let counts = import.finish();
        let _ = result!("{path}:\n{counts}"); // the traces are stored, even if nobody reads the counts
        match end.with_context(failed)? {
            ImportEnd::Done => {}
            ImportEnd::Stopped if is_stream && options.state.is_none() => bail!("stopped before the end of {path}"),
            ImportEnd::Stopped => bail!("stopped; run the same command again to resume"),
        }
        has_rejected |= counts.refused + counts.conflicts > 0;
    }
    Ok(if has_rejected { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Opens a file's checkpoint. A dry run uses a temporary one to count repeated lines, if temporary files can be
/// written.
async fn checkpoint(
    options: &ImportOptions,
    run_files: Option<&RunFiles>,
    destination: Option<&Destination>,
    target: &Target,
    stop: &ImportStop,
    path: &str,
) -> Result<Option<Checkpoint>> {
    let (Some(run_files), Some(destination)) = (run_files, destination) else {
        return Ok(Checkpoint::temporary().ok());
    };
    let from = options.from.map(|format| format.name().to_owned());
    let mut destination = destination.clone();
    if let Destination::Endpoint { url, .. } = &destination
        && run_files.has_records_of_a_store()
    {
        let store = select! {
            store = target.ask_for_store() => store?,
            () = stop.requested(1) => bail!("stopped"),
        };
        destination = Destination::endpoint(url.clone(), store);
    }
    let (checkpoint, opened) = run_files.checkpoint(&destination, from)?;
    if opened == Opened::DestinationGone {
        note!("{path}: {destination} was recreated or replaced since the earlier run, so every line is sent again");
    }
    Ok(Some(checkpoint))
}
