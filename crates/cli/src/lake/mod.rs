//! `lake`: stored traces as one Delta table.

pub mod duckdb;
mod folder;
mod sync;

use std::process::ExitCode;

use clap::Subcommand;

pub use folder::Folder;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lake equal to the stored traces
    Sync(sync::Options),
}

pub async fn run(command: Command) -> ExitCode {
    match command {
        Command::Sync(options) => sync::run(options).await,
    }
}
