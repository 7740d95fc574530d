//! Tests the command `attest` by running the built program, over real HTTP and with its own S3.

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
mod view;

/// Returns the peak memory of a running process in MiB.
///
/// On Linux, wait4(2) reports at least the peak of the process that spawned the child, so parallel tests would count.
/// `/proc` reports the peak of the child alone.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}
