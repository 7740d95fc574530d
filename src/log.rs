//! Sets up logging as JSON lines. [`crate::metrics`] writes the line of each request.

use std::{io::Write, panic};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Logs through `writer` until the process ends.
///
/// A panic is logged by its location only, because its message may quote a trace.
pub fn start(
    level: Option<&str>,
    crates: &[&str],
    silent: &[&str],
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) {
    subscriber(level, crates, silent, writer).init();
    panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
}

/// Returns the subscriber that [`start`] installs.
///
/// `level` applies to the lines of `crates` (default `info`). Other crates log errors only: at other levels they may
/// quote a request, and `lambda_runtime` prints whole events. The crates in `silent` log nothing, because they log
/// errors that they also return, and that their callers expect.
pub fn subscriber(
    level: Option<&str>,
    crates: &[&str],
    silent: &[&str],
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(Level::ERROR)
        .with_targets(crates.iter().map(|name| (*name, level)))
        .with_targets(silent.iter().map(|name| (*name, LevelFilter::OFF)));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

/// Writes a line to standard output. Ignores errors, because there is nowhere else to report them.
pub fn print(line: &[u8]) {
    let _ = std::io::stdout().write_all(line);
}
