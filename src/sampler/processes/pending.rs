//! [`PendingProcesses`]: the processes that are no Python yet, or no longer: the root's descendants as they
//! come, and whoever has replaced the program that we knew by another one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::root::Root;
use super::sampled::SampledProcess;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::process::new_pids::{self, NewPids};
use crate::os::process::tree::{Child, descendants};
use crate::os::procfs::stat::ProcStat;

/// How often they are looked at. A new process is to be seen from its first 50 ms on.
const INTERVAL: Duration = Duration::from_millis(5);
/// The same where all processes of the machine have to be asked for their parent.
const INTERVAL_OF_ALL: Duration = Duration::from_millis(25);
/// Looking at all takes no more than one in so many parts of the time, whatever that does to the interval.
const MAX_SHARE: u32 = 20;
/// A process that has run the same program for long is looked at as much less often.
const BACKOFF_DIVISOR: u32 = 10;
/// It is tried at least that often, since it may load Python's library late.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// But its program's name that often: it may execute a Python.
const NAMED_EVERY: Duration = Duration::from_millis(250);
/// A program that ran for so long shows by now what it is. Until then tries may cost more.
const YOUNG: Duration = Duration::from_secs(1);
/// Tries take no more than one in so many parts of the time, in the beginning and later.
const SHARES: (u32, u32) = (10, 50);
/// How long tries may hold up one look at the others; the rest comes at the next.
const MAX_LOOKING: Duration = Duration::from_millis(20);
/// How long threads are asked for that are the process's own.
const OWN_THREADS_FOR: Duration = Duration::from_secs(10);
/// How long a root may be no Python before it is told: a shell may be on its way to the next.
const NOTICE_DELAY: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct PendingProcesses {
    root: Pid,
    root_start: u64,
    /// `None` when children are nobody's business.
    children: Option<Descendants>,
    looked: Option<Instant>,
    waiting: HashMap<Pid, Pending>,
    /// What the user should know.
    notices: Vec<String>,
}

/// Finds new descendants.
struct Descendants {
    /// `None` where the kernel does not tell which ids it gave.
    new_pids: Option<NewPids>,
    /// Whether all processes have to be looked at: in the beginning, and when too many were new.
    all_due: bool,
    /// When all were looked at, and how long that took.
    all: Option<(Instant, Duration)>,
}

/// A process that may run Python later.
struct Pending {
    parent: Option<Pid>,
    /// Its program's path, empty when unknown, and when that was first seen.
    exe: PathBuf,
    seen: Instant,
    /// When it is to be looked at again, and when attached to if its program is the same; `None`: never.
    next_look: Instant,
    next_try: Option<Instant>,
    /// When it replaced a Python that we knew, and whether that was told.
    execed_at: Option<Instant>,
    told: bool,
}

/// What a try at a process came to.
enum AttachAttempt {
    Found(Box<PythonProcess>),
    Gone,
    Wait,
}

impl PendingProcesses {
    /// Of a tree's root; `children`: its descendants too.
    pub fn new(root: &Root, children: bool, now: Instant) -> PendingProcesses {
        let target = root.target();
        let mut relatives = PendingProcesses {
            root: target.pid(),
            root_start: target.start_time(),
            children: children.then(|| Descendants {
                // From here on: all are looked at once afterwards.
                new_pids: NewPids::start(),
                all_due: true,
                all: None,
            }),
            looked: None,
            waiting: HashMap::new(),
            notices: Vec::new(),
        };
        if let Root::Other { .. } = root {
            let root = Pending::new(None, now);
            relatives.waiting.insert(target.pid(), root);
        }
        relatives
    }

    /// Waits for a process that we knew as Python to be one again.
    pub fn execed_at(&mut self, pid: Pid, parent: Option<Pid>, now: Instant) {
        let mut waiting = Pending::new(parent, now);
        waiting.execed_at = Some(now);
        self.waiting.insert(pid, waiting);
    }

    /// Whether it is waited for that a process runs Python.
    pub fn waits_for(&self, pid: Pid) -> bool {
        self.waiting.contains_key(&pid)
    }

    /// Whether the root lives, and may run Python later.
    pub fn root_may_return(&self) -> bool {
        self.waits_for(self.root)
            && ProcStat::of_process(self.root)
                .is_ok_and(|stat| stat.start_ticks == self.root_start && !stat.has_ended())
    }

    /// What the user should know since the last call.
    pub fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The processes that run Python now, each with its parent, where that is known: such as have been
    /// waited for, and new ones below the `observed` processes. What is no Python, or may not be read, is
    /// no error: nobody asked for it.
    pub fn find(
        &mut self,
        observed: &[SampledProcess],
        now: Instant,
    ) -> Vec<(PythonProcess, Option<Pid>)> {
        let is_due = |looked| now.saturating_duration_since(looked) >= INTERVAL;
        if !self.looked.is_none_or(is_due) {
            return Vec::new();
        }
        self.looked = Some(now);
        if let Some(children) = &mut self.children {
            let observed: HashSet<Pid> = observed.iter().map(|one| one.process.pid()).collect();
            for child in children.new_ones(&observed, self.root, &self.waiting, now) {
                if !observed.contains(&child.pid) {
                    let new = Pending::new(Some(child.parent), now);
                    self.waiting.entry(child.pid).or_insert(new);
                }
            }
        }
        let mut found = Vec::new();
        let due = self.waiting.iter().map(|(pid, one)| (one.next_look, *pid));
        let mut due: Vec<_> = due.filter(|(next, _)| *next <= now).collect();
        // Who has waited longest comes first: there may be no time for all.
        due.sort_unstable();
        let begin = Instant::now();
        for (_, pid) in due {
            if begin.elapsed() > MAX_LOOKING {
                break;
            }
            let Some(waiting) = self.waiting.get_mut(&pid) else {
                continue;
            };
            let mut parents = observed.iter().map(|one| &one.process);
            let parent = parents.find(|one| Some(one.pid()) == waiting.parent);
            match waiting.look(pid, parent, now) {
                Ok(AttachAttempt::Wait) => {}
                Ok(AttachAttempt::Gone) => {
                    self.waiting.remove(&pid);
                }
                Ok(AttachAttempt::Found(process)) => {
                    let version = process.version();
                    info!("process {pid} is CPython {version}");
                    if waiting.told {
                        let notice = format!("Process {pid} runs Python {version} again");
                        self.notices.push(notice);
                    }
                    found.push((*process, waiting.parent));
                    self.waiting.remove(&pid);
                }
                Err(error) => {
                    debug!("process {pid}: {error}");
                    if pid == self.root && waiting.should_notify(&error, now) {
                        self.notices.push(notice(pid, &error));
                    }
                }
            }
        }
        found
    }
}

/// What to tell of a root that runs no Python any more.
fn notice(pid: Pid, error: &AttachError) -> String {
    let what = match error {
        AttachError::NotPython { what, .. } => format!("runs '{what}' now, which is no Python"),
        error => format!("runs another program now: {error}"),
    };
    format!("Process {pid} {what}: waiting until it runs one again, or ends")
}

impl Descendants {
    /// New descendants of the known processes, and perhaps some that are known.
    fn new_ones(
        &mut self,
        observed: &HashSet<Pid>,
        root: Pid,
        waiting: &HashMap<Pid, Pending>,
        now: Instant,
    ) -> Vec<Child> {
        let mut known = observed.clone();
        known.insert(root);
        known.extend(waiting.keys());
        let new = self.new_pids.as_mut().and_then(|pids| pids.take(now));
        self.all_due |= new.is_none();
        let is_over = |(last, took): (Instant, Duration)| {
            now >= last + (took * MAX_SHARE).max(INTERVAL_OF_ALL)
        };
        if self.all_due && self.all.is_none_or(is_over) {
            let begin = Instant::now();
            // When a parent ends, its children go on though nothing links them to the root any more.
            let known: Vec<Pid> = known.into_iter().collect();
            let found = descendants(&known);
            self.all = Some((now, begin.elapsed()));
            self.all_due = self.new_pids.is_none();
            return found;
        }
        below(new.unwrap_or_default(), &mut known)
    }
}

/// The processes below the known ones, which become known.
fn below(mut new: Vec<Child>, known: &mut HashSet<Pid>) -> Vec<Child> {
    let mut found = Vec::new();
    loop {
        let (below, rest): (Vec<Child>, Vec<Child>) = new
            .into_iter()
            .partition(|child| known.contains(&child.parent));
        if below.is_empty() {
            return found;
        }
        let processes = below
            .into_iter()
            .filter(|child| new_pids::is_process(child.pid));
        for child in processes {
            known.insert(child.pid);
            found.push(child);
        }
        new = rest;
    }
}

impl Pending {
    fn new(parent: Option<Pid>, now: Instant) -> Pending {
        Pending {
            parent,
            exe: PathBuf::new(),
            seen: now,
            next_look: now,
            next_try: Some(now),
            execed_at: None,
            told: false,
        }
    }

    /// Looks at it.
    fn look(
        &mut self,
        pid: Pid,
        parent: Option<&PythonProcess>,
        now: Instant,
    ) -> Result<AttachAttempt, AttachError> {
        let exe = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(exe) => exe,
            // It has none where we may not know, where it has ended, and where its main thread has.
            Err(_)
                if ProcStat::of_process(pid)
                    .is_ok_and(|stat| !stat.has_ended() || stat.threads > 1) =>
            {
                PathBuf::new()
            }
            Err(_) => return Ok(AttachAttempt::Gone),
        };
        if exe != self.exe {
            self.exe = exe;
            self.seen = now;
            self.next_try = Some(now);
        }
        let age = now.saturating_duration_since(self.seen);
        self.next_look = now + (age / BACKOFF_DIVISOR).clamp(INTERVAL, NAMED_EVERY);
        if self.next_try.is_none_or(|next| now < next) {
            return Ok(AttachAttempt::Wait);
        }
        let begin = Instant::now();
        let fork = parent.and_then(|parent| parent.attach_to_fork(pid));
        let attached = fork.map_or_else(|| PythonProcess::attach(pid), Ok);
        let share = if age < YOUNG { SHARES.0 } else { SHARES.1 };
        let pause = (begin.elapsed() * share).max((age / BACKOFF_DIVISOR).min(MAX_BACKOFF));
        self.next_try = Some(now + pause);
        match attached {
            // After a vfork it still has its parent's memory, which is no stack of its own.
            Ok(mut process) => {
                let is_own = age > OWN_THREADS_FOR || process.owns_a_thread();
                Ok(if is_own {
                    AttachAttempt::Found(Box::new(process))
                } else {
                    AttachAttempt::Wait
                })
            }
            Err(AttachError::NoSuchProcess(_) | AttachError::Ended { .. }) => {
                Ok(AttachAttempt::Gone)
            }
            Err(error) => {
                if error.is_final() {
                    self.next_try = None;
                }
                Err(error)
            }
        }
    }

    /// Whether it is time to tell that it is no Python any more: once.
    fn should_notify(&mut self, error: &AttachError, now: Instant) -> bool {
        let is_long = |execed_at| now.saturating_duration_since(execed_at) >= NOTICE_DELAY;
        let is_sure = match error {
            AttachError::NotPython { .. } => self.execed_at.is_some_and(is_long),
            error => error.is_final() && self.execed_at.is_some(),
        };
        let is_now = is_sure && !self.told;
        self.told |= is_now;
        is_now
    }
}
