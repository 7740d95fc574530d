//! The command `attest`: `serve`, the endpoint on this machine, and the tools that work with stored traces.

use std::{env, io::Write, process::ExitCode};

use attest::log;
use attest_check as check;
#[cfg(feature = "lake")]
use attest_cli::{forget, lake};
use attest_cli::{human_log::HumanLog, import, serve, share, view};
use attest_export as export;
#[cfg(not(feature = "lake"))]
use attest_terminal::note;
use attest_terminal::{Output, OutputError, fail};
use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use clap_complete::Shell;

/// Stores every chat trace that is POSTed to it, and imports, exports and shows traces.
///
/// Without a command, it serves the endpoint on this machine, with its own S3.
#[derive(Debug, Parser)]
#[command(name = "attest", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the endpoint on this machine (the default command)
    Serve(serve::ServeOptions),
    /// Import traces from JSON Lines files
    Import(import::ImportOptions),
    /// Export stored traces to a file
    Export(Box<export::ExportOptions>),
    /// Keep stored traces as one table for queries
    #[cfg(feature = "lake")]
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// Delete traces for good, from their bucket and from its lake
    #[cfg(feature = "lake")]
    Forget(Box<forget::ForgetOptions>),
    /// Keep stored traces as one table for queries, and `forget` traces (this build lacks both: `--features lake` adds
    /// them)
    #[cfg(not(feature = "lake"))]
    #[command(alias = "forget")]
    Lake {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Prove that a deployed endpoint keeps its promises
    Check(check::CheckOptions),
    /// Show stored traces in a browser
    View(view::ViewOptions),
    /// Write traces as HTML files, or upload them and print a URL that expires
    Share(Box<share::ShareOptions>),
    /// Print the completion script for a shell
    Completions { shell: Shell },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return print(answer),
    };
    let crates = [
        "attest",
        "attest_check",
        "attest_cli",
        "attest_export",
        "attest_lake",
        "attest_mapping",
        "attest_query",
        "attest_storage",
        "attest_view",
        "local_aws",
    ];
    log::start(env::var("RUST_LOG").ok().as_deref(), &crates, &["delta_kernel"], || HumanLog);
    let result = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(options) => serve::run(options).await,
        Command::Import(options) => return import::run(options).await,
        Command::Export(options) => return export::run(*options).await,
        #[cfg(feature = "lake")]
        Command::Lake(command) => return lake::run(command).await,
        #[cfg(feature = "lake")]
        Command::Forget(options) => return forget::run(*options).await,
        #[cfg(not(feature = "lake"))]
        Command::Lake { .. } => {
            note!("error: this build of `attest` has no lake. Run it with `cargo run --locked --features lake --`");
            return ExitCode::from(2);
        }
        Command::Check(options) => return check::run(options).await,
        Command::View(options) => view::run(options).await,
        Command::Share(options) => share::run(*options).await,
        Command::Completions { shell } => {
            let mut script = Vec::new(); // `generate` panics if a write fails
            clap_complete::generate(shell, &mut Cli::command(), "attest", &mut script);
            Output::default().write_all(&script).map_err(Into::into)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Prints the help, the version or a command-line error. `Cli::parse` would exit with 0 if the help cannot be written.
fn print(mut answer: clap::Error) -> ExitCode {
    let is_secret = |argument: &str| ["--api-key", "--url"].iter().any(|secret| argument.starts_with(secret));
    // A key, or a URL with a password, is not shown even if it is not valid.
    if let Some(ContextValue::String(argument)) = answer.get(ContextKind::InvalidArg)
        && is_secret(argument)
    {
        answer.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
    let code = u8::try_from(answer.exit_code()).unwrap_or(2);
    match answer.print() {
        Err(error) if !answer.use_stderr() => fail(&OutputError::wrap(error).into(), 1),
        _ => ExitCode::from(code),
    }
}
