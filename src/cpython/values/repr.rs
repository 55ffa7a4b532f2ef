//! Text of the target, quoted as by Python's `repr`, so that no control sequence in it reaches a
//! terminal.

use std::fmt::Write;

/// Which characters Python escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Unprintable ones (Python 3's `str`).
    Unprintable,
    /// All but ASCII (bytes, and all text of Python 2).
    NonAscii,
}

/// A text in quotes, with escapes. The quotes are single unless the text contains only single ones.
pub(crate) fn quote(text: &str, escape: Escape) -> String {
    let mark = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(mark);
    for c in text.chars() {
        push_char(&mut quoted, c, mark, escape);
    }
    quoted.push(mark);
    quoted
}

/// Bytes in quotes, without the `b`. Each character stands for the byte of its number.
pub(crate) fn quote_latin1(bytes: &str) -> String {
    quote(bytes, Escape::NonAscii)
}

fn push_char(quoted: &mut String, c: char, mark: char, escape: Escape) {
    match c {
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\\' => quoted.push_str("\\\\"),
        _ if c == mark => quoted.extend(['\\', c]),
        ' '..='~' => quoted.push(c),
        _ if escape == Escape::Unprintable && is_printable(c) => quoted.push(c),
        _ => {
            let code = u32::from(c);
            // Writing to a String cannot fail.
            let _ = match code {
                0..=0xff => write!(quoted, "\\x{code:02x}"),
                0x100..=0xffff => write!(quoted, "\\u{code:04x}"),
                _ => write!(quoted, "\\U{code:08x}"),
            };
        }
    }
}

/// Whether a terminal shows the character itself: it is not a control or format character, a line
/// separator or unassigned.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library has that table for its own escapes. It also escapes a leading combining
    // mark, so another character is put in front.
    let mut text = String::from("x");
    text.push(c);
    text.escape_debug().count() == 2
}

/// A name from the target (of a variable, a class) with unprintable characters replaced.
pub(crate) fn printable_name(name: &str) -> String {
    // Nearly all text.
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return name.to_owned();
    }
    name.chars()
        .map(|c| {
            if is_printable(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_by_repr() {
        let cases = [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"quoted\"", "'it\\'s \"quoted\"'"),
            ("back\\slash", "'back\\\\slash'"),
            ("a\nb\tc\r", "'a\\nb\\tc\\r'"),
            ("\x1b[31m\x07\0\x7f", "'\\x1b[31m\\x07\\x00\\x7f'"),
            ("змея 🐍", "'змея 🐍'"),
            ("e\u{301}", "'e\u{301}'"),
            // Format characters can reverse the line or be invisible.
            ("\u{202e}x\u{200b}\u{2028}", "'\\u202ex\\u200b\\u2028'"),
            ("\u{85}\u{ad}", "'\\x85\\xad'"),
            ("\u{e0001}", "'\\U000e0001'"),
        ];
        for (text, quoted) in cases {
            assert_eq!(quote(text, Escape::Unprintable), quoted);
        }
    }

    #[test]
    fn bytes_and_python_2_are_ascii() {
        assert_eq!(quote_latin1("a\0\u{ff}'"), "\"a\\x00\\xff'\"");
        assert_eq!(
            quote("é змея 🐍", Escape::NonAscii),
            "'\\xe9 \\u0437\\u043c\\u0435\\u044f \\U0001f40d'"
        );
    }

    #[test]
    fn unprintable_characters_of_names_are_replaced() {
        assert_eq!(printable_name("имя\x1b]0;x"), "имя\u{fffd}]0;x");
    }
}
