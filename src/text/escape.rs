//! Text from outside, written so that a terminal shows it and does not execute it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde_json::ser::{Formatter, PrettyFormatter};

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

/// Writes JSON in lines, as [`PrettyFormatter`] does, and its strings as [`in_json`] does: for JSON that is
/// written while it is made.
#[derive(Default)]
pub struct SafeJson(PrettyFormatter<'static>);

/// Methods that [`PrettyFormatter`] has its own version of.
macro_rules! as_pretty {
    ($($method:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $method<W: ?Sized + io::Write>(&mut self, out: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$method(out $(, $argument)?)
        })*
    };
}

impl Formatter for SafeJson {
    as_pretty! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        out.write_all(in_json(fragment).as_bytes())
    }
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
    use serde::Serialize as _;

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

    #[test]
    fn json_that_is_written_while_it_is_made_is_the_same_text() -> Result<(), serde_json::Error> {
        let value = serde_json::json!({"name": "a\u{7f}\"\u{202e}\n", "all": [1, [], {}, null, {"b": [2.5]}]});
        let mut written = Vec::new();
        let formatter = SafeJson::default();
        let mut serializer = serde_json::Serializer::with_formatter(&mut written, formatter);
        value.serialize(&mut serializer)?;
        let text = serde_json::to_string_pretty(&value)?;
        assert_eq!(String::from_utf8_lossy(&written), in_json(&text));
        Ok(())
    }
}
