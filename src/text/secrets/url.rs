//! The user part of URLs.

use std::ops::Range;

use super::lexis::{is_alphanumeric, is_placeholder};

/// Longest URL that is read.
const MAX_URL: usize = 512;
/// A longer user of these is a token, as in `https://TOKEN:x-oauth-basic@host`.
const MAX_USER: usize = 20;

/// The secret in the user part of the URL whose `://` is at `colon`.
pub(super) fn secret_of(text: &str, colon: usize, is_cut: bool) -> Option<Range<usize>> {
    let start = colon.checked_add(3)?;
    let rest = text.get(start..)?;
    let end = end_of(rest, MAX_URL);
    // Its end is not known, or far away.
    let is_open = end >= MAX_URL || is_cut && end == rest.len();
    let url = rest.get(..end)?;
    let authority = url.get(..url.find(['/', '?', '#']).unwrap_or(url.len()))?;
    let name_end = authority.find(':');
    let port = name_end.and_then(|at| authority.get(at.checked_add(1)?..));
    let at = match (authority.rfind('@'), port) {
        (Some(at), None) => at,
        // An unescaped password may contain any of `@/?#`.
        (Some(at), Some(_)) if name_end.is_some_and(|colon| colon > at) => at,
        (Some(_), Some(_)) => url.rfind('@')?,
        (None, Some(port)) if !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            match url.rfind('@') {
                Some(at) => at,
                None if is_open && !authority.starts_with('[') => end_of(rest, usize::MAX),
                None => return None,
            }
        }
        // `USER:12` may be a host and its port, or the beginning of a password.
        (None, Some(_)) if is_cut && authority.len() == rest.len() => authority.len(),
        (None, _) => return None,
    };
    let user = rest.get(..at)?;
    let secret = match user.split_once(':') {
        Some((name, password)) if is_token(name) || password.is_empty() => 0..at,
        Some((name, _)) => name.len() + 1..at,
        None if is_http(text.get(..colon)?) || is_token(user) => 0..at,
        None => return None,
    };
    let value = user.get(secret.clone())?;
    let is_shown = value.is_empty() || is_placeholder(value);
    (!is_shown).then(|| start + secret.start..start + secret.end)
}

/// Where a URL ends: at a space, a quote, or a bracket of the text around it.
fn end_of(rest: &str, max: usize) -> usize {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c);
    let mut chars = rest.char_indices();
    let end = chars.find(|(at, c)| ends(*c) || *at >= max);
    end.map_or(rest.len(), |(at, _)| at)
}

fn is_token(user: &str) -> bool {
    user.len() > MAX_USER && user.contains(|c: char| c.is_ascii_digit()) && !user.contains('@')
}

/// Whether the scheme at the end of the text is one whose user without a password is a token: nobody logs
/// in so. `ssh://git@host` has a name.
fn is_http(before: &str) -> bool {
    let scheme = before.bytes().rev().take(16);
    let length = scheme.take_while(|byte| is_alphanumeric(*byte)).count();
    let scheme = before.get(before.len().saturating_sub(length)..);
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
    })
}
