//! The watchdog: a process of ours that sees to it that what we hold is let go, if we cannot.
//!
//! Only the tracing thread can resume what it has paused. It cannot while it is stopped (SIGSTOP), nor while
//! a read of the target's memory blocks: then every thread of ours may be alive, and none can help. Another
//! process can. It wakes up each [`INTERVAL`], and
//!
//! - **continues us after a SIGSTOP** if we held something, and leaves a request to stop again once
//!   nothing is held ([`Board::request_stop`]);
//! - **kills us when a read blocks**, after [`HELD_LIMIT`] if we hold something, else after
//!   [`FREE_LIMIT`]: the kernel resumes all threads of a dead tracer. What was recorded is lost. A target that
//!   stays paused would be worse, and a thread that is blocked there can be woken by nothing else. What is
//!   known to block is not read directly ([`crate::os::memory::suspect`]), so this is the last resort.
//!
//! It reads no target, and shares our user and our control group: where that is frozen, or has no CPU time
//! left, it cannot help. It ends with us.
//!
//! It is forked before we start a thread, but makes only calls that are safe after a fork of a process with
//! threads: library users and tests have some.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::termios::tcgetattr;

use super::board::{self, Board, board};
use crate::os::Pid;
use crate::os::forked;
use crate::os::own_children;

/// Time between two checks. With a pause that SIGSTOP meets, this is what it takes longer.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a read may block while something is held: no page has come from a disk for so long.
const HELD_LIMIT: Duration = Duration::from_secs(1);
/// The same while nothing is held; twice what attaching may take.
const FREE_LIMIT: Duration = Duration::from_secs(10);

/// The files of the watchdog: for its message, and of the terminal with a view.
const STDERR: RawFd = 2;
const TERMINAL: RawFd = 3;

/// The process, to be ended when we end; 0 without one.
static WATCHDOG: AtomicI32 = AtomicI32::new(0);

/// Whether a signal with this sender is the watchdog's.
pub fn is_watchdog(pid: libc::pid_t) -> bool {
    pid != 0 && pid == WATCHDOG.load(Ordering::Relaxed)
}

/// Starts the watchdog of this process, for reads by this OS thread and those that hold something. Does nothing
/// the second time. `has_screen`: a view on the terminal is to be shown, which the watchdog removes before it
/// kills us.
///
/// # Errors
/// When the system refuses memory or a process: we can go on without it.
pub fn start(has_screen: bool) -> io::Result<()> {
    if WATCHDOG.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    board::share()?;
    board::watch_this_thread();
    // Before the view is shown.
    let screen = if has_screen { Screen::save() } else { None };
    // SAFETY: it takes nothing.
    let parent = unsafe { libc::getpid() };
    own_children::start(|| {
        // SAFETY: the child calls nothing but `watch`, which makes only calls that are safe after a fork of a
        // process with threads, and never returns.
        match unsafe { libc::fork() } {
            0 => watch(parent, screen.as_ref()),
            pid if pid > 0 => {
                WATCHDOG.store(pid, Ordering::Relaxed);
                // SAFETY: the function has no arguments and may run at any time.
                let _ = unsafe { libc::atexit(end) };
                Ok((pid, ()))
            }
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// Ends and reaps it. Else it would end right after us and be left to process 1, which reaps nothing in many
/// containers.
extern "C" fn end() {
    let pid = WATCHDOG.swap(0, Ordering::Relaxed);
    if pid > 0 {
        // SAFETY: it is our child and has not been reaped; no status is asked for.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
}

/// What to do about a read that is going on.
#[derive(Debug, Default)]
struct ReadWatch {
    number: u64,
    /// The major page faults of the thread that reads. A read from a slow swap disk is no blocked one.
    faults: u64,
    /// For how long it has been observed without another fault. Checks are counted, not time: this process does not run either while
    /// it is frozen or has no CPU.
    checks: u32,
}

impl ReadWatch {
    /// Notes one more check; returns whether the same read has been going on for its limit.
    fn is_over(&mut self, number: u64, faults: u64, holds: bool) -> bool {
        if (self.number, self.faults) != (number, faults) {
            *self = ReadWatch {
                number,
                faults,
                checks: 0,
            };
        }
        self.checks = self.checks.saturating_add(1);
        let limit = if holds { HELD_LIMIT } else { FREE_LIMIT };
        INTERVAL * self.checks >= limit
    }
}

fn watch(parent: libc::pid_t, screen: Option<&Screen>) -> ! {
    // SAFETY: this process was just forked, and uses these descriptors only. Without a screen the one of TERMINAL
    // can be a file that we inherited, which must not stay open here.
    unsafe {
        match screen {
            Some(screen) => {
                libc::dup2(screen.file.as_raw_fd(), TERMINAL);
                forked::close_all_but(STDERR..=TERMINAL);
            }
            None => forked::close_all_but(STDERR..=STDERR),
        }
        forked::detach(parent, c"pyspy watchdog");
    }
    let board = board();
    let mut reads = ReadWatch::default();
    loop {
        sleep();
        // SAFETY: it takes nothing.
        if unsafe { libc::getppid() } != parent {
            forked::exit();
        }
        // Before the check: a SIGCONT of somebody else after it makes the request void.
        let continued = board.continued.load(Ordering::SeqCst);
        let holds = || board.held.load(Ordering::SeqCst) != 0;
        let is_stopped = || {
            let stat = ThreadStat::read(format_args!("/proc/{parent}/stat\0"));
            stat.is_some_and(|stat| stat.state == b'T')
        };
        // Once more after it is known to be stopped: it may have let go before that.
        if holds() && is_stopped() && holds() {
            reads = ReadWatch::default();
            board.request_stop(continued);
            // SAFETY: numbers only. The pid is our parent's, which was alive just now.
            unsafe { libc::kill(parent, libc::SIGCONT) };
            continue;
        }
        let Some((number, tid, target)) = board.reading() else {
            reads = ReadWatch::default();
            continue;
        };
        let stat = ThreadStat::read(format_args!("/proc/{parent}/task/{tid}/stat\0"));
        let Some(ThreadStat { state, faults }) = stat else {
            continue;
        };
        let holds = holds();
        if reads.is_over(number, faults, holds) && matches!(state, b'D' | b'S') {
            kill(parent, board, number, || {
                if let Some(screen) = screen {
                    screen.restore();
                }
                tell(target, holds);
            });
        }
    }
}

/// Kills our parent, if it still blocks in this read.
fn kill(parent: libc::pid_t, board: &Board, number: u64, before: impl FnOnce()) {
    if board.reading().is_none_or(|(now, ..)| now != number) {
        return;
    }
    before();
    // SAFETY: numbers only. If the parent had ended meanwhile, so would this process have.
    unsafe { libc::kill(parent, libc::SIGKILL) };
}

fn tell(target: Pid, holds: bool) {
    let (limit, held) = if holds {
        (HELD_LIMIT, " while it was paused; it runs on now")
    } else {
        (FREE_LIMIT, "")
    };
    let mut text = [0; 400];
    let text = format_into(
        &mut text,
        format_args!(
            "error: a read of the memory of process {target} has blocked for {} s{held}. Nothing but the end of \
             pyspy-rs ends such a read, so its watchdog ended it, and what it had recorded is lost\n",
            limit.as_secs()
        ),
    );
    // SAFETY: `text` is readable for its whole length.
    unsafe { libc::write(STDERR, text.as_ptr().cast(), text.len()) };
}

/// Text without an allocation; cut where `buffer` ends.
fn format_into<'b>(buffer: &'b mut [u8], text: std::fmt::Arguments<'_>) -> &'b [u8] {
    let size = buffer.len();
    let mut rest = &mut *buffer;
    let _ = rest.write_fmt(text);
    let len = size.saturating_sub(rest.len());
    buffer.get(..len).unwrap_or_default()
}

fn sleep() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: INTERVAL.subsec_nanos().into(),
    };
    // SAFETY: `time` is valid, and the rest is not asked for.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// What is read of a process's or thread's stat file (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug)]
struct ThreadStat {
    /// One letter.
    state: u8,
    /// Major page faults, also those in memory of others that it reads.
    faults: u64,
}

impl ThreadStat {
    /// `path` ends in a NUL.
    fn read(path: std::fmt::Arguments<'_>) -> Option<ThreadStat> {
        let mut name = [0; 64];
        let name = CStr::from_bytes_with_nul(format_into(&mut name, path)).ok()?;
        // A name of at most 64 bytes, and eleven numbers of at most 20 digits before the end of what is needed.
        let mut stat = [0; 320];
        // SAFETY: `name` ends in a NUL, `stat` is writable for its whole length, and the descriptor has no
        // other owner.
        let len = unsafe {
            let file = libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if file < 0 {
                return None;
            }
            let len = libc::read(file, stat.as_mut_ptr().cast(), stat.len());
            libc::close(file);
            len
        };
        let stat = stat.get(..usize::try_from(len).ok()?)?;
        let after_name = stat
            .iter()
            .rposition(|byte| *byte == b')')?
            .checked_add(2)?;
        let mut fields = stat.get(after_name..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        // Fields 3 (the state) to 12.
        let faults = std::str::from_utf8(fields.nth(8)?).ok()?.parse().ok()?;
        Some(ThreadStat { state, faults })
    }
}

/// The terminal, as it is before a view is shown.
struct Screen {
    file: File,
    mode: libc::termios,
}

impl Screen {
    fn save() -> Option<Screen> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        let mode = tcgetattr(&file).ok()?.into();
        Some(Screen { file, mode })
    }

    /// Shows the cursor, leaves the alternate screen (xterm's private modes 25 and 1049), and restores the mode.
    /// In the watchdog, where the file has another number.
    fn restore(&self) {
        let text = b"\x1b[0m\x1b[?25h\x1b[?1049l";
        // SAFETY: `text` is readable for its whole length, and `mode` was filled in by the kernel.
        unsafe {
            libc::write(TERMINAL, text.as_ptr().cast(), text.len());
            libc::tcsetattr(TERMINAL, libc::TCSANOW, &raw const self.mode);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn a_read_is_over_after_its_limit() {
        let mut reads = ReadWatch::default();
        let mut checks =
            |number, faults, holds| (1..).find(|_| reads.is_over(number, faults, holds));
        assert_eq!(checks(1, 0, true), Some(100));
        assert_eq!(checks(2, 0, false), Some(1000));
        assert_eq!(checks(2, 0, false), Some(1), "it goes on");
        assert_eq!(checks(3, 0, true), Some(100), "another read begins anew");
        assert_eq!(checks(3, 1, true), Some(100), "a page came from the disk");
    }

    #[test]
    fn states_are_read_without_an_allocation() {
        // This thread runs while it reads.
        let own = ThreadStat::read(format_args!("/proc/thread-self/stat\0")).unwrap();
        assert_eq!(own.state, b'R');
        let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = text.rsplit_once(") ").unwrap();
        let faults = fields.split(' ').nth(9).unwrap().parse::<u64>().unwrap();
        assert!(own.faults <= faults && faults < own.faults + 1_000);
        assert!(ThreadStat::read(format_args!("/proc/self/nothing\0")).is_none());
        let long = "x".repeat(100);
        assert!(ThreadStat::read(format_args!("/proc/{long}\0")).is_none());
    }
}
