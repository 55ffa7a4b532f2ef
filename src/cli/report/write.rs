//! Writes a recording's files, and prints its closing lines.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::announce::Announcer;
use super::{summary, summary_json};
use crate::cli::options::RecordOptions;
use crate::output;
use crate::output::file::OutputFile;
use crate::output::format::Format;
use crate::output::tables::lines;
use crate::output::tables::view::unmatched;
use crate::sampler::stats::Engine;
use crate::session::errors::{UserError, is_closed_pipe, print_stderr};
use crate::session::files::{Files, PendingFiles};
use crate::session::recording::Recording;
use crate::text::units::size;

/// Writes the files, says so, and prints the closing lines on stderr.
///
/// # Errors
/// When a file cannot be written. A pipe that its reader has closed is not an error.
pub fn write(
    mut recording: Recording,
    files: &PendingFiles,
    options: &RecordOptions,
    announcer: &Announcer,
) -> anyhow::Result<()> {
    if options.format == Format::Lines {
        let names = lines::source_files(&recording.profile, &recording.meta.tables);
        recording.meta.tables.sources = recording.sources.read(names);
    }
    let meta = &mut recording.meta;
    meta.min_width = options.min_width;
    meta.options = options.spelled();
    meta.engine = Some(match recording.stats.engine() {
        Engine::Pausing => "engine pausing",
        Engine::Nonblocking => "engine nonblocking",
        Engine::Kernel => "engine kernel",
    });
    files
        .write(|files| write_files(&recording, files, options, announcer))
        .unwrap_or(Ok(()))
}

fn write_files(
    recording: &Recording,
    files: Files,
    options: &RecordOptions,
    announcer: &Announcer,
) -> anyhow::Result<()> {
    if options.duration == Some(Duration::ZERO) && options.format == Format::Flamegraph {
        // py-spy's words and exit status.
        let hint = "-d 0 takes no sample: record for a while, -d SECONDS";
        return Err(UserError::failure("No stack counts found", hint).into());
    }
    let Files {
        recording: mut file,
        summary,
    } = files;
    let Recording {
        profile,
        stats,
        meta,
        ..
    } = recording;
    let path = file.path().to_owned();
    let closing = summary::Closing {
        profile,
        stats,
        format: options.format,
        path: &path,
        last_error: recording.last_error.as_deref(),
        native_threads: &recording.native_threads,
    };
    let to_pipe = file.is_stdout();
    let mut counted = Counted {
        out: &mut file,
        bytes: 0,
    };
    let written = output::write(options.format, profile, meta, &mut counted);
    let bytes = counted.bytes;
    let written = written
        .and_then(|()| file.flush())
        .and_then(|()| file.commit());
    let is_truncated = written.is_err();
    written.or_else(|error| expect_closed_pipe(to_pipe, &error, "-o"))?;
    if let Some(mut file) = summary {
        let to_pipe = file.is_stdout();
        summary_json::write(closing, meta, recording.ending, &mut file)
            .and_then(|()| file.flush())
            .and_then(|()| file.commit())
            .or_else(|error| expect_closed_pipe(to_pipe, &error, "--summary"))?;
    }
    if is_truncated {
        return Ok(());
    }
    let counts = profile.counts();
    let errors = counts.errors.saturating_add(counts.torn);
    announcer.wrote(options.format, &path, counts.samples, errors);
    let mut lines = summary::lines(closing);
    // On a terminal they have just been read in the table's head.
    let is_read = to_pipe && !meta.tables.csv && io::stdout().is_terminal();
    if !is_read {
        lines.extend(unmatched(profile, &meta.tables));
    }
    lines.extend(largeness(bytes));
    for line in lines {
        print_stderr(&line);
    }
    Ok(())
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut OutputFile,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Size from which a file is announced as large, in bytes. Viewers take several times that of memory.
const LARGE: u64 = 100_000_000;

fn largeness(bytes: u64) -> Option<String> {
    (bytes > LARGE).then(|| {
        format!(
            "The file has {}: a viewer may be slow or fail. Record a shorter time or with a lower --rate, or use \
             -f raw",
            size(bytes)
        )
    })
}

/// Any error but that of a closed pipe. `option` sets the file.
fn expect_closed_pipe(to_pipe: bool, error: &io::Error, option: &str) -> anyhow::Result<()> {
    if to_pipe && is_closed_pipe(error) {
        return Ok(());
    }
    let hint = match option {
        "-o" if is_closed_pipe(error) => "the recording is lost; use a file: -o FILE",
        "-o" => "the recording is lost; free disk space, or use another file: -o FILE",
        _ => "the recording is written; free disk space, or use another file: --summary FILE",
    };
    Err(UserError::failure(error.to_string(), hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_announced() {
        assert_eq!(largeness(LARGE), None);
        let line = largeness(LARGE + 1);
        assert!(
            line.is_some_and(|line| line.starts_with("The file has 95.4 MiB: ")),
            "no line"
        );
    }
}
