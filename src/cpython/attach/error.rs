//! [`AttachError`]: why a process could not be attached to, and what to do about it.

use python_offsets::{OffsetsError, PythonVersion, supported_versions};

use crate::os::Pid;
use crate::os::process::OpenError;

/// Why a process could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody has this pid.
    #[error("no process has the pid {0}")]
    NoSuchProcess(Pid),
    /// The process has ended, and waits for its parent to collect it.
    #[error("process {pid} has ended: it is a zombie that its parent {parent} has not collected")]
    Ended {
        /// Which process.
        pid: Pid,
        /// Its parent.
        parent: Pid,
    },
    /// The pid is a thread's.
    #[error("{tid} is a thread of process {pid}, not a process")]
    IsThread {
        /// The thread.
        tid: Pid,
        /// Its process.
        pid: Pid,
    },
    /// We may not look at the process.
    #[error("{problem}")]
    PermissionDenied {
        /// What is in the way, in one line.
        problem: String,
        /// What to do about it, in one line.
        hint: String,
    },
    /// The process runs no CPython that we can see.
    #[error("process {pid} is {what}, not a Python program")]
    NotPython {
        /// Which process.
        pid: Pid,
        /// What it is: its executable.
        what: String,
    },
    /// The interpreter is there, but has not got so far as to run anything.
    #[error("the Python of process {0} runs nothing: it is still starting, or has already ended")]
    StillStarting(Pid),
    /// A CPython that no table knows.
    #[error("process {pid} runs CPython {version}, which this release does not know")]
    UnsupportedPython {
        /// Which process.
        pid: Pid,
        /// Its version.
        version: PythonVersion,
    },
    /// A CPython that says where its fields are, in a way that makes no sense.
    #[error("process {pid} runs CPython {version}, but describes itself wrongly: {cause}")]
    BadOffsets {
        /// Which process.
        pid: Pid,
        /// Its version.
        version: PythonVersion,
        /// What is wrong.
        cause: OffsetsError,
    },
    /// The process looks like CPython, but what we need of it was not found.
    #[error("process {pid} is called Python ({what}), but holds no CPython that can be found")]
    NotFound {
        /// Which process.
        pid: Pid,
        /// What makes it look so.
        what: String,
    },
    /// The system failed us.
    #[error("cannot look into process {pid}: {cause}")]
    Io {
        /// Which process.
        pid: Pid,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl AttachError {
    /// What to do about it, in one line.
    pub fn hint(&self) -> String {
        match self {
            AttachError::NoSuchProcess(_) => {
                "look the pid up again (pgrep -af python); it may have ended, or be a pid of another \
                 container's namespace"
                    .into()
            }
            AttachError::PermissionDenied { hint, .. } => hint.clone(),
            AttachError::Ended { parent, .. } => {
                format!("nothing is left of it to look at; its parent is shown by ps -fp {parent}")
            }
            AttachError::IsThread { pid, .. } => format!("give the process: --pid {pid}"),
            AttachError::NotPython { pid, .. } => format!(
                "give the pid of the Python process itself; a wrapper's children are shown by \
                 pstree -p {pid}"
            ),
            AttachError::StillStarting(_) => {
                "try again in a moment; a program that only has the library loaded shows nothing"
                    .into()
            }
            AttachError::UnsupportedPython { .. } => {
                format!("CPython {} are known; a newer release may know more", supported_versions())
            }
            AttachError::BadOffsets { .. } => {
                "is it a pre-release or a modified build? Run again with -vv and report what it says"
                    .into()
            }
            AttachError::NotFound { .. } => {
                "another program of that name, or PyPy, cannot be looked into; if it is CPython, run \
                 again with -vv and report what it says"
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
            // A Python whose libraries are not mapped yet looks like another program of its name.
            AttachError::StillStarting(_) | AttachError::NotFound { .. }
        )
    }

    /// Whether it is what a library shows for a moment while it is loaded: the loader maps all of it as
    /// if it were one piece of the file, and then each segment where it belongs.
    pub fn may_be_half_loaded(&self) -> bool {
        matches!(
            self,
            AttachError::BadOffsets {
                cause: OffsetsError::BadCookie,
                ..
            }
        )
    }

    /// Whether the process may run Python later: it is starting, or may execute one.
    pub fn may_become_python(&self) -> bool {
        self.is_starting() || matches!(self, AttachError::NotPython { .. })
    }

    /// Whether it will not change while the process lives: the system forbids it, or no table knows
    /// the version. Everything else may come from a look in the middle of an `exec`.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            AttachError::PermissionDenied { .. }
                | AttachError::UnsupportedPython { .. }
                | AttachError::IsThread { .. }
        )
    }

    /// Whether there is nothing of Python to look at, and nothing went wrong.
    pub fn is_no_python(&self) -> bool {
        matches!(
            self,
            AttachError::NotPython { .. }
                | AttachError::NoSuchProcess(_)
                | AttachError::Ended { .. }
        )
    }
}

impl AttachError {
    /// What opening a process failed with.
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
                what: "a thread of the kernel".into(),
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

    /// One in 500 launches of a 3.13 on a crowded machine was given up, in the middle of its loading.
    #[test]
    fn a_library_that_is_being_loaded_is_worth_another_try() {
        let wrong = |cause| AttachError::BadOffsets {
            pid: 7,
            version: PythonVersion::new(3, 13, 0),
            cause,
        };
        let half = wrong(OffsetsError::BadCookie);
        assert!(half.is_temporary() && half.may_be_half_loaded());
        // Not for as long as it runs, though: a modified build looks like that for ever.
        assert!(!half.may_become_python() && !half.is_final());
    }
}
