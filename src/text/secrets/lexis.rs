//! What the rules compare: characters of names, options, placeholders, numbers.

use std::ops::Range;

use super::names::{Secrecy, secrecy};
use super::words::REDACTED;

/// Longest name before a secret, in bytes.
pub(crate) const MAX_NAME: usize = 128;
/// Longest value that can be a placeholder.
const MAX_PLACEHOLDER: usize = 256;

/// Where a text is from, which decides where a secret without quotes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value, a message: the secret ends at a space or at the end of the line.
    Text,
    /// A comment or a documentation string: `password: Password of the user` has no secret.
    Prose,
    /// An argument of a process: within one the end of the secret is unknown.
    Argument,
}

/// The first `max` bytes of a text, rounded up to a character.
pub(crate) fn start_of(text: &str, max: usize) -> &str {
    let end = (max..text.len()).find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Whether a text ends in a word, whatever its case.
pub(crate) fn ends_with_word(text: &str, word: &str) -> bool {
    let start = text.len().checked_sub(word.len());
    let end = start.and_then(|start| text.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(word))
}

/// The secret part of `USER:SECRET`. `1000:1000` is a user and a group.
pub(crate) fn user_secret(text: &str) -> Option<Range<usize>> {
    let colon = text.find(':')?;
    let secret = text.get(colon + 1..)?;
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b':');
    let is_secret = !secret.is_empty() && !is_number && !is_placeholder(secret);
    is_secret.then(|| colon + 1..text.len())
}

/// Where the name at the end of a text starts.
pub(crate) fn name_start(text: &str) -> usize {
    let name = text.char_indices().rev().take_while(|(_, c)| is_name(*c));
    name.last().map_or(text.len(), |(start, _)| start)
}

/// The length of a bracketed text, with its brackets.
pub(crate) fn bracketed(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Whether a word is an option rather than the previous option's value. A secret may begin with one
/// dash.
pub(crate) fn is_option(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("--") else {
        return false;
    };
    let name = rest
        .split(|c: char| c.is_whitespace() || "\"',".contains(c))
        .next();
    let name = name.unwrap_or_default();
    name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().take(MAX_NAME).all(|c| is_name(c) || c == '=')
}

/// A number, a bool or None, as Python, JSON or a shell writes it.
pub(crate) fn is_plain(text: &str) -> bool {
    let text = text.trim().trim_end_matches([',', ')', '}', ']']);
    is_nothing(text) || text.parse::<f64>().is_ok()
}

/// No value, or one that cannot be a secret.
pub(crate) fn is_nothing(text: &str) -> bool {
    let text = text.trim().trim_end_matches([',', ')', '}', ']']);
    [
        "",
        "None",
        "null",
        "NULL",
        "nil",
        "True",
        "False",
        "true",
        "false",
        "undefined",
    ]
    .contains(&text)
}

/// Whether a value stands for one that is put in later, or was hidden before.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    if text.len() > MAX_PLACEHOLDER {
        return false;
    }
    let is_identifier =
        |text: &str| !text.is_empty() && text.chars().all(|c| is_name(c) && !c.is_uppercase());
    let is_variable = |text: &str| {
        let rest = text.chars();
        !text.is_empty()
            && rest
                .clone()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let inside = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close);
    let is_name_of_secret = |name: &str| {
        name.is_empty()
            || name.bytes().all(|byte| byte.is_ascii_digit())
            || is_identifier(&name.to_lowercase()) && secrecy(name) != Secrecy::Public
    };
    text.is_empty()
        || text.contains(REDACTED)
        || text
            .chars()
            .all(|c| matches!(c, '*' | '.' | '…' | '?' | '•'))
        || text.len() > 3 && text.chars().all(|c| matches!(c, 'x' | 'X'))
        || ["%s", "%r", "%d", "%v"].contains(&text)
        || inside("${", "}").is_some_and(|name| name.chars().all(|c| is_name(c) || c == ':'))
        || inside("%(", ")s").is_some_and(|name| name.chars().all(is_name))
        || inside("{", "}").is_some_and(is_name_of_secret)
        || inside("<", ">").is_some_and(is_name_of_secret)
        || text
            .strip_prefix(':')
            .is_some_and(|name| is_identifier(name) && is_name_of_secret(name))
        || text.strip_prefix('$').is_some_and(is_variable)
}

pub(crate) fn is_lowercase_word(text: &str) -> bool {
    let mut chars = text.trim_end_matches(['.', ',', ':', ')']).chars();
    chars.next().is_some_and(char::is_alphabetic)
        && chars.all(|c| c.is_lowercase() || matches!(c, '-' | '\'' | '/'))
}

/// A character of a name: of a variable, an option, a header.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'_' | b'-' | b'.')
}

/// A letter or a digit of ASCII.
pub(crate) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// A byte of a word of any language.
pub(crate) fn is_word(byte: u8) -> bool {
    is_alphanumeric(byte) || !byte.is_ascii()
}

/// Bytes at the beginning of a text for which `is_part` holds.
pub(crate) fn run_of(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_part(*byte)).count()
}
