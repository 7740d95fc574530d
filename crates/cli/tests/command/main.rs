//! The command `attest` as a user runs it: the built program, over real HTTP, with an S3 of its own.

mod check;
mod export;
mod gateway;
mod import;
mod lake;
mod otlp;
mod output;
mod query;
mod serve;
mod share;

/// Returns the peak memory of a running process in MiB.
///
/// On Linux, the figure of wait4(2) begins with the peak of the process that spawned the child, so tests beside this
/// one would count. `/proc` has the peak of the child alone.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}
