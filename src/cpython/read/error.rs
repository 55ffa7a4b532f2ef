//! Errors of reading an interpreter.

use std::time::Duration;

use crate::os::memory::MemoryError;
use crate::os::memory::address::RemoteAddr;

/// Why a structure of the interpreter could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The memory itself could not be read.
    #[error(transparent)]
    Memory(MemoryError),
    /// There was no time left.
    #[error("there was no time left to read it")]
    OutOfTime,
    /// The memory was read, but its content is invalid: the target changed it during the read, or
    /// the address is not that of such a structure.
    #[error("{what} at {addr} does not make sense")]
    Corrupt {
        /// The structure's name in CPython.
        what: &'static str,
        /// The address it was read from.
        addr: RemoteAddr,
    },
    /// The thread state was freed, or is now that of another thread.
    #[error("the thread has ended")]
    ThreadEnded,
    /// There are more of them than in any real program: a hostile target could use up our time.
    #[error("{0} are too many to be read")]
    TooMuch(&'static str),
}

impl From<MemoryError> for ReadError {
    fn from(error: MemoryError) -> ReadError {
        if error.is_out_of_time() {
            ReadError::OutOfTime
        } else {
            ReadError::Memory(error)
        }
    }
}

impl ReadError {
    /// The error for exceeding a limit.
    pub fn too_much(what: &'static str) -> ReadError {
        ReadError::TooMuch(what)
    }

    /// The error for invalid content of the structure at `addr`.
    pub fn corrupt(what: &'static str, addr: RemoteAddr) -> ReadError {
        ReadError::Corrupt { what, addr }
    }

    /// Whether a retry can succeed once the thread has executed a few instructions. In 3.11 and 3.12 a
    /// new `_PyCFrame` is linked to the thread before its fields are set (`_PyEval_EvalFrameDefault`
    /// in Python/ceval.c of v3.12.1), and stale values there can point anywhere.
    pub fn may_pass(&self) -> bool {
        match self {
            ReadError::Memory(error) => !error.does_not_answer(),
            ReadError::Corrupt { .. } => true,
            ReadError::ThreadEnded | ReadError::TooMuch(_) | ReadError::OutOfTime => false,
        }
    }

    /// Whether the process is gone, so that every further read fails too.
    pub fn process_is_gone(&self) -> bool {
        matches!(self, ReadError::Memory(error) if error.process_is_gone())
    }

    /// Whether the process has called `exec` since it was attached to.
    pub fn program_is_replaced(&self) -> bool {
        matches!(self, ReadError::Memory(error) if error.program_is_replaced())
    }
}

/// Why a sample could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The lists of interpreters and threads are too long, or too slow to read, for the time of a sample.
    #[error("its threads could not be listed within {}", milliseconds(*.0))]
    OutOfTime(Duration),
    /// The process ended or called `exec`.
    #[error("the process has ended")]
    ProcessExited,
    /// The interpreter's lists changed while they were read; the next sample may succeed.
    #[error("the interpreter's state changed while it was read: {0}")]
    TornRead(ReadError),
    /// Threads cannot be paused. Sampling without pausing may still work.
    #[error("{0}")]
    CannotPause(String),
}

/// A limit in a message: `250 ms`.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

impl From<ReadError> for SampleError {
    fn from(error: ReadError) -> SampleError {
        if error.process_is_gone() {
            SampleError::ProcessExited
        } else {
            SampleError::TornRead(error)
        }
    }
}
