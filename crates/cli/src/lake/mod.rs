//! `lake`: stored traces as one Delta table.

pub mod duckdb;
mod folder;
mod sync;

use std::process::ExitCode;

use clap::Subcommand;

pub use folder::Folder;

/// The commands of `lake`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lake equal to the stored traces
    Sync(sync::Options),
}

/// Runs a command of `lake`.
pub async fn run(command: Command) -> ExitCode {
    match command {
        Command::Sync(options) => sync::run(options).await,
    }
}
