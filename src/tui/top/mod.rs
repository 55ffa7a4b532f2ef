//! The live table of functions.

pub mod help;
pub mod rss_line;
pub mod state;
pub mod view;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::app;
use super::model::{Ending, SampleSource, Title};
use crate::profile::options::ProfileOptions;
use state::TopState;
use view::TopView;

/// Contents and update interval of the table.
#[derive(Clone, Debug)]
pub struct TopOptions {
    pub title: Title,
    /// Time between two updates.
    pub delay: Duration,
    /// Planned samples per second, to convert counts to seconds.
    pub rate: f64,
    /// What the table counts, and how it labels that.
    pub profile: ProfileOptions,
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
    let per_second = if options.profile.weights.cpu_time {
        1e9
    } else {
        options.rate
    };
    let view = TopView::new(options.title, per_second);
    let mut state = TopState::new(options.profile);
    app::run(source, &mut state, view, options.delay, stop)
}
