//! What a live view consists of: a [`SampleSource`], a [`Model`] that counts its samples, and a [`View`]
//! that draws the [snapshots](Model::Snapshot) of the model.

use std::time::Duration;

use ratatui::buffer::Buffer;

use crate::cpython::code::frame_table::FrameTable;
use crate::os::Pid;
use crate::profile::options::ProcessLabel;
use crate::sampler::sample::Sample;

/// Number of samples after which a snapshot is worth showing before a whole delay is over, if possible.
pub const ENOUGH_SAMPLES: u64 = 10;

/// When a view shows a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshes {
    /// Time between two.
    pub delay: Duration,
    /// The view ends after so many; `None`: with the program, or when the user quits.
    pub limit: Option<u64>,
}

/// An iterator of samples. `next` sleeps until the next sample is due, and returns `None` when all
/// processes have ended or the `stop` flag of [`run`](super::app::run) is set.
pub trait SampleSource: Iterator<Item = Sample> {
    /// The table that the samples' frames are in.
    fn frames(&self) -> &FrameTable;

    fn process(&self, pid: Pid) -> Option<ProcessLabel>;

    /// File system roots of the processes that are new in the last sample; see
    /// [`set_fs_root`](crate::profile::Profile::set_fs_root).
    fn new_fs_roots(&self) -> &[(Pid, u32)] {
        &[]
    }

    /// Resumes any thread of the target that is still paused after `next`, and returns whether none is
    /// left. Called before Ctrl-Z stops this process for an unknown time.
    fn settle(&mut self) -> bool;
}

/// Counts samples.
pub trait Model {
    /// State at the end of an interval, drawn by another thread.
    type Snapshot: Default + Send + Sync + 'static;

    fn add(&mut self, sample: &Sample, source: &impl SampleSource);
    /// Number of samples in the current interval.
    fn samples_now(&self) -> u64;
    /// Ends the interval and starts a new one.
    fn tick(&mut self) -> Self::Snapshot;
    /// Discards all counts, if the view has a key for that.
    fn reset(&mut self);
}

/// Draws snapshots.
pub trait View: Clone + Send + 'static {
    type Snapshot: Default + Send + Sync + 'static;

    /// PID of the target.
    fn pid(&self) -> Pid;
    /// Draws the whole screen.
    fn draw(&self, snapshot: &Self::Snapshot, buffer: &mut Buffer);
    /// The screen as text, to be left on the normal screen: at most `height` lines of at most `width`
    /// cells, each with a newline.
    fn text(&self, snapshot: &Self::Snapshot, width: u16, height: u16) -> String;
    /// Executes a command other than [`Command::Quit`] and [`Command::Reset`].
    fn handle(&mut self, command: Command);
}

/// The command of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Sort(Column),
    /// Switch between functions and lines.
    ToggleLines,
    /// Discard all counts.
    Reset,
    ToggleHelp,
    CloseHelp,
    Quit,
}

/// The column by which the table is sorted, greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Share of the last interval's samples with the function as leaf.
    OwnPercent,
    /// Share of the last interval's samples with the function anywhere on the stack.
    TotalPercent,
    /// Time as leaf since the start or the last reset.
    OwnTime,
    /// Time anywhere on the stack since the start or the last reset.
    TotalTime,
    /// RSS added as leaf since the start or the last reset, and never released.
    Kept,
    /// RSS added as leaf since the start or the last reset.
    Added,
    /// RSS released as leaf since the start or the last reset.
    Freed,
}

/// Why the live view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source has no more samples: the program has ended.
    ProgramEnded,
    /// The user quit, the caller's flag was set, or the terminal hung up.
    Stopped,
}

/// The target as shown in the header.
#[derive(Clone, Debug, Default)]
pub struct Title {
    /// Command line of the process.
    pub command: String,
    pub pid: Pid,
    /// Version of its interpreter, such as `3.12.1`.
    pub version: String,
    /// Whether child processes are included.
    pub subprocesses: bool,
}
