//! The arguments of `dump --core`.

use std::path::PathBuf;

use clap::Args;

/// What to look at after its death.
#[derive(Clone, Debug, Default, Args)]
pub struct CoreArgs {
    /// A core file to look at, by the kernel or gcore, instead of a process
    #[arg(short, long, value_name = "FILE", help_heading = "Target",
          conflicts_with_all = ["pid", "subprocesses", "nonblocking"])]
    pub core: Option<PathBuf>,

    /// The program that left the core, where it is not in its place any more
    #[arg(long, value_name = "PATH", requires = "core", help_heading = "Target")]
    pub exe: Option<PathBuf>,

    /// The folder that was the root of a core's process, such as a container's
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "core",
        help_heading = "Target"
    )]
    pub sysroot: Option<PathBuf>,
}
