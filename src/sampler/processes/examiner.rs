//! [`Examiner`]: examines processes in threads of its own, so that one that takes long to examine delays no
//! sample.
//!
//! There are two lanes with a thread each. The first one gives every process [`QUICK`]; what is not done by then
//! moves to the second one, which gives it [`EXAMINE`]. So a process waits for `QUICK` per process before it at
//! most, however many of them are made to take long. Opening a file that does not answer may take longer than
//! both limits, up to the limit of `expendable`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::{Duration, Instant};

use log::info;

use super::program::ProgramId;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::thread::start::{StartError, start};
use crate::os::work_budget::{EXAMINE, WorkBudget};

/// The time for a process in the first lane. An ordinary one takes 1 to 10 ms of CPU time, of which a crowded machine
/// may give an eighth.
const QUICK: Duration = Duration::from_millis(150);
/// How many processes may wait in each lane. Others are asked about later.
const MAX_QUICK: usize = 32;
const MAX_SLOW: usize = 8;
/// How long after a failed start of the threads the next one is tried.
const RESTART: Duration = Duration::from_secs(10);

/// The process, if it is a Python that runs code; `None` if it has no thread of its own yet, as for a moment
/// after a fork.
pub(super) type Examined = Result<Option<Box<PythonProcess>>, AttachError>;

/// Examines a process: its pid, whether one of its threads must run Python, and the time limit.
pub(super) type Examine = dyn Fn(Pid, bool, Duration) -> Examined + Send + Sync;

/// See the [module](self). The threads end with this value, after the examinations in progress.
pub(super) struct Examiner {
    examine: Arc<Examine>,
    /// `None` until the first request, and where threads cannot be started.
    threads: Option<Threads>,
    /// When starting the threads last failed.
    failed_at: Option<Instant>,
    /// The processes that were asked about and not answered for yet.
    outstanding: HashSet<Pid>,
    /// Set at the end: requests that wait are dropped.
    is_over: Arc<AtomicBool>,
}

struct Threads {
    requests: SyncSender<Request>,
    answers: Receiver<Answer>,
}

struct Request {
    pid: Pid,
    program: ProgramId,
    needs_thread: bool,
    /// Of the lanes before.
    cost: Option<Cost>,
}

/// What an attempt to attach has cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub begin: Instant,
    /// Without the time of waiting for a thread.
    pub took: Duration,
}

impl Cost {
    /// Of an attempt that ends now.
    pub fn since(begin: Instant) -> Cost {
        let took = begin.elapsed();
        Cost { begin, took }
    }

    fn and(self, took: Duration) -> Cost {
        let took = self.took.saturating_add(took);
        Cost { took, ..self }
    }
}

/// The result of an examination.
pub(super) struct Answer {
    pub pid: Pid,
    pub examined: Examined,
    pub cost: Cost,
    /// What the process executed when it was asked about.
    pub program: ProgramId,
}

/// Whether the result of an examination is still true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    /// The process has called exec since.
    OtherProgram,
    /// The process has ended; another one may have its pid.
    OtherProcess,
}

impl Answer {
    /// Whether this is still true of a process that executes this program now.
    pub fn holds_for(&self, program: Option<&ProgramId>) -> Holds {
        // This finds an exec even where the layout of the program may not be read.
        let is_closed = |process: &PythonProcess| process.target().memory().is_closed();
        match program {
            Some(program) if self.program.is_of_same_process(program) => {
                let attached = self.examined.as_ref().ok().and_then(Option::as_ref);
                if self.program == *program && !attached.is_some_and(|one| is_closed(one)) {
                    Holds::Yes
                } else {
                    Holds::OtherProgram
                }
            }
            _ => Holds::OtherProcess,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// There will be an answer.
    Yes,
    /// The process is already being examined, or there are too many.
    Later,
    /// There is no thread for it: the caller has to examine it.
    NoThread,
}

/// Examines a process in the calling thread; see [`Examined`].
pub(super) fn examine(pid: Pid, needs_thread: bool, limit: Duration) -> Examined {
    let budget = WorkBudget::within(limit);
    let process = PythonProcess::attach_within(pid, &budget)?;
    Ok(accept(process, needs_thread, budget.deadline()))
}

/// The process, if it has a thread of its own or needs none. It has not if that is not known by the deadline.
pub(super) fn accept(
    mut process: PythonProcess,
    needs_thread: bool,
    deadline: Deadline,
) -> Option<Box<PythonProcess>> {
    process.reader_and_memory().0.set_deadline(deadline);
    (!needs_thread || process.owns_a_thread()).then(|| Box::new(process))
}

impl Examiner {
    pub fn new() -> Examiner {
        Examiner::with(Arc::new(examine))
    }

    pub(super) fn with(examine: Arc<Examine>) -> Examiner {
        Examiner {
            examine,
            threads: None,
            failed_at: None,
            outstanding: HashSet::new(),
            is_over: Arc::default(),
        }
    }

    /// Requests the examination of a process. Never waits.
    pub fn ask(&mut self, pid: Pid, needs_thread: bool, now: Instant) -> Asked {
        if self.outstanding.contains(&pid) {
            return Asked::Later;
        }
        match ProgramId::of(pid) {
            Some(program) => self.ask_about(pid, program, needs_thread, now),
            None => Asked::Later,
        }
    }

    pub(super) fn ask_about(
        &mut self,
        pid: Pid,
        program: ProgramId,
        needs_thread: bool,
        now: Instant,
    ) -> Asked {
        let Some(threads) = self.running(now) else {
            return Asked::NoThread;
        };
        let request = Request {
            pid,
            program,
            needs_thread,
            cost: None,
        };
        match threads.requests.try_send(request) {
            Ok(()) => {
                self.outstanding.insert(pid);
                Asked::Yes
            }
            Err(TrySendError::Full(_)) => Asked::Later,
            Err(TrySendError::Disconnected(_)) => {
                self.forget_threads();
                Asked::NoThread
            }
        }
    }

    /// The answers since the last call. Waits for up to `patience` until none is outstanding.
    pub fn answers(&mut self, patience: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        let until = Deadline::after(patience);
        while let Some(threads) = self.threads.as_ref()
            && !self.outstanding.is_empty()
        {
            match threads
                .answers
                .recv_timeout(until.left().unwrap_or_default())
            {
                Ok(answer) => {
                    self.outstanding.remove(&answer.pid);
                    answers.push(answer);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.forget_threads(),
            }
        }
        answers
    }

    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The threads, started if there are none; `None` if that fails.
    fn running(&mut self, now: Instant) -> Option<&Threads> {
        let has_failed = |at: Instant| now.saturating_duration_since(at) < RESTART;
        if self.threads.is_none() && !self.failed_at.is_some_and(has_failed) {
            match Threads::start(&self.examine, &self.is_over) {
                Ok(threads) => self.threads = Some(threads),
                Err(error) => {
                    info!("new processes are examined between two samples: {error}");
                    self.failed_at = Some(now);
                }
            }
        }
        self.threads.as_ref()
    }

    /// They have ended, which they do only with this value or by a panic.
    fn forget_threads(&mut self) {
        self.threads = None;
        self.outstanding.clear();
    }
}

impl Drop for Examiner {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Threads {
    fn start(examine: &Arc<Examine>, is_over: &Arc<AtomicBool>) -> Result<Threads, StartError> {
        let (requests, quick) = sync_channel(MAX_QUICK);
        let (unfinished, slow) = sync_channel(MAX_SLOW);
        let (sender, answers) = channel();
        let lane = |limit, requests, next| Lane {
            limit,
            requests,
            next,
            answers: sender.clone(),
            examine: Arc::clone(examine),
            is_over: Arc::clone(is_over),
        };
        let quick = lane(QUICK, quick, Some(unfinished));
        let slow = lane(EXAMINE, slow, None);
        // If the second cannot be started, the first ends with the senders of its requests.
        start("examine", move || quick.work())?;
        start("examine slow", move || slow.work())?;
        Ok(Threads { requests, answers })
    }
}

/// What one thread does.
struct Lane {
    limit: Duration,
    requests: Receiver<Request>,
    /// Where to go on with what is not done within the limit.
    next: Option<SyncSender<Request>>,
    answers: Sender<Answer>,
    examine: Arc<Examine>,
    is_over: Arc<AtomicBool>,
}

impl Lane {
    fn work(self) {
        for mut request in &self.requests {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let begin = Instant::now();
            let examined = (self.examine)(request.pid, request.needs_thread, self.limit);
            let here = Cost::since(begin);
            let mut cost = request.cost.map_or(here, |before| before.and(here.took));
            if let Some(next) = &self.next
                && is_unfinished(&examined, here.took, self.limit)
            {
                request.cost = Some(cost);
                match next.try_send(request) {
                    Ok(()) => continue,
                    Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                        request = back;
                        // It is asked about again as late as one for which there was a place.
                        cost = cost.and(EXAMINE);
                    }
                }
            }
            let answer = Answer {
                pid: request.pid,
                examined,
                cost,
                program: request.program,
            };
            if self.answers.send(answer).is_err() {
                return;
            }
        }
    }
}

/// Whether more time may lead to another result.
fn is_unfinished(examined: &Examined, took: Duration, limit: Duration) -> bool {
    match examined {
        Ok(Some(_)) => false,
        Ok(None) => took >= limit,
        Err(error) => matches!(error, AttachError::GaveUp { .. }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::os::work_budget::GaveUp;

    /// An answer comes at once, or never.
    const WATCHDOG: Duration = Duration::from_secs(50);
    const SLOW: Pid = 7;

    /// Examinations of [`SLOW`] take as long as the receiver waits in the lane that `is_held` selects; in the
    /// other one they give up. Those of others find something that is not Python.
    struct Examinations {
        examiner: Examiner,
        count: Arc<AtomicUsize>,
        /// Dropped to end those that take long.
        hold: Option<Sender<()>>,
        /// A message for each that has begun to take long.
        begun: Receiver<()>,
    }

    fn examinations(is_held: fn(Duration) -> bool) -> Examinations {
        let count = Arc::new(AtomicUsize::new(0));
        let (hold, held) = channel::<()>();
        let (begin, begun) = channel();
        let held = Mutex::new(held);
        let counter = Arc::clone(&count);
        let examine = move |pid, _, limit| {
            counter.fetch_add(1, Ordering::SeqCst);
            if pid != SLOW {
                let what = "other".into();
                return Err(AttachError::NotPython { pid, what });
            }
            if is_held(limit) {
                begin.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
            }
            let doing = "in a test".into();
            let gave_up = GaveUp { doing, limit };
            Err(AttachError::GaveUp { pid, gave_up })
        };
        Examinations {
            examiner: Examiner::with(Arc::new(examine)),
            count,
            hold: Some(hold),
            begun,
        }
    }

    impl Examinations {
        fn ask(&mut self, pid: Pid) -> Asked {
            let program = ProgramId::of(std::process::id().cast_signed()).unwrap();
            let examiner = &mut self.examiner;
            if examiner.outstanding.contains(&pid) {
                return examiner.ask(pid, true, Instant::now());
            }
            examiner.ask_about(pid, program, true, Instant::now())
        }

        /// The next so many answers.
        fn next<const COUNT: usize>(&mut self) -> [Answer; COUNT] {
            let until = Instant::now() + WATCHDOG;
            let mut answers = Vec::new();
            while answers.len() < COUNT {
                assert!(Instant::now() < until);
                answers.extend(self.examiner.answers(Duration::from_millis(1)));
            }
            answers.try_into().ok().unwrap()
        }
    }

    #[test]
    fn a_process_that_takes_long_does_not_delay_the_others() {
        let mut all = examinations(|limit| limit == EXAMINE);
        assert_eq!(all.ask(SLOW), Asked::Yes);
        all.begun.recv_timeout(WATCHDOG).unwrap();
        for pid in [8, 9] {
            assert_eq!(all.ask(pid), Asked::Yes);
            let [answer] = all.next();
            assert_eq!(answer.pid, pid);
            assert!(matches!(
                answer.examined,
                Err(AttachError::NotPython { .. })
            ));
        }
        assert_eq!(all.ask(SLOW), Asked::Later, "it is still being examined");
        drop(all.hold.take());
        let [answer] = all.next();
        assert_eq!(answer.pid, SLOW);
        let limit = match answer.examined {
            Err(AttachError::GaveUp { gave_up, .. }) => gave_up.limit,
            _ => Duration::ZERO,
        };
        assert_eq!(limit, EXAMINE);
        // Once in each lane.
        assert_eq!(all.count.load(Ordering::SeqCst), 4);
        assert_eq!(all.ask(SLOW), Asked::Yes);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut all = examinations(|limit| limit == QUICK);
        assert_eq!(all.ask(SLOW), Asked::Yes);
        all.begun.recv_timeout(WATCHDOG).unwrap();
        let first = SLOW + 1;
        let last = first + Pid::try_from(MAX_QUICK).unwrap();
        for pid in first..last {
            assert_eq!(all.ask(pid), Asked::Yes);
        }
        assert_eq!(all.ask(last), Asked::Later);
        drop(all.hold.take());
        let mut pids = all.next::<{ MAX_QUICK + 1 }>().map(|answer| answer.pid);
        pids.sort_unstable();
        assert!(pids.into_iter().eq(SLOW..last));
        assert!(all.examiner.answers(Duration::ZERO).is_empty());
        assert_eq!(all.ask(last), Asked::Yes);
    }

    #[test]
    fn the_end_drops_what_waits() {
        let mut all = examinations(|limit| limit == QUICK);
        for pid in SLOW..SLOW + 5 {
            assert_eq!(all.ask(pid), Asked::Yes);
        }
        all.begun.recv_timeout(WATCHDOG).unwrap();
        let examine = Arc::downgrade(&all.examiner.examine);
        drop(all.examiner);
        drop(all.hold.take());
        let until = Instant::now() + WATCHDOG;
        // Both threads have it while they run.
        while examine.strong_count() > 0 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        assert_eq!(all.count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn only_what_needs_more_time_gets_it() {
        let limit = QUICK;
        let error = || AttachError::StillStarting(7);
        assert!(!is_unfinished(&Err(error()), limit * 2, limit));
        let doing = "in a test".into();
        let gave_up = GaveUp { doing, limit };
        let error = AttachError::GaveUp { pid: 7, gave_up };
        assert!(is_unfinished(&Err(error), limit, limit));
        // Whether it has a thread of its own was not known in time, or it had none.
        assert!(is_unfinished(&Ok(None), limit, limit));
        assert!(!is_unfinished(&Ok(None), limit / 2, limit));
    }
}
