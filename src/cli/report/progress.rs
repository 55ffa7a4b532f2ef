//! The progress line of `record`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::errors::print_stderr;
use crate::text::units::mib;

/// Time before a rate is shown.
const MIN_ELAPSED: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    pub elapsed: Duration,
    pub ticks: u64,
    /// Stacks of threads.
    pub samples: u64,
    /// Unreadable and torn stacks.
    pub errors: u64,
    /// RSS of all processes.
    pub rss_bytes: Option<u64>,
}

/// A line on a terminal; nothing if stderr is not a terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows the line, with a bar if the duration is known, unless `hidden`.
    pub fn start(duration: Option<Duration>, hidden: bool) -> Progress {
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            // Hidden automatically if stderr is not a terminal.
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(duration.map(millis), target);
        let template = match duration {
            Some(_) => "[{elapsed_precise}] {bar:20} {msg}",
            None => "[{elapsed_precise}] {msg}",
        };
        // The templates are constants; indicatif's default is the fallback.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// Updates the line; drawn at most ten times per second.
    pub fn update(&self, status: &Status) {
        if self.bar.is_hidden() {
            return;
        }
        if self.bar.length().is_some() {
            self.bar.set_position(millis(status.elapsed));
        }
        self.bar.set_message(message(status));
    }

    /// Prints a permanent line above the progress line.
    pub fn print_stderr(&self, text: &str) {
        self.bar.suspend(|| print_stderr(text));
    }

    /// Removes the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn message(status: &Status) -> String {
    let mut text = format!("{} samples", status.samples);
    // The first samples are too few for a rate.
    if status.elapsed >= MIN_ELAPSED {
        #[allow(clippy::cast_precision_loss, reason = "a rate shown without decimals")]
        let rate = status.ticks as f64 / status.elapsed.as_secs_f64();
        text += &format!(", {rate:.0}/s");
    }
    if status.errors > 0 {
        text += &format!(", {} errors", status.errors);
    }
    if let Some(rss) = status.rss_bytes {
        text += &format!(", {} RSS", mib(rss));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rate_errors_and_memory() {
        let mut status = Status {
            elapsed: Duration::from_secs(2),
            ticks: 198,
            samples: 396,
            errors: 0,
            rss_bytes: None,
        };
        assert_eq!(message(&status), "396 samples, 99/s");
        status.errors = 3;
        status.rss_bytes = Some(59_873_690);
        assert_eq!(
            message(&status),
            "396 samples, 99/s, 3 errors, 57.1 MiB RSS"
        );
        assert_eq!(message(&Status::default()), "0 samples");
    }
}
