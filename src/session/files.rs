//! [`PendingFiles`]: the files of a recording, from before it starts until they are written.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::errors::UserError;
use crate::output::file::OutputFile;

/// The files of a recording, created before the target is attached to or launched, so that a wrong path
/// fails at once. Shared with the signal thread, so that a second signal leaves no temporary names
/// on file systems that need them.
pub struct PendingFiles(Arc<Mutex<Option<Files>>>);

pub struct Files {
    pub recording: OutputFile,
    pub summary: Option<OutputFile>,
}

impl PendingFiles {
    /// # Errors
    /// When a file cannot be created.
    pub fn create(recording: &Path, summary: Option<&Path>) -> Result<PendingFiles, UserError> {
        let create = |path: &Path, option: &str| {
            OutputFile::create(path).map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::BrokenPipe => {
                        format!("start its reader first, or use a file: {option} FILE")
                    }
                    io::ErrorKind::PermissionDenied => {
                        format!("use a file in a directory that belongs to you: {option} FILE")
                    }
                    _ => format!("use a file in an existing, writable directory: {option} FILE"),
                };
                UserError::failure(error.to_string(), hint)
            })
        };
        let files = Files {
            recording: create(recording, "-o")?,
            summary: summary.map(|path| create(path, "--summary")).transpose()?,
        };
        Ok(PendingFiles(Arc::new(Mutex::new(Some(files)))))
    }

    /// Whether one of them is standard output.
    pub fn use_stdout(&self) -> bool {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stdout = |files: &Files| {
            let summary = files.summary.as_ref();
            files.recording.is_stdout() || summary.is_some_and(OutputFile::is_stdout)
        };
        files.as_ref().is_some_and(is_stdout)
    }

    /// Discards the files, from any thread.
    pub fn discard(&self) -> impl FnOnce() + Send + 'static {
        let files = Arc::clone(&self.0);
        move || {
            // Locked while they are written. A file without a name leaves nothing; one that is being overwritten
            // stays short, and a temporary name remains on file systems that need one.
            if let Ok(mut files) = files.try_lock() {
                drop(files.take());
            }
        }
    }

    /// Writes the files; `None` when a second signal has discarded them and is about to end this
    /// process.
    pub fn write<T>(&self, write: impl FnOnce(Files) -> T) -> Option<T> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.take().map(write)
    }
}

impl Drop for PendingFiles {
    /// Discards files that were not written; the signal thread still holds the other reference.
    fn drop(&mut self) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(files.take());
    }
}
