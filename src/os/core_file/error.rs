//! [`CoreError`]: why a core file cannot be read, and what to do about it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("cannot open the core file: {}", without_number(.0))]
    Open(io::Error),
    #[error("cannot read the core file: {}", without_number(.0))]
    Read(io::Error),
    #[error("the core file is empty")]
    Empty,
    #[error("the core file is compressed ({0})")]
    Compressed(&'static str),
    /// It is a crash report of Ubuntu's `apport`, which contains a core file.
    #[error("this is an apport crash report, not a core file")]
    Apport,
    #[error("this is not a core file: it is not an ELF file")]
    NotElf,
    /// It is an ELF file, but a program or library.
    #[error("this is {0}, not a core file")]
    NotACore(&'static str),
    /// It is from an architecture that we cannot read.
    #[error("this is the core file of {0}; only those of 64-bit x86 Linux are supported")]
    Foreign(String),
    /// It ends before an indispensable part.
    #[error("the core file is truncated: it ends before its {0}")]
    CutOff(&'static str),
    /// Its headers contradict themselves.
    #[error("the core file is damaged: {0}")]
    Damaged(String),
    #[error("the core file lists no threads")]
    NoThreads,
    /// The program given for it cannot be read.
    #[error("cannot use {path}: {cause}")]
    Exe { path: PathBuf, cause: String },
    /// The program given for it is another one.
    #[error("{path} is not the program that dumped this core: {why}")]
    OtherExe { path: PathBuf, why: String },
    /// The directory given as its root cannot be used.
    #[error("cannot use {path} as its root directory: {}", without_number(.cause))]
    Sysroot { path: PathBuf, cause: io::Error },
}

/// A system error without its number, which tells the user nothing.
pub fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

impl CoreError {
    /// What to do about it, in one line.
    pub fn hint(&self) -> &'static str {
        match self {
            CoreError::Open(cause) => match cause.kind() {
                io::ErrorKind::PermissionDenied => {
                    "a core file belongs to the user of the process, often root: try sudo"
                }
                io::ErrorKind::NotFound => {
                    "to see where the kernel writes core files: cat /proc/sys/kernel/core_pattern; with systemd: \
                     coredumpctl dump -o FILE PID"
                }
                _ => "give the path of the core file itself",
            },
            CoreError::Read(_) => "copy it to a working disk, and try the copy",
            CoreError::Empty => {
                "was the disk full, or ulimit -c too small? Set ulimit -c unlimited before the program \
                 starts"
            }
            CoreError::Compressed("zstd") => {
                "unpack it first: zstd -d FILE, or write it with: coredumpctl dump -o FILE PID"
            }
            CoreError::Compressed("gzip") => "unpack it first: gzip -d FILE",
            CoreError::Compressed("xz") => "unpack it first: xz -d FILE",
            CoreError::Compressed(_) => "unpack it first: lz4 -d FILE",
            CoreError::Apport => "unpack it: apport-unpack FILE DIR; the core is DIR/CoreDump",
            CoreError::NotElf => {
                "write one of a running process with: gcore PID; or dump the process itself: dump --pid PID"
            }
            CoreError::NotACore(_) => "give the program with --exe, and its core file with --core",
            CoreError::Foreign(_) => {
                "inspect it with gdb-multiarch, or on a machine of that architecture"
            }
            CoreError::CutOff(_) => {
                "have it written whole: ulimit -c unlimited, and enough disk space; if it was copied, \
                 compare the sizes"
            }
            CoreError::Damaged(_) => "if it was copied, compare the sizes; for details: file FILE",
            CoreError::NoThreads => {
                "it may not be from the kernel or gcore; to see its notes: readelf -n FILE"
            }
            CoreError::Exe { .. } => {
                "give the file of the Python that ran, such as /usr/bin/python3.12"
            }
            CoreError::OtherExe { .. } => {
                "give the exact build that ran (after an upgrade, that of the old package), or omit \
                 --exe: much can be read without it"
            }
            CoreError::Sysroot { .. } => "give the directory that was the root (/) of the process",
        }
    }
}
