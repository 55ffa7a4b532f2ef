//! Writes a recording's files, and prints its closing lines.

use std::io::{self, Write};

use super::announce::Announcer;
use super::{summary, summary_json};
use crate::cli::options::RecordOptions;
use crate::output;
use crate::output::format::Format;
use crate::output::tables::lines;
use crate::output::tables::view::unmatched;
use crate::session::errors::{UserError, is_closed_pipe, print_stderr};
use crate::session::files::{Files, PendingFiles};
use crate::session::recording::Recording;

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
        nonblocking: options.sampling.nonblocking || stats.could_not_pause,
        format: options.format,
        path: &path,
        last_error: recording.last_error.as_deref(),
    };
    let to_pipe = file.is_stdout();
    let written = output::write(options.format, profile, meta, &mut file)
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
    let lines = summary::lines(closing).into_iter();
    for line in lines.chain(unmatched(profile, &meta.tables)) {
        print_stderr(&line);
    }
    Ok(())
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
