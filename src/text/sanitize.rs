//! Text from the target and from other processes, made safe to show.
//!
//! One set of characters is unsafe, [`is_unsafe`]. [`clean`] and [`printable`] replace them by U+FFFD,
//! [`escape`](super::escape) writes them as escapes.

use std::borrow::Cow;

/// Longest name, path or command of a label, in characters. Generated code has qualified names of a
/// few hundred; longer ones are noise in every format.
pub const MAX_LABEL_CHARS: usize = 1_000;

/// Whether a terminal could act on this character, a file format could break on it, or it hides or
/// reorders the text around it:
/// - control characters: terminals execute them, XML forbids them;
/// - soft hyphen, zero-width space, word joiner, byte order mark, invisible operators, interlinear
///   annotations, tag characters: invisible (the zero-width joiners stay: emoji and several scripts
///   need them);
/// - line and paragraph separators: break formats with one line per stack;
/// - direction marks, embeddings, overrides and isolates: make a name read as another;
/// - U+FFFE and U+FFFF: forbidden in XML.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text with every [unsafe](is_unsafe) character replaced by U+FFFD.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        Cow::Owned(text.chars().map(replace).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text of a label: [`printable`], at most [`MAX_LABEL_CHARS`] long (a cut text ends in `…`), and
/// `?` instead of an empty one.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("?");
    }
    if text.char_indices().nth(MAX_LABEL_CHARS).is_none() {
        return printable(text);
    }
    let start = text.chars().take(MAX_LABEL_CHARS - 1);
    Cow::Owned(start.map(replace).chain(['…']).collect())
}

/// The text, or its start and `…` where it is longer than `max_chars` characters.
pub fn shorten(text: &str, max_chars: usize) -> String {
    if text.chars().nth(max_chars).is_none() {
        return text.to_owned();
    }
    let start = text.chars().take(max_chars.saturating_sub(1));
    start.chain(['…']).collect()
}

fn replace(c: char) -> char {
    if is_unsafe(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_unchanged() {
        for name in ["Класс.метод <locals> 🐍", "👩\u{200d}🚀"] {
            assert!(matches!(clean(name), Cow::Borrowed(same) if same == name));
            assert!(matches!(printable(name), Cow::Borrowed(same) if same == name));
        }
    }

    #[test]
    fn unsafe_characters_are_replaced() {
        assert_eq!(
            clean("a\x1b[31m\nb\u{202e}c\u{2028}\u{feff}\u{ffff}"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(printable("a\tb\u{e0041}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(printable(""), "");
    }

    #[test]
    fn length_is_capped_in_characters() {
        let long = "я".repeat(MAX_LABEL_CHARS + 1);
        let cleaned = clean(&long);
        assert_eq!(cleaned.chars().count(), MAX_LABEL_CHARS);
        assert!(cleaned.ends_with('…'));
        assert_eq!(
            clean(&"я".repeat(MAX_LABEL_CHARS)),
            "я".repeat(MAX_LABEL_CHARS)
        );
    }

    #[test]
    fn long_text_is_shortened() {
        assert_eq!(shorten("äbc", 3), "äbc");
        assert_eq!(shorten("äbcd", 3), "äb…");
        assert_eq!(shorten("ab", 0), "…");
    }

    #[test]
    fn an_empty_label_is_a_question_mark() {
        assert_eq!(clean(""), "?");
    }
}
