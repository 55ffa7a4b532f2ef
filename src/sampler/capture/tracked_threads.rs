//! [`TrackedThreads`]: what is remembered of a process's threads from one look to the next.
//!
//! Most threads of most programs sleep most of the time. A thread that was read while it slept, and
//! of which the kernel says that it has not run since, has the same stack still: one cheap question
//! tells, and nothing is read.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use log::debug;

use crate::cpython::process::PythonProcess;
use crate::cpython::read::error::{ReadError, SampleError};
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::stack::walk::RawFrame;
use crate::cpython::threads::list::{PythonThread, ThreadList};
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::schedstat::RunCount;
use crate::os::thread::activity::{Activity, ActivityReader};
use crate::os::{Pid, Tid};

/// How often a list of threads that changed while it was read is read again.
const ATTEMPTS: usize = 4;
/// How old the list of threads may be. At high rates it is not read for every look.
const LIST_FOR: Duration = Duration::from_millis(1);
/// How often names are looked for of threads that have none.
const NAMES_EVERY: Duration = Duration::from_millis(100);
/// A pause that took so long had to wait until the thread got a CPU.
const LONG_PAUSE: Duration = Duration::from_micros(500);
/// For how long after one it is asked whether threads have a CPU.
const CONTENTION_HOLD: Duration = Duration::from_secs(1);

/// What is remembered of a process's threads; empty before the first look.
#[derive(Debug, Default)]
pub struct TrackedThreads {
    /// Newest first, as the interpreter keeps them.
    pub(crate) threads: Vec<TrackedThread>,
    /// What could not be read of the list.
    pub(crate) errors: Vec<String>,
    /// Room for the stack that is being read.
    pub(crate) stack: Vec<RawFrame>,
    listed: Option<Instant>,
    named: Option<Instant>,
    /// When a thread had to wait for a CPU so that it could stop.
    contended_at: Option<Instant>,
}

/// One thread.
#[derive(Debug)]
pub(crate) struct TrackedThread {
    pub thread: PythonThread,
    /// `None` when it is not known which kernel thread it is.
    reader: Option<ActivityReader>,
    /// What the kernel said of it in this look.
    pub activity: Option<Activity>,
    /// Its stack when it slept, and how often it had run until then.
    asleep: Option<(RunCount, StackTrace)>,
    /// Whether it has ended, as the kernel sees it.
    pub has_ended: bool,
    /// Whether it may have run since it was asked for its page faults.
    ran: bool,
}

impl TrackedThreads {
    /// Whether names of threads may be looked for in this look.
    pub(crate) fn may_look_for_names(&mut self, now: Instant) -> bool {
        let may = self.named.is_none_or(|named| now - named >= NAMES_EVERY);
        if may {
            self.named = Some(now);
        }
        may
    }

    /// Whether threads may have come and gone since the list was read.
    /// `always`: they may have, even if it was a moment ago.
    pub(crate) fn is_old(&self, now: Instant, always: bool) -> bool {
        let is_old = |listed| always || now.saturating_duration_since(listed) >= LIST_FOR;
        self.listed.is_none_or(is_old) || self.threads.iter().any(|watched| watched.has_ended)
    }

    /// Asks the kernel about each thread.
    /// `all`: for how long each has run, too, and whether it has a CPU.
    pub(crate) fn ask(&mut self, all: bool) {
        self.threads.iter_mut().for_each(|watched| watched.ask(all));
    }

    /// Whether threads had to wait for a CPU lately.
    pub(crate) fn is_cpu_contended(&self, now: Instant) -> bool {
        let contended_at = self.contended_at;
        contended_at.is_some_and(|contended_at| {
            now.saturating_duration_since(contended_at) < CONTENTION_HOLD
        })
    }

    /// Takes note of how long the threads of a look were paused.
    pub(crate) fn note_pauses(&mut self, pauses: &[Duration], now: Instant) {
        if pauses.iter().any(|pause| *pause >= LONG_PAUSE) {
            self.contended_at = Some(now);
        }
    }

    /// The threads that may have run since they were last asked for their page faults, each once.
    pub(crate) fn ran_since_fault_read(&self) -> Vec<Tid> {
        let ran = self.threads.iter().filter(|watched| watched.ran);
        let mut tids: Vec<Tid> = ran
            .filter_map(|watched| watched.thread.os_thread_id)
            .collect();
        // A thread may be inside several interpreters.
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    /// All threads were asked that have run.
    pub(crate) fn mark_faults_read(&mut self) {
        self.threads.iter_mut().for_each(|one| one.ran = false);
    }

    /// The kernel's ids of all threads.
    pub(crate) fn tids(&self) -> impl Iterator<Item = Tid> {
        let threads = self.threads.iter();
        threads.filter_map(|watched| watched.thread.os_thread_id)
    }

    /// Lists the threads; what is known of those that were there before is kept.
    pub(crate) fn list(
        &mut self,
        process: &mut PythonProcess,
        now: Instant,
    ) -> Result<(), SampleError> {
        let list = threads(process)?;
        self.errors = list.errors.iter().map(ReadError::to_string).collect();
        self.listed = Some(now);
        let pid = process.pid();
        let mut known = self.threads.iter().zip(&list.threads);
        let is_known = self.threads.len() == list.threads.len()
            && known.all(|(watched, thread)| watched.is_of(thread));
        if is_known {
            for (watched, thread) in self.threads.iter_mut().zip(list.threads) {
                watched.thread = thread;
            }
            return Ok(());
        }
        let old = std::mem::take(&mut self.threads);
        let mut old: HashMap<RemoteAddr, TrackedThread> = old
            .into_iter()
            .map(|watched| (watched.thread.state.addr, watched))
            .collect();
        let threads = list.threads.into_iter().map(|thread| {
            match old
                .remove(&thread.state.addr)
                .filter(|old| old.is_of(&thread))
            {
                Some(watched) => TrackedThread { thread, ..watched },
                None => TrackedThread::new(pid, thread),
            }
        });
        self.threads = threads.collect();
        Ok(())
    }
}

impl TrackedThread {
    fn new(pid: Pid, thread: PythonThread) -> TrackedThread {
        let tid = thread.os_thread_id;
        let reader = tid.map(|tid| ActivityReader::open(pid, tid)).transpose();
        TrackedThread {
            // Between the list and here. Anything else, such as too many open files, only means that
            // the kernel cannot be asked.
            has_ended: reader.as_ref().is_err_and(is_missing),
            ran: true,
            reader: reader.ok().flatten(),
            activity: None,
            asleep: None,
            thread,
        }
    }

    fn is_of(&self, thread: &PythonThread) -> bool {
        !self.has_ended
            && self.thread.os_thread_id == thread.os_thread_id
            && self.thread.state.is_same_thread(&thread.state)
    }

    /// Asks the kernel what the thread does; `all`: for how long it has run, too, and whether it has a
    /// CPU.
    pub fn ask(&mut self, all: bool) {
        self.activity = None;
        let Some(reader) = &self.reader else {
            return;
        };
        if let Some((slept, _)) = &self.asleep
            && let Ok(Some(count)) = reader.count()
            && count.timeslices == slept.timeslices
        {
            self.activity = Some(Activity {
                runs: false,
                count: Some(count),
                waits_for_cpu: false,
            });
            return;
        }
        self.asleep = None;
        self.ran = true;
        let answer = match reader.runs() {
            Ok(true) if !all => Ok(Activity {
                runs: true,
                count: None,
                waits_for_cpu: false,
            }),
            Ok(true) => reader.read_all(),
            _ => reader.read(),
        };
        match answer {
            Ok(activity) => self.activity = Some(activity),
            Err(error) => self.has_ended = is_missing(&error),
        }
    }

    /// Whether it is on a CPU or waits for one.
    pub fn runs(&self) -> bool {
        self.activity.is_some_and(|activity| activity.runs)
    }

    /// Whether it runs, but has no CPU at the moment.
    pub fn waits_for_cpu(&self) -> bool {
        self.activity.is_some_and(|activity| activity.waits_for_cpu)
    }

    /// How long it has been on a CPU so far, in nanoseconds.
    pub fn on_cpu_ns(&self) -> Option<(Tid, u64)> {
        let count = self.activity?.count?;
        Some((self.thread.os_thread_id?, count.on_cpu_ns))
    }

    /// Its stack, when it has slept since that was read.
    pub fn kept(&self) -> Option<&StackTrace> {
        self.asleep.as_ref().map(|(_, trace)| trace)
    }

    /// Keeps the stack of a thread that slept while it was read.
    pub fn keep(&mut self, trace: &StackTrace) {
        let slept = self.activity.filter(|activity| !activity.runs);
        if let Some(count) = slept.and_then(|activity| activity.count) {
            self.asleep = Some((count, asleep(trace)));
        }
    }

    /// Whether a thread that was not paused has not moved since the kernel was asked about it.
    /// `is_consistent` is what its stack alone says.
    pub fn did_not_run_since(&mut self, is_consistent: bool) -> bool {
        let (Some(reader), Some(before)) = (&self.reader, self.activity) else {
            return is_consistent;
        };
        match before {
            Activity {
                runs: true,
                waits_for_cpu: false,
                ..
            } => is_consistent,
            // The kernel counts how often a thread got a CPU: the same count means that it has none
            // still.
            Activity {
                count: Some(before),
                ..
            } => match reader.count() {
                Ok(now) => now.is_some_and(|now| now.timeslices == before.timeslices),
                Err(error) => {
                    self.has_ended = is_missing(&error);
                    false
                }
            },
            // Where it does not count, the stack has to tell.
            Activity { count: None, .. } => is_consistent && reader.runs().is_ok_and(|runs| !runs),
        }
    }
}

/// A stack as it is shown for as long as its thread sleeps on. The thread may have run when this look
/// began, and have fallen asleep before its stack could be read.
fn asleep(trace: &StackTrace) -> StackTrace {
    let mut trace = trace.clone();
    trace.thread.active = false;
    trace.thread.waits_for_cpu = false;
    trace
}

/// Whether an error says that the thread is not there any more.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Lists the threads; a list that changes under us is tried again.
fn threads(process: &mut PythonProcess) -> Result<ThreadList, SampleError> {
    let mut attempt = 1;
    loop {
        match process.threads() {
            Err(SampleError::TornRead(error))
                if attempt < ATTEMPTS && !error.program_is_replaced() =>
            {
                debug!("torn read: {error}");
            }
            Ok(list) if attempt < ATTEMPTS && !list.errors.is_empty() => {
                debug!("the list of threads broke off");
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

    /// A thread that fell asleep during a look was shown as busy in every look until it woke up.
    #[test]
    fn a_stack_that_is_kept_is_of_a_thread_that_sleeps() {
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
                is_main: false,
                cpu_ns: None,
                faults: None,
            },
            frames: [].into(),
        };
        let kept = asleep(&ran).thread;
        assert!(!kept.active && !kept.waits_for_cpu);
        assert_eq!(kept.os_thread_id, ran.thread.os_thread_id);
    }
}
