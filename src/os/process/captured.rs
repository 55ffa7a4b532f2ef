//! [`CapturedOutput`]: the end of what a launched program prints, for a view that needs the terminal itself.
//!
//! It is read from a pipe, and the last [`KEPT`] bytes are kept. Compared with a file, as py-spy has one:
//!
//! - A program that prints without end fills no disk, whatever happens to us. A file that we cut would grow from
//!   the moment on when we are stopped or killed.
//! - The program does not wait for us, unless somebody stops us alone (SIGSTOP): a thread that does nothing else
//!   reads the pipe, also while the program is sampled and while the end of one that ignores Ctrl-C is awaited.
//! - If we are killed, its next write fails (SIGPIPE), as with `program | less`. So does that of a child process
//!   which it leaves behind; one that runs on its own has closed these streams.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::sudo::sudo_user;
use crate::os::thread::start::start;

/// How much is kept at least, if there is as much: some thousand lines.
const KEPT: usize = 64 << 10;
/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// What the pipe holds, so that a burst of output does not wait for the thread: the most that the kernel allows
/// by default (`/proc/sys/fs/pipe-max-size`). As much is read after the program's end, and no more, since a child
/// process may print on without end.
const PIPE: usize = 1 << 20;

/// The output of a launched program, read by a thread.
#[derive(Debug)]
pub struct CapturedOutput {
    output: Arc<Mutex<Output>>,
}

/// The end of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputEnd {
    /// Whatever the program has printed: hostile bytes.
    pub bytes: Vec<u8>,
    /// Line ends before these bytes.
    pub lines_before: u64,
    /// Something was printed before these bytes, maybe the beginning of their first line.
    pub is_cut: bool,
}

#[derive(Debug)]
struct Output {
    /// Our side, which does not block; that of the program does.
    pipe: PipeReader,
    end: OutputEnd,
    is_over: bool,
}

impl CapturedOutput {
    /// Starts to read. The other side of the pipe is for the program, which may also open it by name
    /// (`/dev/stdout`) if it runs as the caller of sudo.
    ///
    /// # Errors
    /// When the system refuses the pipe or the thread.
    pub fn start() -> io::Result<(CapturedOutput, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        if let Err(error) = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE as i32)) {
            log::info!("the pipe for the program's output stays small: {error}");
        }
        if let Ok(Some((user, group))) = sudo_user() {
            fchown(&writer, Some(user.as_raw()), Some(group.as_raw()))?;
        }
        let readable = pipe.as_fd().try_clone_to_owned()?;
        let output = Arc::new(Mutex::new(Output {
            pipe,
            end: OutputEnd::default(),
            is_over: false,
        }));
        let shared = Arc::clone(&output);
        start("program output", move || {
            let mut chunk = vec![0; CHUNK];
            loop {
                let mut fds = [PollFd::new(readable.as_fd(), PollFlags::POLLIN)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
                let mut output = lock(&shared);
                output.read(&mut chunk);
                if output.is_over {
                    return;
                }
            }
        })
        .map_err(io::Error::other)?;
        Ok((CapturedOutput { output }, writer))
    }

    /// The end of what was printed so far. After the program's end, that is all of what it has printed.
    pub fn end(&self) -> OutputEnd {
        let mut output = lock(&self.output);
        let mut chunk = vec![0; CHUNK];
        let mut read = 0;
        while read < PIPE {
            match output.read(&mut chunk) {
                0 => break,
                more => read += more,
            }
        }
        output.end.clone()
    }
}

impl Output {
    /// Takes what is there, and returns how much; 0 at the end, too.
    fn read(&mut self, chunk: &mut [u8]) -> usize {
        match self.pipe.read(chunk) {
            Ok(0) => self.is_over = true,
            Ok(read) => {
                self.end.add(chunk.get(..read).unwrap_or_default());
                return read;
            }
            Err(error) => {
                let may_go_on = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                self.is_over = !may_go_on.contains(&error.kind());
            }
        }
        0
    }
}

impl OutputEnd {
    fn add(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        // Seldom, since what is left is moved.
        if self.bytes.len() > 4 * KEPT {
            let dropped = self.bytes.drain(..self.bytes.len() - KEPT);
            let lines = dropped.filter(|byte| *byte == b'\n').count();
            self.lines_before = self.lines_before.saturating_add(lines as u64);
            self.is_cut = true;
        }
    }
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    // A panic cannot leave inconsistent state under this lock.
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.

    use std::io::Write as _;

    use super::*;

    #[test]
    fn all_that_was_printed_before_the_end_is_there() {
        let (captured, mut program) = CapturedOutput::start().unwrap();
        assert_eq!(captured.end(), OutputEnd::default());
        program.write_all(b"one\ntw").unwrap();
        assert_eq!(captured.end().bytes, b"one\ntw");
        // A child process may keep it open.
        let _other = program.try_clone().unwrap();
        program.write_all(b"o\n").unwrap();
        drop(program);
        assert_eq!(captured.end().bytes, b"one\ntwo\n");
    }

    #[test]
    fn a_program_that_prints_much_does_not_wait_and_leaves_the_last_lines() {
        let (captured, mut program) = CapturedOutput::start().unwrap();
        let lines = 1_000_000;
        let mut text = String::new();
        for line in 0..lines {
            text += &format!("{line}\n");
        }
        program.write_all(text.as_bytes()).unwrap();
        drop(program);
        let end = captured.end();
        assert!(text.as_bytes().ends_with(&end.bytes));
        assert!((KEPT..=4 * KEPT).contains(&end.bytes.len()));
        let left = end.bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((end.lines_before + left as u64, end.is_cut), (lines, true));
    }
}
