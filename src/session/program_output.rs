//! The last lines of what a launched program has printed, for the terminal that had a view instead.

use std::io::{self, Write as _};

use crate::os::process::captured::OutputEnd;
use crate::text::escape::for_terminal;
use crate::text::sanitize::shorten;

/// Lines that are shown of a program that succeeded, or that the user has ended.
const FEW_LINES: usize = 20;
/// Lines that are shown of one that failed: why may take some tracebacks.
const MANY_LINES: usize = 100;
/// Most characters of a line.
const MAX_CHARS: usize = 1_000;

/// Prints the last lines on stdout, with escapes in place of control characters; nothing if there are none.
pub fn print(end: &OutputEnd, has_failed: bool) {
    let text = text(end, if has_failed { MANY_LINES } else { FEW_LINES });
    // A terminal that has gone shows nothing.
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Prints the last lines of a program that failed on stderr, with escapes in place of control characters.
pub fn print_stderr(end: &OutputEnd) {
    let _ = io::stderr().write_all(text(end, MANY_LINES).as_bytes());
}

fn text(end: &OutputEnd, most: usize) -> String {
    let mut lines: Vec<&[u8]> = end.bytes.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let total = end.lines_before.saturating_add(lines.len() as u64);
    // The beginning of the first one is lost.
    let first = usize::from(end.is_cut && lines.len() > 1);
    let shown = lines.get(first..).unwrap_or_default();
    let shown = shown
        .get(shown.len().saturating_sub(most)..)
        .unwrap_or_default();
    if shown.is_empty() {
        return String::new();
    }
    let mut text = if shown.len() as u64 == total {
        "\nOutput of the program:\n".to_owned()
    } else {
        format!(
            "\nOutput of the program, the last {} of {total} lines:\n",
            shown.len()
        )
    };
    for line in shown {
        text.push_str(&readable(line));
        text.push('\n');
    }
    text
}

/// A line as a terminal would show it, without its beginning if the program has overwritten that, as progress
/// bars do.
fn readable(line: &[u8]) -> String {
    let mut parts = line.split(|byte| *byte == b'\r');
    let last = parts.rfind(|part| !part.is_empty()).unwrap_or_default();
    let text = String::from_utf8_lossy(last).replace('\t', "    ");
    for_terminal(&shorten(&text, MAX_CHARS)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> OutputEnd {
        OutputEnd {
            bytes: text.as_bytes().to_vec(),
            ..OutputEnd::default()
        }
    }

    #[test]
    fn all_lines_or_the_last() {
        assert_eq!(text(&end(""), 2), "");
        assert_eq!(text(&end("a\nb"), 2), "\nOutput of the program:\na\nb\n");
        assert_eq!(
            text(&end("a\n\nb\nc\n"), 2),
            "\nOutput of the program, the last 2 of 4 lines:\nb\nc\n"
        );
        let cut = OutputEnd {
            lines_before: 40,
            is_cut: true,
            ..end("est of a line\nb\nc\n")
        };
        assert_eq!(
            text(&cut, 20),
            "\nOutput of the program, the last 2 of 43 lines:\nb\nc\n"
        );
        let one = OutputEnd {
            is_cut: true,
            ..end("est of a line")
        };
        assert!(text(&one, 20).ends_with("\nest of a line\n"));
    }

    #[test]
    fn a_line_is_what_a_terminal_shows_without_its_escapes() {
        for (line, shown) in [
            (&b" 10%\r 99%\r100%"[..], "100%"),
            (b"from Windows\r", "from Windows"),
            (b"a\tb", "a    b"),
            (
                b"\x1b]0;owned\x07\x1b[2Jx\x9b1m\xff",
                "\\x1b]0;owned\\x07\\x1b[2Jx\u{fffd}1m\u{fffd}",
            ),
            ("\u{202e}\u{9b}31m".as_bytes(), "\\u202e\\x9b31m"),
        ] {
            assert_eq!(readable(line), shown);
        }
        assert!(readable(&b"x".repeat(1 << 20)).len() < 2 * MAX_CHARS);
    }
}
