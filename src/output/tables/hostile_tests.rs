//! Hostile names and sources.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::HashMap;

use proptest::prelude::*;

use super::tests::{MIB, in_first, profile, written};
use crate::output::format::Format;
use crate::output::table_options::TableOptions;
use crate::output::table_options::source::Source;
use crate::text::secrets::Secrets;

/// Rows of CSV, as RFC 4180 reads them.
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(!quoted && cell.is_empty() && row.is_empty());
    rows
}

fn check(name: &str, file: &str, line: u32, first_line: u32, source: &str) {
    let profile = profile(true, &[(&[(name, file, line, first_line)], MIB)]);
    let shown_file = profile
        .file(profile.labels().ids().next().unwrap())
        .unwrap();
    let options = |csv| TableOptions {
        csv,
        only: Vec::new(),
        sort: None,
        sources: HashMap::from([(
            in_first(shown_file),
            Source::of_bytes(source.as_bytes(), None, Secrets::Hidden),
        )]),
    };
    let unsafe_in = |c: &char| c.is_control() && *c != '\n';
    for format in [Format::Lines, Format::Functions] {
        let text = written(format, &profile, options(false));
        assert_eq!(text.chars().find(unsafe_in), None, "{text:?}");
        let text = written(format, &profile, options(true));
        assert_eq!(
            text.replace("\r\n", "").chars().find(|c| c.is_control()),
            None
        );
        let rows = parse(&text);
        assert!(rows.len() >= 2, "{text:?}");
        for row in &rows {
            assert_eq!(row.len(), rows[0].len(), "{text:?}");
            for cell in row {
                let first = cell.trim_start().chars().next();
                assert!(first.is_none_or(|c| !"=+-@".contains(c)), "{cell:?}");
            }
        }
    }
}

#[test]
fn hostile_names_do_not_break_a_table() {
    let odd = [
        "",
        " ",
        "=1+1",
        "@SUM(A1)",
        "\t=1",
        "\r\n=1",
        "\"",
        "\",\"=1",
        "a\0b",
        "\u{1b}[2J",
        "\u{85}",
        "-",
        "…",
        "<module>",
        "<",
        "a.b.",
        ".",
        "'",
        "'''",
        "(((",
        "\u{feff}=1",
    ];
    for name in odd {
        for other in odd {
            check(name, other, 1, 1, other);
            check(
                name,
                other,
                u32::MAX,
                u32::MAX,
                &format!("def {name}(): {other}\n  {other}\n"),
            );
        }
    }
}

proptest! {
    #[test]
    fn no_name_breaks_a_table(
        name in any::<String>(),
        file in any::<String>(),
        line in any::<u32>(),
        first_line in 0..5_u32,
        source in any::<String>(),
    ) {
        check(&name, &file, line, first_line, &source);
    }
}
