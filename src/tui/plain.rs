//! [`print`]: a view as frames of text on stdout, where that is no terminal.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::model::{ENOUGH_SAMPLES, Ending, Model, Refreshes, SampleSource};
use crate::os::Pid;

/// Time between two checks of the stop flag while the reader does not read.
const WAIT: Duration = Duration::from_millis(100);
/// What a pipe that accepts output takes without blocking: `PIPE_BUF` (pipe(7)).
const CHUNK: usize = 4096;

/// Prints a frame after each delay until the source ends, `stop` is set, as many were printed as are wanted, or
/// the reader has closed the pipe. The rest of the last interval is one more frame if it has enough samples, or
/// if there was none before.
///
/// # Errors
/// Those of stdout, except that its reader is gone.
pub fn print<M: Model>(
    source: &mut impl SampleSource,
    model: &mut M,
    refreshes: Refreshes,
    stop: &AtomicBool,
    pid: Pid,
    frame: impl Fn(&M::Snapshot) -> String,
) -> io::Result<Ending> {
    match print_until_end(source, model, refreshes, stop, pid, frame) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ending::Stopped),
        result => result,
    }
}

fn print_until_end<M: Model>(
    source: &mut impl SampleSource,
    model: &mut M,
    refreshes: Refreshes,
    stop: &AtomicBool,
    pid: Pid,
    frame: impl Fn(&M::Snapshot) -> String,
) -> io::Result<Ending> {
    let mut last_tick = Instant::now();
    let mut printed = 0;
    let ending = loop {
        let sample = if stop.load(Ordering::SeqCst) {
            None
        } else {
            source.next()
        };
        let Some(sample) = sample else {
            break if stop.load(Ordering::SeqCst) {
                Ending::Stopped
            } else {
                Ending::ProgramEnded
            };
        };
        fail_if_closed()?;
        model.add(&sample, source);
        if last_tick.elapsed() >= refreshes.delay {
            write_out(frame(&model.tick()).as_bytes(), source, stop)?;
            printed += 1;
            if refreshes.limit == Some(printed) {
                return Ok(Ending::Stopped);
            }
            last_tick = Instant::now();
        }
    };
    let rest = model.samples_now();
    if rest >= ENOUGH_SAMPLES || (printed == 0 && rest > 0) {
        write_out(frame(&model.tick()).as_bytes(), source, stop)?;
    }
    if ending == Ending::ProgramEnded {
        let line = format!("Process {pid} has ended.\n");
        write_out(line.as_bytes(), source, stop)?;
    }
    Ok(ending)
}

/// Fails when the reader has closed the pipe: else that would be noticed only by the next frame.
fn fail_if_closed() -> io::Result<()> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let failed = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds
            .iter()
            .filter_map(PollFd::revents)
            .any(|events| events.contains(PollFlags::POLLERR));
    if failed {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Writes without blocking in the system call, so that `stop` ends the wait for a reader that does not read; the
/// rest of the text is then lost. No thread of the target stays paused meanwhile.
fn write_out(
    mut bytes: &[u8],
    source: &mut impl SampleSource,
    stop: &AtomicBool,
) -> io::Result<()> {
    let stdout = io::stdout();
    stdout.lock().flush()?;
    let timeout = PollTimeout::try_from(WAIT).unwrap_or(PollTimeout::ZERO);
    while !bytes.is_empty() {
        source.settle();
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, timeout) {
            Ok(0) if stop.load(Ordering::SeqCst) => return Ok(()),
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let chunk = bytes.get(..CHUNK).unwrap_or(bytes);
        match write(&stdout, chunk) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
