//! [`capture`]: the stacks of all threads of a process at one moment, and how to be sure that they are.
//!
//! A thread that is on a CPU and holds the GIL is paused, read and let go. A thread that sleeps in the
//! kernel is not touched: its stack cannot move, and stopping it could end its wait early. It is read
//! as it is, and the kernel is asked afterwards whether it has run meanwhile; if so it is looked at
//! again, and paused if it runs now. The same holds for one that waits for a CPU: it would have to get
//! one before it can stop. Nor is a thread that runs without the GIL, in C or on its way to
//! sleep: it is read and asked about in the same way. Native threads beside Python are never touched.

pub mod core;
pub mod merge;
pub mod options;
pub mod retry;
pub mod thread_sample;
pub mod tracked_threads;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::debug;

use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::walk::RawFrame;
use crate::cpython::threads::list::PythonThread;
use crate::os::ptrace::pause::{PauseError, PauseGuard};
use crate::os::{Pid, Tid};
use merge::merge;
use options::{CaptureOptions, Pausing, Snapshot};
use retry::LeafMatch;
use thread_sample::ThreadSample;
use tracked_threads::{TrackedThread, TrackedThreads};

/// How often a thread that moved while it was read is read again before it is given up.
const ATTEMPTS: u32 = 4;
/// The same for one that runs and is not to be paused: a try takes some microseconds. Of
/// 64, on 3.10, none was whole in up to eight looks of a hundred at a program that calls all the time.
const RUNNING_RETRIES: u32 = 192;
/// The same for one whose outermost frame is not linked at the moment: that is a few instructions in
/// CPython, but greenlet unlinks frames around each switch, which a program that does little else is
/// in a quarter of its time.
const UNLINKED_RETRIES: u32 = 16;
/// After how many tries a stack is believed that looks odd each time.
const SUSPECT_RETRIES: u32 = 8;
/// How long a thread runs on that stood where no stack can be read: a few instructions are enough.
const ONWARD: Duration = Duration::from_micros(20);

/// A snapshot that is being taken.
struct Capture<'a, F> {
    process: &'a mut PythonProcess,
    frames: &'a mut FrameTable,
    look: CaptureOptions,
    inspect: F,
    stack: Vec<RawFrame>,
    guards: Vec<PauseGuard>,
    /// Whether a thread may be let go as soon as it was read: it is in no other interpreter.
    lets_go: bool,
    /// Whether the kernel is asked for how long threads have run, and whether they have a CPU.
    asks_all: bool,
    errors: Vec<String>,
    torn: u64,
    pauses: Vec<Duration>,
}

/// Reads the stacks of all Python threads of a process, `now`. `watch` is what is remembered from the
/// look before. `inspect` is called for every frame while its thread still stands still, to read what
/// only holds then, such as local variables.
///
/// # Errors
/// When the process has ended, or its interpreters could not be listed.
pub fn capture<T>(
    process: &mut PythonProcess,
    watch: &mut TrackedThreads,
    frames: &mut FrameTable,
    look: CaptureOptions,
    now: Instant,
    inspect: impl FnMut(&PythonProcess, &RawFrame) -> T,
) -> Result<Snapshot<T>, SampleError> {
    process.begin_sample(watch.may_look_for_names(now));
    // What follows is asked and read after the list: a stack is read after the kernel was asked what its
    // thread does, so that one that fell asleep in between is not read from where it was before.
    if watch.is_old(now, look.gil) {
        watch.list(process, now)?;
    }
    let mut taking = Capture {
        process,
        frames,
        look,
        inspect,
        stack: std::mem::take(&mut watch.stack),
        guards: Vec::new(),
        lets_go: true,
        asks_all: false,
        errors: Vec::new(),
        torn: 0,
        pauses: Vec::new(),
    };
    taking.asks_all = look.cpu_time || watch.is_cpu_contended(now);
    watch.ask(taking.asks_all);
    if look.pausing == Pausing::Running {
        let running = watch.threads.iter().filter(|watched| watched.runs());
        let running = running.filter(|watched| taking.must_pause(watched));
        let tids = running.filter_map(|watched| watched.thread.os_thread_id);
        let mut tids: Vec<Tid> = tids.collect();
        // A thread may be inside several interpreters; and the state of one that has ended may point to
        // its successor for a moment.
        tids.sort_unstable();
        tids.dedup();
        taking.pause(&tids)?;
    }
    let interpreter = |watched: &TrackedThread| watched.thread.state.interpreter.addr;
    let mut interpreters = watch.threads.iter().map(interpreter);
    let first = interpreters.next();
    taking.lets_go = interpreters.all(|other| Some(other) == first);
    taking.errors.clone_from(&watch.errors);
    let mut parts = Vec::with_capacity(watch.threads.len());
    // Newest first is how the interpreter keeps them.
    for watched in watch.threads.iter_mut().rev() {
        parts.extend(taking.thread(watched)?);
    }
    taking.resume_all();
    for part in &mut parts {
        let name = &mut part.trace.thread.name;
        *name = taking.process.thread_name(&part.thread).or(name.take());
    }
    taking.process.shorten_new(taking.frames);
    watch.stack = taking.stack;
    watch.note_pauses(&taking.pauses, now);
    let mut on_cpu_ns = HashMap::new();
    if look.cpu_time {
        on_cpu_ns.extend(watch.threads.iter().filter_map(TrackedThread::on_cpu_ns));
    }
    let parts = parts.into_iter().map(|part| (part.trace, part.inspected));
    let (traces, inspected) = merge(parts, !taking.lets_go);
    Ok(Snapshot {
        traces,
        inspected,
        errors: taking.errors,
        torn: taking.torn,
        pauses: taking.pauses,
        on_cpu_ns,
    })
}

impl<T, F: FnMut(&PythonProcess, &RawFrame) -> T> Capture<'_, F> {
    /// Reads one thread; `None` when it has ended or could not be read.
    fn thread(
        &mut self,
        watched: &mut TrackedThread,
    ) -> Result<Option<ThreadSample<T>>, SampleError> {
        if watched.has_ended {
            return Ok(None);
        }
        if let Some(kept) = watched.kept() {
            return Ok(Some(ThreadSample::again(&watched.thread, kept)));
        }
        if watched.activity.is_none() {
            // It is new since the kernel was asked.
            self.refresh_state(watched, false)?;
        }
        let active = watched.runs();
        let seen = watched.activity;
        let waits_for_cpu = seen.is_some_and(|activity| activity.waits_for_cpu);
        let may_race = self.look.pausing == Pausing::Never && active;
        let mut attempts = if may_race { RUNNING_RETRIES } else { ATTEMPTS };
        let mut attempt = 0;
        let mut race = LeafMatch::new(self.look.skip_leaf_match);
        while attempt < attempts {
            attempt += 1;
            if watched.has_ended {
                // No thread, no stack, no error.
                return Ok(None);
            }
            // One that waits for a CPU does not get any further either, and needs longer each time.
            let onward = if may_race {
                Duration::ZERO
            } else {
                ONWARD * attempt
            };
            let may_go = attempt == 1 && !self.look.keep_paused;
            let was_held = self.is_paused(&watched.thread);
            let races = may_race.then_some(&mut race);
            let read = self.read(&mut watched.thread, active, races, may_go);
            let held = self.is_paused(&watched.thread);
            let part = read.as_ref().ok().and_then(Option::as_ref);
            let is_consistent = part.is_some_and(|part| {
                part.is_consistent && (!part.has_hidden_caller || attempt > SUSPECT_RETRIES)
            });
            let still = match (was_held, held) {
                (true, true) => true,
                // It was let go once it was copied, so the copy must have all of it.
                (true, false) => is_consistent,
                (false, _) => {
                    watched.did_not_run_since(is_consistent)
                        && (may_race || self.still_without_gil(watched))
                }
            };
            match read {
                Ok(Some(mut part)) if still && !part.is_unlinked => {
                    part.trace.thread.waits_for_cpu = waits_for_cpu;
                    if !held {
                        watched.keep(&part.trace);
                    }
                    self.resume_if_allowed(&watched.thread);
                    if !may_race || !watched.runs() {
                        return Ok(Some(part));
                    }
                    let leaf = part.leaf;
                    if let Some(part) = race.accept_if_leaf_matches(part, leaf) {
                        return Ok(Some(part));
                    }
                }
                Ok(Some(_)) if still => {
                    if active {
                        attempts = attempts.max(UNLINKED_RETRIES);
                    }
                    debug!("{}: a frame was not linked yet", watched.thread.label());
                    self.resume_and_wait(&watched.thread, onward);
                }
                Err(error) if error.process_is_gone() => return Err(SampleError::ProcessExited),
                Err(error) if error.program_is_replaced() => return Err(error.into()),
                Err(ReadError::ThreadEnded) => {
                    debug!("{} ended before it could be read", watched.thread.label());
                    watched.has_ended = true;
                    self.resume_if_allowed(&watched.thread);
                }
                Err(error) if still && active && attempt < attempts && error.may_pass() => {
                    debug!("{}: {error}", watched.thread.label());
                    self.resume_and_wait(&watched.thread, onward);
                }
                Err(error) if still => {
                    self.errors
                        .push(format!("{}: {error}", watched.thread.label()));
                    self.resume_if_allowed(&watched.thread);
                    return Ok(None);
                }
                _ => debug!("{} moved while it was read", watched.thread.label()),
            }
            if let Some(part) = race.take_fallback(attempt >= attempts) {
                return Ok(Some(part));
            }
            // One that is raced with is asked about now and then: it may have ended, or sleep by now.
            if !watched.has_ended && (!may_race || attempt % ATTEMPTS == 0) {
                self.refresh_state(watched, attempt >= ATTEMPTS / 2)?;
            }
        }
        self.torn += 1;
        debug!(
            "{}: its stack changed while it was read",
            watched.thread.label()
        );
        Ok(None)
    }

    /// Whether a thread that runs may change its stack at any time. One without the GIL is in C, or
    /// about to sleep, and a pause could end that sleep early.
    fn must_pause(&self, watched: &TrackedThread) -> bool {
        self.look.keep_paused
            || (!watched.waits_for_cpu() && self.process.holds_gil(&watched.thread) != Some(false))
    }

    /// Whether a thread that was not paused although it runs still has no GIL.
    fn still_without_gil(&self, watched: &TrackedThread) -> bool {
        !watched.runs() || !self.must_pause(watched)
    }

    /// Asks the kernel about a thread, and pauses it if it runs and must be; `force_pause`: if it runs.
    fn refresh_state(
        &mut self,
        watched: &mut TrackedThread,
        force_pause: bool,
    ) -> Result<(), SampleError> {
        watched.ask(self.asks_all);
        let thread = &watched.thread;
        match thread.os_thread_id {
            Some(tid)
                if self.look.pausing == Pausing::Running
                    && watched.runs()
                    && !self.is_paused(thread)
                    && (force_pause || self.must_pause(watched)) =>
            {
                self.pause(&[tid])
            }
            _ => Ok(()),
        }
    }

    fn pause(&mut self, tids: &[Tid]) -> Result<(), SampleError> {
        if tids.is_empty() {
            return Ok(());
        }
        let pid: Pid = self.process.pid();
        match PauseGuard::pause_running(pid, tids) {
            Ok(guard) => {
                self.guards.push(guard);
                Ok(())
            }
            Err(PauseError::Io { cause, .. }) if cause.raw_os_error() == Some(nix::libc::ESRCH) => {
                Ok(())
            }
            Err(error) => Err(SampleError::CannotPause(error.to_string())),
        }
    }

    fn is_paused(&self, thread: &PythonThread) -> bool {
        thread.os_thread_id.is_some_and(|tid| {
            let mut paused = self.guards.iter().flat_map(PauseGuard::paused);
            paused.any(|held| held == tid)
        })
    }

    /// Lets a thread go that was read, if it may be.
    fn resume_if_allowed(&mut self, thread: &PythonThread) {
        if self.lets_go {
            self.resume(thread);
        }
    }

    fn resume(&mut self, thread: &PythonThread) {
        let Some(tid) = thread.os_thread_id else {
            return;
        };
        for guard in &mut self.guards {
            self.pauses.extend(guard.resume(tid));
        }
    }

    /// Lets a thread go on that stood where its stack cannot be read.
    fn resume_and_wait(&mut self, thread: &PythonThread, onward: Duration) {
        self.resume(thread);
        // Let go and caught at once it would not get one instruction further.
        if !onward.is_zero() {
            std::thread::sleep(onward);
        }
    }

    fn resume_all(&mut self) {
        for mut guard in self.guards.drain(..) {
            let left: Vec<Tid> = guard.paused().collect();
            for tid in left {
                self.pauses.extend(guard.resume(tid));
            }
        }
    }

    /// Copies, walks and resolves one thread's stack; `None` for one of a thread that `races` that is of no
    /// use. `may_go`: a thread that is paused is let go if the copy can be enough.
    fn read(
        &mut self,
        thread: &mut PythonThread,
        active: bool,
        mut races: Option<&mut LeafMatch<ThreadSample<T>>>,
        may_go: bool,
    ) -> Result<Option<ThreadSample<T>>, ReadError> {
        if self.look.gil || self.look.keep_paused {
            // Who collected garbage before he was paused may run Python since.
            self.process.refresh_gil_state(thread);
        }
        let is_enough = self.process.copy(thread);
        if may_go && is_enough {
            self.resume_if_allowed(thread);
        }
        let Capture {
            process,
            frames,
            stack,
            inspect,
            ..
        } = self;
        let may_race = races.is_some();
        let walk = process.walk(thread, may_race, stack)?;
        let race = races.as_deref_mut();
        if race.is_some_and(|race| !race.observe(walk, stack)) {
            return Ok(None);
        }
        let resolved = process.resolve(thread, stack, frames)?;
        if let Some(race) = races.filter(|_| resolved.is_new) {
            race.read_code();
        }
        // A frame that runs no code object has no id: it is left out of both lists. Who wants to keep
        // nothing of a frame need not be shown all of them.
        let wanted = if size_of::<T>() == 0 { 0 } else { stack.len() };
        let shown = stack.iter().zip(process.shown(thread)).take(wanted);
        let inspected = shown
            .filter(|(_, is_shown)| *is_shown)
            .map(|(frame, _)| inspect(process, frame))
            .collect();
        let mut part = ThreadSample::new(thread, active, process.pid(), walk, resolved, stack);
        part.inspected = inspected;
        part.is_unlinked = part.is_unlinked && !process.c_entry_is_on_stack(thread, stack);
        part.has_hidden_caller &= may_race;
        Ok(Some(part))
    }
}
