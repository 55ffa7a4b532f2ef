//! [`Meta`]: what a file says about its recording apart from the profile.

use std::time::{Duration, SystemTime};

use super::table_options::TableOptions;
use crate::text::sanitize::{clean, shorten};

/// Fewest characters of the command that a title shows, however short it must be.
const MIN_COMMAND_CHARS: usize = 16;

/// What a file says about its recording apart from the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Command line of the program, words joined with spaces.
    pub command: String,
    /// Version of the interpreter, such as `3.12.1`.
    pub python_version: Option<String>,
    /// Start of the recording.
    pub start: Option<SystemTime>,
    /// Length of the recording.
    pub duration: Duration,
    /// Contents and order of a table.
    pub tables: TableOptions,
}

impl Meta {
    /// `pyspy-rs: python app.py (Python 3.12.1)`, with the command shortened so that the title has at
    /// most `max_chars` characters.
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
        let command = shorten(&clean(&self.command), room);
        format!("{prefix}: {command}{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_is_shortened_and_keeps_the_version() {
        let meta = Meta {
            command: "python ".repeat(100),
            python_version: Some("3.12.1".to_owned()),
            ..Meta::default()
        };
        let title = meta.title(96);
        assert_eq!(title.chars().count(), 96);
        assert!(
            title.starts_with("pyspy-rs: python python") && title.ends_with("… (Python 3.12.1)"),
            "{title}"
        );
        let short = Meta {
            command: "a".to_owned(),
            ..Meta::default()
        };
        assert_eq!(short.title(96), "pyspy-rs: a");
    }
}
