//! [`Meta`]: what a file says about its recording apart from the profile.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::format::utc;
use super::min_width::MinWidth;
use super::short_command::short_command;
use super::table_options::TableOptions;
use crate::os::Pid;
use crate::text::sanitize::{clean, printable};

/// Fewest characters of the command that a title shows, however short it must be.
const MIN_COMMAND_CHARS: usize = 16;

/// What a file says about its recording apart from the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Command line of the program, words joined with spaces.
    pub command: String,
    /// The words. Without them, titles divide the command line at its spaces.
    pub words: Vec<String>,
    /// Version of the interpreter, such as `3.12.1`.
    pub python_version: Option<String>,
    /// Start of the recording.
    pub start: Option<SystemTime>,
    /// Length of the recording.
    pub duration: Duration,
    /// Contents and order of a table.
    pub tables: TableOptions,
    /// Narrowest frame of a flame graph.
    pub min_width: MinWidth,
    /// The options of the recording, such as `--rate 500 --idle`.
    pub options: String,
    /// The process, with `--subprocesses` the one whose children were recorded too.
    pub pid: Option<Pid>,
    /// Name of the machine that recorded.
    pub host: Option<String>,
    /// How stacks were read.
    pub engine: Option<&'static str>,
}

impl Meta {
    /// `pyspy-rs: app.py (Python 3.12.1)`, with the command shortened so that the title has at most
    /// `max_chars` characters.
    pub fn title(&self, max_chars: usize) -> String {
        self.title_with_prefix("pyspy-rs", max_chars)
    }

    /// The same title with another prefix.
    pub fn title_with_prefix(&self, prefix: &str, max_chars: usize) -> String {
        let version = self
            .python_version
            .as_deref()
            .map(|version| format!(" (Python {})", clean(version)));
        let version = version.unwrap_or_default();
        let fixed = prefix.chars().count() + ": ".len() + version.chars().count();
        let room = max_chars.saturating_sub(fixed).max(MIN_COMMAND_CHARS);
        let words: Vec<Cow<'_, str>> = match self.words.as_slice() {
            [] => self.command.split(' ').map(printable).collect(),
            words => words.iter().map(|word| printable(word)).collect(),
        };
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let command = short_command(&words, room);
        let command = clean(&command);
        format!("{prefix}: {command}{version}")
    }

    /// Where, when and how it was recorded, as far as that is known.
    pub fn details(&self) -> Vec<String> {
        let parts = [
            (!self.options.is_empty()).then(|| clean(&self.options).into_owned()),
            self.start.map(|start| format!("{} UTC", utc(start))),
            self.host
                .as_deref()
                .map(|host| format!("host {}", clean(host))),
            self.pid.map(|pid| format!("PID {pid}")),
            self.engine.map(str::to_owned),
        ];
        parts.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_is_shortened_and_keeps_the_version() {
        let meta = Meta {
            command: format!("python app.py {}end", "word ".repeat(100)),
            python_version: Some("3.12.1".to_owned()),
            ..Meta::default()
        };
        let title = meta.title(96);
        assert_eq!(title.chars().count(), 96);
        assert!(
            title.starts_with("pyspy-rs: app.py word") && title.ends_with(" end (Python 3.12.1)"),
            "{title}"
        );
        let short = Meta {
            command: "a".to_owned(),
            ..Meta::default()
        };
        assert_eq!(short.title(96), "pyspy-rs: a");
    }

    #[test]
    fn details_are_what_is_known() {
        assert!(Meta::default().details().is_empty());
        let meta = Meta {
            options: "--rate 500".to_owned(),
            start: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696)),
            host: Some("build\n1".to_owned()),
            pid: Some(4_100),
            engine: Some("engine pausing"),
            ..Meta::default()
        };
        assert_eq!(
            meta.details().join(" · "),
            "--rate 500 · 2000-02-29 12:34:56 UTC · host build\u{fffd}1 · PID 4100 · engine pausing"
        );
    }
}
