//! [`AttachError`]: why attaching to a process failed, and a hint on what to do.

use python_offsets::{OffsetsError, PythonVersion, supported_versions};

use crate::os::Pid;
use crate::os::process::OpenError;
use crate::os::work_budget::GaveUp;

/// Why attaching to a process failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No process has this pid.
    #[error("no process has the pid {0}")]
    NoSuchProcess(Pid),
    /// The process has ended and is a zombie.
    #[error("process {pid} has ended: it is a zombie that its parent {parent} has not collected")]
    Ended {
        /// Which process.
        pid: Pid,
        /// Its parent.
        parent: Pid,
    },
    /// The pid is that of a thread.
    #[error("{tid} is a thread of process {pid}, not a process")]
    IsThread {
        /// The thread.
        tid: Pid,
        /// Its process.
        pid: Pid,
    },
    /// The process runs in the memory of its parent: it is the child of a vfork and has not called exec yet.
    #[error("process {pid} runs in the memory of its parent {parent} until it calls exec (vfork)")]
    InVfork {
        /// Which process.
        pid: Pid,
        /// Its parent.
        parent: Pid,
    },
    /// Permission to read the process is missing.
    // Scripts search for py-spy's words.
    #[error("Permission Denied: {problem}")]
    PermissionDenied {
        /// The obstacle, in one line.
        problem: String,
        /// The remedy, in one line.
        hint: String,
    },
    /// No CPython was found in the process.
    #[error("process {pid} is {what}, not a Python program")]
    NotPython {
        /// Which process.
        pid: Pid,
        /// Its executable.
        what: String,
    },
    /// The interpreter exists but runs no code.
    #[error("the Python of process {0} runs nothing: it is still starting, or has already ended")]
    StillStarting(Pid),
    /// A CPython version without a table.
    #[error("process {pid} runs CPython {version}, which this release does not know")]
    UnsupportedPython {
        /// Which process.
        pid: Pid,
        /// Its version.
        version: PythonVersion,
    },
    /// The debug offsets of the target are invalid.
    #[error("process {pid} runs CPython {version}, but describes itself wrongly: {cause}")]
    BadOffsets {
        /// Which process.
        pid: Pid,
        /// Its version.
        version: PythonVersion,
        /// The defect.
        cause: OffsetsError,
    },
    /// The process has the name of a Python, but no CPython was found in it.
    #[error("process {pid} is called Python ({what}), but holds no CPython that can be found")]
    NotFound {
        /// Which process.
        pid: Pid,
        /// The file, and what is wrong with it.
        what: String,
    },
    /// The process holds so much to be searched that it was not done in time.
    #[error("process {pid}: {gave_up}")]
    GaveUp {
        /// Which process.
        pid: Pid,
        /// What was not finished, and how long it was allowed to take.
        gave_up: GaveUp,
    },
    /// A system call failed.
    #[error("cannot read process {pid}: {cause}")]
    Io {
        /// Which process.
        pid: Pid,
        /// The error of the system call.
        cause: std::io::Error,
    },
}

/// What such a process is, in an error.
const KERNEL_THREAD: &str = "a kernel thread";

/// The option that names a process.
pub(crate) fn pid_option(pid: Pid) -> String {
    format!("--pid {pid}")
}

impl AttachError {
    /// The remedy, in one line.
    pub fn hint(&self) -> String {
        self.hint_with(pid_option)
    }

    /// The same; `pid_option`: how it names processes.
    pub(crate) fn hint_with(&self, pid_option: impl Fn(Pid) -> String) -> String {
        match self {
            AttachError::NoSuchProcess(_) => {
                "check the pid (pgrep -af python); the process may have ended, or the pid may belong \
                 to the PID namespace of a container"
                    .into()
            }
            AttachError::PermissionDenied { hint, .. } => hint.clone(),
            AttachError::Ended { parent, .. } => format!(
                "nothing can be read of a zombie; it goes when process {parent} waits for it, or ends"
            ),
            AttachError::IsThread { pid, .. } => {
                format!("give the process: {}", pid_option(*pid))
            }
            AttachError::InVfork { parent, .. } => format!(
                "give its parent: {}; or wait, its program may be on a slow disk",
                pid_option(*parent)
            ),
            AttachError::NotPython { what, .. } if what == KERNEL_THREAD => {
                "give the pid of a Python process: pgrep -af python".into()
            }
            AttachError::NotPython { pid, .. } => format!(
                "give the pid of the Python process itself; list the children of a wrapper with \
                 pstree -p {pid}"
            ),
            AttachError::StillStarting(_) => {
                "try again in a moment; a program that only loads libpython has no stacks".into()
            }
            AttachError::UnsupportedPython { .. } => format!(
                "supported are CPython {}; a newer release of pyspy-rs may support more",
                supported_versions()
            ),
            AttachError::BadOffsets { .. } => {
                "pre-releases and modified builds are not supported; otherwise run again with -vv and \
                 report the output"
                    .into()
            }
            AttachError::NotFound { .. } => {
                "PyPy and other programs of that name are not supported; if it is CPython, run again \
                 with -vv and report the output"
                    .into()
            }
            AttachError::GaveUp { .. } => {
                "its files or its memory are unusually large, or the machine is overloaded: try again \
                 when it is less busy, with -vv to see what was searched"
                    .into()
            }
            AttachError::Io { .. } => "run again with -vv to see what was tried".into(),
        }
    }

    /// Whether trying again in a moment can help.
    pub fn is_temporary(&self) -> bool {
        self.is_starting() || self.may_be_half_loaded()
    }

    fn is_starting(&self) -> bool {
        matches!(
            self,
            // A Python whose libraries are not mapped yet cannot be distinguished from another of
            // that name.
            AttachError::StillStarting(_)
                | AttachError::NotFound { .. }
                | AttachError::InVfork { .. }
        )
    }

    /// Whether the error can come from a library that is being loaded: the loader first maps the whole
    /// file as one piece, and then each segment to its own address.
    pub fn may_be_half_loaded(&self) -> bool {
        matches!(
            self,
            AttachError::BadOffsets {
                cause: OffsetsError::BadCookie,
                ..
            }
        )
    }

    /// Whether the process may run Python later: it is starting, or may `exec` one.
    pub fn may_become_python(&self) -> bool {
        self.is_starting() || matches!(self, AttachError::NotPython { .. })
    }

    /// Whether the error is permanent while the process lives: no permission, or an unsupported
    /// version. All other errors can come from an attempt in the middle of an `exec`.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            AttachError::PermissionDenied { .. }
                | AttachError::UnsupportedPython { .. }
                | AttachError::IsThread { .. }
        )
    }

    /// Whether the process is simply not a Python, as opposed to a failure.
    pub fn is_no_python(&self) -> bool {
        matches!(
            self,
            AttachError::NotPython { .. }
                | AttachError::NoSuchProcess(_)
                | AttachError::Ended { .. }
                | AttachError::InVfork { .. }
        )
    }
}

impl AttachError {
    /// Converts the error of opening the process.
    pub fn from_open(pid: Pid, error: OpenError) -> AttachError {
        match error {
            OpenError::NoSuchProcess(_) => AttachError::NoSuchProcess(pid),
            OpenError::Ended { parent, .. } => AttachError::Ended { pid, parent },
            OpenError::IsThread { process, .. } => AttachError::IsThread {
                tid: pid,
                pid: process,
            },
            OpenError::KernelThread(_) => AttachError::NotPython {
                pid,
                what: KERNEL_THREAD.into(),
            },
            OpenError::PermissionDenied(problem) => AttachError::PermissionDenied {
                problem: problem.to_string(),
                hint: problem.hint(),
            },
            OpenError::Io { cause, .. } => AttachError::Io { pid, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrappers of py-spy search for these words to advise sudo.
    #[test]
    fn a_refusal_has_the_words_of_py_spy() {
        let denied = AttachError::PermissionDenied {
            problem: "process 7 belongs to alice, not to you".into(),
            hint: String::new(),
        };
        assert_eq!(
            denied.to_string(),
            "Permission Denied: process 7 belongs to alice, not to you"
        );
    }

    /// Regression: on a contended machine 1 of 500 launches of 3.13 failed, because the library was
    /// being loaded.
    #[test]
    fn a_library_that_is_being_loaded_is_retried() {
        let wrong = |cause| AttachError::BadOffsets {
            pid: 7,
            version: PythonVersion::new(3, 13, 0),
            cause,
        };
        let half = wrong(OffsetsError::BadCookie);
        assert!(half.is_temporary() && half.may_be_half_loaded());
        // But not for as long as the process runs: a modified build has that error forever.
        assert!(!half.may_become_python() && !half.is_final());
    }
}
