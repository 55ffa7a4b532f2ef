//! Rows of comma-separated values (RFC 4180), safe to open in a spreadsheet.
//!
//! Names and source lines are the target's, and a spreadsheet takes a cell that starts with `=`, `+`,
//! `-` or `@` for a formula, which can run programs or send the sheet away. So a text whose first visible
//! character is one of those gets an apostrophe before it, the spreadsheets' own mark for text; whoever
//! reads the file by program takes it off again. Numbers are ours and stay.

use std::io::{self, Write};

/// One cell.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// A text from the target: quoted.
    Text(&'a str),
    /// A count.
    Count(u64),
    /// A number with two decimals.
    Number(f64),
    /// Nothing is known.
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
    // RFC 4180 ends lines so; every reader takes it.
    out.write_all(b"\r\n")
}

/// Whether a spreadsheet could take the text for a formula. Some drop the space before it, and in some
/// languages the wide forms count, too.
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
    fn no_text_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(1)", "  @x", "\u{3000}=1", "＝1"] {
            assert_eq!(row(&[Cell::Text(text)]), format!("\"'{text}\"\r\n"));
        }
        for text in ["x = 1", "'=1", "#-1", "(=1)"] {
            assert_eq!(row(&[Cell::Text(text)]), format!("\"{text}\"\r\n"));
        }
    }
}
