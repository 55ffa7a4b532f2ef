//! [`LocalsReader`]: the variables of the frames of a process.
//!
//! Writing values as text takes longer than a thread may be paused. So while it is paused, only the pages
//! with the values are copied, as far as its pause lasts; the text is written from the copies once it runs
//! again. What was not copied in time is read then.

use std::rc::{Rc, Weak};
use std::time::Duration;

use super::inspect::Inspect;
use crate::cpython::frame::RawFrame;
use crate::cpython::process::Interpreter;
use crate::cpython::read::error::ReadError;
use crate::cpython::stack::trace::StackTrace;
use crate::cpython::values::locals::{FrameSlots, Local};
use crate::cpython::values::{ValueCache, ValueOptions};
use crate::os::deadline::Deadline;
use crate::os::memory::pages::Pages;
use crate::os::process::image::ProcessImage;
use crate::os::ptrace::pause::PauseGuard;

/// How long the variables of all frames of all processes of a dump may take.
pub const LOCALS_LIMIT: Duration = Duration::from_secs(5);
/// The most pages that are copied of one process: 64 MiB.
const MAX_PAGES: usize = 16_384;
/// The most bytes of names of variables, for all frames of a process, that are read before their values.
const MAX_NAMES: usize = 32 << 20;

/// How a frame's variables were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalsState {
    /// Its thread has not run meanwhile.
    Consistent,
    /// Its thread may have run meanwhile.
    WhileRunning,
    /// They were left out: reading them would take too long, or their text would be too long.
    Omitted,
}

/// The variables of a frame.
#[derive(Debug)]
pub struct FrameLocals {
    pub locals: Result<Vec<Local>, ReadError>,
    pub state: LocalsState,
}

/// What a dump shows of a frame beside its name and line.
#[derive(Debug)]
pub struct FrameDetails {
    /// See [`RawFrame::called_by_c`].
    pub called_by_c: bool,
    /// `None`: they were not requested.
    pub locals: Option<FrameLocals>,
}

/// A frame, with its variables before their text is written.
pub struct InspectedFrame {
    frame: RawFrame,
    /// `None`: they were not requested.
    variables: Option<Variables>,
}

struct Variables {
    /// `None`: there was no time.
    slots: Option<Result<FrameSlots, ReadError>>,
    /// Copies of what they refer to.
    pages: Rc<Pages>,
    may_have_changed: bool,
}

/// Reads the variables of all frames of a process.
pub struct LocalsReader {
    /// `None`: they are not to be read.
    options: Option<ValueOptions>,
    end: Deadline,
    /// When nothing more is read ahead: the stacks of the other threads are read in the same time.
    ahead_end: Deadline,
    pages: Vec<Weak<Pages>>,
    names_left: usize,
}

impl LocalsReader {
    /// Nothing is read when `limit` has passed.
    pub fn new(options: Option<ValueOptions>, limit: Duration) -> LocalsReader {
        LocalsReader {
            options,
            end: Deadline::after(limit),
            ahead_end: Deadline::after(limit / 2),
            pages: Vec::new(),
            names_left: MAX_NAMES,
        }
    }

    /// How many pages may still be copied.
    fn room(&mut self) -> usize {
        self.pages.retain(|pages| pages.strong_count() > 0);
        let pages = self.pages.iter().filter_map(Weak::upgrade);
        let used: usize = pages.map(|pages| pages.len()).sum();
        MAX_PAGES.saturating_sub(used)
    }

    /// Writes the variables as text, when all threads run again. `inspected` is from
    /// [`Inspect::inspect`], for each of the `traces`; `is_unchanged` returns whether a thread has not run
    /// since then.
    pub fn finish<T: ProcessImage>(
        &self,
        process: &Interpreter<T>,
        traces: &[StackTrace],
        inspected: Vec<Vec<InspectedFrame>>,
        mut is_unchanged: impl FnMut(&StackTrace) -> bool,
    ) -> Vec<Vec<FrameDetails>> {
        let threads = traces.iter().zip(inspected);
        let threads = threads.map(|(trace, frames)| {
            let mut cache = ValueCache::default();
            let mut was_late = Vec::with_capacity(frames.len());
            let mut all = Vec::with_capacity(frames.len());
            for InspectedFrame { frame, variables } in frames {
                // This takes seconds in all: a thread that stops late must not stay paused meanwhile.
                PauseGuard::settle();
                let pages = variables.as_ref().map(|one| Rc::clone(&one.pages));
                all.push(FrameDetails {
                    called_by_c: frame.called_by_c,
                    locals: variables
                        .map(|variables| self.read(process, &frame, variables, &mut cache)),
                });
                was_late.push(pages.is_some_and(|pages| pages.has_read_later()));
            }
            if was_late.contains(&true) && !is_unchanged(trace) {
                let late = all.iter_mut().zip(was_late).filter(|(_, late)| *late);
                for locals in late.filter_map(|(details, _)| details.locals.as_mut()) {
                    if locals.state == LocalsState::Consistent {
                        locals.state = LocalsState::WhileRunning;
                    }
                }
            }
            all
        });
        threads.collect()
    }

    /// The state does not count yet what was read just now.
    fn read<T: ProcessImage>(
        &self,
        process: &Interpreter<T>,
        frame: &RawFrame,
        variables: Variables,
        cache: &mut ValueCache,
    ) -> FrameLocals {
        let omitted = || FrameLocals {
            locals: Ok(Vec::new()),
            state: LocalsState::Omitted,
        };
        let Variables {
            slots,
            pages,
            may_have_changed,
        } = variables;
        pages.read_later(self.end);
        let (Some(options), false) = (self.options, self.end.is_over()) else {
            return omitted();
        };
        if process.reader().text_is_spent() {
            return omitted();
        }
        let memory = pages.over(process.target().memory());
        let objects = process.reader().objects(&memory);
        let slots = slots
            .unwrap_or_else(|| objects.frame_slots(frame.addr, frame.executable, options, cache));
        let locals = slots.and_then(|slots| objects.slot_values(&slots, options, cache));
        if pages.is_over() {
            return omitted();
        }
        if let Ok(locals) = &locals {
            process.reader().spend_text(locals);
        }
        FrameLocals {
            locals,
            state: match may_have_changed {
                true => LocalsState::WhileRunning,
                false => LocalsState::Consistent,
            },
        }
    }
}

impl<T: ProcessImage> Inspect<T> for LocalsReader {
    type Value = InspectedFrame;

    fn inspect<'f>(
        &mut self,
        process: &Interpreter<T>,
        frames: impl Iterator<Item = &'f RawFrame>,
        until: Deadline,
    ) -> Vec<InspectedFrame> {
        let Some(options) = self.options else {
            let frames = frames.map(|frame| InspectedFrame {
                frame: *frame,
                variables: None,
            });
            return frames.collect();
        };
        let pages = Rc::new(Pages::new(self.room(), until.or_earlier(self.ahead_end)));
        self.pages.push(Rc::downgrade(&pages));
        let memory = pages.over(process.target().memory());
        let objects = process.reader().objects(&memory);
        let mut cache = ValueCache::default();
        // First of all frames: the values below are found by them even if their thread runs on.
        let variables = frames.map(|frame| {
            let mut slots = (self.names_left > 0 && !pages.is_over())
                .then(|| objects.frame_slots(frame.addr, frame.executable, options, &mut cache));
            if pages.is_over() {
                slots = None;
            }
            if let Some(Ok(slots)) = &slots {
                self.names_left = self.names_left.saturating_sub(slots.size());
            }
            InspectedFrame {
                frame: *frame,
                variables: Some(Variables {
                    slots,
                    pages: Rc::clone(&pages),
                    may_have_changed: false,
                }),
            }
        });
        let frames: Vec<InspectedFrame> = variables.collect();
        for one in frames.iter().filter_map(|frame| frame.variables.as_ref()) {
            if pages.is_over() {
                break;
            }
            if let Some(Ok(slots)) = &one.slots
                && let Err(error) = objects.read_ahead(slots, options, &mut cache)
            {
                log::debug!("variables: {error}");
                break;
            }
        }
        frames
    }

    fn may_have_changed(&mut self, values: &mut [InspectedFrame]) {
        for one in values
            .iter_mut()
            .filter_map(|frame| frame.variables.as_mut())
        {
            one.may_have_changed = true;
        }
    }
}
