//! Requests that may block for ever, done by a child process that can be given up.
//!
//! A page that no one resolves (userfaultfd(2)), a file on a FUSE or NFS mount whose server is gone, and the
//! files of /proc that take the lock of a process's memory map block the task that reads them, often in
//! state D, where not even SIGKILL ends it. A thread in that state prevents the exit of its whole process.
//! So these requests are sent to a child process ([`child`]), and the caller waits for the reply until a
//! [`Deadline`]. Then the child is killed and abandoned, and the next request gets another one.
//!
//! A request takes about 10 µs more than the same call made directly.

mod child;
mod wire;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Pid;
use super::deadline::Deadline;
use super::own_children;
use wire::{MAX_DATA, MAX_PATH, MAX_REPLY, Operation, REPLY_HEADER, Reply, Request};

/// The most children that are blocked at the same time. Above it, requests fail at once.
const MAX_ABANDONED: usize = 16;
/// The most children that wait for the next request.
const MAX_IDLE: usize = 4;
/// For how many more times of its limit a child is waited for that did not get a CPU.
const STARVED_FACTOR: u32 = 10;
/// The time for opening a file and reading its first page.
pub const FILE_LIMIT: Duration = Duration::from_secs(1);

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// What was asked for does not answer: the child with this id was blocked. See [`is_blocked`].
    #[error("it does not answer")]
    Blocked(Pid),
    /// The deadline was over before.
    #[error("there was no time left to read it")]
    TooLate,
    /// The child did not get a CPU in time.
    #[error("there was no CPU to read it in time")]
    Starved,
    /// So many children are blocked that no further one is started.
    #[error("too much else does not answer")]
    TooManyBlocked,
    /// The child ended in the middle of a reply.
    #[error("the process that read it has ended")]
    Died,
    /// The system refuses another process.
    #[error("no process could be started to read it")]
    CannotStart,
}

impl From<NoReply> for io::Error {
    fn from(why: NoReply) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, why)
    }
}

/// Reads memory of a process by pid, or through its open `/proc/PID/mem` where only that is permitted. Returns
/// the bytes read, possibly too few.
///
/// # Errors
/// The outer error when there is no reply; the inner one is that of the system call.
pub fn read_memory(
    mem: Option<&File>,
    pid: Pid,
    addr: u64,
    buf: &mut [u8],
    deadline: Deadline,
) -> Result<io::Result<usize>, NoReply> {
    let request = Request {
        operation: Operation::Memory,
        pid,
        addr,
        len: buf.len().min(MAX_DATA) as u64,
    };
    let mut result = Ok(0);
    ask(
        &request,
        None,
        mem.map(AsRawFd::as_raw_fd),
        deadline,
        Patience::None,
        |reply, data| {
            result = outcome(reply).map(|_| {
                let len = data.len().min(buf.len());
                if let (Some(to), Some(from)) = (buf.get_mut(..len), data.get(..len)) {
                    to.copy_from_slice(from);
                }
                len
            });
            ControlFlow::Continue(())
        },
    )?;
    Ok(result)
}

/// Whether there is a regular file at a path.
///
/// # Errors
/// When there is no reply.
pub fn is_file(path: &Path, deadline: Deadline) -> Result<bool, NoReply> {
    let mode = mode_of(path, deadline)?;
    Ok(mode.is_ok_and(|mode| mode as libc::mode_t & libc::S_IFMT == libc::S_IFREG))
}

/// Whether anything is at a path.
///
/// # Errors
/// When there is no reply.
pub fn exists(path: &Path, deadline: Deadline) -> Result<bool, NoReply> {
    Ok(mode_of(path, deadline)?.is_ok())
}

/// The type and mode of what is at a path (stat(2)).
fn mode_of(path: &Path, deadline: Deadline) -> Result<io::Result<u64>, NoReply> {
    let request = of_path(Operation::Mode, 0);
    let path = Some(path.as_os_str());
    let mut mode = Ok(0);
    ask(
        &request,
        path,
        None,
        deadline,
        Patience::Starved,
        |reply, _| {
            mode = outcome(reply);
            ControlFlow::Continue(())
        },
    )?;
    Ok(mode)
}

/// Reads a file of /proc, at most `max` bytes of it.
///
/// # Errors
/// The outer error when there is no reply; `NotFound` when its process has ended.
pub fn read_file(
    path: &Path,
    max: u64,
    deadline: Deadline,
) -> Result<io::Result<Vec<u8>>, NoReply> {
    let mut bytes = Vec::new();
    let result = read(Operation::Read, path, max, deadline, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(result.map(|()| bytes))
}

/// Reads a file of /proc to its end, without having all of it in memory: `take` is called for each piece, and its
/// first error is returned.
///
/// # Errors
/// As for [`read_file`].
pub fn read_pieces(
    path: &Path,
    deadline: Deadline,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<io::Result<()>, NoReply> {
    read(Operation::Read, path, u64::MAX, deadline, take)
}

/// Whether a regular file can be opened and its start be read, or is refused, in time; `false` when it does
/// not answer. To be asked before the same is done by a thread of ours.
pub fn open_file_answers(path: &Path, deadline: Deadline) -> bool {
    file_answers(path, 1, deadline)
}

/// As [`open_file_answers`], for the first `max` bytes.
pub fn file_answers(path: &Path, max: u64, deadline: Deadline) -> bool {
    let request = of_path(Operation::ReadRegular, max);
    let path = Some(path.as_os_str());
    let reply = ask(&request, path, None, deadline, Patience::Starved, |_, _| {
        ControlFlow::Continue(())
    });
    // Without a child it is not known, and most files answer.
    matches!(reply, Ok(()) | Err(NoReply::CannotStart))
}

/// Whether something did not answer since we were started.
pub fn has_blocked() -> bool {
    HAS_BLOCKED.load(Ordering::Relaxed)
}

fn of_path(operation: Operation, len: u64) -> Request {
    Request {
        operation,
        pid: 0,
        addr: 0,
        len,
    }
}

fn read(
    operation: Operation,
    path: &Path,
    max: u64,
    deadline: Deadline,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<io::Result<()>, NoReply> {
    let request = of_path(operation, max);
    let mut result = Ok(());
    let path = Some(path.as_os_str());
    let answered = ask(
        &request,
        path,
        None,
        deadline,
        Patience::Starved,
        |reply, data| {
            result = outcome(reply).and_then(|_| take(data));
            match result {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        },
    );
    match result {
        Ok(()) => answered.map(|()| result),
        Err(_) => Ok(result),
    }
}

fn outcome(reply: Reply) -> io::Result<u64> {
    match reply.errno {
        0 => Ok(reply.value),
        // The process of a file of /proc has ended; std has no kind for that.
        libc::ESRCH => Err(io::ErrorKind::NotFound.into()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Whether a child that did not get a CPU is waited for beyond the deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// A thread of the target may be paused.
    None,
    Starved,
}

/// Sends a request and calls `take` for each packet of the reply, until it wants no more.
fn ask(
    request: &Request,
    path: Option<&OsStr>,
    fd: Option<RawFd>,
    deadline: Deadline,
    patience: Patience,
    mut take: impl FnMut(Reply, &[u8]) -> ControlFlow<()>,
) -> Result<(), NoReply> {
    let path = path.map(OsStrExt::as_bytes).unwrap_or_default();
    if path.len() >= MAX_PATH || path.contains(&0) {
        // Such a path leads nowhere, as the kernel would say.
        let refused = Reply {
            errno: libc::ENAMETOOLONG,
            ..Reply::default()
        };
        let _ = take(refused, &[]);
        return Ok(());
    }
    if deadline.is_over() {
        return Err(NoReply::TooLate);
    }
    let header = request.encode();
    let has_begun = Cell::new(false);
    let mut take = |reply: Reply, data: &[u8]| {
        has_begun.set(true);
        take(reply, data)
    };
    // All children that wait may have died meanwhile: with the thread that forked them (PR_SET_PDEATHSIG), or
    // by the OOM killer. Another one gets the same request.
    for _ in 0..MAX_IDLE + 2 {
        let reader = take_reader()?;
        if wire::send(reader.socket.as_raw_fd(), &header, path, fd).is_err() {
            reader.abandon();
            continue;
        }
        match reader.replies(deadline, patience, &mut take) {
            Ok(ControlFlow::Continue(())) => {
                put_back(reader);
                return Ok(());
            }
            // It still sends the rest of the reply.
            Ok(ControlFlow::Break(())) => {
                reader.abandon();
                return Ok(());
            }
            Err(Some(why)) => {
                if matches!(why, NoReply::Blocked(_)) {
                    HAS_BLOCKED.store(true, Ordering::Relaxed);
                }
                reader.abandon();
                return Err(why);
            }
            Err(None) => {
                reader.abandon();
                if has_begun.get() {
                    return Err(NoReply::Died);
                }
            }
        }
    }
    Err(NoReply::CannotStart)
}

#[derive(Debug)]
struct Reader {
    pid: Pid,
    socket: OwnedFd,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Reader>,
    /// Killed, and not yet reaped: they may be blocked for ever.
    abandoned: Vec<Pid>,
}

static HAS_BLOCKED: AtomicBool = AtomicBool::new(false);
static POOL: Mutex<Pool> = Mutex::new(Pool {
    idle: Vec::new(),
    abandoned: Vec::new(),
});

fn take_reader() -> Result<Reader, NoReply> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.abandoned.retain(|pid| !has_been_reaped(*pid));
    if let Some(reader) = pool.idle.pop() {
        return Ok(reader);
    }
    if pool.abandoned.len() >= MAX_ABANDONED {
        return Err(NoReply::TooManyBlocked);
    }
    // Locked during the fork, so that two threads do not start one each.
    Reader::start().map_err(|error| {
        log::info!("no process for blocking reads: {error}");
        NoReply::CannotStart
    })
}

fn put_back(reader: Reader) {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.idle.len() < MAX_IDLE {
        pool.idle.push(reader);
    } else {
        drop(pool);
        reader.abandon();
    }
}

/// Whether a child that was given up is still blocked: what it was asked for would block the next one too.
pub fn is_blocked(child: Pid) -> bool {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.abandoned.retain(|pid| !has_been_reaped(*pid));
    pool.abandoned.contains(&child)
}

/// Whether a killed child is gone, without waiting for it.
fn has_been_reaped(pid: Pid) -> bool {
    // SAFETY: no status is asked for, so no memory of ours is written. It is our child: its pid is not
    // reused before this succeeds.
    let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    // An error (ECHILD) when SIGCHLD is ignored: the kernel reaps it by itself.
    if result != 0 {
        own_children::forget(pid);
    }
    result != 0
}

/// Ends and reaps the children that are idle. Else they would end right after us and be left to process 1, which
/// reaps nothing in many containers.
extern "C" fn end_idle() {
    // Not locked: a thread that is blocked must not delay our exit.
    let Ok(mut pool) = POOL.try_lock() else {
        return;
    };
    for reader in pool.idle.drain(..) {
        if has_been_reaped(reader.pid) {
            continue;
        }
        // SAFETY: it is our child, was not reaped just now, and waits in a call that SIGKILL ends; no status
        // is asked for.
        unsafe {
            libc::kill(reader.pid, libc::SIGKILL);
            libc::waitpid(reader.pid, std::ptr::null_mut(), 0);
        }
    }
    pool.abandoned.retain(|pid| !has_been_reaped(*pid));
}

impl Reader {
    fn start() -> io::Result<Reader> {
        static AT_EXIT: Once = Once::new();

        AT_EXIT.call_once(|| {
            // SAFETY: the function has no arguments and may run at any time.
            let _ = unsafe { libc::atexit(end_idle) };
        });
        let mut pair = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `pair` is a place for two descriptors.
        let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) };
        Errno::result(made)?;
        let [ours, theirs] = pair;
        // SAFETY: the kernel has just opened both, and they have no other owner.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        // SAFETY: it takes nothing.
        let parent = unsafe { libc::getpid() };
        own_children::start(|| {
            // SAFETY: the child calls nothing but `serve`, which makes only calls that are safe after a fork of
            // a process with threads, and never returns.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: this process was just forked.
                    unsafe { child::serve(theirs.as_raw_fd(), parent) }
                }
                pid if pid > 0 => Ok((pid, Reader { pid, socket: ours })),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }

    /// Calls `take` for each packet of a reply; `Break`: there is more of it, which it does not want. `Err(None)`:
    /// the child is dead.
    fn replies(
        &self,
        deadline: Deadline,
        patience: Patience,
        take: &mut impl FnMut(Reply, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Option<NoReply>> {
        let mut bytes = [0; MAX_REPLY];
        let mut extra = match patience {
            Patience::None => 0,
            Patience::Starved => STARVED_FACTOR,
        };
        let limit = deadline.left().unwrap_or(FILE_LIMIT);
        let mut deadline = deadline;
        loop {
            while !self.is_readable(deadline) {
                let is_starved = self.waits_for_cpu();
                if !is_starved {
                    return Err(Some(NoReply::Blocked(self.pid)));
                }
                if extra == 0 {
                    return Err(Some(NoReply::Starved));
                }
                extra -= 1;
                deadline = Deadline::after(limit);
            }
            let received = wire::receive(self.socket.as_raw_fd(), &mut bytes, 0);
            let Ok((len, _)) = received else {
                return Err(None);
            };
            let packet = bytes.get(..len).unwrap_or_default();
            let Some(reply) = Reply::decode(packet) else {
                return Err(None);
            };
            let flow = take(reply, packet.get(REPLY_HEADER..).unwrap_or_default());
            if !reply.more {
                return Ok(ControlFlow::Continue(()));
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Waits until there is a reply, or the child is dead; `false` at the deadline.
    fn is_readable(&self, deadline: Deadline) -> bool {
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        loop {
            // Rounded up, so that the last wait is not a busy one.
            let left = deadline
                .left()
                .map(|left| left.as_micros().div_ceil(1000))
                .map(|millis| PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX));
            match poll(&mut sockets, left.unwrap_or(PollTimeout::NONE)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::EINTR) if !deadline.is_over() => {}
                Err(_) => return false,
            }
        }
    }

    /// Whether the child is ready to run rather than blocked.
    fn waits_for_cpu(&self) -> bool {
        let stat = std::fs::read(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let name_end = stat.iter().rposition(|&byte| byte == b')');
        let state = name_end.and_then(|end| stat.get(end.checked_add(2)?));
        state == Some(&b'R')
    }

    /// Kills it, and leaves it to be reaped whenever it ends.
    fn abandon(self) {
        if has_been_reaped(self.pid) {
            return;
        }
        // SAFETY: it is our child and was not reaped just now, so that the pid is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.abandoned.push(self.pid);
    }
}

#[cfg(test)]
mod tests;
