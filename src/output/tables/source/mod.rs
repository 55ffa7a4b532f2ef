//! [`Source`]: a file's lines, and which of them are a function's.
//!
//! CPython tells where a function starts, but not where it ends. So the end is found as Python itself
//! would find it: by indentation, counted at the starts of logical lines only, of which brackets, strings
//! and backslashes can join several lines.

use std::ops::RangeInclusive;

use crate::text::sanitize::{MAX_LABEL_CHARS, clean};

/// How far a tab goes, in Python and on a terminal.
const TAB: usize = 8;

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// In which of the file systems that processes see; see [`set_fs_root`](crate::profile::Profile::set_fs_root).
    pub root: u32,
    /// Its whole path there.
    pub path: String,
}

/// A source file, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its lines as they are, without their ends.
    lines: Vec<String>,
    /// What the reader should know of it: that it is newer than the process, or why there are no
    /// lines.
    pub note: Option<String>,
}

impl Source {
    /// A file's lines. What is no UTF-8 is shown by replacement characters.
    pub fn of_bytes(bytes: &[u8], note: Option<String>) -> Source {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        Source {
            lines: text.lines().map(str::to_owned).collect(),
            note,
        }
    }

    /// No file, for this reason.
    pub fn missing(why: &str) -> Source {
        Source {
            lines: Vec::new(),
            note: Some(format!("no source: {why}")),
        }
    }

    /// A line as it can be shown, counted from 1; empty beyond the end.
    pub fn line(&self, line: u32) -> String {
        self.raw(line).map_or_else(String::new, presentable)
    }

    fn raw(&self, line: u32) -> Option<&str> {
        let line = (line as usize).checked_sub(1)?;
        self.lines.get(line).map(String::as_str)
    }

    /// How many lines there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines of the function of this qualified name that starts there. `None` if no such function
    /// does: then it is not the file that the process has loaded.
    pub fn function(&self, name: &str, first_line: u32) -> Option<RangeInclusive<u32>> {
        let all = self.len();
        if name == "<module>" {
            return (all > 0).then_some(1..=all);
        }
        if first_line == 0 || first_line > all {
            return None;
        }
        let name = name.rsplit('.').next().unwrap_or(name);
        // Lambdas and comprehensions are a part of one logical line.
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

    /// The logical lines from here on, without blank ones and those of a comment only.
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
                if !joins.go_on_after(line) {
                    break;
                }
            }
            Some(logical)
        })
    }
}

/// A statement, or its head, with all the lines that it goes over.
struct Logical {
    start: u32,
    end: u32,
    indent: usize,
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// How far a line is indented, as Python counts it.
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

/// A line that can be shown: tabs are spaces, nothing else acts on a terminal, and it has an end.
fn presentable(line: &str) -> String {
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

/// What joins a line to the next.
#[derive(Default)]
struct Joins {
    /// Brackets that are open.
    depth: usize,
    /// The quotes that end the string that is open.
    string: Option<&'static str>,
}

/// What begins a string, and ends it, longest first.
const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];

impl Joins {
    /// Reads a line; whether the logical line goes on after it.
    fn go_on_after(&mut self, line: &str) -> bool {
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
        // Only three quotes hold lines together.
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
