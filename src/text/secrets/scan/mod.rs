//! Finds secrets inside a text: by their shape, and by the names before them.
//!
//! One pass from left to right. At each place it compares with short patterns, looks back at most
//! [`MAX_NAME`] bytes for a name, and continues after the secret that it finds, so the time is linear.

use std::ops::Range;

use super::lexis::{
    Kind, MAX_NAME, bracketed, ends_with_word, is_alphanumeric, is_lowercase_word, is_name_byte,
    is_nothing, is_option, is_placeholder, is_plain, is_word, name_start, run_of, start_of,
    user_secret,
};
use super::names::{Secrecy, secrecy};
use super::shapes::{at_word, bot_token, pem};
use super::url;
use super::words::{HEADERS, NAME_KEYS, PARAMETERS, USER_OPTIONS, VALUE_KEYS};

/// Most spaces between a name, its sign and its value.
const MAX_SPACES: usize = 16;
/// How far the end of a secret is searched. If it is not there, all the rest is the secret.
const MAX_VALUE: usize = 16 << 10;
/// `:` and `=` as East Asian text writes them.
const WIDE_SIGNS: [char; 2] = ['：', '＝'];

/// The secrets of a text, ascending and disjoint, at boundaries of characters.
pub fn find(text: &str, kind: Kind, is_cut: bool) -> Vec<Range<usize>> {
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        kind,
        is_cut,
        names_secret: false,
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let Some(secret) = scan.at(at) else {
            at += 1;
            continue;
        };
        at = secret.end.max(at + 1);
        if scan
            .text
            .get(secret.clone())
            .is_some_and(|secret| !secret.is_empty())
        {
            found.push(secret);
        }
    }
    found
}

/// A value between quotes or without.
struct Value {
    secret: Range<usize>,
    is_quoted: bool,
}

struct Scan<'t> {
    text: &'t str,
    bytes: &'t [u8],
    kind: Kind,
    is_cut: bool,
    /// Whether the last `"name": X` was the name of a secret.
    names_secret: bool,
}

impl<'t> Scan<'t> {
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The byte before a place; 0 at the beginning.
    fn before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |before| self.byte(before))
    }

    fn rest(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// The secret that the sign or the word at this place announces.
    fn at(&mut self, at: usize) -> Option<Range<usize>> {
        match self.byte(at) {
            b':' if self.rest(at).starts_with("://") => url::secret_of(self.text, at, self.is_cut),
            b'=' | b':' => self.assigned(at, 1),
            0xef if self.rest(at).starts_with(WIDE_SIGNS) => self.assigned(at, 3),
            b'>' => self.element(at),
            b'-' if self.rest(at).starts_with("-----B") => {
                let key = pem(self.rest(at))?;
                let start = at + key.shown;
                Some(start..start + key.secret)
            }
            b'-' => self.option(at),
            b'"' | b'\'' => self.pair(at),
            b'$' => self.word(at),
            byte if is_alphanumeric(byte) && !is_alphanumeric(self.before(at)) => self.word(at),
            byte if !byte.is_ascii() && !is_word(self.before(at)) => self.word(at),
            _ => None,
        }
    }

    fn word(&self, at: usize) -> Option<Range<usize>> {
        if let Some(shape) = at_word(self.rest(at), self.is_cut, self.kind) {
            let start = at + shape.shown;
            return Some(start..start + shape.secret);
        }
        // SQL and prose: `PASSWORD 'X'`, `IDENTIFIED BY 'X'`.
        let after = at + self.name_length(at);
        let start = self.skip_spaces(after);
        if start == after || start == self.text.len() {
            return None;
        }
        let name = self.text.get(at..after)?;
        let is_quoted = matches!(self.byte(start), b'\'' | b'"');
        let is_sql = is_quoted
            && name.eq_ignore_ascii_case("by")
            && ends_with_word(self.text.get(..at)?.trim_end(), "identified");
        if !is_sql && secrecy(name) != Secrecy::Secret {
            return None;
        }
        match self.kind {
            _ if is_quoted => self.quoted(start, MAX_VALUE).filter(|secret| {
                // `Unexpected token '<'`
                let text = self.text.get(secret.clone()).unwrap_or_default();
                text.contains(char::is_alphanumeric) && !is_placeholder(text)
            }),
            // A title: `worker password X`.
            Kind::Argument if is_name_byte(self.byte(start)) && !is_option(self.rest(start)) => {
                Some(start..self.text.len())
            }
            _ => None,
        }
    }

    /// The value after `name=`, `name: ` and the like.
    fn assigned(&mut self, at: usize, length: usize) -> Option<Range<usize>> {
        let next = self.byte(at + length);
        if self.byte(at) == b':' && self.before(at).is_ascii_digit() {
            let token = bot_token(self.rest(at + 1));
            if token > 0 {
                return Some(at + 1..at + 1 + token);
            }
        }
        // The second sign counts: `==`, `:=`.
        if next == b'=' || (next == b':' && self.byte(at) == b':') {
            return None;
        }
        let (name, start) = self.name_before(at)?;
        let after = at + length + usize::from(next == b'>');
        let key = name.to_ascii_lowercase();
        let is_parameter = matches!(self.before(start), b'?' | b'&');
        let secrecy = match secrecy(name) {
            Secrecy::Public if is_parameter && PARAMETERS.contains(&key.as_str()) => {
                Secrecy::Secret
            }
            Secrecy::Public if self.names_secret && VALUE_KEYS.contains(&key.as_str()) => {
                self.names_secret = false;
                Secrecy::Secret
            }
            Secrecy::Public => {
                if NAME_KEYS.contains(&key.as_str()) {
                    let name = self.quoted(self.skip_spaces(after), MAX_NAME);
                    let name = name.and_then(|name| self.text.get(name));
                    self.names_secret = name.is_some_and(|name| secrecy(name) == Secrecy::Secret);
                }
                return None;
            }
            known => known,
        };
        let value = self.value(start, name, after)?;
        let text = self.text.get(value.secret.clone())?;
        let is_shown = text.is_empty()
            || !value.is_quoted && is_nothing(text)
            || is_placeholder(text)
            || !secrecy.hides(!value.is_quoted && is_plain(text));
        (!is_shown).then_some(value.secret)
    }

    /// The name that ends before a sign, and where it starts.
    fn name_before(&self, sign: usize) -> Option<(&'t str, usize)> {
        let from = sign.saturating_sub(MAX_NAME);
        let from = (from..=sign).find(|from| self.text.is_char_boundary(*from))?;
        let before = self.text.get(from..sign)?;
        // `==`, `!=`, `:=`, `+=`
        let before = before
            .trim_end_matches(['=', '!', ':', '+'])
            .trim_end_matches([' ', '\t']);
        let bare = before.trim_end_matches(['"', '\'', ']', ')', '\\', '`', ' ']);
        if let Some(quote) = before
            .get(bare.len()..)?
            .chars()
            .find(|c| "\"'`".contains(*c))
        {
            let start = bare.rfind(quote).map_or(0, |at| at + 1);
            let name = bare.get(start..)?;
            return Some((name, from + start));
        }
        let start = name_start(bare);
        let name = bare.get(start..)?;
        if name.is_empty() {
            return None;
        }
        // Two words: `API key: X`.
        let more = bare.get(..start)?.strip_suffix(' ').map(name_start);
        if let Some(more) = more.filter(|_| secrecy(name) == Secrecy::Public)
            && let Some(both) = bare.get(more..)
            && secrecy(both) == Secrecy::Secret
            && secrecy(both.split(' ').next().unwrap_or_default()) == Secrecy::Public
        {
            return Some((both, from + more));
        }
        Some((name, from + start))
    }

    /// The value after a sign. `name` starts at `start`.
    fn value(&self, start: usize, name: &str, after_sign: usize) -> Option<Value> {
        let at = self.skip_spaces(after_sign);
        // The prefix of a literal: b'X'.
        let prefix = run_of(self.rest(at), |byte| b"bBuUrRfF".contains(&byte));
        let quote = at + if prefix <= 2 { prefix } else { 0 };
        if let Some(secret) = self.quoted(quote, MAX_VALUE) {
            let is_whole = self.kind == Kind::Argument;
            return Some(Value {
                secret: secret.start..if is_whole {
                    self.text.len()
                } else {
                    secret.end
                },
                is_quoted: true,
            });
        }
        let is_parameter = matches!(self.before(start), b'?' | b'&');
        let end = if is_parameter {
            let ends = |byte: u8| b"&# \"'<>\t\n\r\\".contains(&byte);
            at + run_of(self.rest(at), |byte| !ends(byte))
        } else if self.kind == Kind::Argument {
            self.text.len()
        } else {
            self.unquoted_end(at, start, name, at > after_sign)
        };
        // `password=` at the end of a line has no value in the next one.
        Some(Value {
            secret: at..end.max(at),
            is_quoted: false,
        })
    }

    /// Where a value without quotes ends.
    fn unquoted_end(&self, at: usize, start: usize, name: &str, is_spaced: bool) -> usize {
        let rest = start_of(self.rest(at), MAX_VALUE);
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        if line >= MAX_VALUE {
            return self.text.len();
        }
        let line = rest.get(..line).unwrap_or_default();
        // `-H 'Authorization: X' URL`: what opened before the name closes after the value.
        let line = match self.before(start) {
            quote @ (b'"' | b'\'') => line.split(char::from(quote)).next().unwrap_or_default(),
            _ => line,
        };
        if HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return at + line.len();
        }
        if line.starts_with(['{', '[', '(']) {
            return at + bracketed(rest);
        }
        let word = line.find(char::is_whitespace).unwrap_or(line.len());
        let word = line.get(..word).unwrap_or_default();
        let end = match (is_spaced, self.kind) {
            (true, Kind::Prose) => match line.trim_end() == word || !is_lowercase_word(word) {
                true => word.len(),
                false => 0,
            },
            (true, _) if secrecy(name) == Secrecy::Measure && is_plain(word) => word.len(),
            // `password = %s AND id = %s`
            (true, _) if is_placeholder(word) => word.len(),
            (true, _) => {
                let ends = [", ", "; ", "} ", "\"}"]
                    .iter()
                    .filter_map(|end| line.find(end));
                ends.min().unwrap_or(line.trim_end().len())
            }
            (false, _) => word.find(';').unwrap_or(word.len()),
        };
        at + line
            .get(..end)
            .unwrap_or_default()
            .trim_end_matches([',', ';'])
            .len()
    }

    /// The length of the name that starts here, at most [`MAX_NAME`].
    fn name_length(&self, at: usize) -> usize {
        let bytes = self.bytes.iter().skip(at).take(MAX_NAME);
        bytes.take_while(|byte| is_name_byte(**byte)).count()
    }

    /// The text between the quotes that begin here. Without the closing one in the next `max` bytes, all
    /// the rest.
    fn quoted(&self, at: usize, max: usize) -> Option<Range<usize>> {
        let rest = self.rest(at);
        let quotes = [
            "\\\"", "\\'", "\"\"\"", "'''", "\"", "'", "`", "“", "‘", "«", "「",
        ];
        let quote = quotes.into_iter().find(|quote| rest.starts_with(quote))?;
        let close = match quote {
            "“" => "”",
            "‘" => "’",
            "«" => "»",
            "「" => "」",
            same => same,
        };
        let start = at + quote.len();
        let rest = self.rest(start);
        let inside = start_of(rest, max);
        let is_escaped = |found: usize| {
            let before = inside.get(..found).unwrap_or_default();
            let slashes = before.len() - before.trim_end_matches('\\').len();
            slashes % 2 == 1
        };
        let mut ends = inside.match_indices(close).map(|(found, _)| found);
        let end = ends.find(|found| close.starts_with('\\') || !is_escaped(*found));
        Some(start..start + end.unwrap_or(rest.len()))
    }

    /// The value of an option: `--password X`, `-u USER:X`, `'--password', 'X'`.
    fn option(&self, at: usize) -> Option<Range<usize>> {
        let before = self.before(at);
        if is_word(before) || matches!(before, b'-' | b'_' | b'.' | b'=' | b'/' | b'+') {
            return None;
        }
        let option = self.text.get(at..at + self.name_length(at))?;
        let after = at + option.len();
        let is_user = USER_OPTIONS.contains(&option);
        let secrecy = secrecy(option);
        if (secrecy == Secrecy::Public && !is_user) || self.byte(after) == b'=' {
            return None;
        }
        // In a list of arguments as text.
        let is_listed = matches!(before, b'\'' | b'"') && self.byte(after) == before;
        let start = after + usize::from(is_listed);
        let start = start + usize::from(is_listed && self.byte(start) == b',');
        let value = self.skip_spaces(start);
        if value == after || is_option(self.rest(value).trim_start_matches(['"', '\''])) {
            return None;
        }
        let secret = match self.quoted(value, MAX_VALUE) {
            Some(quoted) => quoted,
            None if self.kind == Kind::Argument && !is_user => value..self.text.len(),
            None => value..value + run_of(self.rest(value), |byte| !byte.is_ascii_whitespace()),
        };
        let text = self.text.get(secret.clone())?;
        if is_user {
            return user_secret(text).map(|part| secret.start + part.start..secret.end);
        }
        let is_shown = is_placeholder(text) || !secrecy.hides(is_plain(text));
        (!is_shown).then_some(secret)
    }

    /// `('password', 'X')` as text.
    fn pair(&self, quote: usize) -> Option<Range<usize>> {
        let opens = self.before(quote - usize::from(b"bu".contains(&self.before(quote))));
        if opens != b'(' {
            return None;
        }
        let name = self
            .quoted(quote, MAX_NAME)
            .filter(|name| name.len() <= MAX_NAME)?;
        if secrecy(self.text.get(name.clone())?) != Secrecy::Secret {
            return None;
        }
        let rest = self.rest(name.end + 1).strip_prefix(", ")?;
        let start = name.end + 3 + run_of(rest, |byte| matches!(byte, b'b' | b'u'));
        let value = self.quoted(start, MAX_VALUE)?;
        self.rest(value.end + 1).starts_with(')').then_some(value)
    }

    /// `<password>X</password>`.
    fn element(&self, at: usize) -> Option<Range<usize>> {
        let from = at.saturating_sub(MAX_NAME);
        let from = (from..=at).find(|from| self.text.is_char_boundary(*from))?;
        let tag = self.text.get(from..at)?;
        let tag = tag.get(tag.rfind('<')? + 1..)?;
        let name = tag.split(' ').next()?;
        if secrecy(name) != Secrecy::Secret {
            return None;
        }
        let close = self.rest(at + 1).find('<')?;
        let secret = at + 1..at + 1 + close;
        let value = self.text.get(secret.clone())?;
        let is_closed = self.rest(secret.end).starts_with("</");
        (is_closed && !is_placeholder(value)).then_some(secret)
    }

    fn skip_spaces(&self, at: usize) -> usize {
        let spaces = run_of(self.rest(at), |byte| matches!(byte, b' ' | b'\t'));
        at + spaces.min(MAX_SPACES)
    }
}

#[cfg(test)]
mod tests;
