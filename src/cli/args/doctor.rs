//! Arguments of `doctor`.

use clap::Args;

use super::values::parse_pid;
use crate::os::Pid;

pub const DOCTOR_EXAMPLES: &str = "\
Examples:
  pyspy-rs doctor 8172
  pyspy-rs doctor 8172 > report.txt
  pyspy-rs doctor --pid 8172 --json | jq .verdict";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// PID of the running process, in decimal or 0x hex [default: the only running Python
    /// process]
    #[arg(value_name = "PID", value_parser = parse_pid, help_heading = "Target", conflicts_with = "pid_option")]
    pub pid: Option<Pid>,

    /// The same as PID, spelled as for the other commands
    #[arg(id = "pid_option", short, long = "pid", value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    pub pid_option: Option<Pid>,

    /// Interpret PID inside this container: see `dump --help`
    #[arg(long, value_name = "CONTAINER", help_heading = "Target")]
    pub in_container: Option<String>,

    /// Do not pause the program
    #[arg(long, help_heading = "Target")]
    pub nonblocking: bool,

    /// Print JSON
    #[arg(short, long, help_heading = "Output")]
    pub json: bool,

    /// Show secrets in command lines instead of <redacted>
    #[arg(long, help_heading = "Output")]
    pub show_secrets: bool,
}
