//! [`TrackedThreads`]: what is cached of a process's threads from one sample to the next.
//!
//! Most threads of most programs sleep most of the time. A thread that was read while it slept, and
//! that by the kernel's count has not run since, still has the same stack: reading that count is
//! cheap, and the stack is not read again.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use log::debug;

use super::pausing::Pauses;
use crate::cpython::frame::RawFrame;
use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::evidence::ThreadState;
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::threads::list::{PythonThread, ThreadList};
use crate::os::deadline::Deadline;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory_budget::{Account, Charge};
use crate::os::procfs::schedstat::RunCount;
use crate::os::thread::activity::{Activity, ActivityReader};
use crate::os::thread::realtime;
use crate::os::{Pid, Tid};

/// How many times a list of threads that changes while it is read is read.
const ATTEMPTS: usize = 4;
/// How long a list of threads is used. At high rates it is not read for every sample.
const LIST_MAX_AGE: Duration = Duration::from_millis(1);
/// How often the names of threads that have none are searched for.
const NAMES_INTERVAL: Duration = Duration::from_millis(100);
/// A pause of this length had to wait until the thread got a CPU.
const LONG_PAUSE: Duration = Duration::from_micros(500);
/// For how long after a long pause it is queried whether threads have a CPU.
const CONTENTION_HOLD: Duration = Duration::from_secs(1);

/// Opening as many threads takes a part of a millisecond, more than one may take under real-time priority.
const MANY_NEW: usize = 32;

/// The threads of a process; empty before the first sample.
#[derive(Debug, Default)]
pub struct TrackedThreads {
    /// Newest first, as the interpreter lists them.
    pub threads: Vec<TrackedThread>,
    /// Errors from the last listing.
    pub errors: Vec<String>,
    /// How many threads of the last listing there was no time to open.
    pub left_out: usize,
    /// Buffer for the stack that is being read.
    pub stack: Vec<RawFrame>,
    listed_at: Option<Instant>,
    named_at: Option<Instant>,
    /// When a thread last had to wait for a CPU before it could stop.
    contended_at: Option<Instant>,
}

/// One thread.
#[derive(Debug)]
pub struct TrackedThread<R = ActivityReader> {
    pub thread: PythonThread,
    /// `None` when it is not known which OS thread it is.
    source: Option<R>,
    /// Its activity when it was last queried in this sample.
    pub activity: Option<Activity>,
    idle_stack: Option<IdleStack>,
    /// Whether it has ended, as seen by the kernel.
    pub has_ended: bool,
    /// Whether it may have run since its page faults were last read.
    ran: bool,
}

/// The stack of a thread that slept.
#[derive(Debug)]
struct IdleStack {
    /// How often it had run until then.
    slept: RunCount,
    trace: StackTrace,
    /// For what it takes.
    _charge: Charge,
}

/// Where the activity of a thread is read.
pub trait ActivitySource {
    /// See [`ActivityReader::runs`].
    ///
    /// # Errors
    /// `NotFound` when the thread has ended.
    fn runs(&self) -> io::Result<bool>;

    /// See [`ActivityReader::count`].
    ///
    /// # Errors
    /// `NotFound` when the thread has ended.
    fn count(&self) -> io::Result<Option<RunCount>>;

    /// See [`ActivityReader::read`].
    ///
    /// # Errors
    /// `NotFound` when the thread has ended.
    fn read(&self) -> io::Result<Activity>;

    /// See [`ActivityReader::read_all`].
    ///
    /// # Errors
    /// `NotFound` when the thread has ended.
    fn read_all(&self) -> io::Result<Activity>;
}

impl ActivitySource for ActivityReader {
    fn runs(&self) -> io::Result<bool> {
        self.runs()
    }

    fn count(&self) -> io::Result<Option<RunCount>> {
        self.count()
    }

    fn read(&self) -> io::Result<Activity> {
        self.read()
    }

    fn read_all(&self) -> io::Result<Activity> {
        self.read_all()
    }
}

impl TrackedThreads {
    /// Whether the names of new threads are to be searched for in this sample.
    pub fn needs_names(&mut self, now: Instant) -> bool {
        let needs = self
            .named_at
            .is_none_or(|named| now - named >= NAMES_INTERVAL);
        if needs {
            self.named_at = Some(now);
        }
        needs
    }

    /// Whether the list of threads is out of date.
    pub fn needs_list(&self, now: Instant) -> bool {
        let is_old = |listed| now.saturating_duration_since(listed) >= LIST_MAX_AGE;
        self.listed_at.is_none_or(is_old) || self.threads.iter().any(|tracked| tracked.has_ended)
    }

    /// Whether threads recently had to wait for a CPU.
    pub fn is_cpu_contended(&self, now: Instant) -> bool {
        let contended_at = self.contended_at;
        contended_at.is_some_and(|contended_at| {
            now.saturating_duration_since(contended_at) < CONTENTION_HOLD
        })
    }

    /// Records how long the threads of a sample were paused.
    pub fn note_pauses(&mut self, pauses: &Pauses, now: Instant) {
        let mut durations = pauses.durations.iter();
        if pauses.fell_short || durations.any(|pause| *pause >= LONG_PAUSE) {
            self.contended_at = Some(now);
        }
    }

    /// The threads that may have run since their page faults were last read, each once.
    pub fn ran_since_fault_read(&self) -> Vec<Tid> {
        let ran = self.threads.iter().filter(|tracked| tracked.ran);
        let tids = ran.filter_map(|tracked| tracked.thread.os_thread_id);
        distinct(tids)
    }

    /// The page faults of all threads that have run were read.
    pub fn mark_faults_read(&mut self) {
        self.threads.iter_mut().for_each(|one| one.ran = false);
    }

    /// Whether an OS thread has not run since its state was last queried.
    pub fn has_not_run(&mut self, tid: Option<Tid>) -> bool {
        let threads = self.threads.iter_mut();
        let of_thread = threads.filter(|tracked| tracked.thread.os_thread_id == tid);
        let mut states = of_thread.map(|tracked| tracked.state_after_read(true));
        tid.is_some() && states.all(|state| state == ThreadState::NotRunSince)
    }

    /// The OS ids of all threads.
    pub fn tids(&self) -> impl Iterator<Item = Tid> {
        let threads = self.threads.iter();
        threads.filter_map(|tracked| tracked.thread.os_thread_id)
    }

    /// Lists the threads. What is cached of those in the list before is retained.
    ///
    /// # Errors
    /// When the interpreters cannot be listed.
    pub fn list(
        &mut self,
        process: &mut PythonProcess,
        now: Instant,
        deadline: Deadline,
    ) -> Result<(), SampleError> {
        let list = threads(process)?;
        self.errors = list.errors.iter().map(ReadError::to_string).collect();
        self.errors.extend(list.left_out);
        self.left_out = 0;
        self.listed_at = Some(now);
        let pid = process.pid();
        let mut known = self.threads.iter().zip(&list.threads);
        let is_unchanged = self.threads.len() == list.threads.len()
            && known.all(|(tracked, thread)| tracked.is_same(thread));
        if is_unchanged {
            for (tracked, thread) in self.threads.iter_mut().zip(list.threads) {
                tracked.thread = thread;
            }
            return Ok(());
        }
        let old = std::mem::take(&mut self.threads);
        let mut old: HashMap<RemoteAddr, TrackedThread> = old
            .into_iter()
            .map(|tracked| (tracked.thread.state.addr, tracked))
            .collect();
        let mut opened = 0;
        self.threads = Vec::with_capacity(list.threads.len());
        for thread in list.threads {
            let known = old.remove(&thread.state.addr);
            if let Some(tracked) = known.filter(|old| old.is_same(&thread)) {
                self.threads.push(TrackedThread { thread, ..tracked });
                continue;
            }
            opened += 1;
            if opened == MANY_NEW {
                realtime::leave();
            }
            // The next sample goes on with those that are left out.
            if opened % MANY_NEW == 0 && deadline.is_over() || self.left_out > 0 {
                self.left_out += 1;
            } else {
                self.threads.push(TrackedThread::open(pid, thread));
            }
        }
        Ok(())
    }
}

impl TrackedThread {
    fn open(pid: Pid, thread: PythonThread) -> TrackedThread {
        let tid = thread.os_thread_id;
        let reader = tid.map(|tid| ActivityReader::open(pid, tid)).transpose();
        // It may have ended since it was listed. After another error, such as too many open files, its
        // activity is just not known.
        let has_ended = reader.as_ref().is_err_and(is_missing);
        TrackedThread {
            has_ended,
            ..TrackedThread::new(thread, reader.ok().flatten())
        }
    }

    fn is_same(&self, thread: &PythonThread) -> bool {
        !self.has_ended
            && self.thread.os_thread_id == thread.os_thread_id
            && self.thread.state.is_same_thread(&thread.state)
    }
}

impl<R: ActivitySource> TrackedThread<R> {
    pub fn new(thread: PythonThread, source: Option<R>) -> TrackedThread<R> {
        TrackedThread {
            thread,
            source,
            activity: None,
            idle_stack: None,
            has_ended: false,
            ran: true,
        }
    }

    /// Queries whether the thread runs; with `all`, also how long it has run and whether it has a CPU.
    pub fn refresh(&mut self, all: bool) {
        self.activity = None;
        let Some(source) = &self.source else {
            return;
        };
        if let Some(idle) = &self.idle_stack
            && let Ok(Some(count)) = source.count()
            && count.timeslices == idle.slept.timeslices
        {
            self.activity = Some(Activity {
                runs: false,
                count: Some(count),
                waits_for_cpu: false,
            });
            return;
        }
        self.idle_stack = None;
        self.ran = true;
        let activity = match source.runs() {
            Ok(true) if !all => Ok(Activity {
                runs: true,
                count: None,
                waits_for_cpu: false,
            }),
            Ok(true) => source.read_all(),
            _ => source.read(),
        };
        match activity {
            Ok(activity) => self.activity = Some(activity),
            Err(error) => self.has_ended = is_missing(&error),
        }
    }

    /// Whether it is on a CPU or waits for one.
    pub fn runs(&self) -> bool {
        self.activity.is_some_and(|activity| activity.runs)
    }

    /// Whether it is runnable, but has no CPU.
    pub fn waits_for_cpu(&self) -> bool {
        self.activity.is_some_and(|activity| activity.waits_for_cpu)
    }

    /// How long it has been on a CPU so far, in nanoseconds.
    pub fn on_cpu_ns(&self) -> Option<(Tid, u64)> {
        let count = self.activity?.count?;
        Some((self.thread.os_thread_id?, count.on_cpu_ns))
    }

    /// Its stack, if it has slept since that was read.
    pub fn cached_idle_stack(&self) -> Option<&StackTrace> {
        self.idle_stack.as_ref().map(|idle| &idle.trace)
    }

    /// Caches the stack of a thread that slept while it was read, if it fits into the account of its process.
    pub fn cache_idle_stack(&mut self, trace: &StackTrace, account: &Account) {
        let activity = self.activity.filter(|activity| !activity.runs);
        let Some(slept) = activity.and_then(|activity| activity.count) else {
            return;
        };
        let size = size_of::<IdleStack>() + size_of_val(&*trace.frames);
        if size > account.room() {
            return;
        }
        let mut charge = account.charge();
        charge.set(size);
        self.idle_stack = Some(IdleStack {
            slept,
            trace: as_idle(trace),
            _charge: charge,
        });
    }

    /// Whether a thread that is not paused may have run since the last refresh. `is_consistent`: what its
    /// stack shows; if it does not and the kernel has no count, nothing is read.
    pub fn state_after_read(&mut self, is_consistent: bool) -> ThreadState {
        let (Some(source), Some(before)) = (&self.source, self.activity) else {
            return ThreadState::MayHaveRun;
        };
        match before {
            Activity {
                runs: true,
                waits_for_cpu: false,
                ..
            } => ThreadState::MayHaveRun,
            // The kernel counts how often a thread got a CPU: the same count means that it has not got one.
            Activity {
                count: Some(before),
                ..
            } => match source.count() {
                Ok(Some(now)) if now.timeslices == before.timeslices => ThreadState::NotRunSince,
                Err(error) if is_missing(&error) => ThreadState::Ended,
                _ => ThreadState::Ran,
            },
            Activity { count: None, .. } if !is_consistent => ThreadState::MayHaveRun,
            Activity { count: None, .. } => match source.runs() {
                Ok(false) => ThreadState::MayHaveRun,
                _ => ThreadState::Ran,
            },
        }
    }
}

/// A stack as it is reported while its thread sleeps on. The thread may have run when the sample began,
/// and fallen asleep before its stack was read.
fn as_idle(trace: &StackTrace) -> StackTrace {
    let mut trace = trace.clone();
    trace.thread.active = false;
    trace.thread.waits_for_cpu = false;
    trace
}

/// Each id once: a thread may be inside several interpreters.
pub fn distinct(tids: impl Iterator<Item = Tid>) -> Vec<Tid> {
    let mut tids: Vec<Tid> = tids.collect();
    tids.sort_unstable();
    tids.dedup();
    tids
}

/// Whether an error means that the thread has ended.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether a list that could not be read may be readable at once.
fn may_pass(error: &ReadError) -> bool {
    !error.program_is_replaced() && !matches!(error, ReadError::OutOfTime)
}

/// Lists the threads; a list that changes while it is read is read again.
fn threads(process: &mut PythonProcess) -> Result<ThreadList, SampleError> {
    let mut attempt = 1;
    loop {
        match process.threads() {
            Err(SampleError::TornRead(error)) if attempt < ATTEMPTS && may_pass(&error) => {
                debug!("torn read: {error}");
            }
            Ok(list) if attempt < ATTEMPTS && !list.errors.is_empty() => {
                debug!("the list of threads is incomplete");
            }
            result => return result,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpython::stack::trace::ThreadInfo;

    /// A thread that fell asleep during a sample was reported as active in every sample until it woke up.
    #[test]
    fn a_cached_idle_stack_is_of_a_thread_that_sleeps() {
        let ran = StackTrace {
            thread: ThreadInfo {
                os_thread_id: Some(7),
                pthread_id: 7,
                name: None,
                interpreter_ids: vec![0],
                active: true,
                waits_for_cpu: true,
                owns_gil: true,
                collecting: false,
                has_ended: false,
                is_main: false,
                time_ns: None,
                faults: None,
            },
            frames: [].into(),
        };
        let idle = as_idle(&ran).thread;
        assert!(!idle.active && !idle.waits_for_cpu);
        assert_eq!(idle.os_thread_id, ran.thread.os_thread_id);
    }
}
