//! [`StackReader`]: the main path from an interpreter's memory to stacks. The memory may be a live
//! process, a tape or a core file: all of them are read by this code.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::debug;

use super::code::cache::CodeCache;
use super::code::frame_table::{FrameId, FrameTable};
use super::code::identity;
use super::frame::RawFrame;
use super::read::budget::Budget;
use super::read::error::{ReadError, SampleError};
use super::read::limit::Limit;
use super::runtime::Runtime;
use super::stack::copy::ThreadCopy;
use super::stack::data_stack;
use super::stack::evidence::{Evidence, Mode};
use super::stack::walk::decode::clears_executable_on_return;
use super::stack::walk::{self, Walker};
use super::threads::list::{
    Ends, PythonThread, ThreadList, identify_threads, leave_out_ended, list_threads,
};
use super::threads::names::ThreadNames;
use super::threads::tid_map::ThreadIds;
use super::threads::{gc, gil, interpreter};
use super::values::ValueOptions;
use super::values::locals::Local;
use super::values::object::Objects;
use crate::os::Tid;
use crate::os::deadline::Deadline;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::{Prefetch, PrefetchPolicy};
use crate::os::memory_budget::{Account, CACHES, Charge};

/// The most reads of one sample, for all threads together. A frame takes one or two, a new code object some
/// 15, the variables of a frame some 30. Limits the time that a hostile target can take.
pub const MAX_SAMPLE_READS: usize = 4_000_000;
/// The most bytes that one sample reads.
const MAX_SAMPLE_BYTES: usize = 2 << 30;
/// The most bytes of text in the variables of all frames of one sample.
const MAX_SAMPLE_TEXT: usize = 32 << 20;
/// The most bytes of stacks that are cached to prefetch the next ones: 1,000 threads take some 20 MiB.
/// Above it the cache is cleared. The caches of all processes share a budget, too.
const MAX_CACHED_BYTES: usize = 24 << 20;
/// How many times the list of threads is read at most until its end is certain.
const LIST_READS: usize = 4;
/// How many times the names of threads are read at most in the first sample: a dump has no other, and their
/// dict changes whenever a thread starts or ends.
const NAME_READS: usize = 3;
/// How the lists of interpreters and threads are prefetched: nearby fields together.
const LISTS: PrefetchPolicy = PrefetchPolicy {
    gap: 256,
    beyond: 0,
    before: 0,
};

/// Reads one interpreter, and caches what rarely changes between samples.
pub struct StackReader {
    python: Runtime,
    codes: CodeCache,
    ids: ThreadIds,
    names: ThreadNames,
    /// Whether names were searched for before.
    knows_names: bool,
    lists: Prefetch,
    lists_charge: Charge,
    /// Where the list of threads ended when it was last read.
    ends: Ends,
    copies: BTreeMap<RemoteAddr, ThreadCopy>,
    /// Approximate size of the copies in bytes.
    copies_charge: Charge,
    /// What all these caches take.
    account: Account,
    /// Interpreters whose thread names were read in this sample; `None` when none may be.
    named: Option<HashSet<RemoteAddr>>,
    budget: SampleBudget,
}

/// What may still be read in a sample.
struct SampleBudget {
    reads_and_bytes: Cell<(usize, usize)>,
    text: Cell<usize>,
    limit: Limit,
}

impl Default for SampleBudget {
    fn default() -> SampleBudget {
        SampleBudget {
            reads_and_bytes: Cell::new((MAX_SAMPLE_READS, MAX_SAMPLE_BYTES)),
            text: Cell::new(MAX_SAMPLE_TEXT),
            limit: Limit::NONE,
        }
    }
}

impl SampleBudget {
    /// Runs `read` with what is left of the budget.
    fn within<M, T>(&self, memory: &M, read: impl FnOnce(&Budget<'_, M>) -> T) -> T {
        let (reads, bytes) = self.reads_and_bytes.get();
        let budget = Budget::within(memory, reads, bytes, &self.limit);
        let result = read(&budget);
        self.reads_and_bytes.set(budget.left());
        result
    }
}

/// How a thread's stack was read.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// What the copy shows, before names are resolved.
    pub evidence: Evidence,
    /// The address of the leaf frame, shown or not, right before the stack was copied.
    pub leaf_at_start: RemoteAddr,
}

/// A stack's frames in a [`FrameTable`].
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Leaf first, without frames that run no code object or have not started yet.
    pub frames: Arc<[FrameId]>,
    /// See [`Evidence::code_was_read`].
    pub code_was_read: bool,
    /// See [`Evidence::hidden_leaf`].
    pub hidden_leaf: bool,
    /// See [`Evidence::hidden_caller`].
    pub hidden_caller: bool,
}

impl StackReader {
    /// A reader without cached data.
    pub fn new(python: Runtime) -> StackReader {
        let account = CACHES.account();
        StackReader {
            python,
            codes: CodeCache::new(account.charge()),
            ids: ThreadIds::default(),
            names: ThreadNames::new(account.charge()),
            knows_names: false,
            lists: Prefetch::new(LISTS),
            lists_charge: account.charge(),
            ends: Ends::new(),
            copies: BTreeMap::new(),
            copies_charge: account.charge(),
            account,
            named: None,
            budget: SampleBudget::default(),
        }
    }

    /// The interpreter's layout and roots.
    pub fn python(&self) -> &Runtime {
        &self.python
    }

    /// Readers for the interpreter's objects.
    pub fn objects<'a, M>(&'a self, memory: &'a M) -> Objects<'a, M> {
        Objects {
            memory,
            python: &self.python,
        }
    }

    /// Starts a new sample with a full budget and no deadline. `new_names`: whether to search for the names of
    /// threads that have none yet, which takes some reads even if there is nothing new.
    pub fn begin_sample(&mut self, new_names: bool) {
        self.share_memory();
        self.named = new_names.then(HashSet::new);
        let budget = &mut self.budget;
        budget
            .reads_and_bytes
            .set((MAX_SAMPLE_READS, MAX_SAMPLE_BYTES));
        budget.text.set(MAX_SAMPLE_TEXT);
        budget.limit.set_deadline(Deadline::NEVER);
    }

    /// Ends a sample. Returns what was left out of its stacks, if anything.
    pub fn end_sample(&mut self) -> Option<String> {
        // A stack may take more than the share.
        self.share_memory();
        let tables = match self.codes.take_omitted_tables() {
            0 => return None,
            1 => "1 line table was".to_owned(),
            tables => format!("{tables} line tables were"),
        };
        Some(format!(
            "{tables} left out, of functions that are shown without lines: longer than 4 MiB, or more than fits \
             into the memory for what is cached of all processes"
        ))
    }

    /// Drops all that is cached if that is more than the share of this process, and others need the memory.
    fn share_memory(&mut self) {
        if self.account.is_over() {
            debug!("{} bytes of caches are dropped", self.account.taken());
            self.codes.clear();
            self.names.forget();
            self.lists = Prefetch::new(LISTS);
            self.lists_charge.set(0);
            self.drop_copies();
        }
    }

    /// What is cached of this process is charged there.
    pub fn account(&self) -> &Account {
        &self.account
    }

    fn drop_copies(&mut self) {
        self.copies.clear();
        self.copies_charge.set(0);
    }

    /// Sets the time by which reading must be done: what is not read by then is
    /// [`ReadError::OutOfTime`]. It may be set again at any time.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.budget.limit.set_deadline(deadline);
    }

    /// Sets the flag that ends all reading, from now on.
    pub fn set_stop(&mut self, stop: Arc<AtomicBool>) {
        self.budget.limit.set_stop(stop);
    }

    /// Whether that flag is set.
    pub fn is_stopped(&self) -> bool {
        self.budget.limit.is_stopped()
    }

    /// Lists the threads of all interpreters. `tasks` returns the process's tasks as pairs of the id
    /// in its own PID namespace and the id in ours; it is called when there is an unknown thread.
    /// Unless the list ends as the one before, it is read again: see [`Ends`].
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads<T: IntoIterator<Item = (Tid, Tid)>>(
        &mut self,
        memory: &impl RemoteMemory,
        mut tasks: impl FnMut() -> T,
    ) -> Result<ThreadList, SampleError> {
        let mut reads = 1;
        let list = loop {
            let list = self.list_once(memory, &mut tasks)?;
            let is_certain = list.ends == self.ends;
            if list.errors.is_empty() {
                self.ends.clone_from(&list.ends);
            }
            if is_certain || !list.errors.is_empty() || reads == LIST_READS {
                break list;
            }
            reads += 1;
        };
        if self.copies.len() > list.threads.len() {
            let states: HashSet<_> = list
                .threads
                .iter()
                .map(|thread| thread.state.addr)
                .collect();
            self.copies.retain(|state, _| states.contains(state));
            let sizes = self.copies.values_mut().map(|copy| {
                copy.counted_size = copy.size();
                copy.counted_size
            });
            self.copies_charge.set(sizes.sum());
        }
        Ok(list)
    }

    fn list_once<T: IntoIterator<Item = (Tid, Tid)>>(
        &mut self,
        memory: &impl RemoteMemory,
        tasks: impl FnMut() -> T,
    ) -> Result<ThreadList, SampleError> {
        let (python, ids) = (&self.python, &mut self.ids);
        self.lists.set_limit(self.account.room());
        self.lists.prepare();
        let mut parts = Vec::new();
        self.lists.add_parts(&mut parts);
        let filled = memory.read_many(&mut parts).is_ok();
        self.lists.filled(filled);
        let list = self.budget.within(&self.lists.over(memory), |memory| {
            let mut list = list_threads(memory, python)?;
            list.cap_states(|thread| Some(thread.state.pthread_id));
            identify_threads(memory, ids, tasks, &mut list.threads);
            leave_out_ended(memory, python, &mut list.threads);
            list.cap_states(|thread| thread.os_thread_id);
            if memory.is_spent() {
                // Some threads are not identified.
                return Err(SampleError::TornRead(ReadError::OutOfTime));
            }
            Ok(list)
        });
        self.lists_charge.set(self.lists.size());
        list
    }

    /// Whether a thread holds its interpreter's GIL right now; `None` where that cannot be read. A
    /// thread without it cannot leave its current frame.
    pub fn holds_gil(&self, memory: &impl RemoteMemory, thread: &PythonThread) -> Option<bool> {
        gil::holds(memory, &self.python, thread.lock, thread.state.addr).ok()?
    }

    /// The thread state that holds the GIL of this thread's interpreter; `None` if there is none, or it cannot be read.
    pub fn gil_holder(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
    ) -> Option<RemoteAddr> {
        gil::holder(memory, &self.python, thread.lock).ok()?
    }

    /// Whether this stack has a frame of the thread's first call from C (3.11); false where the version shows the
    /// end of a chain in another way, or the structures cannot be read.
    pub fn first_c_entry_is_on_stack(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &[RawFrame],
    ) -> bool {
        walk::first_c_entry_is_on_stack(memory, &self.python, &thread.state, stack).unwrap_or(false)
    }

    /// Reads again whether a thread holds the GIL, and whether its interpreter collects garbage. On an
    /// error the values from the thread list stay.
    pub fn refresh_gil_state(&self, memory: &impl RemoteMemory, thread: &mut PythonThread) {
        let interpreter = thread.state.interpreter;
        if let Ok(holder) = gil::holder(memory, &self.python, thread.lock) {
            thread.owns_gil = holder == Some(thread.state.addr);
        }
        if let Ok(collection) = gc::collection(memory, &self.python, interpreter) {
            thread.collection = collection;
        }
    }

    /// Copies a thread's state and stack, as far as their addresses are known. Returns whether names can be
    /// resolved from the copy even if the thread runs on: where the interpreter counts its code objects.
    pub fn copy(&mut self, memory: &impl RemoteMemory, thread: &PythonThread) -> bool {
        if self.copies_charge.bytes() > MAX_CACHED_BYTES || self.account.is_over() {
            self.drop_copies();
        }
        let room = self.account.room();
        let (python, state) = (&self.python, &thread.state);
        let copy = self.copies.entry(state.addr);
        let copy = copy.or_insert_with(|| ThreadCopy::new(python));
        let interpreter = state.interpreter.addr;
        let counter = identity::generation_field(python, interpreter);
        copy.fill(memory, state.addr, counter, interpreter, room);
        copy.generation().is_some()
    }

    /// Pass 1: a thread's state and the addresses of its frames, leaf first, from its last
    /// [`copy`](StackReader::copy), and from the target where the copy has gaps.
    ///
    /// # Errors
    /// [`ReadError::ThreadEnded`] when the state does not belong to that thread any more; another when the
    /// chain cannot be followed, or the sample's budget is spent. `stack` then holds what was read
    /// before.
    pub fn walk(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &mut PythonThread,
        mode: Mode,
        stack: &mut Vec<RawFrame>,
    ) -> Result<Walk, ReadError> {
        let state = thread.state.addr;
        let walk = self.walk_copy(memory, thread, mode, stack);
        self.count_copy(state);
        walk
    }

    /// Charges what a thread's copy takes now.
    fn count_copy(&mut self, state: RemoteAddr) {
        if let Some(copy) = self.copies.get_mut(&state) {
            let size = copy.size();
            let others = self.copies_charge.bytes().saturating_sub(copy.counted_size);
            copy.counted_size = size;
            self.copies_charge.set(others.saturating_add(size));
        }
    }

    fn walk_copy(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &mut PythonThread,
        mode: Mode,
        stack: &mut Vec<RawFrame>,
    ) -> Result<Walk, ReadError> {
        stack.clear();
        let (python, state) = (&self.python, &mut thread.state);
        let copy = self.copies.entry(state.addr);
        let copy = copy.or_insert_with(|| ThreadCopy::new(python));
        let leaf_at_start = self.budget.within(&copy.roots.over(memory), |memory| {
            let now = interpreter::thread(memory, python, state.interpreter, state.addr);
            let now = now.map_err(|error| match error {
                ReadError::Corrupt { .. } => ReadError::ThreadEnded,
                error => error,
            })?;
            if !now.is_same_thread(state) {
                return Err(ReadError::ThreadEnded);
            }
            *state = now;
            walk::leaf_addr(memory, python, state)
        })?;
        let mut leaf = leaf_at_start;
        if mode == Mode::Running && !copy.roots_unchanged() && !clears_executable_on_return(python)
        {
            copy.use_later_roots();
            let later = self.budget.within(&copy.roots.over(memory), |memory| {
                let now = interpreter::thread(memory, python, state.interpreter, state.addr)?;
                walk::leaf_addr(memory, python, &now)
            })?;
            // The thread ran during the copy. Walk from the deeper of the two leaf addresses: the data
            // stack grows upwards, so that range most likely covers everything live in between.
            let ahead = later.distance_from(leaf);
            if ahead.is_some_and(|bytes| bytes < 1 << 16) {
                leaf = later;
            }
        }
        let ThreadCopy { frames, cache, .. } = &mut *copy;
        let walked = self.budget.within(&frames.over(memory), |memory| {
            let walker = Walker {
                memory,
                copy: frames,
                python,
                mode,
            };
            walker.walk(leaf, cache)
        });
        stack.extend(cache.stack());
        cache.drop_oversized();
        copy.resolved
            .keep(walked.as_ref().map_or(0, |(_, same)| *same));
        let (leaf, _) = walked?;
        Ok(Walk {
            evidence: copy.evidence(leaf, mode, stack),
            leaf_at_start,
        })
    }

    /// Searches for the outer frames of a stack whose chain is cut, in memory that does not change but
    /// has gaps. Returns whether the stack is then whole, frames of generators aside.
    ///
    /// # Errors
    /// When they cannot be read, or the sample's budget is spent.
    pub fn find_outer(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &mut Vec<RawFrame>,
    ) -> Result<bool, ReadError> {
        self.budget.within(memory, |memory| {
            data_stack::complete(memory, &self.python, thread.state.addr, stack)
        })
    }

    /// A thread's name in `threading`; `None` for a thread that is not known there. Reads only what
    /// changed since the last call; an unknown thread is searched for once a sample, if at all.
    pub fn thread_name(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
    ) -> Option<Arc<str>> {
        let interpreter = thread.state.interpreter.addr;
        let known = self.names.name(interpreter, thread.state.pthread_id);
        let may_search = |named: &mut HashSet<_>| named.insert(interpreter);
        if known.is_some() || !self.named.as_mut().is_some_and(may_search) {
            return known;
        }
        let (python, names) = (&self.python, &mut self.names);
        let knows_names = std::mem::replace(&mut self.knows_names, true);
        for _ in 0..if knows_names { 1 } else { NAME_READS } {
            let refreshed = self.budget.within(memory, |memory| {
                names.refresh(&Objects { memory, python }, interpreter)
            });
            if let Err(error) = &refreshed {
                debug!("names of threads: {error}");
            }
            let name = names.name(interpreter, thread.state.pthread_id);
            match (refreshed, &mut self.named) {
                (Err(ReadError::OutOfTime), Some(named)) => {
                    // There may be more time for it soon.
                    named.remove(&interpreter);
                    return name;
                }
                _ if name.is_some() => return name,
                _ => {}
            }
        }
        None
    }

    /// Pass 2: names for the frames of this thread's last walk. Short filenames follow later: see
    /// [`FrameTable::shorten_new`]. The table must always be the same one.
    ///
    /// # Errors
    /// When a code object cannot be read.
    pub fn resolve(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &[RawFrame],
        frames: &mut FrameTable,
    ) -> Result<Resolved, ReadError> {
        let (python, codes) = (&self.python, &mut self.codes);
        let copy = self.copies.entry(thread.state.addr);
        let copy = copy.or_insert_with(|| ThreadCopy::new(python));
        let reads = codes.reads();
        let is_walked = copy.cache.is(stack);
        let limit = &self.budget.limit;
        if !is_walked {
            copy.resolved.keep(0);
        }
        let frames = self.budget.within(memory, |memory| {
            let objects = Objects { memory, python };
            let generation = copy.generation();
            let last = &mut copy.resolved;
            codes.resolve(objects, generation, stack, last, frames, limit)
        });
        if !is_walked {
            copy.resolved.keep(0);
        }
        let resolved = Resolved {
            code_was_read: codes.reads() != reads,
            hidden_leaf: copy.resolved.has_hidden_leaf(),
            hidden_caller: copy.resolved.has_hidden_caller(),
            frames: Arc::default(),
        };
        self.count_copy(thread.state.addr);
        Ok(Resolved {
            frames: frames?,
            ..resolved
        })
    }

    /// For each frame of the stack that was last resolved of this thread, whether it is shown.
    pub fn shown(&self, thread: &PythonThread) -> impl Iterator<Item = bool> {
        let copy = self.copies.get(&thread.state.addr);
        let ids = copy.map(|copy| copy.resolved.ids.as_slice());
        ids.unwrap_or_default().iter().rev().map(Option::is_some)
    }

    /// The variables of a frame (see [`Objects::frame_locals`]), within the sample's budget for text.
    ///
    /// # Errors
    /// When they cannot be read, or the sample's budget is spent.
    pub fn frame_locals(
        &self,
        memory: &impl RemoteMemory,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        if self.text_is_spent() {
            return Err(ReadError::too_much("the variables of all frames"));
        }
        let locals = self.budget.within(memory, |memory| {
            self.objects(memory)
                .frame_locals(frame.addr, frame.executable, options)
        })?;
        self.spend_text(&locals);
        Ok(locals)
    }

    /// Whether the variables of this sample have as much text as they may have.
    pub fn text_is_spent(&self) -> bool {
        self.budget.text.get() == 0
    }

    /// Subtracts the text of these variables from what those of this sample may have.
    pub fn spend_text(&self, locals: &[Local]) {
        let length = |local: &Local| local.name.len() + local.value.len();
        let length: usize = locals.iter().map(length).sum();
        let text = &self.budget.text;
        text.set(text.get().saturating_sub(length));
    }
}

pub mod copied;
#[cfg(test)]
mod tests;
