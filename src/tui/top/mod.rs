//! The live table of functions.

pub mod header;
pub mod help;
pub mod plain;
pub mod rss_line;
pub mod state;
pub mod table;
pub mod view;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::model::{Ending, Refreshes, SampleSource, Title};
use super::{app, plain as frames};
use crate::profile::options::ProfileOptions;
use plain::FrameSize;
use state::TopState;
use view::TopView;

/// Contents and update interval of the table.
#[derive(Clone, Debug)]
pub struct TopOptions {
    pub title: Title,
    pub refreshes: Refreshes,
    /// Planned samples per second, to convert counts to seconds.
    pub rate: f64,
    /// What the table counts, and how it labels that.
    pub profile: ProfileOptions,
}

impl TopOptions {
    fn view(&self) -> TopView {
        let per_second = if self.profile.weights.time.is_some() {
            1e9
        } else {
            self.rate
        };
        TopView::new(self.title.clone(), per_second)
    }
}

/// Shows the live table until the source ends or `stop` is set: see [`app::run`].
///
/// # Errors
/// Those of [`app::run`].
pub fn run(
    source: &mut impl SampleSource,
    options: TopOptions,
    stop: &Arc<AtomicBool>,
) -> io::Result<Ending> {
    let view = options.view();
    let mut state = TopState::new(options.profile);
    app::run(source, &mut state, view, options.refreshes, stop)
}

/// Prints the table as frames of text: see [`frames::print`].
///
/// # Errors
/// Those of [`frames::print`].
pub fn print(
    source: &mut impl SampleSource,
    options: TopOptions,
    size: FrameSize,
    stop: &AtomicBool,
) -> io::Result<Ending> {
    let view = options.view();
    let mut state = TopState::new(options.profile);
    let pid = view.title.pid;
    frames::print(
        source,
        &mut state,
        options.refreshes,
        stop,
        pid,
        |snapshot| size.frame(&view, snapshot),
    )
}
