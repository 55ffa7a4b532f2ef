//! [`Source`]: lines of a file, and the range of lines of a function.
//!
//! CPython stores where a function starts, but not where it ends. Its end is found as Python itself finds it:
//! by the indentation of logical lines, which brackets, strings and backslashes can join from several
//! lines.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::text::sanitize::{MAX_LABEL_CHARS, clean};
use crate::text::secrets::source::find_in_source;
use crate::text::secrets::{Secrets, replace};

/// Width of a tab stop, in Python and on a terminal.
const TAB: usize = 8;

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Number of the file system that contains it; see [`set_fs_root`](crate::profile::Profile::set_fs_root).
    pub root: u32,
    /// Full path in that file system.
    pub path: String,
}

/// Lines of a source file, or the reason why there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    text: String,
    /// Where each line starts in `text`. A string for each line would take 1.5 GiB for 64 MiB of line ends.
    starts: Vec<u32>,
    /// Those with secrets, by index, as they are shown.
    redacted: BTreeMap<usize, String>,
    /// Note for the user: that the file is newer than the process, or why there are no lines.
    pub note: Option<String>,
}

impl Source {
    /// Splits a file into lines. Invalid UTF-8 becomes replacement characters.
    pub fn of_bytes(bytes: &[u8], note: Option<String>, secrets: Secrets) -> Source {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut starts = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            // Files are smaller than 4 GiB: those beyond have no such line.
            let Ok(at) = u32::try_from(start) else { break };
            starts.push(at);
            start += line.len();
        }
        Source {
            starts,
            redacted: match secrets {
                Secrets::Hidden => redacted_lines(&text),
                Secrets::Shown => BTreeMap::new(),
            },
            text,
            note,
        }
    }

    /// Bytes of memory that it takes, roughly.
    pub fn size(&self) -> usize {
        let redacted = self.redacted.values();
        let redacted = redacted.map(|line| line.len() + size_of::<(usize, String)>());
        self.text.len() + size_of_val(self.starts.as_slice()) + redacted.sum::<usize>()
    }

    pub fn missing(why: &str) -> Source {
        Source {
            note: Some(format!("no source: {why}")),
            ..Source::default()
        }
    }

    /// A line for display, counted from 1; empty beyond the end.
    pub fn line(&self, line: u32) -> String {
        let index = (line as usize).checked_sub(1);
        let redacted = index.and_then(|index| self.redacted.get(&index));
        let text = redacted.map(String::as_str).or_else(|| self.raw(line));
        text.map_or_else(String::new, printable)
    }

    fn raw(&self, line: u32) -> Option<&str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).map(|end| *end as usize);
        let line = self
            .text
            .get(start as usize..end.unwrap_or(self.text.len()))?;
        Some(line.strip_suffix('\n').unwrap_or(line))
    }

    /// Number of lines.
    pub fn len(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The lines of the function with this qualified name and first line. `None` if there is no such
    /// function: the file is not the one that the process has loaded.
    pub fn function(&self, name: &str, first_line: u32) -> Option<RangeInclusive<u32>> {
        let all = self.len();
        if name == "<module>" {
            return (all > 0).then_some(1..=all);
        }
        if first_line == 0 || first_line > all {
            return None;
        }
        let name = name.rsplit('.').next().unwrap_or(name);
        // Lambdas and comprehensions are part of one logical line.
        if name.starts_with('<') {
            let end = self.logical_lines(first_line).next()?.end;
            return Some(first_line..=end);
        }
        let mut lines = self.logical_lines(first_line);
        let text = |line: &Logical| self.raw(line.start).unwrap_or_default().trim_start();
        let head = lines.find(|line| !text(line).starts_with('@'))?;
        let head_text = text(&head);
        let defined = ["async def ", "def ", "class "]
            .iter()
            .find_map(|word| head_text.strip_prefix(word))?
            .trim_start();
        let rest = defined.strip_prefix(name)?;
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let body = lines.take_while(|line| line.indent > head.indent);
        let end = body.last().map_or(head.end, |line| line.end);
        Some(first_line..=end)
    }

    /// The logical lines from this one on, without blank lines and comments.
    fn logical_lines(&self, first_line: u32) -> impl Iterator<Item = Logical> {
        let mut at = first_line;
        std::iter::from_fn(move || {
            while self.raw(at).is_some_and(is_blank) {
                at = at.checked_add(1)?;
            }
            let first = self.raw(at)?;
            let mut logical = Logical {
                start: at,
                end: at,
                indent: indent(first),
            };
            let mut joins = Joins::default();
            while let Some(line) = self.raw(at) {
                logical.end = at;
                at = at.checked_add(1)?;
                if !joins.continues_after(line) {
                    break;
                }
            }
            Some(logical)
        })
    }
}

/// The lines of a file that contain secrets, without them, by index.
fn redacted_lines(text: &str) -> BTreeMap<usize, String> {
    let mut secrets = find_in_source(text).into_iter().peekable();
    let mut lines = BTreeMap::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = start + line.len();
        let mut inside = Vec::new();
        while let Some(secret) = secrets.next_if(|secret| secret.start < end) {
            inside.push(secret.start.saturating_sub(start)..secret.end.saturating_sub(start));
        }
        if !inside.is_empty() {
            lines.insert(
                index,
                replace(line, &inside).trim_end_matches('\n').to_owned(),
            );
        }
        start = end;
    }
    lines
}

/// A logical line: a statement, or the head of a compound statement, with all its lines.
struct Logical {
    start: u32,
    end: u32,
    indent: usize,
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Indentation of a line, as Python counts it.
fn indent(line: &str) -> usize {
    let mut column = 0;
    for c in line.chars() {
        column = match c {
            ' ' => column + 1,
            '\t' => column + TAB - column % TAB,
            '\x0c' => 0,
            _ => break,
        };
    }
    column
}

/// A line for display: tabs become spaces, other control characters are replaced, and its length is
/// limited.
fn printable(line: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for c in line.trim_end().chars().take(MAX_LABEL_CHARS + 1) {
        match c {
            '\t' => {
                let width = TAB - column % TAB;
                text.extend(std::iter::repeat_n(' ', width));
                column += width;
            }
            '\x0c' => column = 0,
            c => {
                text.push(c);
                column += 1;
            }
        }
    }
    if text.is_empty() {
        return text;
    }
    clean(&text).into_owned()
}

/// State that joins a line to the next.
#[derive(Default)]
struct Joins {
    /// Number of open brackets.
    depth: usize,
    /// Closing quotes of the open string.
    string: Option<&'static str>,
}

/// Opening and closing quotes of strings, longest first.
const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];

impl Joins {
    /// Reads a line, and returns whether the logical line continues after it.
    fn continues_after(&mut self, line: &str) -> bool {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            if c == '\\' && after.is_empty() {
                return true;
            }
            if let Some(end) = self.string {
                if let Some(after) = rest.strip_prefix(end) {
                    self.string = None;
                    rest = after;
                } else {
                    rest = if c == '\\' { skip_one(after) } else { after };
                }
                continue;
            }
            let quotes = QUOTES.into_iter().find(|quotes| rest.starts_with(quotes));
            if let Some(quotes) = quotes {
                self.string = Some(quotes);
                rest = rest.get(quotes.len()..).unwrap_or_default();
                continue;
            }
            rest = after;
            match c {
                '#' => break,
                '(' | '[' | '{' => self.depth += 1,
                ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        // Only strings in triple quotes continue on the next line.
        self.string = self.string.filter(|quotes| quotes.len() == 3);
        self.depth > 0 || self.string.is_some()
    }
}

fn skip_one(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[cfg(test)]
mod tests;
