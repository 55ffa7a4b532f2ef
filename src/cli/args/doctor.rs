//! Arguments of `doctor`.

use clap::Args;

use super::values::parse_pid;
use crate::os::Pid;

/// What `doctor --help` ends with.
pub const DOCTOR_EXAMPLES: &str = "\
Examples:
  pyspy-rs doctor 8172
  pyspy-rs doctor 8172 > report.txt
  pyspy-rs doctor --pid 8172 --json | jq .verdict";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The process to examine, in decimal or 0x hex; may be left out when only one
    /// Python process runs
    #[arg(value_name = "PID", value_parser = parse_pid, help_heading = "Target", conflicts_with = "pid_option")]
    pub pid: Option<Pid>,

    /// The same process, in the way that the other commands take it
    #[arg(id = "pid_option", short, long = "pid", value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid_option: Option<Pid>,

    /// Count PID as this container does: see `dump --help`
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,

    /// Read without pausing the program
    #[arg(long, help_heading = "Target")]
    pub nonblocking: bool,

    /// Print JSON, for programs to read
    #[arg(short, long, help_heading = "Output")]
    pub json: bool,
}
