//! [`ElfError`]: why an ELF file could not be used.

use std::io;

/// See the [module](self).
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// It is no ELF file, or one whose headers contradict themselves.
    #[error("not a usable ELF file: {0}")]
    Malformed(String),
    /// The deadline was over before its end.
    #[error("reading it takes too long")]
    TooLate,
}

impl From<goblin::error::Error> for ElfError {
    fn from(error: goblin::error::Error) -> ElfError {
        ElfError::Malformed(error.to_string())
    }
}
