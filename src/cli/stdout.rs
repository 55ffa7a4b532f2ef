//! Output on stdout, with its errors.

use std::io::{self, BufWriter, Write};

use crate::session::errors::{UserError, without_number};

/// Prints on stdout. Flushes at the end, because a drop would ignore errors of the last bytes.
///
/// # Errors
/// When stdout cannot be written.
pub fn to_stdout(
    print: impl FnOnce(&mut BufWriter<io::StdoutLock<'static>>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    print(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            // The reader has closed the pipe: not a failure, see `errors::report`.
            io::ErrorKind::BrokenPipe => error.into(),
            _ => UserError::failure(
                format!(
                    "cannot write to stdout: {}",
                    without_number(&error.to_string())
                ),
                "free disk space, or redirect the output to another place",
            )
            .into(),
        })
}
