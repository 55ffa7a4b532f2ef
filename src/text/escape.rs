//! Text from outside, written so that a terminal shows it and does not execute it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::sanitize::is_unsafe;

/// `text` with every [unsafe](is_unsafe) character written as an escape in Python's style (`\n`,
/// `\x1b`, `\u202e`). Everything else is unchanged, backslashes too: paths and values should read as
/// they are.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => write!(safe, "\\n"),
            '\r' => write!(safe, "\\r"),
            '\t' => write!(safe, "\\t"),
            c if !is_unsafe(c) => write!(safe, "{c}"),
            c => match u32::from(c) {
                code @ 0..=0xff => write!(safe, "\\x{code:02x}"),
                code @ 0x100..=0xffff => write!(safe, "\\u{code:04x}"),
                code => write!(safe, "\\U{code:08x}"),
            },
        };
    }
    Cow::Owned(safe)
}

/// JSON text with the same characters as `\uXXXX` escapes: equal JSON, safe on a terminal. `\n` is
/// unchanged: JSON text has it only between tokens.
pub fn in_json(json: &str) -> Cow<'_, str> {
    let escape = |c: char| is_unsafe(c) && c != '\n';
    if !json.chars().any(escape) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A command line on one line, its words joined by spaces without quotes, as py-spy prints it.
pub fn command_line<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| for_terminal(word.as_ref()))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_executes() {
        assert_eq!(for_terminal("a\x1b[31mb\n\x07"), "a\\x1b[31mb\\n\\x07");
        assert_eq!(for_terminal("\u{9b}31m"), "\\x9b31m");
        assert_eq!(for_terminal("\u{202e}gpj.exe"), "\\u202egpj.exe");
        assert_eq!(for_terminal("\u{e0041}"), "\\U000e0041");
    }

    #[test]
    fn readable_text_is_unchanged() {
        for text in ["C:\\new\\table", "Привет 🐍", "👩\u{200d}🚀"] {
            assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn escaped_json_is_equal_json() -> Result<(), serde_json::Error> {
        let value = serde_json::json!({"name": "a\u{7f}\u{9b}\u{202e}\u{e0041}\n"});
        let text = serde_json::to_string_pretty(&value)?;
        let safe = in_json(&text);
        assert!(safe.chars().all(|c| c == '\n' || !is_unsafe(c)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe)?, value);
        Ok(())
    }
}
