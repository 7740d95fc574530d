//! The tools as a person runs them: the built program, over real HTTP, on an S3 of its own.

mod export;
mod gateway;
mod import;
mod serve;

/// The most memory that a running process has held, in MiB. On Linux, what wait4(2) says of a child begins with the peak of the
/// process that spawned it, so that a test beside would count; `/proc` does not.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}
