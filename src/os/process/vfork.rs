//! Whether a process still uses the memory of its parent: the child of a `vfork` or `posix_spawn` does until
//! it calls `exec`, for as long as that takes on a slow disk. What is in that memory is the parent's.

use std::fs;
use std::io;

use nix::libc;

use super::{TargetProcess, living_thread};
use crate::os::procfs::mm_layout::MmLayout;
use crate::os::procfs::stat::ProcStat;
use crate::os::procfs::tasks;
use crate::os::thread::state::RunState;
use crate::os::{Pid, Tid};

/// Compare address spaces (`KCMP_VM` in the kernel's include/uapi/linux/kcmp.h).
const KCMP_VM: libc::c_int = 1;
/// Parts of the names of the kernel functions in which a thread waits for its vfork: `kernel_clone`, before
/// 5.10 `_do_fork`, and `wait_for_vfork_done` where the compiler did not inline it (kernel/fork.c).
const WAITS_IN: [&str; 2] = ["clone", "fork"];

impl TargetProcess {
    /// The parent, if this process runs in its memory.
    pub fn memory_lender(&self) -> Option<Pid> {
        let parent = ProcStat::of_thread(self.pid, self.view).ok()?.parent;
        let shares = match have_same_memory(self.view, living_thread(parent)?) {
            Ok(same) => same,
            // Some kernels have no kcmp(2), and the seccomp filter of a container may refuse it.
            Err(_) => waits_for_vfork(parent, self.pid),
        };
        shares.then_some(parent)
    }
}

/// Whether two living threads use the same memory.
///
/// # Errors
/// Without permission to read one of them, or where the kernel or a filter does not permit the call.
fn have_same_memory(one: Tid, other: Tid) -> io::Result<bool> {
    // SAFETY: kcmp(2) takes numbers only, and changes nothing.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    match order {
        -1 => Err(io::Error::last_os_error()),
        order => Ok(order == 0),
    }
}

/// Whether the thread that made the child waits until it calls `exec`. Reading names of kernel functions
/// takes permission; without it a thread that cannot be woken is taken for one that waits.
fn waits_for_vfork(parent: Pid, child: Pid) -> bool {
    let layout = MmLayout::of(child);
    if layout.is_none() || layout != MmLayout::of(parent) {
        return false;
    }
    let mut tids = tasks::thread_ids(parent).unwrap_or_default().into_iter();
    tids.any(|tid| {
        let read = |name| fs::read_to_string(format!("/proc/{parent}/task/{tid}/{name}"));
        // Not every kernel lists the children of a thread.
        let made_it = read("children").map_or(true, |children| {
            children
                .split_ascii_whitespace()
                .any(|pid| pid.parse() == Ok(child))
        });
        let waits_in = read("wchan").unwrap_or_default();
        let is_vfork = WAITS_IN.iter().any(|name| waits_in.contains(name));
        made_it
            && (is_vfork || matches!(waits_in.trim(), "" | "0"))
            && RunState::of_thread(parent, tid).is_ok_and(|state| state == RunState::DiskWait)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::io::{Read, Write};
    use std::process::Command;

    use nix::sched::{CloneFlags, clone};
    use nix::sys::signal::Signal;

    use super::*;
    use crate::os::test_support::Cat;

    #[test]
    fn a_child_in_its_parents_memory_is_told_from_a_process() {
        let own = std::process::id().cast_signed();
        let cat = Cat::start(&mut Command::new("cat"));
        let of_cat = TargetProcess::open(cat.pid()).unwrap();
        assert_eq!(of_cat.memory_lender(), None);
        assert!(!waits_for_vfork(own, cat.pid()));

        let (mut started, mut start) = io::pipe().unwrap();
        let (mut hold, release) = io::pipe().unwrap();
        let mut stack = vec![0_u8; 1 << 18];
        let parent = std::thread::spawn(move || {
            let child = Box::new(|| {
                let own = std::process::id().to_ne_bytes();
                let told = start.write_all(&own).is_ok();
                // Until the other end is closed.
                let _ = hold.read(&mut [0]);
                isize::from(!told)
            });
            // With files in common, the child has no other end of its own.
            let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
            // SAFETY: this thread sleeps until the child has ended, which makes system calls only, on a
            // stack of its own.
            let pid = unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) };
            nix::sys::wait::waitpid(pid.unwrap(), None).unwrap();
        });
        let mut pid = [0; 4];
        started.read_exact(&mut pid).unwrap();
        let child = Pid::from_ne_bytes(pid);
        let target = TargetProcess::open(child).unwrap();
        assert_eq!(target.memory_lender(), Some(own));
        assert!(have_same_memory(child, own).unwrap_or(true));
        assert!(waits_for_vfork(own, child));
        drop(release);
        parent.join().unwrap();
    }
}
