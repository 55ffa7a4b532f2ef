//! [`ThreadReader`]: reads one thread until its stack can be accepted.
//!
//! A thread that is on a CPU and holds the GIL is paused, read and resumed. A thread that sleeps in the
//! kernel is not touched: its stack cannot change, and stopping it could end its wait early. It is read
//! as it is, and afterwards the kernel reports whether it has run meanwhile; if so it is read again, and
//! paused if it runs now. The same holds for a thread that waits for a CPU: it would have to get one
//! before it can stop. A thread that runs without the GIL, in C or on its way to sleep, is treated
//! in the same way. Native threads are never touched.
//!
//! Reading ends in time. When threads have been paused for as long as they may be, all of them are resumed,
//! and from then on this sample reads as if it may not pause at all. When the time of the sample is over,
//! what has not been read is an error.

use std::time::Duration;

use log::debug;

use super::inspect::Inspect;
use super::options::{CaptureOptions, Pausing};
use super::pausing::ThreadControl;
use super::retry::{LeafMatch, leaf_addr};
use super::thread_sample::ThreadSample;
use super::tracked_threads::{ActivitySource, TrackedThread};
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::frame::RawFrame;
use crate::cpython::process::Interpreter;
use crate::cpython::read::error::{ReadError, SampleError, milliseconds};
use crate::cpython::stack::evidence::{
    Attempts, Decision, Evidence, Mode, Outcome, ThreadState, decide,
};
use crate::cpython::threads::list::PythonThread;
use crate::os::deadline::Deadline;
use crate::os::process::image::ProcessImage;

/// For how long a thread without a readable stack is resumed: a few instructions are enough.
const RUN_ON: Duration = Duration::from_micros(20);

/// There was no time left.
struct OutOfTime;

/// A thread's stack with what was inspected of it.
type Sample<T, I> = ThreadSample<<I as Inspect<T>>::Value>;

/// The same, and how it was read.
type Read<T, I> = (Sample<T, I>, Evidence);

/// Reads the threads of a process for one sample.
pub struct ThreadReader<'a, T, C, I> {
    pub process: &'a mut Interpreter<T>,
    pub frames: &'a mut FrameTable,
    pub options: CaptureOptions,
    /// Called for the frames that are shown, while their thread is still paused.
    pub inspector: &'a mut I,
    pub control: C,
    /// Buffer for the stack that is being read.
    pub stack: Vec<RawFrame>,
    /// Whether a thread may be resumed as soon as it was read: it is not in another interpreter, too.
    pub resumes_early: bool,
    /// Whether to query how long threads have run, and whether they have a CPU.
    pub queries_all: bool,
    /// When the sample must be done.
    pub deadline: Deadline,
    pub errors: Vec<String>,
    pub torn: u64,
}

impl<T, C, I> ThreadReader<'_, T, C, I>
where
    T: ProcessImage,
    C: ThreadControl,
    I: Inspect<T>,
{
    /// Reads one thread; `None` when it has ended or could not be read.
    ///
    /// # Errors
    /// When the process has ended or executed another program, or the thread may not be paused.
    pub fn read_with_retries<R: ActivitySource>(
        &mut self,
        tracked: &mut TrackedThread<R>,
    ) -> Result<Option<Sample<T, I>>, SampleError> {
        if tracked.has_ended {
            return Ok(None);
        }
        if let Some(trace) = tracked.cached_idle_stack() {
            let sample = ThreadSample::from_cached(&tracked.thread, trace);
            return Ok(Some(sample));
        }
        if tracked.activity.is_none() {
            // It is new since the threads were queried.
            self.refresh_state(tracked, false)?;
        }
        let active = tracked.runs();
        loop {
            match self.read_in_time(tracked, active)? {
                Ok(sample) => return Ok(sample),
                Err(OutOfTime) if self.end_pausing() => {}
                Err(OutOfTime) => break,
            }
        }
        let label = tracked.thread.label();
        let limit = milliseconds(self.options.time_limit);
        self.errors
            .push(format!("{label}: its stack was not read within {limit}"));
        Ok(None)
    }

    /// The same, until the time is over: that of the sample, or of what is held during it.
    fn read_in_time<R: ActivitySource>(
        &mut self,
        tracked: &mut TrackedThread<R>,
        active: bool,
    ) -> Result<Result<Option<Sample<T, I>>, OutOfTime>, SampleError> {
        let waits_for_cpu = tracked.waits_for_cpu();
        let mut attempts = Attempts::new(self.mode(active), active);
        let mut leaf_match = LeafMatch::new(self.options.skip_leaf_match);
        while !tracked.has_ended {
            if self.control.deadline().is_over() {
                return Ok(leaf_match.take_fallback(true).map(Some).ok_or(OutOfTime));
            }
            let mode = attempts.mode;
            let was_paused = self.is_paused(&tracked.thread);
            let may_resume = attempts.number == 1 && !self.options.keep_paused;
            let thread = &mut tracked.thread;
            let read = self.read(thread, active, mode, may_resume, &mut leaf_match);
            let read = unless_fatal(read)?;
            if let Err(ReadError::OutOfTime) = read {
                return Ok(leaf_match.take_fallback(true).map(Some).ok_or(OutOfTime));
            }
            let outcome = outcome_of(&read);
            let is_consistent = outcome.is_consistent(&attempts);
            let state = self.state_after_read(tracked, mode, was_paused, is_consistent);
            let decision = decide(&outcome, state, &attempts);
            debug_decision(decision, &tracked.thread, &read);
            match (decision, read) {
                (Decision::Accept, Ok(Some((mut sample, _)))) => {
                    sample.trace.thread.waits_for_cpu = waits_for_cpu;
                    sample.inspected = self.inspect(tracked);
                    if !self.is_paused(&tracked.thread) {
                        tracked.cache_idle_stack(&sample.trace, self.process.reader().account());
                    }
                    self.resume_if_allowed(&tracked.thread);
                    if mode == Mode::AtRest || !tracked.runs() {
                        return Ok(Ok(Some(sample)));
                    }
                    let leaf = leaf_addr(&self.stack);
                    if let Some(sample) = leaf_match.accept_if_leaf_matches(sample, leaf) {
                        return Ok(Ok(Some(sample)));
                    }
                }
                (Decision::RetryUnlinked | Decision::RetryFailed, _) => {
                    if decision == Decision::RetryUnlinked {
                        attempts = attempts.extended_for_unlinked();
                    }
                    self.resume_and_wait(&tracked.thread, mode, attempts.number);
                }
                (Decision::Report, Err(error)) => {
                    let label = tracked.thread.label();
                    self.errors.push(format!("{label}: {error}"));
                    self.resume_if_allowed(&tracked.thread);
                    return Ok(Ok(None));
                }
                (Decision::Ended, _) => {
                    tracked.has_ended = true;
                    self.resume_if_allowed(&tracked.thread);
                    return Ok(Ok(None));
                }
                (Decision::Torn, _) => self.resume(&tracked.thread),
                _ => {}
            }
            if let Some(sample) = leaf_match.take_fallback(attempts.is_last()) {
                return Ok(Ok(Some(sample)));
            }
            if attempts.is_last() {
                self.torn += 1;
                return Ok(Ok(None));
            }
            if attempts.needs_refresh() {
                self.refresh_state(tracked, attempts.force_pause())?;
            }
            attempts = attempts.next(self.mode(tracked.runs()));
        }
        Ok(Ok(None))
    }

    /// Resumes all threads; the rest is read without pausing. Returns whether that gives more time.
    fn end_pausing(&mut self) -> bool {
        let held = self.control.end_pausing();
        if held {
            debug!("pausing has taken too long: the rest of the sample is read without");
            self.options.pausing = Pausing::Never;
        }
        held
    }

    /// Whether the time of the sample is over.
    pub fn is_over(&mut self) -> bool {
        self.deadline.is_over() || self.process.reader().is_stopped()
    }

    /// Sets the deadline of the next reads: sooner while threads are paused.
    fn set_deadline(&mut self) {
        let deadline = self.deadline.or_earlier(self.control.deadline());
        self.process.reader_and_memory().0.set_deadline(deadline);
    }

    /// Inspects the frames of the thread's stack, which was accepted.
    fn inspect<R: ActivitySource>(&mut self, tracked: &mut TrackedThread<R>) -> Vec<I::Value> {
        let until = self.control.inspection_deadline();
        let process = &*self.process;
        // A frame that runs no code object is left out.
        let shown = self
            .stack
            .iter()
            .zip(process.reader().shown(&tracked.thread));
        let shown = shown.filter(|(_, is_shown)| *is_shown);
        let frames = shown.map(|(frame, _)| frame);
        let mut inspected = self.inspector.inspect(process, frames, until);
        let is_unchanged = inspected.is_empty()
            || self.is_paused(&tracked.thread)
            || tracked.state_after_read(true) == ThreadState::NotRunSince;
        if !is_unchanged {
            self.inspector.may_have_changed(&mut inspected);
        }
        inspected
    }

    fn mode(&self, active: bool) -> Mode {
        match self.options.pausing {
            Pausing::Never if active => Mode::Running,
            _ => Mode::AtRest,
        }
    }

    /// Whether the thread may have run since the last refresh. If the stack is not consistent by itself,
    /// nothing is read that would not matter then.
    fn state_after_read<R: ActivitySource>(
        &self,
        tracked: &mut TrackedThread<R>,
        mode: Mode,
        was_paused: bool,
        is_consistent: bool,
    ) -> ThreadState {
        match (was_paused, self.is_paused(&tracked.thread)) {
            (true, true) => ThreadState::Paused,
            // It was resumed once it was copied, so the copy must hold the whole stack.
            (true, false) => ThreadState::MayHaveRun,
            (false, _) => match tracked.state_after_read(is_consistent) {
                ThreadState::MayHaveRun if !is_consistent => ThreadState::MayHaveRun,
                ThreadState::MayHaveRun | ThreadState::NotRunSince
                    if mode == Mode::AtRest && tracked.runs() && self.must_pause(tracked) =>
                {
                    ThreadState::Ran
                }
                state => state,
            },
        }
    }

    /// Whether a running thread may change its stack at any time. A thread without the GIL is in C, or
    /// about to sleep, and a pause could end that sleep early.
    pub fn must_pause<R: ActivitySource>(&self, tracked: &TrackedThread<R>) -> bool {
        self.options.keep_paused
            || (!tracked.waits_for_cpu() && {
                let memory = self.process.target().memory();
                self.process.reader().holds_gil(memory, &tracked.thread) != Some(false)
            })
    }

    /// Queries the state of a thread, and pauses it if it runs and must be paused; with `force_pause` if it
    /// runs.
    fn refresh_state<R: ActivitySource>(
        &mut self,
        tracked: &mut TrackedThread<R>,
        force_pause: bool,
    ) -> Result<(), SampleError> {
        tracked.refresh(self.queries_all);
        match tracked.thread.os_thread_id {
            Some(tid)
                if self.options.pausing == Pausing::Running
                    && tracked.runs()
                    && !self.control.is_paused(tid)
                    && (force_pause || self.must_pause(tracked)) =>
            {
                self.control.pause(&[tid])?;
                if !self.control.is_paused(tid) {
                    // Without a CPU it cannot stop, and does not run either.
                    self.queries_all = true;
                    tracked.refresh(true);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn is_paused(&self, thread: &PythonThread) -> bool {
        let tid = thread.os_thread_id;
        tid.is_some_and(|tid| self.control.is_paused(tid))
    }

    fn resume_if_allowed(&mut self, thread: &PythonThread) {
        if self.resumes_early {
            self.resume(thread);
        }
    }

    fn resume(&mut self, thread: &PythonThread) {
        if let Some(tid) = thread.os_thread_id {
            self.control.resume(tid);
        }
    }

    /// Resumes a thread and lets it run on. Pausing it again at once would not let it advance.
    fn resume_and_wait(&mut self, thread: &PythonThread, mode: Mode, attempt: u32) {
        self.resume(thread);
        if mode == Mode::AtRest {
            // A thread that waits for a CPU does not advance either: it gets more time with each attempt.
            self.control.wait(RUN_ON * attempt);
        }
    }

    /// Copies, walks and resolves one thread's stack; `None` for a stack with a leaf that is not needed.
    /// `may_resume`: a paused thread is resumed after the copy if that is enough.
    fn read(
        &mut self,
        thread: &mut PythonThread,
        active: bool,
        mode: Mode,
        may_resume: bool,
        leaf_match: &mut LeafMatch<Sample<T, I>>,
    ) -> Result<Option<Read<T, I>>, ReadError> {
        self.set_deadline();
        let (reader, memory) = self.process.reader_and_memory();
        if self.options.fresh_gil_state || self.options.keep_paused {
            // The GC state was read before the pause.
            reader.refresh_gil_state(memory, thread);
        }
        if reader.copy(memory, thread) && may_resume {
            self.resume_if_allowed(thread);
            self.set_deadline();
        }
        let stack = &mut self.stack;
        let (reader, memory) = self.process.reader_and_memory();
        let walk = reader.walk(memory, thread, mode, stack)?;
        if mode == Mode::Running && !leaf_match.observe(walk.leaf_at_start, stack) {
            return Ok(None);
        }
        let resolved = reader.resolve(memory, thread, stack, self.frames)?;
        if resolved.code_was_read {
            leaf_match.stop_retrying();
        }
        let process = &*self.process;
        let memory = process.target().memory();
        let evidence = Evidence {
            code_was_read: resolved.code_was_read,
            hidden_leaf: resolved.hidden_leaf,
            hidden_caller: resolved.hidden_caller && mode == Mode::Running,
            unlinked_root: walk.evidence.unlinked_root
                && !process
                    .reader()
                    .first_c_entry_is_on_stack(memory, thread, stack),
            ..walk.evidence
        };
        let frames = resolved.frames;
        let sample = ThreadSample::new(thread, active, process.pid(), frames, stack);
        Ok(Some((sample, evidence)))
    }
}

/// Separates errors that end the whole sample.
fn unless_fatal<S>(read: Result<S, ReadError>) -> Result<Result<S, ReadError>, SampleError> {
    match read {
        Err(error) if error.process_is_gone() => Err(SampleError::ProcessExited),
        Err(error) if error.program_is_replaced() => Err(error.into()),
        read => Ok(read),
    }
}

/// What a read produced, as far as it decides on the next step.
fn outcome_of<S>(read: &Result<Option<(S, Evidence)>, ReadError>) -> Outcome {
    match read {
        Ok(Some((_, evidence))) => Outcome::Stack(*evidence),
        Ok(None) => Outcome::Skipped,
        Err(ReadError::ThreadEnded) => Outcome::ThreadEnded,
        Err(error) => Outcome::Failed {
            may_pass: error.may_pass(),
        },
    }
}

fn debug_decision<S>(decision: Decision, thread: &PythonThread, read: &Result<S, ReadError>) {
    let what = match (decision, read) {
        (Decision::Accept | Decision::Report, _) => return,
        (Decision::RetryFailed, Err(error)) => return debug!("{}: {error}", thread.label()),
        (Decision::RetryUnlinked, _) => "its root frame is not linked yet",
        (Decision::Ended, _) => "ended before it could be read",
        (Decision::Torn, _) => "torn: its stack changed during every read",
        (Decision::Retry | Decision::RetryFailed, _) => "ran while it was read",
    };
    debug!("{}: {what}", thread.label());
}

#[cfg(test)]
mod tests;
