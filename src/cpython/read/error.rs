//! Errors of reading an interpreter, named by what the caller does next.

use crate::os::memory::MemoryError;
use crate::os::memory::address::RemoteAddr;

/// Why a structure of the interpreter could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The memory itself could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The memory was read, but does not hold what it should: the target changed it meanwhile, or
    /// it is not what we think.
    #[error("{what} at {addr} does not make sense")]
    Corrupt {
        /// Which structure, in CPython's name.
        what: &'static str,
        /// Where it was read from.
        addr: RemoteAddr,
    },
    /// The thread's state is another thread's by now, or nobody's.
    #[error("the thread has ended")]
    ThreadEnded,
    /// There is more of it than any program has: it may be made to keep us busy.
    #[error("{0} are more than is read at once")]
    TooMuch(&'static str),
}

impl ReadError {
    /// More of something than is read.
    pub fn too_much(what: &'static str) -> ReadError {
        ReadError::TooMuch(what)
    }

    /// A structure at `addr` that holds nonsense.
    pub fn corrupt(what: &'static str, addr: RemoteAddr) -> ReadError {
        ReadError::Corrupt { what, addr }
    }

    /// Whether the same may be fine when the thread has gone on a few instructions: in 3.11 and 3.12 a new
    /// `_PyCFrame` is the thread's own before its fields are set (`_PyEval_EvalFrameDefault` in
    /// Python/ceval.c of v3.12.1), and what an old one has left there may point anywhere.
    pub fn may_pass(&self) -> bool {
        matches!(self, ReadError::Memory(_) | ReadError::Corrupt { .. })
    }

    /// Whether the process is gone, so that no other read can succeed either.
    pub fn process_is_gone(&self) -> bool {
        matches!(self, ReadError::Memory(error) if error.process_is_gone())
    }

    /// Whether the process runs another program now than the one that was attached to.
    pub fn program_is_replaced(&self) -> bool {
        matches!(self, ReadError::Memory(error) if error.program_is_replaced())
    }
}

/// Why a sample could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The process ended, or replaced itself by another program.
    #[error("the process has ended")]
    ProcessExited,
    /// The interpreter's lists could not be followed this time; the next sample may succeed.
    #[error("the interpreter's state changed while it was read: {0}")]
    TornRead(ReadError),
    /// The system does not let us pause threads. Without pausing it may still go.
    #[error("{0}")]
    CannotPause(String),
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
