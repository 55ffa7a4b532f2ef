//! [`StackReader`]: the main path from an interpreter's memory to stacks. The memory may be a live
//! process, a tape or a core file: all of them are read by this code.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use log::debug;

use super::code::cache::CodeCache;
use super::code::frame_table::{FrameId, FrameTable};
use super::code::identity;
use super::read::budget::Budget;
use super::read::error::{ReadError, SampleError};
use super::runtime::Runtime;
use super::stack::copy::ThreadCopy;
use super::stack::data_stack;
use super::stack::walk::{self, LeafState, RawFrame};
use super::threads::list::{PythonThread, ThreadList, identify_threads, list_threads};
use super::threads::names::ThreadNames;
use super::threads::tid_map::ThreadIds;
use super::threads::{gc, gil, interpreter};
use super::values::ValueOptions;
use super::values::locals::Local;
use super::values::object::Objects;
use crate::os::Tid;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::{Prefetch, PrefetchPolicy};

/// The most reads of one sample, for all threads together. A frame takes one or two, a code object
/// that is new some 15, the variables of a frame some 30. A target made to be endless must not hold
/// us.
pub const MAX_SAMPLE_READS: usize = 4_000_000;
/// The most bytes that one sample reads.
const MAX_SAMPLE_BYTES: usize = 2 << 30;
/// The most bytes of text that the variables of all frames of one sample may have.
const MAX_SAMPLE_TEXT: usize = 32 << 20;
/// The most bytes of stacks that are kept to read the next ones ahead: 1,000 threads take some 20
/// MiB. With more, all are forgotten.
const MAX_KEPT: usize = 24 << 20;
/// What the lists of interpreters and threads are read with: fields that stand together are.
const LISTS: PrefetchPolicy = PrefetchPolicy {
    gap: 256,
    beyond: 0,
    before: 0,
};

/// Reads one interpreter, and remembers what does not change from sample to sample.
pub struct StackReader {
    python: Runtime,
    codes: CodeCache,
    ids: ThreadIds,
    names: ThreadNames,
    lists: Prefetch,
    copies: BTreeMap<RemoteAddr, ThreadCopy>,
    /// About how many bytes the copies take.
    kept: usize,
    /// Interpreters whose thread names were read in this sample; `None` when none may be.
    named: Option<HashSet<RemoteAddr>>,
    left: SampleBudget,
}

/// What may still be read in a sample.
struct SampleBudget {
    reads_and_bytes: Cell<(usize, usize)>,
    text: Cell<usize>,
}

impl Default for SampleBudget {
    fn default() -> SampleBudget {
        SampleBudget {
            reads_and_bytes: Cell::new((MAX_SAMPLE_READS, MAX_SAMPLE_BYTES)),
            text: Cell::new(MAX_SAMPLE_TEXT),
        }
    }
}

impl SampleBudget {
    /// Does some reading within what is left.
    fn within<M, T>(&self, memory: &M, read: impl FnOnce(&Budget<'_, M>) -> T) -> T {
        let (reads, bytes) = self.reads_and_bytes.get();
        let budget = Budget::new(memory, reads, bytes);
        let result = read(&budget);
        self.reads_and_bytes.set(budget.left());
        result
    }
}

/// How a thread's stack was read.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Whether the whole stack was copied in one call, and its frames say that it was there or what leads to
    /// them was the same before and after. Otherwise the stack of a thread that runs may never have been.
    pub is_consistent: bool,
    /// Whether that holds even of an innermost frame that is not shown.
    pub leaf_has_started: bool,
    /// The thread's innermost frame, shown or not, before its stack was copied.
    pub innermost: RemoteAddr,
}

/// A stack's frames in a [`FrameTable`].
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Leaf first, without those that run no code object or have not begun yet.
    pub frames: Arc<[FrameId]>,
    /// Whether a code object had to be read for it, which a thread that runs may have dropped since
    /// its stack was read.
    pub is_new: bool,
    /// Whether the innermost frame is not shown.
    pub has_hidden_leaf: bool,
    /// Whether a frame that is not shown is said to have called another. That is so of a few that
    /// CPython puts in by itself; mostly it is a frame that was only being made when it was copied.
    pub has_hidden_caller: bool,
}

impl StackReader {
    /// An inspector that knows nothing yet of the interpreter but where it is.
    pub fn new(python: Runtime) -> StackReader {
        StackReader {
            python,
            codes: CodeCache::default(),
            ids: ThreadIds::default(),
            names: ThreadNames::default(),
            lists: Prefetch::new(LISTS),
            copies: BTreeMap::new(),
            kept: 0,
            named: None,
            left: SampleBudget::default(),
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

    /// Starts a new sample: what may be read is counted anew. `new_names`: whether names of threads
    /// that have none yet are looked for in it, which takes some reads though there is nothing new.
    pub fn begin_sample(&mut self, new_names: bool) {
        self.named = new_names.then(HashSet::new);
        self.left = SampleBudget::default();
    }

    /// Lists the threads of all interpreters. `tasks` gives the process's tasks as pairs of the id
    /// in its own PID namespace and the id in ours; it is asked when a thread is none that was
    /// known.
    ///
    /// # Errors
    /// When the interpreters themselves cannot be listed.
    pub fn threads<T: IntoIterator<Item = (Tid, Tid)>>(
        &mut self,
        memory: &impl RemoteMemory,
        tasks: impl FnMut() -> T,
    ) -> Result<ThreadList, SampleError> {
        let (python, ids) = (&self.python, &mut self.ids);
        self.lists.prepare();
        let mut parts = Vec::new();
        self.lists.add_parts(&mut parts);
        let filled = memory.read_many(&mut parts).is_ok();
        self.lists.filled(filled);
        let list = self.left.within(&self.lists.over(memory), |memory| {
            let mut list = list_threads(memory, python)?;
            identify_threads(memory, ids, tasks, &mut list.threads);
            Ok::<_, SampleError>(list)
        })?;
        if self.copies.len() > list.threads.len() {
            let states: HashSet<_> = list
                .threads
                .iter()
                .map(|thread| thread.state.addr)
                .collect();
            self.copies.retain(|state, _| states.contains(state));
            self.kept = self.copies.values().map(ThreadCopy::size).sum();
        }
        Ok(list)
    }

    /// Whether a thread holds its interpreter's GIL at this moment; `None` where that cannot be told. A
    /// thread that does not hold it stays in the frame where it is.
    pub fn holds_gil(&self, memory: &impl RemoteMemory, thread: &PythonThread) -> Option<bool> {
        gil::holds(memory, &self.python, thread.lock, thread.state.addr).ok()?
    }

    /// Whether the thread's newest C call of the interpreter came from a frame of this stack, or from no
    /// Python at all (3.11); false where the version has another way to show a chain's end, or what
    /// tells cannot be read.
    pub fn c_entry_is_on_stack(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &[RawFrame],
    ) -> bool {
        walk::c_entry_is_on_stack(memory, &self.python, &thread.state, stack).unwrap_or(false)
    }

    /// Looks again whether a thread holds the GIL, and whether its interpreter collects garbage. What
    /// cannot be read stays as the list had it.
    pub fn refresh_gil_state(&self, memory: &impl RemoteMemory, thread: &mut PythonThread) {
        let interpreter = thread.state.interpreter;
        if let Ok(holder) = gil::holder(memory, &self.python, thread.lock) {
            thread.owns_gil = holder == Some(thread.state.addr);
        }
        if let Ok(collection) = gc::collection(memory, &self.python, interpreter) {
            thread.collection = collection;
        }
    }

    /// Copies a thread's state and stack, as far as it is known where they stand. Whether names can be
    /// told from the copy even if the thread has gone on since: where the interpreter counts its code
    /// objects.
    pub fn copy(&mut self, memory: &impl RemoteMemory, thread: &PythonThread) -> bool {
        if self.kept > MAX_KEPT {
            self.copies.clear();
            self.kept = 0;
        }
        let (python, state) = (&self.python, &thread.state);
        let copy = self.copies.entry(state.addr);
        let copy = copy.or_insert_with(|| ThreadCopy::new(python));
        let interpreter = state.interpreter.addr;
        let counter = identity::generation_field(python, interpreter);
        copy.fill(memory, state.addr, counter, interpreter);
        copy.generation().is_some()
    }

    /// Pass 1: a thread's state and the addresses of its frames, leaf first, from its last
    /// [`copy`](StackReader::copy), and from the target where that has gaps. `races`: the thread ran
    /// while it was copied.
    ///
    /// # Errors
    /// [`ReadError::ThreadEnded`] when the state is no more that thread's; another when the chain cannot
    /// be followed, or too much was read in this sample already. `stack` then holds what was read
    /// before.
    pub fn walk(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &mut PythonThread,
        races: bool,
        stack: &mut Vec<RawFrame>,
    ) -> Result<Walk, ReadError> {
        stack.clear();
        let (python, state) = (&self.python, &mut thread.state);
        let copy = self.copies.entry(state.addr);
        let copy = copy.or_insert_with(|| ThreadCopy::new(python));
        let mut innermost = self.left.within(&copy.roots.over(memory), |memory| {
            let now = interpreter::thread(memory, python, state.interpreter, state.addr);
            let now = now.map_err(|error| match error {
                ReadError::Corrupt { .. } => ReadError::ThreadEnded,
                error => error,
            })?;
            if !now.is_same_thread(state) {
                return Err(ReadError::ThreadEnded);
            }
            *state = now;
            walk::innermost(memory, python, state)
        })?;
        let found = innermost;
        if races && !copy.roots_unchanged() && !walk::clears_executable_on_return(python) {
            copy.use_later_roots();
            let later = self.left.within(&copy.roots.over(memory), |memory| {
                let now = interpreter::thread(memory, python, state.interpreter, state.addr)?;
                walk::innermost(memory, python, &now)
            })?;
            // It ran on while its stack was copied. Of the two the deeper one has all that was
            // there in between, most likely: stacks grow upwards.
            let ahead = later.distance_from(innermost);
            if ahead.is_some_and(|bytes| bytes < 1 << 16) {
                innermost = later;
            }
        }
        let ThreadCopy { frames, chain, .. } = &mut *copy;
        let walked = self.left.within(&frames.over(memory), |memory| {
            walk::walk(memory, frames, python, innermost, races, chain)
        });
        stack.extend(chain.stack());
        chain.drop_oversized();
        let same = walked.as_ref().map_or(0, |(_, same)| *same);
        copy.last.kept = copy.last.kept.min(same);
        let (leaf, _) = walked?;
        Ok(Walk {
            leaf_has_started: leaf != LeafState::NotReturned || copy.roots_unchanged(),
            is_consistent: copy.is_consistent(leaf, races),
            innermost: found,
        })
    }

    /// Looks for the outer frames of a stack whose chain broke off, for memory that stands still but has
    /// gaps. Whether the stack is whole then, but for frames of generators.
    ///
    /// # Errors
    /// When they cannot be read, or too much was read in this sample already.
    pub fn find_outer(
        &self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
        stack: &mut Vec<RawFrame>,
    ) -> Result<bool, ReadError> {
        self.left.within(memory, |memory| {
            data_stack::complete(memory, &self.python, thread.state.addr, stack)
        })
    }

    /// A thread's name as `threading` has it; `None` for a thread that it does not know. Asked
    /// again and again, this reads only what changed; an unknown thread is looked for once a sample,
    /// if at all.
    pub fn thread_name(
        &mut self,
        memory: &impl RemoteMemory,
        thread: &PythonThread,
    ) -> Option<Arc<str>> {
        let interpreter = thread.state.interpreter.addr;
        let known = self.names.name(interpreter, thread.state.pthread_id);
        let may_look = |named: &mut HashSet<_>| named.insert(interpreter);
        if known.is_some() || !self.named.as_mut().is_some_and(may_look) {
            return known;
        }
        let (python, names) = (&self.python, &mut self.names);
        let refreshed = self.left.within(memory, |memory| {
            names.refresh(&Objects { memory, python }, interpreter)
        });
        if let Err(error) = refreshed {
            debug!("names of threads: {error}");
        }
        self.names.name(interpreter, thread.state.pthread_id)
    }

    /// Pass 2: names for the frames of the stack that was walked last of this thread. Short
    /// filenames come later: see [`FrameTable::shorten_new`]. It is always the same table.
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
        let size = copy.counted;
        let is_walked = copy.chain.is(stack);
        if !is_walked {
            copy.last.kept = 0;
        }
        let frames = self.left.within(memory, |memory| {
            let objects = Objects { memory, python };
            let generation = copy.generation();
            codes.resolve(objects, generation, stack, &mut copy.last, frames)
        });
        if !is_walked {
            copy.last.kept = 0;
        }
        copy.counted = copy.size();
        self.kept = (self.kept + copy.counted).saturating_sub(size);
        let frames = frames?;
        let innermost = copy.last.ids.len().saturating_sub(1);
        let mut hidden = copy.last.hidden.iter();
        Ok(Resolved {
            frames,
            is_new: codes.reads() != reads,
            has_hidden_leaf: copy.last.hidden.last() == Some(&innermost),
            has_hidden_caller: hidden.any(|place| *place != innermost),
        })
    }

    /// Which frames of the stack that was resolved last of this thread are shown.
    pub fn shown(&self, thread: &PythonThread) -> impl Iterator<Item = bool> {
        let copy = self.copies.get(&thread.state.addr);
        let ids = copy.map(|copy| copy.last.ids.as_slice());
        ids.unwrap_or_default().iter().rev().map(Option::is_some)
    }

    /// The variables of a frame, as [`Objects::frame_locals`] reads them, within what all frames of
    /// a sample may take.
    ///
    /// # Errors
    /// When they cannot be read, or too much was read in this sample already.
    pub fn frame_locals(
        &self,
        memory: &impl RemoteMemory,
        frame: &RawFrame,
        options: ValueOptions,
    ) -> Result<Vec<Local>, ReadError> {
        let text = &self.left.text;
        if text.get() == 0 {
            return Err(ReadError::too_much("the variables of all frames"));
        }
        let locals = self.left.within(memory, |memory| {
            self.objects(memory)
                .frame_locals(frame.addr, frame.executable, options)
        })?;
        let length = |local: &Local| local.name.len() + local.value.len();
        let length: usize = locals.iter().map(length).sum();
        text.set(text.get().saturating_sub(length));
        Ok(locals)
    }
}
