//! [`PendingProcesses`]: processes that may become Python. These are new descendants of the root, and
//! processes that called `exec`. What takes long is done by the threads of an [`Examiner`].

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::descendants::Descendants;
use super::examiner::{Asked, Cost, Examined, Examiner, Holds, accept, examine};
use super::program::ProgramId;
use super::root::Root;
use super::sampled::SampledProcess;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::process::tree::orphans;
use crate::os::procfs::stat::{ProcStat, age_of};
use crate::os::thread::realtime;
use crate::os::work_budget::EXAMINE;
use crate::sampler::capture::pausing::REALTIME_LIMIT;

/// Interval of checks. A new process must be sampled from its first 50 ms on.
const INTERVAL: Duration = Duration::from_millis(5);
/// The intervals for a process are the age of its program divided by this, within limits.
const BACKOFF_DIVISOR: u32 = 10;
/// Longest interval of attach attempts: the process may load libpython late.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Longest interval of checks for an `exec`.
const MAX_EXEC_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// A program that runs for so long has usually started its Python. Attempts may cost more until then.
const YOUNG: Duration = Duration::from_secs(1);
/// Attach attempts take at most one part in so many of the time, for young and for older programs.
const MAX_ATTACH_SHARES: (u32, u32) = (10, 50);
/// Longest time of all attempts in one tick; the others follow in the next.
const MAX_TIME_PER_TICK: Duration = Duration::from_millis(20);
/// If the next tick is that far away, a child would be sampled much later than it could be: this tick waits
/// for the examiner, for so long at most. An ordinary examination takes 1 to 10 ms.
const LONG_GAP: Duration = Duration::from_millis(25);
const MAX_WAIT: Duration = Duration::from_millis(20);
/// Age up to which a process must own one of its threads; see [`PythonProcess::owns_a_thread`].
const OWN_THREAD_CHECK: Duration = Duration::from_secs(10);
/// How long after its start an orphan may run Python for the first time, if no other process is left.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
/// How long a root may run another program until the user is notified: a shell may soon `exec` Python.
const NOTICE_DELAY: Duration = Duration::from_secs(1);

/// How many unreadable processes the user is notified of: a program may start sudo again and again.
const MAX_UNREADABLE: u32 = 10;

/// See the [module](self).
pub(crate) struct PendingProcesses {
    root: Pid,
    root_start: u64,
    /// `None` if children are not sampled.
    children: Option<Descendants>,
    checked_at: Option<Instant>,
    pending: HashMap<Pid, Pending>,
    examiner: Examiner,
    /// Messages for the user.
    notices: Vec<String>,
    /// The number of unreadable processes.
    unreadable: u32,
}

/// A process that may run Python later.
struct Pending {
    parent: Option<Pid>,
    /// Its program's path, empty if unknown, and when that was first observed.
    exe: PathBuf,
    exe_since: Instant,
    next_check: Instant,
    /// When to attach if the program is still the same; `None`: never.
    next_attach: Option<Instant>,
    /// When a sampled Python was replaced by it.
    execed_at: Option<Instant>,
    notified: bool,
}

/// The result of a check.
enum Check {
    NotDue,
    /// It is being examined.
    Asked,
    Gone,
    /// The result of an attempt to attach.
    Examined(Examined, Cost),
}

impl PendingProcesses {
    /// The pending processes of a root; with `children`, including its descendants.
    pub fn new(root: &Root, children: bool, now: Instant) -> PendingProcesses {
        let target = root.target();
        let mut processes = PendingProcesses {
            root: target.pid(),
            root_start: target.start_time(),
            children: children.then(|| Descendants::start(target.pid())),
            checked_at: None,
            pending: HashMap::new(),
            examiner: Examiner::new(),
            notices: Vec::new(),
            unreadable: 0,
        };
        if let Root::Other { .. } = root {
            let root = Pending::new(None, now);
            processes.pending.insert(target.pid(), root);
        }
        processes
    }

    /// Adds a Python process that called `exec`.
    pub fn add_execed(&mut self, pid: Pid, parent: Option<Pid>, now: Instant) {
        let mut execed = Pending::new(parent, now);
        execed.execed_at = Some(now);
        self.pending.insert(pid, execed);
    }

    pub fn contains(&self, pid: Pid) -> bool {
        self.pending.contains_key(&pid)
    }

    /// Whether the root is alive and may run Python later.
    pub fn root_may_return(&self) -> bool {
        self.contains(self.root)
            && ProcStat::of_process(self.root)
                .is_ok_and(|stat| stat.start_ticks == self.root_start && !stat.has_ended())
    }

    /// Whether an orphan of the launched program is so young that it, or a child that it has left, may still run
    /// Python. A daemon forks twice, and its parents end before it was found.
    pub fn orphan_may_start(&self) -> bool {
        if self.children.is_none() || !orphans::are_adopted() {
            return false;
        }
        // Its children become ours between the start of its exit and its end.
        let is_exiting = ProcStat::of_process(self.root).is_ok_and(|stat| {
            stat.start_ticks == self.root_start && stat.has_ended() && stat.state != b'Z'
        });
        let is_young = |pid: &Pid| {
            let stat = ProcStat::of_process(*pid);
            stat.and_then(|stat| age_of(stat.start_ticks))
                .is_ok_and(|age| age < ORPHAN_GRACE)
        };
        is_exiting || orphans::left().iter().any(is_young)
    }

    /// The messages for the user since the last call.
    pub fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The processes that run Python now, each with its parent if that is known: pending ones, and new
    /// descendants of the `sampled` ones. Other programs and unreadable processes are not errors, since the
    /// user did not give them; the user is notified of unreadable ones. A process whose examination takes
    /// longer is returned at one of the next ticks; `next_tick` is when the next one is due.
    pub fn find(
        &mut self,
        sampled: &[SampledProcess],
        now: Instant,
        next_tick: Instant,
    ) -> Vec<(PythonProcess, Option<Pid>)> {
        let mut found = Vec::new();
        self.collect(Duration::ZERO, now, &mut found);
        let is_due = |checked| now.saturating_duration_since(checked) >= INTERVAL;
        if !self.checked_at.is_none_or(is_due) {
            return found;
        }
        self.checked_at = Some(now);
        if let Some(children) = &mut self.children {
            let sampled: HashSet<Pid> = sampled.iter().map(|one| one.process.pid()).collect();
            let mut known = sampled.clone();
            known.insert(self.root);
            known.extend(self.pending.keys());
            for child in children.find_new(known, now) {
                if !sampled.contains(&child.pid) {
                    let new = Pending::new(Some(child.parent), now);
                    self.pending.entry(child.pid).or_insert(new);
                }
            }
        }
        let due = self.pending.iter().map(|(pid, one)| (one.next_check, *pid));
        let mut due: Vec<_> = due.filter(|(next, _)| *next <= now).collect();
        // Longest overdue first: there may be no time for all.
        due.sort_unstable();
        let begin = Instant::now();
        let mut has_asked = false;
        for (_, pid) in due {
            let spent = begin.elapsed();
            if spent > MAX_TIME_PER_TICK {
                break;
            }
            if spent > REALTIME_LIMIT {
                realtime::leave();
            }
            let Some(pending) = self.pending.get_mut(&pid) else {
                continue;
            };
            let mut parents = sampled.iter().map(|one| &one.process);
            let parent = parents.find(|one| Some(one.pid()) == pending.parent);
            match pending.check(pid, parent, &mut self.examiner, now) {
                Check::NotDue => {}
                Check::Asked => has_asked = true,
                Check::Gone => {
                    self.pending.remove(&pid);
                }
                Check::Examined(examined, cost) => {
                    self.conclude(pid, examined, cost, now, &mut found);
                }
            }
        }
        if has_asked && next_tick.saturating_duration_since(now) >= LONG_GAP {
            realtime::leave();
            self.collect(MAX_WAIT, now, &mut found);
        }
        found
    }

    /// Takes the answers of the examiner, and waits for them for up to `patience`.
    fn collect(
        &mut self,
        patience: Duration,
        now: Instant,
        found: &mut Vec<(PythonProcess, Option<Pid>)>,
    ) {
        for answer in self.examiner.answers(patience) {
            let Some(pending) = self.pending.get_mut(&answer.pid) else {
                continue;
            };
            match answer.holds_for(ProgramId::of(answer.pid).as_ref()) {
                Holds::Yes => {
                    self.conclude(answer.pid, answer.examined, answer.cost, now, found);
                }
                // If the exec was noticed, the next attempt is due already.
                Holds::OtherProgram if !answer.program.is_file(&pending.exe) => {}
                Holds::OtherProgram => pending.postpone(answer.cost, now),
                Holds::OtherProcess => {
                    // The next full scan finds the process that has its pid now, if that is a descendant.
                    self.pending.remove(&answer.pid);
                    if let Some(children) = &mut self.children {
                        children.request_full_scan();
                    }
                }
            }
        }
    }

    /// Takes the result of an attempt to attach.
    fn conclude(
        &mut self,
        pid: Pid,
        examined: Examined,
        cost: Cost,
        now: Instant,
        found: &mut Vec<(PythonProcess, Option<Pid>)>,
    ) {
        let Some(pending) = self.pending.get_mut(&pid) else {
            return;
        };
        pending.postpone(cost, now);
        match examined {
            // For a moment after a fork the process has no stack of its own.
            Ok(None) => {}
            Err(AttachError::NoSuchProcess(_) | AttachError::Ended { .. }) => {
                self.pending.remove(&pid);
            }
            Ok(Some(process)) => {
                let version = process.version();
                info!("process {pid} is CPython {version}");
                if pending.notified {
                    let notice = format!("Process {pid} runs Python {version} again");
                    self.notices.push(notice);
                }
                found.push((*process, pending.parent));
                self.pending.remove(&pid);
            }
            Err(error) => {
                debug!("process {pid}: {error}");
                if error.is_final() {
                    pending.next_attach = None;
                } else if let AttachError::InVfork { .. } = error {
                    // Cheap to ask again, and the program may be the same after the exec.
                    pending.next_attach = Some(pending.next_check);
                }
                if pid == self.root {
                    if pending.should_notify(&error, now) {
                        self.notices.push(notice(pid, &error));
                    }
                } else if pending.is_unreadable(&error, now) {
                    pending.notified = true;
                    self.unreadable = self.unreadable.saturating_add(1);
                    self.notices
                        .extend(unreadable(self.unreadable, pid, &error));
                }
            }
        }
    }
}

/// The message that the root runs another program.
fn notice(pid: Pid, error: &AttachError) -> String {
    let what = match error {
        AttachError::NotPython { what, .. } => format!("runs '{what}' now, which is no Python"),
        error => format!("runs another program now: {error}"),
    };
    format!("Process {pid} {what}: waiting until it runs one again, or ends")
}

/// The message for the unreadable process with this number.
fn unreadable(number: u32, pid: Pid, error: &AttachError) -> Option<String> {
    match number {
        0..MAX_UNREADABLE => Some(format!("Process {pid} is not sampled: {error}")),
        MAX_UNREADABLE => Some(format!(
            "Process {pid} is not sampled: {error}; further ones are shown with -vv only"
        )),
        _ => None,
    }
}

impl Pending {
    fn new(parent: Option<Pid>, now: Instant) -> Pending {
        Pending {
            parent,
            exe: PathBuf::new(),
            exe_since: now,
            next_check: now,
            next_attach: Some(now),
            execed_at: None,
            notified: false,
        }
    }

    /// Checks for another program, and attaches to the process, or has it examined, if that is due.
    fn check(
        &mut self,
        pid: Pid,
        parent: Option<&PythonProcess>,
        examiner: &mut Examiner,
        now: Instant,
    ) -> Check {
        let exe = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(exe) => exe,
            // Fails without permission, and if the process or its main thread has ended.
            Err(_)
                if ProcStat::of_process(pid)
                    .is_ok_and(|stat| !stat.has_ended() || stat.threads > 1) =>
            {
                PathBuf::new()
            }
            Err(_) => return Check::Gone,
        };
        if exe != self.exe {
            self.exe = exe;
            self.exe_since = now;
            self.next_attach = Some(now);
        }
        let age = self.age(now);
        self.next_check = now + check_interval(age);
        if self.next_attach.is_none_or(|next| now < next) {
            return Check::NotDue;
        }
        let needs_thread = age <= OWN_THREAD_CHECK;
        let begin = Instant::now();
        if let Some(process) = parent.and_then(|parent| parent.attach_to_fork(pid)) {
            // Reading its threads may take milliseconds, and no thread is paused.
            realtime::leave();
            let deadline = Deadline::after(MAX_TIME_PER_TICK);
            let examined = Ok(accept(process, needs_thread, deadline));
            return Check::Examined(examined, Cost::since(begin));
        }
        match examiner.ask(pid, needs_thread, now) {
            Asked::Yes => Check::Asked,
            Asked::Later => Check::NotDue,
            Asked::NoThread => {
                realtime::leave();
                let examined = examine(pid, needs_thread, EXAMINE);
                Check::Examined(examined, Cost::since(begin))
            }
        }
    }

    /// The time since its program was first seen.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.exe_since)
    }

    /// Sets the time of the next attempt after one that cost so much.
    fn postpone(&mut self, cost: Cost, now: Instant) {
        self.next_attach = Some(cost.begin + attach_interval(self.age(now), cost.took));
    }

    /// Whether to notify the user now that it cannot be read, though it may be a Python. Other errors than
    /// the final ones can come from an attempt in the middle of an `exec`.
    fn is_unreadable(&self, error: &AttachError, now: Instant) -> bool {
        let is_settled = now.saturating_duration_since(self.exe_since) >= NOTICE_DELAY;
        let is_unreadable = match error {
            AttachError::IsThread { .. } => false,
            AttachError::BadOffsets { .. } | AttachError::Io { .. } => is_settled,
            error => error.is_final(),
        };
        is_unreadable && !self.notified
    }

    /// Whether to notify the user now that the process is no longer a Python. `true` only once.
    fn should_notify(&mut self, error: &AttachError, now: Instant) -> bool {
        let is_long_ago = |execed_at| now.saturating_duration_since(execed_at) >= NOTICE_DELAY;
        let is_certain = match error {
            AttachError::NotPython { .. } => self.execed_at.is_some_and(is_long_ago),
            error => error.is_final() && self.execed_at.is_some(),
        };
        let notify = is_certain && !self.notified;
        self.notified |= notify;
        notify
    }
}

/// Time to the next check for an `exec`, for a program of this age.
fn check_interval(age: Duration) -> Duration {
    (age / BACKOFF_DIVISOR).clamp(INTERVAL, MAX_EXEC_CHECK_INTERVAL)
}

/// Time to the next attempt to attach, for a program of this age, after an attempt that took `cost`.
fn attach_interval(age: Duration, cost: Duration) -> Duration {
    let (young, older) = MAX_ATTACH_SHARES;
    let share = if age < YOUNG { young } else { older };
    (cost * share).max((age / BACKOFF_DIVISOR).min(MAX_BACKOFF))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::sync::Arc;

    use super::super::examiner::Examine;
    use super::*;

    #[test]
    fn intervals_grow_with_the_age_of_the_program() {
        let ms = Duration::from_millis;
        for (age, check, attach) in [
            (ms(0), ms(5), ms(0)),
            (ms(40), ms(5), ms(4)),
            (ms(500), ms(50), ms(50)),
            (ms(10_000), ms(250), ms(1_000)),
            (ms(1_000_000), ms(250), ms(10_000)),
        ] {
            assert_eq!(check_interval(age), check, "{age:?}");
            assert_eq!(attach_interval(age, Duration::ZERO), attach, "{age:?}");
        }
    }

    #[test]
    fn attempts_that_take_long_are_made_less_often() {
        let ms = Duration::from_millis;
        assert_eq!(attach_interval(ms(10), ms(3)), ms(30));
        assert_eq!(attach_interval(ms(1_000), ms(3)), ms(150));
        assert_eq!(attach_interval(ms(1_000), ms(1)), ms(100));
    }

    #[test]
    fn the_user_is_notified_once_that_the_root_runs_another_program() {
        let start = Instant::now();
        let other = AttachError::NotPython {
            pid: 7,
            what: "/bin/sh".into(),
        };
        let mut pending = Pending::new(None, start);
        assert!(
            !pending.should_notify(&other, start + NOTICE_DELAY),
            "it never was a Python"
        );
        pending.execed_at = Some(start);
        assert!(!pending.should_notify(&other, start + NOTICE_DELAY / 2));
        let starting = AttachError::StillStarting(7);
        assert!(!pending.should_notify(&starting, start + NOTICE_DELAY));
        assert!(pending.should_notify(&other, start + NOTICE_DELAY));
        assert!(!pending.should_notify(&other, start + NOTICE_DELAY));
        assert_eq!(
            notice(7, &other),
            "Process 7 runs '/bin/sh' now, which is no Python: waiting until it runs one again, or ends"
        );
    }

    #[test]
    fn the_user_is_notified_of_unreadable_children_some_times() {
        let start = Instant::now();
        let mut pending = Pending::new(Some(1), start);
        let denied = AttachError::PermissionDenied {
            problem: "denied".into(),
            hint: String::new(),
        };
        let io = || AttachError::Io {
            pid: 7,
            cause: std::io::ErrorKind::Other.into(),
        };
        assert!(pending.is_unreadable(&denied, start));
        assert!(!pending.is_unreadable(&io(), start));
        assert!(pending.is_unreadable(&io(), start + NOTICE_DELAY));
        let other = AttachError::NotPython {
            pid: 7,
            what: "/bin/sh".into(),
        };
        assert!(!pending.is_unreadable(&other, start + NOTICE_DELAY));
        pending.notified = true;
        assert!(!pending.is_unreadable(&denied, start));
        let texts: Vec<String> = (1..100).filter_map(|n| unreadable(n, 7, &denied)).collect();
        assert_eq!(texts.len(), 10);
        let first = texts.first().map(String::as_str);
        let notice = "Process 7 is not sampled: Permission Denied: denied";
        assert_eq!(first, Some(notice));
        let last = texts.last();
        assert!(last.is_some_and(|text| text.ends_with("with -vv only")));
    }

    /// What is pending of our own process after an answer that is for the program that `asked` returns.
    fn after_an_answer(asked: fn(ProgramId) -> ProgramId) -> Option<Pending> {
        let examine: Arc<Examine> = Arc::new(|tid, _, _| {
            // A final error: it is not asked about again if it is taken to be true.
            Err(AttachError::IsThread { tid, pid: 1 })
        });
        let now = Instant::now();
        let own = std::process::id().cast_signed();
        let mut processes = PendingProcesses {
            root: own,
            root_start: 0,
            children: None,
            checked_at: None,
            pending: HashMap::from([(own, Pending::new(None, now))]),
            examiner: Examiner::with(examine),
            notices: Vec::new(),
            unreadable: 0,
        };
        let program = ProgramId::of(own).unwrap();
        // The second one is of a process that is not pending.
        for (pid, program) in [(own, asked(program.clone())), (0, program)] {
            let asked = processes.examiner.ask_about(pid, program, true, now);
            assert_eq!(asked, Asked::Yes);
        }
        let mut found = Vec::new();
        while !processes.examiner.is_idle() {
            processes.collect(LONG_GAP, now, &mut found);
        }
        assert!(found.is_empty() && !processes.contains(0));
        processes.pending.remove(&own)
    }

    #[test]
    fn an_answer_counts_only_for_the_program_that_was_asked_about() {
        let next = |asked| after_an_answer(asked).map(|pending| pending.next_attach);
        assert_eq!(next(|same| same), Some(None), "the error is final");
        assert!(next(ProgramId::of_earlier_exec).unwrap().is_some());
        assert!(next(ProgramId::of_earlier_process).is_none());
    }

    #[test]
    fn an_exec_that_was_noticed_is_not_postponed() {
        // Its file is not known in the test, and so another one.
        let pending = after_an_answer(ProgramId::of_earlier_exec).unwrap();
        assert_eq!(pending.next_attach, Some(pending.exe_since));
    }

    #[test]
    fn a_permanent_error_is_reported_at_once() {
        let start = Instant::now();
        let mut pending = Pending::new(None, start);
        pending.execed_at = Some(start);
        let denied = AttachError::PermissionDenied {
            problem: "denied".into(),
            hint: String::new(),
        };
        assert!(pending.should_notify(&denied, start));
    }
}
