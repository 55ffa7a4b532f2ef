//! Rows of comma-separated values (RFC 4180), safe to open in a spreadsheet.
//!
//! Names and source lines come from the target, and spreadsheets interpret a cell that starts with `=`,
//! `+`, `-` or `@` as a formula, which can run programs or send the sheet to a server. So a text whose
//! first visible character is one of these is prefixed with an apostrophe, which spreadsheets interpret as
//! a mark for text; programs that read the file must remove it. Numbers are not changed.

use std::io::{self, Write};

#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// Text from the target, quoted.
    Text(&'a str),
    Count(u64),
    /// Written with two decimals.
    Number(f64),
    /// Unknown.
    Empty,
}

/// Writes one row.
///
/// # Errors
/// Those of `out`.
pub fn write_row(out: &mut dyn Write, cells: &[Cell<'_>]) -> io::Result<()> {
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        match cell {
            Cell::Text(text) => {
                let mark = if is_formula(text) { "'" } else { "" };
                write!(out, "\"{mark}{}\"", text.replace('"', "\"\""))?;
            }
            Cell::Count(count) => write!(out, "{count}")?,
            Cell::Number(number) => write!(out, "{number:.2}")?,
            Cell::Empty => {}
        }
    }
    // The line end of RFC 4180, which every reader accepts.
    out.write_all(b"\r\n")
}

/// Whether a spreadsheet could interpret the text as a formula. Some ignore leading space, and some
/// language versions accept the wide forms, too.
fn is_formula(text: &str) -> bool {
    let first = text.chars().find(|c| !c.is_whitespace());
    first.is_some_and(|c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    fn row(cells: &[Cell<'_>]) -> String {
        let mut bytes = Vec::new();
        write_row(&mut bytes, cells).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn texts_are_quoted_and_numbers_are_not() {
        assert_eq!(
            row(&[
                Cell::Text("a \"b\", c"),
                Cell::Count(7),
                Cell::Number(12.345),
                Cell::Empty,
                Cell::Text("")
            ]),
            "\"a \"\"b\"\", c\",7,12.35,,\"\"\r\n"
        );
    }

    #[test]
    fn formulas_are_prefixed() {
        for text in ["=1+1", "+1", "-1", "@SUM(1)", "  @x", "\u{3000}=1", "＝1"] {
            assert_eq!(row(&[Cell::Text(text)]), format!("\"'{text}\"\r\n"));
        }
        for text in ["x = 1", "'=1", "#-1", "(=1)"] {
            assert_eq!(row(&[Cell::Text(text)]), format!("\"{text}\"\r\n"));
        }
    }
}
