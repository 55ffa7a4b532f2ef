//! Tests of [`super::PauseGuard`] on real processes: none may lose a signal, hang or stay stopped.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::*;
use crate::os::procfs::status::Status;
use crate::os::procfs::tasks::thread_ids;
use crate::os::test_support::Program;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const BUSY: &str = "
import threading
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
print('ready')
spin()";

#[test]
fn paused_threads_are_stopped_and_run_on() {
    let program = Program::start(BUSY);
    let tids = program.tids();
    assert_eq!(tids.len(), 4);
    for _ in 0..20 {
        // On a crowded machine one may not stop within the limit for a group.
        let mut guards = (0..100).map(|_| PauseGuard::pause(program.pid(), &tids).unwrap());
        let guard = guards.find(|guard| guard.not_paused().is_empty()).unwrap();
        assert!(guard.paused().eq(tids.iter().copied()));
        for &tid in &tids {
            let state = RunState::of_thread(program.pid(), tid).unwrap();
            assert_eq!(state, RunState::Traced);
        }
        drop(guard);
        for &tid in &tids {
            let status = Status::of_thread(program.pid(), tid).unwrap();
            assert_eq!(status.tracer, None);
        }
    }
    assert!(PauseGuard::settle());
}

#[test]
fn other_threads_are_not_paused() {
    let program = Program::start(BUSY);
    let [first, rest @ ..] = &program.tids()[..] else {
        unreachable!()
    };
    let guard = PauseGuard::pause(program.pid(), &[*first]).unwrap();
    for &tid in rest {
        let state = RunState::of_thread(program.pid(), tid).unwrap();
        assert_ne!(state, RunState::Traced);
    }
    drop(guard);
}

#[test]
fn a_stopped_program_stays_stopped() {
    let mut program = Program::start("print('ready'); print(input())");
    program.signal(Signal::SIGSTOP);
    while program.state() != RunState::Stopped {}
    for _ in 0..20 {
        let guard = PauseGuard::pause(program.pid(), &[program.pid()]).unwrap();
        assert_eq!(guard.paused().count(), 1);
        drop(guard);
        while program.state() != RunState::Stopped {}
    }
    program.write("hello\n");
    assert_eq!(program.state(), RunState::Stopped);
    program.signal(Signal::SIGCONT);
    assert_eq!(program.line(), "hello");
}

#[test]
fn a_program_that_is_stopped_and_continued_while_paused_runs_on() {
    let mut program = Program::start("print('ready'); print(input())");
    let guard = PauseGuard::pause(program.pid(), &[program.pid()]).unwrap();
    program.signal(Signal::SIGSTOP);
    program.signal(Signal::SIGCONT);
    drop(guard);
    program.write("hello\n");
    assert_eq!(program.line(), "hello");
}

/// Answers every signal with a line; 37 is a real-time signal.
const ANSWERS: &str = "
import os, signal
for number in (signal.SIGUSR1, 37):
    signal.signal(number, lambda number, frame: os.write(1, b'%d\\n' % number))
print('ready')
while True: sum(range(1000))";

#[test]
fn signals_sent_while_pausing_are_delivered() {
    let mut program = Program::start(ANSWERS);
    let pid = program.pid();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let guard = PauseGuard::pause(pid, &[pid]).unwrap();
                assert_eq!(guard.not_paused(), []);
            }
            assert!(PauseGuard::settle());
        });
        for _ in 0..150 {
            for number in [Signal::SIGUSR1 as i32, 37] {
                let number = number.to_string();
                let sent = Command::new("kill")
                    .args(["-s", &number, &pid.to_string()])
                    .status();
                assert!(sent.unwrap().success());
                assert_eq!(program.line(), number);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_program_that_is_killed_while_paused_ends() {
    let mut program = Program::start(BUSY);
    let tids = program.tids();
    let guard = PauseGuard::pause(program.pid(), &tids).unwrap();
    program.signal(Signal::SIGKILL);
    drop(guard);
    while !PauseGuard::settle() {
        std::thread::yield_now();
    }
    // Its end is left to its parent.
    let status = program.child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
}

#[test]
fn exec_in_another_thread_while_one_is_paused() {
    let mut program = Program::start(
        "
import threading, os, sys, time
# It sleeps without the GIL, which the other thread needs.
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print('ready')
sys.stdin.readline()
os.write(1, b'now\\n')
os.execvp('cat', ['cat'])",
    );
    let pid = program.pid();
    let other = program.tids().into_iter().find(|tid| *tid != pid).unwrap();
    let guard = PauseGuard::pause(pid, &[other]).unwrap();
    assert_eq!(guard.paused().count(), 1);
    drop(program.stdin.as_mut().map(|stdin| stdin.write_all(b"go\n")));
    assert_eq!(program.line(), "now");
    // Now or soon it executes cat, for which the kernel kills the paused thread.
    while RunState::of_thread(pid, other).is_ok_and(|state| state == RunState::Traced) {}
    drop(guard);
    while !PauseGuard::settle() {
        std::thread::yield_now();
    }
    program.write("hello\n");
    assert_eq!(program.line(), "hello");
}

#[test]
fn threads_that_come_and_go_are_no_error() {
    let mut program = Program::start(
        "
import threading
print('ready')
for _ in range(600):
    threads = [threading.Thread(target=sum, args=(range(2000),)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print('done')
input()",
    );
    let done = AtomicBool::new(false);
    let pid = program.pid();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pauses = 0;
            while !done.load(Ordering::Relaxed) {
                let tids = thread_ids(pid).unwrap();
                let guard = PauseGuard::pause(pid, &tids).unwrap();
                // On a crowded machine perhaps none stops in time. Each is reported, one way or the other.
                let paused = guard.paused().count();
                assert_eq!(paused + guard.not_paused().len(), tids.len());
                pauses += paused;
            }
            assert!(pauses > 0);
        });
        assert_eq!(program.line(), "done");
        done.store(true, Ordering::Relaxed);
    });
    program.write("\n");
    assert!(program.child.wait().unwrap().success());
}

#[test]
fn an_uninterruptible_thread_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The new process opens the FIFO before it executes true, and waits there for a writer; until
    // the exec, the kernel holds the parent in a disk wait.
    let mut program = Program::start(&format!(
        "
import os
print('ready')
os.posix_spawn('/bin/true', ['true'], {{}}, file_actions=[
    (os.POSIX_SPAWN_OPEN, 9, {fifo:?}, os.O_RDONLY, 0)])
print('spawned')
print(input())"
    ));
    while program.state() != RunState::DiskWait {}
    let pid = program.pid();
    let expected = [(pid, NotPaused::Uninterruptible)];
    let guard = PauseGuard::pause(pid, &[pid]).unwrap();
    assert_eq!(guard.not_paused(), expected);
    assert_eq!(Status::of_process(pid).unwrap().tracer, None);

    // The same when the thread gets there between the read of its state and the seizing.
    let threads = [Traced { pid, tid: pid }];
    let guard = PauseGuard::seize(&threads, Duration::from_millis(5)).unwrap();
    assert_eq!(guard.not_paused(), expected);
    drop(guard);
    assert!(!PauseGuard::settle());
    let again = PauseGuard::seize(&threads, Duration::from_millis(5)).unwrap();
    assert_eq!(again.not_paused(), expected);
    drop(again);

    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    while !PauseGuard::settle() {
        std::thread::yield_now();
    }
    assert_eq!(program.line(), "spawned");
    program.write("hello\n");
    assert_eq!(program.line(), "hello");
    assert_eq!(Status::of_process(pid).unwrap().tracer, None);
}

/// A pause ended `epoll_wait` early, with EINTR.
#[test]
fn a_wait_interrupted_by_a_pause_is_restarted() {
    let mut program = Program::start(
        "
import ctypes, select
epoll = select.epoll()
epoll.register(0, select.EPOLLIN)
events = ctypes.create_string_buffer(64)
print('ready')
result = ctypes.CDLL(None, use_errno=True).epoll_wait(epoll.fileno(), events, 1, -1)
print(result, ctypes.get_errno())",
    );
    let pid = program.pid();
    for _ in 0..20 {
        // In a disk wait it still loads what it runs.
        while matches!(program.state(), RunState::Running | RunState::DiskWait) {}
        assert_eq!(program.state(), RunState::Sleeping, "it has ended");
        let guard = PauseGuard::pause(pid, &[pid]).unwrap();
        assert_eq!(guard.not_paused(), []);
    }
    program.write("\n");
    assert_eq!(program.line(), "1 0");
}

/// A process that holds a guard until it is killed, at the latest when this is dropped.
struct Holder(nix::unistd::Pid);

impl Holder {
    /// Forks, since a guard is bound to the thread and the process that made it, and waits until the
    /// child has paused the process.
    fn start(pid: Pid) -> Holder {
        let (mut ready, mut announce) = std::io::pipe().unwrap();
        // SAFETY: the child does what this thread could do: glibc leaves its allocator usable after a
        // fork, and `PauseGuard` has no state but this thread's. It never returns into the test.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => {
                drop(announce);
                let holder = Holder(child);
                // Fails if the child could not pause it.
                ready.read_exact(&mut [0]).unwrap();
                holder
            }
            nix::unistd::ForkResult::Child => {
                close_all_but(announce.as_raw_fd());
                let guard = PauseGuard::pause(pid, &[pid]);
                if guard
                    .as_ref()
                    .is_ok_and(|guard| guard.paused().count() == 1)
                {
                    let _ = announce.write_all(b".");
                    loop {
                        nix::unistd::pause();
                    }
                }
                // SAFETY: it ends the process, without the test program's exit handlers.
                unsafe { nix::libc::_exit(1) }
            }
        }
    }

    fn id(&self) -> i32 {
        self.0.as_raw()
    }
}

/// Closes the files that a fork has inherited, except the standard streams and `kept`: a program that another
/// test copies at that moment could not be executed while it is open here for writing (ETXTBSY).
fn close_all_but(kept: i32) {
    let kept = kept.cast_unsigned();
    // SAFETY: only for a fork that uses none of these files afterwards.
    unsafe {
        nix::libc::close_range(3, kept - 1, 0);
        nix::libc::close_range(kept + 1, u32::MAX, 0);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.0, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.0, None);
    }
}

#[test]
fn a_killed_profiler_leaves_its_target_running() {
    let mut program = Program::start("print('ready')\nwhile True: print(input())");
    let holder = Holder::start(program.pid());
    assert_eq!(program.state(), RunState::Traced);
    drop(holder);
    program.write("hello\n");
    assert_eq!(program.line(), "hello");
    assert!(!matches!(
        program.state(),
        RunState::Traced | RunState::Stopped
    ));
}

#[test]
fn another_tracer_is_named() {
    let program = Program::start("print('ready'); input()");
    let holder = Holder::start(program.pid());
    let error = PauseGuard::pause(program.pid(), &[program.pid()]).unwrap_err();
    let expected = format!(
        "process {} is being traced by process {} (",
        program.pid(),
        holder.id()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_missing_thread_is_gone() {
    let program = Program::start("print('ready'); input()");
    let guard = PauseGuard::pause(program.pid(), &[i32::MAX]).unwrap();
    assert_eq!(guard.not_paused(), [(i32::MAX, NotPaused::Gone)]);
}

#[test]
fn a_resumed_thread_runs_while_the_guard_lives() {
    let program = Program::start("print('ready')\nwhile True: pass");
    let mut guard = PauseGuard::pause(program.pid(), &[program.pid()]).unwrap();
    assert_eq!(guard.resume(program.pid() + 1), None);
    assert_eq!(guard.paused().count(), 1);
    assert!(guard.resume(program.pid()).is_some());
    assert_eq!(guard.paused().count(), 0);
    let state = RunState::of_thread(program.pid(), program.pid()).unwrap();
    assert!(!matches!(state, RunState::Traced | RunState::Stopped));
}
