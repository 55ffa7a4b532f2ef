//! Stacks that the kernel copied while their threads were interrupted: what is to be copied, how a copy is walked,
//! and how its frames are named later.

use std::collections::HashSet;

use python_offsets::consts::CFRAME_PREVIOUS_AFTER_CURRENT_FRAME;
use python_offsets::semantics::{Executable, FrameRoot, GilHolder};

use super::StackReader;
use crate::cpython::code::frame_table::{FrameId, FrameTable};
use crate::cpython::code::identity::{Generation, generation_field, head_len, identifying_fields};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::span;
use crate::cpython::stack::evidence::Mode;
use crate::cpython::stack::frame_cache::FrameCache;
use crate::cpython::stack::walk::decode::frame_len;
use crate::cpython::stack::walk::{self, Walker};
use crate::cpython::threads::list::PythonThread;
use crate::cpython::threads::{gc, gil, interpreter};
use crate::cpython::values::object::Objects;
use crate::os::Tid;
use crate::os::bpf::copy_plan::{CopyPlan, GenerationCounter, MAX_RANGE, Texts};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::{Prefetch, PrefetchPolicy};

/// What walks copies: buffers that are used again.
pub struct CopyWalker {
    cache: FrameCache,
    /// Copies are whole, and nothing is prefetched.
    no_prefetch: Prefetch,
}

impl Default for CopyWalker {
    fn default() -> CopyWalker {
        CopyWalker {
            cache: FrameCache::default(),
            no_prefetch: Prefetch::new(PrefetchPolicy::default()),
        }
    }
}

/// A stack from a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedStack {
    /// The root frame lacks its link to the caller, as for a few instructions while a generator is resumed.
    pub unlinked_root: bool,
}

impl StackReader {
    /// What is copied of each thread of the process, of which `thread` is one; `None` if it cannot be copied.
    pub fn copy_plan(&self, thread: &PythonThread) -> Option<CopyPlan> {
        let python = &self.python;
        let (layout, semantics) = (&python.layout, &python.semantics);
        let state = &layout.thread_state;
        let (gil_holder, gil_range) = match semantics.gil_holder {
            GilHolder::Symbol | GilHolder::Runtime => {
                let variable = python.roots.tstate_current;
                (variable, variable.map(|addr| (addr, 8)))
            }
            GilHolder::Interpreter => {
                let fields = &layout.gil_runtime_state;
                let holder = thread
                    .lock
                    .map(|lock| lock.offset(fields.last_holder.into()));
                let len = span(&[fields.last_holder, fields.locked]);
                (holder, thread.lock.map(|lock| (lock, words(len))))
            }
        };
        let collection = gc::fields(python, thread.state.interpreter);
        let collection = collection.map(|(flag, frame)| [Some(flag), frame]);
        let collection = collection.into_iter().flatten().flatten();
        let ranges = gil_range
            .into_iter()
            .chain(collection.map(|addr| (addr, 8)));
        let interpreter = thread.state.interpreter.addr;
        let counter = generation_field(python, interpreter);
        let (frame, code) = (&layout.interpreter_frame, &layout.code_object);
        let ascii = layout.unicode_object.asciiobject_size as usize;
        let bytes = layout.bytes_object.ob_sval as usize;
        let plan = CopyPlan {
            gil_holder: gil_holder.filter(|_| !semantics.free_threaded),
            namespace: None,
            pthread: state.thread_id as usize,
            tid_in_pthread: self.ids.offset(),
            ranges: ranges.filter(|(_, len)| *len <= MAX_RANGE).collect(),
            state_len: words(interpreter::thread_len(python)),
            frame_root: state.current_frame as usize,
            cframe: match semantics.frame_root {
                FrameRoot::ThreadState => None,
                FrameRoot::CFrame => Some(state.cframe_current_frame.unwrap_or(0) as usize),
            },
            frame_len: words(frame_len(python)),
            previous: frame.previous as usize,
            executable: frame.executable as usize,
            tag_mask: match semantics.executable {
                Executable::Code | Executable::Object => 0,
                Executable::StackRef { tag_mask } => tag_mask.into(),
            },
            code_len: words(head_len(python)),
            // A field of 4 bytes is compared with its neighbour, which does not change either.
            code_fields: identifying_fields(python).map(|field| field as usize & !7),
            texts: Texts {
                fields: [code.name, code.filename, code.linetable].map(|at| at as usize),
                head: layout.pyobject.size as usize,
                data: match layout.unicode_object.state {
                    Some(_) => [ascii, ascii, bytes],
                    // The strings of Python 2 are bytes.
                    None => [bytes; 3],
                },
            },
            generation: counter.map(|(addr, len)| GenerationCounter {
                addr,
                len,
                interpreter,
                in_state: state.interp as usize,
            }),
        };
        // `walk::newest_c_entry_is_on_stack` reads `previous` there.
        const { assert!(CFRAME_PREVIOUS_AFTER_CURRENT_FRAME == 8) };
        plan.fits().then_some(plan)
    }

    /// Walks a copy of a thread's stack, whose frames are put into `stack`, leaf first. The thread's state is
    /// updated to that of the copy, and so is whether it holds the GIL and collects garbage.
    ///
    /// # Errors
    /// [`ReadError::ThreadEnded`] when the state is another thread's by now; another when the copy lacks a part.
    pub fn walk_copied(
        &self,
        copy: &impl RemoteMemory,
        thread: &mut PythonThread,
        walker: &mut CopyWalker,
        stack: &mut Vec<RawFrame>,
    ) -> Result<CopiedStack, ReadError> {
        stack.clear();
        let (python, known) = (&self.python, &mut thread.state);
        let state = interpreter::thread(copy, python, known.interpreter, known.addr);
        let state = state.map_err(|error| match error {
            ReadError::Corrupt { .. } => ReadError::ThreadEnded,
            error => error,
        })?;
        if !state.is_same_thread(known) {
            return Err(ReadError::ThreadEnded);
        }
        *known = state;
        let leaf = walk::leaf_addr(copy, python, known)?;
        let CopyWalker { cache, no_prefetch } = walker;
        let walked = Walker {
            memory: copy,
            copy: no_prefetch,
            python,
            mode: Mode::AtRest,
        }
        .walk(leaf, cache);
        stack.extend(cache.stack());
        cache.drop_oversized();
        walked?;
        let holds = gil::holds(copy, python, thread.lock, thread.state.addr);
        thread.owns_gil = holds.ok().flatten() == Some(true);
        let collection = gc::collection(copy, python, thread.state.interpreter);
        thread.collection = collection.ok().flatten();
        let ends_unlinked = stack.last().is_some_and(|frame| frame.is_unlinked);
        let is_linked = || walk::newest_c_entry_is_on_stack(copy, python, &thread.state, stack);
        let unlinked_root = ends_unlinked && !is_linked().unwrap_or(false);
        Ok(CopiedStack { unlinked_root })
    }

    /// The thread of a copy, which was not listed: it has ended since, or just started. `like` is another thread of
    /// its interpreter. `None` if the state belongs to none.
    pub fn thread_in_copy(
        &self,
        copy: &impl RemoteMemory,
        like: &PythonThread,
        state: RemoteAddr,
        tid: Option<Tid>,
    ) -> Option<PythonThread> {
        let interpreter = like.state.interpreter;
        let state = interpreter::thread(copy, &self.python, interpreter, state).ok()?;
        Some(PythonThread {
            state,
            os_thread_id: tid,
            has_ended: false,
            owns_gil: false,
            lock: like.lock,
            collection: None,
        })
    }

    /// Names each frame of a copied stack; `None` for one that is not shown. All calls with one `batch` see the
    /// process as it was at the first of them.
    ///
    /// # Errors
    /// Of a frame, when its code object cannot be read.
    pub fn name_copied(
        &mut self,
        memory: &impl RemoteMemory,
        batch: u64,
        stack: &[RawFrame],
        frames: &mut FrameTable,
    ) -> Vec<Result<Option<FrameId>, ReadError>> {
        let (python, codes) = (&self.python, &mut self.codes);
        let (budget, limit) = (&self.budget, &self.budget.limit);
        budget.within(memory, |memory| {
            let objects = Objects { memory, python };
            codes.resolve_each(objects, Generation::of_batch(batch), stack, frames, limit)
        })
    }

    /// Those of these code objects that have been named and are by now what they were then.
    pub fn unchanged_codes(
        &self,
        memory: &impl RemoteMemory,
        codes: &[RemoteAddr],
    ) -> HashSet<RemoteAddr> {
        let python = &self.python;
        self.budget.within(memory, |memory| {
            let objects = Objects { memory, python };
            self.codes.unchanged(objects, codes)
        })
    }
}

/// A length in bytes, rounded up to whole words.
fn words(len: usize) -> usize {
    len.next_multiple_of(size_of::<u64>())
}
