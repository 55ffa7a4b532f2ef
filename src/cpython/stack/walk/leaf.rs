//! [`LeafTracker`]: what the frames of a walk show about its leaf.

use super::decode::{
    clears_executable_on_return, is_awaiting_callee, is_entry, is_executing, owned_by_thread,
};
use crate::cpython::frame::RawFrame;
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::Record;
use crate::cpython::runtime::Runtime;
use crate::cpython::stack::evidence::{LeafState, Mode};
use crate::cpython::stack::frame_cache::{FrameCache, NewFrames};
use crate::os::memory::address::RemoteAddr;

/// Visits the frames of a walk, leaf first, and drops those of finished calls from a running thread's.
pub struct LeafTracker<'a> {
    python: &'a Runtime,
    mode: Mode,
    /// The address of the frame at which the walk started.
    first: RemoteAddr,
    clears_executable: bool,
    state: LeafState,
    /// Whether the frame before, towards the leaf, was called by C.
    callee_is_entry: bool,
    passed_shim: bool,
}

impl<'a> LeafTracker<'a> {
    pub fn new(python: &'a Runtime, mode: Mode, first: RemoteAddr) -> LeafTracker<'a> {
        LeafTracker {
            python,
            mode,
            first,
            clears_executable: clears_executable_on_return(python),
            state: LeafState::Unknown,
            callee_is_entry: false,
            passed_shim: false,
        }
    }

    /// Visits a frame, cached or not.
    #[inline]
    pub fn visit(&mut self, record: &Record<'_>, fresh: &mut NewFrames) -> Result<(), ReadError> {
        let is_first = record.addr() == self.first;
        let is_running = self.mode == Mode::Running;
        if !self.callee_is_entry && is_executing(self.python, record)? {
            if is_running {
                fresh.clear();
                self.state = LeafState::Executing;
            } else {
                fresh.has_finished |= !is_first;
            }
        } else if is_running && is_first && is_awaiting_callee(self.python, record)? {
            self.state = LeafState::AwaitingCallee;
        }
        if is_running && self.clears_executable && is_first && owned_by_thread(self.python, record)?
        {
            self.state = LeafState::NotReturned;
        }
        Ok(())
    }

    /// The state of the leaf when the frame just visited and its callers are cached.
    #[inline]
    pub fn finish_at_cached(&self, cache: &FrameCache, index: usize) -> LeafState {
        match self.state {
            LeafState::NotReturned if !cache.is_plain(index, self.passed_shim) => {
                LeafState::Unknown
            }
            state => state,
        }
    }

    /// Adds the frame just visited, `None` for a shim; nothing if its call has finished.
    #[inline]
    pub fn add(
        &mut self,
        record: &Record<'_>,
        frame: Option<RawFrame>,
        fresh: &mut NewFrames,
    ) -> Result<(), ReadError> {
        self.passed_shim |= frame.is_none();
        if let Some(frame) = frame.filter(|_| self.clears_executable) {
            if frame.executable.is_null() {
                // It has returned, and so has all that it called.
                if self.mode == Mode::Running {
                    fresh.clear();
                    self.state = LeafState::Unknown;
                    return Ok(());
                }
                fresh.has_finished = true;
            }
            if self.state == LeafState::NotReturned
                && (self.passed_shim || frame.owned_by_generator)
            {
                self.state = LeafState::Unknown;
            }
        }
        self.callee_is_entry = frame.is_none() || is_entry(self.python, record)?;
        fresh.push(record, frame);
        Ok(())
    }

    pub fn state(&self) -> LeafState {
        self.state
    }
}
