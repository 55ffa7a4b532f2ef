//! The line that moves while we record.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::errors::print_stderr;
use crate::text::units::mib;

/// From when on a rate is shown.
const SETTLED: Duration = Duration::from_millis(500);

/// What the line shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// Time since the start.
    pub elapsed: Duration,
    /// Looks taken.
    pub looks: u64,
    /// Threads' stacks that they found.
    pub samples: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Resident set size of all processes that are looked at.
    pub rss_bytes: Option<u64>,
}

/// A line on the terminal. On anything else than a terminal, nothing.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows the line, with a bar if it is known how long it takes; `hidden`: never.
    pub fn start(duration: Option<Duration>, hidden: bool) -> Progress {
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            // Hidden by itself when stderr is no terminal.
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(duration.map(millis), target);
        let template = match duration {
            Some(_) => "[{elapsed_precise}] {bar:20} {msg}",
            None => "[{elapsed_precise}] {msg}",
        };
        // The templates are constants; were one wrong, indicatif's own would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// Shows another status; drawn at most ten times a second.
    pub fn update(&self, status: &Status) {
        if self.bar.is_hidden() {
            return;
        }
        if self.bar.length().is_some() {
            self.bar.set_position(millis(status.elapsed));
        }
        self.bar.set_message(message(status));
    }

    /// Says something that stays, above the line.
    pub fn print_stderr(&self, text: &str) {
        self.bar.suspend(|| print_stderr(text));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn message(status: &Status) -> String {
    let mut text = format!("{} samples", status.samples);
    // The first looks tell nothing of a rate.
    if status.elapsed >= SETTLED {
        #[allow(clippy::cast_precision_loss, reason = "a rate shown without decimals")]
        let rate = status.looks as f64 / status.elapsed.as_secs_f64();
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
    fn tells_rate_errors_and_memory() {
        let mut status = Status {
            elapsed: Duration::from_secs(2),
            looks: 198,
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
