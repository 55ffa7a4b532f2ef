//! Which text is secret, and the text without it.
//!
//! [`names`] decides by the name of a value, [`scan`] by the shape of a text, [`command`] finds both in the
//! arguments of a process and [`source`] in Python code. The words are data in [`words`], the shapes in
//! [`shapes`]. The corpus of `tests/offline/secrets/` counts what is missed and what is hidden in vain.
//!
//! In doubt a value is hidden: a hidden parser `token` costs a minute in the source, a shown password costs
//! a password.

pub mod command;
pub mod lexis;
pub mod names;
pub mod scan;
pub mod shapes;
pub mod source;
pub mod url;
pub mod words;

use std::borrow::Cow;
use std::ops::Range;

use lexis::Kind;
use scan::find;

pub use words::REDACTED;

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// Replaced by [`REDACTED`].
    #[default]
    Hidden,
    /// Shown, as by `--show-secrets`.
    Shown,
}

impl Secrets {
    /// Of `--show-secrets`.
    pub fn shown_if(show: bool) -> Secrets {
        if show {
            Secrets::Shown
        } else {
            Secrets::Hidden
        }
    }

    /// Whether they are hidden.
    pub fn are_hidden(self) -> bool {
        self == Secrets::Hidden
    }
}

/// Any text, with every secret in it replaced. `is_cut`: more text followed, so that a shape may lack its
/// end.
pub fn redact(text: &str, is_cut: bool) -> Cow<'_, str> {
    replace(text, &find(text, Kind::Text, is_cut))
}

/// The text with ranges of it replaced. They are ascending and disjoint.
pub(crate) fn replace<'t>(text: &'t str, found: &[Range<usize>]) -> Cow<'t, str> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in found {
        shown.push_str(text.get(at..range.start).unwrap_or_default());
        shown.push_str(REDACTED);
        at = range.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests;
