//! The lines of `record` that scripts for py-spy read: what it starts, why it stops, and what it has written.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::called_as;
use crate::output::format::Format;
use crate::session::errors::print_stderr;
use crate::session::recording::Ending;
use crate::text::escape::for_terminal;

/// A delay from which py-spy prints a line, and the shortest time between two of these.
const LONG_DELAY: Duration = Duration::from_secs(1);

/// Prints the lines, in the words and at the place of py-spy 0.4: on stdout, after the program's name and `> `.
#[derive(Debug)]
pub struct Announcer {
    /// `None` on stderr, without a name.
    stdout_name: Option<&'static str>,
    late_at: Option<Instant>,
}

impl Announcer {
    /// On stdout, unless a file is written to it.
    pub fn of_record(stdout_is_taken: bool) -> Announcer {
        Announcer {
            stdout_name: (!stdout_is_taken).then(called_as::name),
            late_at: None,
        }
    }

    /// On stderr: the lines of a command that py-spy does not have.
    pub fn on_stderr() -> Announcer {
        Announcer {
            stdout_name: None,
            late_at: None,
        }
    }

    /// That sampling starts.
    pub fn started(&self, rate_hz: u32, duration: Option<Duration>) {
        let duration = match duration {
            Some(time) => format!(" for {} seconds", time.as_secs_f64()),
            None => String::new(),
        };
        self.print(&format!(
            "Sampling process {rate_hz} times a second{duration}. Press Control-C to exit."
        ));
        self.print_empty();
    }

    /// That so many ticks were missed before a sample: a line if they took long, once a second at most.
    pub fn missed(&mut self, ticks: u64, rate_hz: u32) {
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds shown with two decimals"
        )]
        let seconds = ticks as f64 / f64::from(rate_hz.max(1));
        let is_recent = |at: Instant| at.elapsed() < LONG_DELAY;
        if seconds <= LONG_DELAY.as_secs_f64() || self.late_at.is_some_and(is_recent) {
            return;
        }
        self.late_at = Some(Instant::now());
        self.print(&format!(
            "{seconds:.2}s behind in sampling, results may be inaccurate. Try reducing the sampling rate"
        ));
    }

    /// Why sampling stopped; nothing at the end of the duration.
    pub fn stopped(&self, ending: Ending) {
        let why = match ending {
            Ending::Duration => return,
            Ending::Stopped => "Control-C pressed",
            Ending::ProgramEnded => "process exited",
        };
        self.print_empty();
        self.print(&format!("Stopped sampling because {why}"));
    }

    /// What was written, and how to view it.
    pub fn wrote(&self, format: Format, path: &Path, samples: u64, errors: u64) {
        let (what, hint) = match format {
            Format::Flamegraph => ("flamegraph data", None),
            Format::Raw => (
                "raw flamegraph data",
                Some(
                    "You can use the flamegraph.pl script from https://github.com/brendangregg/flamegraph to \
                     generate a SVG",
                ),
            ),
            Format::Speedscope => (
                "speedscope file",
                Some("Visit https://www.speedscope.app/ to view"),
            ),
            Format::Chrometrace => (
                "chrome trace",
                Some("Visit chrome://tracing or https://ui.perfetto.dev/ to view"),
            ),
            Format::Timeline => ("timeline", None),
            Format::Mprof => ("mprof data", None),
            Format::Lines => ("table of lines", None),
            Format::Functions => ("table of functions", None),
        };
        let place = match path == Path::new("-") {
            true => "stdout".to_owned(),
            false => format!("'{}'", path.display()),
        };
        self.print(&format!(
            "Wrote {what} to {place}. Samples: {samples} Errors: {errors}"
        ));
        if let (Some(hint), Some(_)) = (hint, self.stdout_name) {
            self.print(hint);
        }
    }

    fn print(&self, line: &str) {
        match self.stdout_name {
            Some(name) => on_stdout(&format!("{name}> {}", for_terminal(line))),
            None => print_stderr(line),
        }
    }

    fn print_empty(&self) {
        if self.stdout_name.is_some() {
            on_stdout("");
        }
    }
}

/// Prints at once, and ignores that the reader has gone, which does not harm the recording.
fn on_stdout(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
