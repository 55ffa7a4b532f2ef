//! Maps Python threads to kernel threads.
//!
//! A thread state has its `pthread_t` and, from 3.11 on, the kernel id of the thread at its start.
//! Neither suffices: the first is an address in the C library, the second is that of the parent after
//! a C-level `fork` (as in uWSGI's workers). But the C library stores the kernel id in the structure
//! that the `pthread_t` points to, and updates it in a forked child. The offset in that structure is
//! found in the process itself: it is where every thread has the id of one of the process's tasks.

use std::collections::{HashMap, HashSet};

use super::interpreter::ThreadState;
use crate::os::Tid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Offsets of `tid` in `struct pthread`: glibc on x86-64 and aarch64, musl on x86-64 and aarch64.
/// Tried before all others.
const USUAL_OFFSETS: [u64; 4] = [720, 208, 48, 32];
/// Bytes of `struct pthread` that are searched.
const SEARCHED: usize = 2048;

/// What is known of the OS thread of a thread state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OsThread {
    /// It is this task, by its id in our PID namespace.
    Task(Tid),
    /// It has ended: the C library's structure of it has no id, or is not mapped any more.
    Ended,
    /// The C library has an id of it that is not one of the tasks: see [`ThreadIds::tells_missing`].
    Missing,
    /// Nothing.
    Unknown,
}

/// The process's tasks, and where its C library stores a thread's id.
#[derive(Debug, Default)]
pub struct ThreadIds {
    /// From the id in the target's PID namespace to the one in ours.
    tasks: HashMap<Tid, Tid>,
    /// The oldest task, in our PID namespace.
    oldest: Option<Tid>,
    offset: Option<u64>,
}

impl ThreadIds {
    /// Sets the tasks of the process, oldest first: pairs of the id in its own PID namespace and the id in ours.
    /// Returns whether they are the same as before.
    pub fn set_tasks(&mut self, tasks: impl IntoIterator<Item = (Tid, Tid)>) -> bool {
        let tasks: Vec<(Tid, Tid)> = tasks.into_iter().collect();
        let oldest = tasks.first().map(|(_, ours)| *ours);
        let tasks = tasks.into_iter().collect();
        let is_same = self.oldest == oldest && self.tasks == tasks;
        (self.oldest, self.tasks) = (oldest, tasks);
        is_same
    }

    /// Whether a thread with the id of no task has ended: glibc 2.43 leaves the id in place. A fork by the
    /// system call alone leaves the parent's id too, but with the only thread of the child, which is its
    /// oldest task: that must be one of the known threads.
    pub fn tells_missing(&self, known: impl IntoIterator<Item = Tid>) -> bool {
        let oldest = self.oldest;
        oldest.is_some() && known.into_iter().any(|tid| Some(tid) == oldest)
    }

    /// Where the C library stores the kernel's id of a thread, from its `pthread_t` on, if that was found.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// Whether [`ThreadIds::find_offset`] has succeeded.
    pub fn has_offset(&self) -> bool {
        self.offset.is_some()
    }

    /// Finds the offset at which the C library stores the id, from all these threads.
    pub fn find_offset(&mut self, memory: &impl RemoteMemory, threads: &[ThreadState]) {
        // A thread in two interpreters has two states.
        let pthreads: HashSet<u64> = threads.iter().map(|thread| thread.pthread_id).collect();
        let blocks: Vec<Vec<u8>> = pthreads
            .into_iter()
            .take(64)
            .filter_map(|pthread| read_block(memory, RemoteAddr(pthread)))
            .collect();
        let all = blocks.len();
        let mut everywhere = (0..SEARCHED as u64).step_by(4);
        // A thread can end while its thread state stays: the main one by `pthread_exit`, the others by
        // a C-level fork. At the usual offsets one match suffices, elsewhere all must match.
        self.offset = USUAL_OFFSETS
            .into_iter()
            .find(|offset| self.matches(&blocks, *offset) > Some(0))
            .or_else(|| {
                everywhere.find(|offset| all > 0 && self.matches(&blocks, *offset) == Some(all))
            });
    }

    /// How many threads have a task's id at this offset; `None` if two have the same.
    fn matches(&self, blocks: &[Vec<u8>], offset: u64) -> Option<usize> {
        let mut seen = HashSet::new();
        let ids = blocks.iter().filter_map(|block| id_at(block, offset));
        let all_differ = ids
            .filter(|id| self.tasks.contains_key(id))
            .all(|id| seen.insert(id));
        all_differ.then_some(seen.len())
    }

    /// The OS thread of a thread state.
    ///
    /// The C library stores the id before a thread runs, and the kernel clears it when the thread has ended
    /// (`CLONE_CHILD_CLEARTID`; glibc 2.36, nptl/pthread_create.c: the structure then stays mapped in a cache
    /// of stacks, or is unmapped). In a child of a C-level `fork` the threads that only the parent has get the
    /// id 0 (glibc 2.36, nptl/nptl-stack.c) or -1 (musl 1.2.5, src/process/fork.c).
    pub fn resolve(&self, memory: &impl RemoteMemory, thread: &ThreadState) -> OsThread {
        let mut id = [0; 4];
        // A state that no thread has run yet has no `pthread_t` (3.12+).
        let offset = self.offset.filter(|_| thread.pthread_id != 0);
        let read = offset.map(|offset| {
            let addr = RemoteAddr(thread.pthread_id).offset(offset);
            memory.read(addr, &mut id)
        });
        let from_libc = match read {
            // gcore (gdb 13) writes zeros for a mapping that has a page it cannot read, as the guard pages
            // of glibc 2.43: those tell nothing.
            Some(Ok(())) if Tid::from_le_bytes(id) <= 0 && is_written(memory, thread) => {
                return OsThread::Ended;
            }
            Some(Err(ref error)) if error.is_unmapped() => return OsThread::Ended,
            Some(Ok(())) => self.tasks.get(&Tid::from_le_bytes(id)),
            Some(Err(_)) | None => None,
        };
        let from_python = || {
            let native = thread.native_thread_id?;
            self.tasks.get(&Tid::try_from(native).ok()?)
        };
        match (from_libc.or_else(from_python), read) {
            (Some(tid), _) => OsThread::Task(*tid),
            (None, Some(Ok(()))) => OsThread::Missing,
            (None, _) => OsThread::Unknown,
        }
    }
}

/// Whether anything is in the `struct pthread` of a thread: always so for one that the C library knows.
fn is_written(memory: &impl RemoteMemory, thread: &ThreadState) -> bool {
    let block = read_block(memory, RemoteAddr(thread.pthread_id));
    block.is_some_and(|block| block.iter().any(|byte| *byte != 0))
}

fn id_at(block: &[u8], offset: u64) -> Option<Tid> {
    let rest = block.get(usize::try_from(offset).ok()?..)?;
    rest.first_chunk().map(|bytes| Tid::from_le_bytes(*bytes))
}

/// The readable part of `struct pthread`.
fn read_block(memory: &impl RemoteMemory, addr: RemoteAddr) -> Option<Vec<u8>> {
    [SEARCHED, SEARCHED / 2, 1].into_iter().find_map(|len| {
        let mut block = vec![0; len];
        memory.read(addr, &mut block).ok().map(|()| block)
    })
}
