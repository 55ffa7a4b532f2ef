//! [`Board`]: what the watchdog process has to know of this process, in memory that both share.

use std::cell::Cell;
use std::io;
use std::ptr::{null_mut, with_exposed_provenance};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::libc;

use crate::os::{Pid, Tid};

/// The shared values. All zeros at first.
#[derive(Debug)]
pub struct Board {
    /// What all OS threads of this process hold by ptrace.
    pub held: AtomicUsize,
    /// The read that is going on, 0 if none is; see [`Reading`].
    read: AtomicU64,
    /// The process that is read.
    target: AtomicI32,
    /// How often others than the watchdog have continued this process by SIGCONT.
    pub continued: AtomicU64,
    /// The request to stop again: the value of `continued` that it is for, plus 1. 0 without a request.
    stop_request: AtomicU64,
}

/// Used until there is a watchdog.
static UNSHARED: Board = Board {
    held: AtomicUsize::new(0),
    read: AtomicU64::new(0),
    target: AtomicI32::new(0),
    continued: AtomicU64::new(0),
    stop_request: AtomicU64::new(0),
};
/// Null until there is a watchdog.
static SHARED: AtomicPtr<Board> = AtomicPtr::new(null_mut());

thread_local! {
    /// The number of the next read by this OS thread: its id in the upper half, a counter in the lower one.
    /// 0 if its reads are not watched.
    static NEXT_READ: Cell<u64> = const { Cell::new(0) };
}

/// The values of this process.
pub fn board() -> &'static Board {
    // SAFETY: it is null, or what `share` mapped for a `Board`, which stays mapped.
    unsafe { SHARED.load(Ordering::Acquire).as_ref() }.unwrap_or(&UNSHARED)
}

/// Moves the values to memory that is shared with processes that are forked from now on. To be called once,
/// while nothing is held and no other thread reads.
///
/// # Errors
/// Those of mmap(2).
pub fn share() -> io::Result<()> {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping at an address of the kernel's choice changes no other memory.
    let page = unsafe { libc::mmap(null_mut(), size_of::<Board>(), protection, flags, -1, 0) };
    if page == with_exposed_provenance::<libc::c_void>(usize::MAX).cast_mut() {
        return Err(Errno::last().into());
    }
    // The kernel's zeros are a valid `Board`, and a mapping is aligned to a page.
    SHARED.store(page.cast(), Ordering::Release);
    Ok(())
}

/// Lets the watchdog watch the reads of this OS thread: one that holds something, or that others wait for.
pub fn watch_this_thread() {
    if NEXT_READ.get() == 0 {
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        NEXT_READ.set(u64::from(tid) << 32);
    }
}

/// A system call that reads memory of a target, by a thread that is watched.
#[derive(Debug)]
pub struct Reading(());

impl Reading {
    /// To be kept until the call returns. `None`: this thread is not watched.
    pub fn begin(target: Pid) -> Option<Reading> {
        let number = NEXT_READ.get();
        if number == 0 {
            return None;
        }
        // The counter must not run into the id.
        let next = (number as u32).wrapping_add(1);
        NEXT_READ.set(number & !u64::from(u32::MAX) | u64::from(next));
        let board = board();
        board.target.store(target, Ordering::Relaxed);
        // If two threads read at a time, the later one is watched.
        board.read.store(number, Ordering::Relaxed);
        Some(Reading(()))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        board().read.store(0, Ordering::Relaxed);
    }
}

impl Board {
    /// Requests that this process stops once nothing is held. By the watchdog, before it continues this process
    /// after a SIGSTOP. `continued`: the count before this process was found to be stopped.
    pub fn request_stop(&self, continued: u64) {
        let request = continued.wrapping_add(1);
        self.stop_request.store(request, Ordering::SeqCst);
    }

    /// Takes the request to stop, if there is one. It is void if somebody has continued this process since it was
    /// found to be stopped.
    pub fn take_stop_request(&self) -> bool {
        let request = self.stop_request.swap(0, Ordering::SeqCst);
        let continued = self.continued.load(Ordering::SeqCst);
        request != 0 && request == continued.wrapping_add(1)
    }

    /// The read that is going on: a number that differs from those of other reads, the OS thread that reads,
    /// and the process that is read.
    pub fn reading(&self) -> Option<(u64, Tid, Pid)> {
        let number = self.read.load(Ordering::Relaxed);
        let tid = Tid::try_from(number >> 32).ok().filter(|tid| *tid != 0)?;
        Some((number, tid, self.target.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The board is of the whole process, in which other tests read meanwhile: only what this thread writes into
    // its own numbers is checked.

    /// A user's SIGCONT between the watchdog's check and its own SIGCONT was followed by a stop that nobody ended.
    #[test]
    fn a_request_to_stop_is_void_once_somebody_has_continued_us() {
        let board = Board {
            held: AtomicUsize::new(0),
            read: AtomicU64::new(0),
            target: AtomicI32::new(0),
            continued: AtomicU64::new(0),
            stop_request: AtomicU64::new(0),
        };
        assert!(!board.take_stop_request(), "there is none");
        board.request_stop(0);
        assert!(board.take_stop_request());
        assert!(!board.take_stop_request(), "it is taken once");
        board.continued.store(1, Ordering::SeqCst);
        board.request_stop(0);
        assert!(!board.take_stop_request(), "continued after the check");
        board.request_stop(1);
        assert!(board.take_stop_request());
    }

    #[test]
    fn reads_of_a_watched_thread_have_numbers_of_their_own() {
        let numbers = std::thread::spawn(|| {
            assert!(Reading::begin(7).is_none(), "this thread is not watched");
            watch_this_thread();
            let first = NEXT_READ.get();
            let reading = Reading::begin(7);
            assert!(reading.is_some());
            let second = NEXT_READ.get();
            watch_this_thread();
            assert_eq!(NEXT_READ.get(), second, "the counter goes on");
            NEXT_READ.set(first | u64::from(u32::MAX));
            drop(Reading::begin(7));
            (first, second, NEXT_READ.get())
        });
        let (first, second, after_overflow) = numbers.join().unwrap_or_default();
        assert_ne!(first, 0);
        assert_eq!(second, first + 1);
        assert_eq!(after_overflow, first, "the id of the thread is kept");
    }
}
