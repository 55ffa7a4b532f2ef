//! [`Streams`]: the standard streams of a launched program, which are ours, or not where they would disturb what
//! we print.

use std::io::{self, IsTerminal, PipeWriter, stderr, stdin};
use std::os::fd::AsFd;
use std::process::Stdio;

/// What a launched program gets as its standard streams.
#[derive(Debug)]
pub struct Streams {
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
}

impl Streams {
    /// Ours.
    pub fn inherited() -> Streams {
        Streams {
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
        }
    }

    /// Ours, with stderr in place of stdout, which a reader of what we print has for itself.
    ///
    /// # Errors
    /// When the system refuses a file descriptor.
    pub fn beside_stdout() -> io::Result<Streams> {
        Ok(Streams {
            stdout: Stdio::from(stderr().as_fd().try_clone_to_owned()?),
            ..Streams::inherited()
        })
    }

    /// None of ours: all that it prints goes to `output`, and it has nothing to read.
    ///
    /// # Errors
    /// When the system refuses a file descriptor.
    pub fn captured(output: PipeWriter) -> io::Result<Streams> {
        Ok(Streams {
            stdin: Stdio::null(),
            stderr: Stdio::from(output.try_clone()?),
            stdout: Stdio::from(output),
        })
    }

    /// Those beside a screen of ours: nothing is read from its keyboard or written to it. What is redirected to
    /// another place stays so.
    ///
    /// # Errors
    /// When the system refuses a file descriptor.
    pub fn beside_screen(output: PipeWriter) -> io::Result<Streams> {
        let keyboard = stdin().is_terminal();
        let screen = stderr().is_terminal();
        Ok(Streams {
            stdin: if keyboard {
                Stdio::null()
            } else {
                Stdio::inherit()
            },
            stderr: if screen {
                Stdio::from(output.try_clone()?)
            } else {
                Stdio::inherit()
            },
            stdout: Stdio::from(output),
        })
    }
}
