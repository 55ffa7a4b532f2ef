//! The live views: where a running program spends its time, as a table that renews itself, and its
//! memory, as a plot that does.
//!
//! [`app::run`] samples in the thread that calls it, since only the thread that attached to the target
//! may hold it still; a second thread owns the terminal. They share what was last
//! [seen](app::Model::Seen), so that a slow terminal never holds up a sample.

pub mod app;
pub mod memory;
pub mod rows;
pub mod terminal;
pub mod top;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::cpython::code::frame_table::FrameTable;
use crate::os::Pid;
use crate::profile::options::ProcessLabel;
use crate::sampler::sample::Sample;

use top::state::{Filter, TopState};
use top::view::{Title, TopView};

/// Where samples come from. `next` sleeps until the next one is due, and gives `None` when all
/// processes have ended or the `stop` flag of [`app::run`] is set.
pub trait SampleSource: Iterator<Item = Sample> {
    /// The frames that the samples speak of.
    fn frames(&self) -> &FrameTable;

    /// How a process that the samples speak of is shown.
    fn process(&self, pid: Pid) -> Option<ProcessLabel>;

    /// The file system roots of processes that are new in the last sample; see
    /// [`set_fs_root`](crate::profile::Profile::set_fs_root).
    fn new_fs_roots(&self) -> &[(Pid, u32)] {
        &[]
    }

    /// Lets go any thread of the target that is still held after `next`: called before Ctrl-Z
    /// stops us, for who knows how long.
    fn settle(&mut self);
}

/// What [`run`] shows, and how.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// What is looked at, for the header.
    pub title: Title,
    /// Time between two tables.
    pub delay: Duration,
    /// Samples per second that were asked for: turns counts into seconds.
    pub rate: f64,
    /// What counts.
    pub filter: Filter,
    /// Show `co_filename` rather than its part below the import root.
    pub full_filenames: bool,
}

/// Why the live view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source has no more samples: the program has ended.
    ProgramEnded,
    /// The user quit, or the caller's flag was set, or the terminal went away.
    Stopped,
}

/// Shows the live table until the source ends or `stop` is set: see [`app::run`].
///
/// # Errors
/// As [`app::run`].
pub fn run(
    source: &mut impl SampleSource,
    options: TopOptions,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let per_second = if options.filter.cpu {
        1e9
    } else {
        options.rate
    };
    let view = TopView::new(options.title, per_second);
    let mut state = TopState::new(options.filter, options.full_filenames);
    app::run(source, &mut state, view, options.delay, stop)
}
