//! The arguments of `dump --core`.

use std::path::PathBuf;

use clap::Args;

/// The core file and its context.
#[derive(Clone, Debug, Default, Args)]
pub struct CoreArgs {
    /// Read a core file (from the kernel or gcore) instead of a process
    #[arg(short, long, value_name = "FILE", help_heading = "Target",
          conflicts_with_all = ["pid", "subprocesses", "nonblocking"])]
    pub core: Option<PathBuf>,

    /// The core's executable, if it has moved
    #[arg(long, value_name = "PATH", requires = "core", help_heading = "Target")]
    pub exe: Option<PathBuf>,

    /// Root directory of the core's process, such as its container's
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "core",
        help_heading = "Target"
    )]
    pub sysroot: Option<PathBuf>,
}
