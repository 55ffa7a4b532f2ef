//! Pass 1: the addresses of a thread's frames, leaf first. Names are resolved later
//! ([`code`](crate::cpython::code::cache)), when the target need not wait.

pub mod decode;
pub mod leaf;

use python_offsets::consts::CFRAME_PREVIOUS_AFTER_CURRENT_FRAME;
use python_offsets::layout::Offset;
use python_offsets::semantics::FrameRoot;

use super::evidence::{LeafState, Mode};
use super::frame_cache::{FrameCache, NewFrames};
use crate::cpython::frame::{MAX_CACHED_FRAMES, RawFrame};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, read_ptr};
use crate::cpython::runtime::Runtime;
use crate::cpython::threads::interpreter::ThreadState;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::prefetch::Prefetch;
use decode::{decode, frame_len};
use leaf::LeafTracker;

/// The deepest stack that is followed. Recursion limits in use stay below this.
const MAX_FRAMES: usize = 200_000;
/// The most bytes of a frame that are copied.
const MAX_FRAME_LEN: usize = 1024;

/// What a walk reads, and how.
pub struct Walker<'a, M> {
    /// The target's memory through `copy`.
    pub memory: &'a M,
    pub copy: &'a Prefetch,
    pub python: &'a Runtime,
    pub mode: Mode,
}

impl<M: RemoteMemory> Walker<'_, M> {
    /// Puts the frames from `leaf` to the root, without entry and shim frames, into `cache`, which holds
    /// those of the last walk. On an error the cache holds the frames that were read before it.
    ///
    /// Of a running thread, frames above the one marked as executing are leftovers of finished calls and
    /// are dropped. So are, from 3.14 on, frames that have no executable any more.
    ///
    /// Also returns how many frames, from the root on, are unchanged.
    ///
    /// # Errors
    /// When a frame cannot be read, or the chain has a loop or is too long.
    pub fn walk(
        &self,
        leaf: RemoteAddr,
        cache: &mut FrameCache,
    ) -> Result<(LeafState, usize), ReadError> {
        let mut fresh = std::mem::take(&mut cache.fresh);
        fresh.clear();
        cache.begin(frame_len(self.python), self.mode);
        let result = match self.follow(leaf, cache, &mut fresh) {
            Ok((state, same)) => Ok((state, cache.replace(same, &fresh))),
            Err(error) => {
                cache.keep_partial(&fresh);
                Err(error)
            }
        };
        if fresh.links.len() <= MAX_CACHED_FRAMES {
            cache.fresh = fresh;
        }
        result
    }

    /// Follows the frames up to the first cached one that is unchanged together with its callers. Also
    /// returns how many links those are.
    fn follow(
        &self,
        leaf: RemoteAddr,
        cache: &FrameCache,
        fresh: &mut NewFrames,
    ) -> Result<(LeafState, usize), ReadError> {
        let mut buffer = [0; MAX_FRAME_LEN];
        let buffer = buffer
            .get_mut(..frame_len(self.python))
            .ok_or_else(|| ReadError::corrupt("_PyInterpreterFrame", leaf))?;
        let mut tracker = LeafTracker::new(self.python, self.mode, leaf);
        let mut steps = Steps::default();
        let mut same = None;
        let mut addr = leaf;
        while !addr.is_null() {
            let cached = cache.find(addr).filter(|&index| {
                index < *same.get_or_insert_with(|| cache.count_same(self.copy, index + 1))
            });
            steps.check(addr, cached.unwrap_or(0))?;
            let record = match cached.and_then(|index| cache.record(index)) {
                Some(record) => record,
                None => self.read(addr, buffer)?,
            };
            tracker.visit(&record, fresh)?;
            if let Some(index) = cached {
                return Ok((tracker.finish_at_cached(cache, index), index + 1));
            }
            let (frame, previous) = decode(self.python, &record)?;
            tracker.add(&record, frame, fresh)?;
            addr = previous;
        }
        Ok((tracker.state(), 0))
    }

    fn read<'a>(&'a self, addr: RemoteAddr, buffer: &'a mut [u8]) -> Result<Record<'a>, ReadError> {
        let bytes = match self.memory.view(addr, buffer.len()) {
            Some(bytes) => bytes,
            None => {
                self.memory.read(addr, buffer)?;
                &*buffer
            }
        };
        Ok(Record::new("_PyInterpreterFrame", addr, bytes))
    }
}

/// Limits the length of a chain and detects loops by Brent's algorithm: each frame is compared with an
/// earlier one, which is replaced at every power of two. A loop is found within three times its length
/// plus the length of what leads to it.
#[derive(Default)]
struct Steps {
    count: usize,
    next_mark: usize,
    marked: RemoteAddr,
}

impl Steps {
    /// Counts a step to the frame at `addr`, after which `cached` more frames are known.
    fn check(&mut self, addr: RemoteAddr, cached: usize) -> Result<(), ReadError> {
        if self.count + cached >= MAX_FRAMES {
            return Err(ReadError::too_much("the frames of a thread"));
        }
        if addr == self.marked {
            return Err(ReadError::corrupt("_PyInterpreterFrame.previous", addr));
        }
        self.count += 1;
        if self.count >= self.next_mark {
            (self.next_mark, self.marked) = (self.count * 2, addr);
        }
        Ok(())
    }
}

/// The address of a thread's leaf frame, null when it runs none.
///
/// # Errors
/// When the `_PyCFrame` of 3.11 and 3.12 cannot be read.
pub fn leaf_addr(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: &ThreadState,
) -> Result<RemoteAddr, ReadError> {
    match python.semantics.frame_root {
        FrameRoot::ThreadState => Ok(thread.frame_root),
        FrameRoot::CFrame if thread.frame_root.is_null() => Ok(RemoteAddr::NULL),
        FrameRoot::CFrame => {
            let field = python.layout.thread_state.cframe_current_frame.unwrap_or(0);
            read_ptr(memory, thread.frame_root.offset(field.into()))
        }
    }
}

/// Where a `_PyCFrame` has its newest frame, if each call from C has one and no shim (3.11).
fn cframe_current_frame(python: &Runtime) -> Option<Offset> {
    let semantics = &python.semantics;
    let is_there = !semantics.has_shims() && semantics.frame_root == FrameRoot::CFrame;
    is_there.then(|| python.layout.thread_state.cframe_current_frame.unwrap_or(0))
}

/// Whether a thread's newest `_PyCFrame` was pushed by a frame of `stack`, or by no frame at all (3.11). Otherwise the
/// stack is not complete. Enough for a thread that has not run while its stack and this were copied.
///
/// # Errors
/// When one of the two newest `_PyCFrame`s cannot be read.
pub fn newest_c_entry_is_on_stack(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: &ThreadState,
    stack: &[RawFrame],
) -> Result<bool, ReadError> {
    let Some(field) = cframe_current_frame(python) else {
        return Ok(false);
    };
    let current_frame = thread.frame_root.offset(field.into());
    let previous = current_frame.offset(CFRAME_PREVIOUS_AFTER_CURRENT_FRAME.into());
    let previous = read_ptr(memory, previous)?;
    if previous.is_null() {
        return Ok(false);
    }
    let caller = read_ptr(memory, previous.offset(field.into()))?;
    Ok(caller.is_null() || stack.iter().any(|frame| frame.addr == caller))
}

/// Whether `stack` has a frame of the thread's first call from C (3.11). Otherwise the stack is not complete.
///
/// Each `_PyCFrame` but the oldest, which is part of the thread state, is of one call from C and holds the newest
/// frame of that call. They are read later than the frames, so those of a running thread may have changed, but the
/// first call ends with the thread. A chain of generators that ends too early has no frame of it: C calls each
/// generator, with a `_PyCFrame` of its own.
///
/// # Errors
/// When a `_PyCFrame` cannot be read.
pub fn first_c_entry_is_on_stack(
    memory: &impl RemoteMemory,
    python: &Runtime,
    thread: &ThreadState,
    stack: &[RawFrame],
) -> Result<bool, ReadError> {
    let Some(field) = cframe_current_frame(python) else {
        return Ok(false);
    };
    let mut newest_frame = RemoteAddr::NULL;
    let mut cframe = thread.frame_root;
    // A call from C has at least one frame.
    for _ in 0..=stack.len() {
        let current_frame = cframe.offset(field.into());
        let previous = current_frame.offset(CFRAME_PREVIOUS_AFTER_CURRENT_FRAME.into());
        let previous = read_ptr(memory, previous)?;
        if previous.is_null() {
            return Ok(stack.iter().any(|frame| frame.addr == newest_frame));
        }
        newest_frame = read_ptr(memory, current_frame)?;
        cframe = previous;
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
