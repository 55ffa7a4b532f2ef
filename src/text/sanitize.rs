//! [`clean`]: text from the target, made safe to show.

use std::borrow::Cow;

/// Longest name, path or command that a label keeps, in characters. Generated code has qualified
/// names of a few hundred; past this a name is noise in every format.
pub const MAX_LABEL_CHARS: usize = 1_000;

/// The text without what could hurt the reader, and at most [`MAX_LABEL_CHARS`] long: control
/// characters (a terminal obeys them, XML forbids them), line and paragraph separators (they break
/// formats of one line a stack) and bidirectional overrides (they make a name read as another) each
/// become U+FFFD; a cut text ends in `…`; an empty one becomes `?`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("?");
    }
    let cut = text.char_indices().nth(MAX_LABEL_CHARS).is_some();
    if !cut && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let kept = if cut {
        MAX_LABEL_CHARS - 1
    } else {
        MAX_LABEL_CHARS
    };
    let mut cleaned: String = text
        .chars()
        .take(kept)
        .map(|c| {
            if is_unsafe(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if cut {
        cleaned.push('…');
    }
    Cow::Owned(cleaned)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_left_alone() {
        assert!(matches!(
            clean("Класс.метод <locals> 🐍"),
            Cow::Borrowed("Класс.метод <locals> 🐍")
        ));
    }

    #[test]
    fn control_characters_and_overrides_are_replaced() {
        assert_eq!(
            clean("a\x1b[31m\nb\u{202e}c\u{2028}"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}"
        );
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
    fn nothing_is_shown_as_a_question_mark() {
        assert_eq!(clean(""), "?");
    }
}
