//! [`Inspect`]: reading what only holds while a thread does not run, such as its variables.

use crate::cpython::frame::RawFrame;
use crate::cpython::process::Interpreter;
use crate::os::deadline::Deadline;

/// Reads more of the frames of a thread than their names.
pub trait Inspect<T> {
    /// What is read of one frame.
    type Value;

    /// Called for the frames of an accepted stack that are shown, leaf first. If any thread is paused,
    /// `until` is when it must be resumed. Returns one value per frame, or none at all.
    fn inspect<'f>(
        &mut self,
        process: &Interpreter<T>,
        frames: impl Iterator<Item = &'f RawFrame>,
        until: Deadline,
    ) -> Vec<Self::Value>;

    /// The thread may have run since its stack was read.
    fn may_have_changed(&mut self, values: &mut [Self::Value]);
}

/// Reads nothing.
impl<T> Inspect<T> for () {
    type Value = ();

    fn inspect<'f>(
        &mut self,
        _: &Interpreter<T>,
        _: impl Iterator<Item = &'f RawFrame>,
        _: Deadline,
    ) -> Vec<()> {
        Vec::new()
    }

    fn may_have_changed(&mut self, _: &mut [()]) {}
}
