//! The command `attest`: `serve`, the endpoint on a laptop, and what works with the traces that it keeps.

use std::{env, process::ExitCode};

use attest::log;
use attest_cli::{export, human_log::HumanLog, import, serve, view};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Keeps every chat trace POSTed to it, brings traces in, and exports them.
///
/// Without a command it serves the endpoint on this machine, with an S3 of its own.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the endpoint on this machine (what happens when no command is given)
    Serve(serve::Options),
    /// Bring in traces from JSON Lines files
    Import(import::Options),
    /// Write stored traces to a file, or to a lake of Parquet files
    Export(export::Options),
    /// Look at stored traces in a browser
    View(view::Options),
    /// Print the completions of a shell
    Completions { shell: Shell },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(env::var("RUST_LOG").ok().as_deref(), &["attest", "attest_cli", "local_aws"], || HumanLog);
    let done = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(options) => serve::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Import(options) => return import::run(options).await,
        Command::Export(options) => return export::run(options).await,
        Command::View(options) => {
            view::run(options).await.map(|()| ExitCode::SUCCESS).map_err(|error| format!("{error:#}"))
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "attest", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
