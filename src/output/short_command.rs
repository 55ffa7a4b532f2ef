//! [`short_command`]: a command line as titles show it, the script and its arguments.

/// Options of CPython whose value is the next word.
const WITH_VALUE: [&str; 3] = ["-X", "-W", "--check-hash-based-pycs"];

/// Fewest characters of the arguments that are shown beside a long script.
const MIN_ARGUMENTS: usize = 16;

/// The words of a command line without its interpreter, in at most `max_chars` characters.
///
/// What matters least is shortened first: the folders of the arguments, those of the script, the middle of the
/// arguments.
pub fn short_command(words: &[&str], max_chars: usize) -> String {
    let mut words = without_interpreter(words).to_vec();
    let script = words
        .iter()
        .position(|word| !word.starts_with('-'))
        .unwrap_or(0);
    for index in (script + 1..words.len()).chain([script]) {
        if chars(&words.join(" ")) <= max_chars {
            break;
        }
        if let Some(word) = words.get_mut(index) {
            *word = without_folders(word);
        }
    }
    let all = words.join(" ");
    let (head, arguments) = words.split_at((script + 1).min(words.len()));
    let head = head.join(" ");
    let room = max_chars.saturating_sub(chars(&head) + 1);
    if chars(&all) <= max_chars {
        all
    } else if arguments.is_empty() || room < MIN_ARGUMENTS {
        without_middle(&all, max_chars)
    } else {
        format!("{head} {}", without_middle(&arguments.join(" "), room))
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// The words from the script (or `-m`, `-c`) on; all of them if there is none, or if the first is no Python.
fn without_interpreter<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    if !words.first().is_some_and(|word| is_interpreter(word)) {
        return words;
    }
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let names_program = match word.strip_prefix('-') {
            // `-um` is `-u -m`; `-Wm` and `-Xm` are values.
            Some(flags) => {
                flags.ends_with(['m', 'c'])
                    && !flags.starts_with(['-', 'W', 'X'])
                    && flags.chars().all(char::is_alphabetic)
            }
            None => true,
        };
        if names_program {
            return words.get(at..).unwrap_or(words);
        }
        at += if WITH_VALUE.contains(word) { 2 } else { 1 };
    }
    words
}

/// Whether a word is `python`, `/usr/bin/python3.12`, `python3.14t` or the like.
fn is_interpreter(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    let version = name
        .strip_prefix("python")
        .or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| {
        let version = version
            .trim_end_matches("-dbg")
            .trim_end_matches(['t', 'd']);
        version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// The last part of an absolute path; any other word unchanged.
fn without_folders(word: &str) -> &str {
    match word.rsplit_once('/') {
        Some((_, last)) if word.starts_with('/') && !last.is_empty() => last,
        _ => word,
    }
}

/// The text with `…` instead of its middle.
fn without_middle(text: &str, max_chars: usize) -> String {
    let count = chars(text);
    if count <= max_chars {
        return text.to_owned();
    }
    let kept = max_chars.saturating_sub(1);
    let tail = kept / 2;
    let start = text.chars().take(kept - tail);
    let end = text.chars().skip(count - tail);
    start.chain(['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(command: &str, max_chars: usize) -> String {
        short_command(&command.split(' ').collect::<Vec<_>>(), max_chars)
    }

    /// Of a path with spaces, the middle of the script's name was missing.
    #[test]
    fn words_may_contain_spaces() {
        let words = [
            "/opt/my python/bin/python3",
            "/srv/my folder/the app.py",
            "--end",
        ];
        assert_eq!(short_command(&words, 31), "/srv/my folder/the app.py --end");
        assert_eq!(short_command(&words, 30), "the app.py --end");
    }

    /// Titles showed `/root/.pyenv/versions/3.12.1/bin/python3.12 /srv/…` and nothing else.
    #[test]
    fn the_interpreter_is_left_out() {
        for (command, shown) in [
            ("python3 app.py --port 80", "app.py --port 80"),
            (
                "/opt/py/bin/python3.14t -u -X dev /srv/app.py",
                "/srv/app.py",
            ),
            (
                "/usr/bin/python3.12-dbg -Im gunicorn app:app",
                "-Im gunicorn app:app",
            ),
            ("python -Wm app.py", "app.py"),
            ("python -c 'import time'", "-c 'import time'"),
            ("python3", "python3"),
            ("python3 -i", "python3 -i"),
            ("gunicorn: master [app]", "gunicorn: master [app]"),
            ("uwsgi --ini app.ini", "uwsgi --ini app.ini"),
            ("pythonista app.py", "pythonista app.py"),
        ] {
            assert_eq!(short(command, 80), shown);
        }
    }

    #[test]
    fn what_matters_least_is_shortened_first() {
        let command = "python3 /srv/one/app.py --data /mnt/volume/set.csv --last";
        let cases = [
            (60, "/srv/one/app.py --data /mnt/volume/set.csv --last"),
            (40, "/srv/one/app.py --data set.csv --last"),
            (30, "app.py --data set.csv --last"),
            (24, "app.py --data s…v --last"),
            (10, "app.p…last"),
            (0, "…"),
        ];
        for (max_chars, shown) in cases {
            assert_eq!(short(command, max_chars), shown);
        }
        let code = format!("python3 -c {}", "é".repeat(100));
        assert_eq!(chars(&short(&code, 50)), 50);
    }
}
