//! [`CoreError`]: why a file is no core that can be read, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why a core file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The system does not give it to us.
    #[error("cannot open the core file: {}", without_number(.0))]
    Open(io::Error),
    /// The system failed while it was read.
    #[error("cannot read the core file: {}", without_number(.0))]
    Read(io::Error),
    /// It has no bytes.
    #[error("the core file is empty")]
    Empty,
    /// It is packed.
    #[error("the core file is compressed ({0})")]
    Compressed(&'static str),
    /// It is a report of Ubuntu's `apport`, which has a core inside.
    #[error("this is a crash report of apport, not a core file")]
    Apport,
    /// It does not start as an ELF file.
    #[error("this is no core file: it does not even start as one (ELF)")]
    NotElf,
    /// It is an ELF file, but a program or library.
    #[error("this is {0}, not a core file")]
    NotACore(&'static str),
    /// It comes from a machine or a kind of process that we cannot read.
    #[error("this is the core file of {0}; only those of 64-bit x86 Linux can be read")]
    Foreign(String),
    /// It ends before what everything else is found by.
    #[error("the core file is cut off: it ends before its {0}")]
    CutOff(&'static str),
    /// Its headers contradict themselves.
    #[error("the core file is damaged: {0}")]
    Damaged(String),
    /// It has no threads.
    #[error("the core file tells nothing of any thread")]
    NoThreads,
    /// The program given for it cannot be read.
    #[error("cannot use {path}: {cause}")]
    Exe {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The program given for it is another one.
    #[error("{path} is not the program that left this core file: {why}")]
    OtherExe {
        /// What was given.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// The folder given as its root cannot be used.
    #[error("cannot use {path} as its root folder: {}", without_number(.cause))]
    Sysroot {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
}

/// A system's error without its number, which says nothing to a reader.
pub(crate) fn without_number(error: &io::Error) -> String {
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
                    "a core belongs to whom the process belonged to, often root: try sudo"
                }
                io::ErrorKind::NotFound => {
                    "where the kernel puts cores: cat /proc/sys/kernel/core_pattern; with systemd: \
                     coredumpctl dump -o FILE PID"
                }
                _ => "give the core file itself",
            },
            CoreError::Read(_) => "copy it to a disk that works, and try the copy",
            CoreError::Empty => {
                "was the disk full, or ulimit -c too small? Set ulimit -c unlimited before the program \
                 starts"
            }
            CoreError::Compressed("zstd") => {
                "unpack it first: zstd -d FILE, or let coredumpctl dump -o FILE PID do so"
            }
            CoreError::Compressed("gzip") => "unpack it first: gzip -d FILE",
            CoreError::Compressed("xz") => "unpack it first: xz -d FILE",
            CoreError::Compressed(_) => "unpack it first: lz4 -d FILE",
            CoreError::Apport => {
                "unpack it: apport-unpack FILE FOLDER; the core is FOLDER/CoreDump"
            }
            CoreError::NotElf => {
                "make one of a running process with: gcore PID; or look at it with dump --pid PID"
            }
            CoreError::NotACore(_) => {
                "the program goes behind --exe, the core that it left behind --core"
            }
            CoreError::Foreign(_) => "look at it with a gdb-multiarch, or on a machine of its kind",
            CoreError::CutOff(_) => {
                "let it be written whole: ulimit -c unlimited, and room on the disk; if it was copied, \
                 compare the sizes"
            }
            CoreError::Damaged(_) => "if it was copied, compare the sizes; file FILE tells more",
            CoreError::NoThreads => {
                "was it written by something else than the kernel or gcore? readelf -n FILE shows what \
                 it has"
            }
            CoreError::Exe { .. } => {
                "give the file of the Python that ran, such as /usr/bin/python3.12"
            }
            CoreError::OtherExe { .. } => {
                "give the very build that ran (after an upgrade, the old package's), or leave --exe \
                 out: much can be read without it"
            }
            CoreError::Sysroot { .. } => "give the folder that was the root (/) of the process",
        }
    }
}
