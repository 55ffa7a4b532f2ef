//! A command line without its secrets, for a report that is pasted into public places.
//!
//! Hidden in any argument and any part of one (a program may write its whole title into one argument):
//! - the value after the name of a secret ([`is_secret_name`]), as `--password X`, `password=X`,
//!   `"password": X`;
//! - the user part of a URL, `https://USER:PASSWORD@host`, and the part after the colon of `-u USER:X`;
//! - the word after `Bearer` or `Basic`;
//! - tokens in the format of a well-known service.
//!
//! In doubt more is hidden. A secret without any of these signs is not recognized, so the report asks
//! its reader to check it before posting.

use super::secrets::{REDACTED, is_secret_name};

/// Most arguments that are shown.
const MAX_WORDS: usize = 256;
/// Most characters of an argument that are read.
const MAX_WORD: usize = 4096;

/// Prefixes of the tokens of well-known services.
const TOKENS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "hf_",
    "pypi-",
    "npm_",
    "dop_v1_",
    "eyJ",
    "SG.",
];
/// Shortest text that counts as a token: words of a language with such a prefix are shorter.
const SHORTEST_TOKEN: usize = 16;

/// The arguments with every secret replaced, at most [`MAX_WORDS`] of them.
pub fn redact_command(words: &[String]) -> Vec<String> {
    let mut redactor = Redactor::default();
    let mut shown: Vec<String> = words
        .iter()
        .take(MAX_WORDS)
        .map(|word| redactor.word(word))
        .collect();
    if words.len() > MAX_WORDS {
        shown.push(format!("… ({} more)", words.len() - MAX_WORDS));
    }
    shown
}

/// The kind of the next word, as announced by the previous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Plain,
    /// A secret: the word after `--password`.
    Secret,
    /// `USER:SECRET`, the word after `-u`.
    User,
}

#[derive(Default)]
struct Redactor {
    next: Next,
}

impl Redactor {
    fn word(&mut self, word: &str) -> String {
        let cut: String = word.chars().take(MAX_WORD).collect();
        let is_cut = cut.len() < word.len();
        // The argument after `--password` is the secret, including its spaces.
        if self.next == Next::Secret && !starts_option(&cut) {
            self.next = Next::Plain;
            return REDACTED.to_owned();
        }
        let mut shown = String::with_capacity(cut.len());
        for piece in cut.split_inclusive(char::is_whitespace) {
            let text = piece.trim_end_matches(char::is_whitespace);
            let next = std::mem::take(&mut self.next);
            if text.is_empty() {
                self.next = next;
            } else if next == Next::Secret && !starts_option(text) {
                // Within one argument the end of the secret is unknown.
                shown.push_str(REDACTED);
                return shown;
            } else if next == Next::User
                && let Some((user, _)) = text.split_once(':')
            {
                shown.push_str(user);
                shown.push(':');
                shown.push_str(REDACTED);
            } else {
                let (safe, show_rest) = self.piece(text, piece.len() == text.len());
                shown.push_str(&safe);
                if !show_rest {
                    return shown;
                }
            }
            shown.push_str(piece.get(text.len()..).unwrap_or_default());
        }
        if is_cut {
            shown.push('…');
        }
        shown
    }

    /// The safe form of a part of an argument between two spaces, and whether the rest of the argument
    /// may be shown. `is_last`: nothing follows in this argument.
    fn piece(&mut self, text: &str, is_last: bool) -> (String, bool) {
        let bare = text.trim_matches(|c: char| !c.is_alphanumeric() && c != '-');
        if bare.eq_ignore_ascii_case("bearer") || bare.eq_ignore_ascii_case("basic") {
            self.next = Next::Secret;
            return (text.to_owned(), true);
        }
        if matches!(text, "-u" | "--user" | "--proxy-user") {
            self.next = Next::User;
            return (text.to_owned(), true);
        }
        let without_user = without_user(text);
        let text = without_user.as_deref().unwrap_or(text);
        if let Some(at) = secret_assignment(text) {
            let (name, value) = text.split_at(at.min(text.len()));
            let name = if holds_token(name) { REDACTED } else { name };
            if value.is_empty() && is_last {
                self.next = Next::Secret;
                return (name.to_owned(), true);
            }
            if value.is_empty() {
                // `"password": X`: within one argument the end of the secret is unknown.
                return (format!("{name} {REDACTED}"), false);
            }
            // A URL parameter ends at the next one; elsewhere all the rest may be the secret.
            let in_url = name.contains('?');
            let after = value.find('&').filter(|_| in_url);
            let after = after.and_then(|end| value.get(end..)).unwrap_or_default();
            let after = after.split_inclusive('&').map(|parameter| {
                let (safe, _) = Redactor::default().piece(parameter.trim_end_matches('&'), true);
                let end = if parameter.ends_with('&') { "&" } else { "" };
                safe + end
            });
            let after: String = after.collect();
            return (format!("{name}{REDACTED}{after}"), is_last || in_url);
        }
        if holds_token(text) {
            return (REDACTED.to_owned(), true);
        }
        let announces = match text.strip_prefix('-') {
            Some(option) => is_secret_name(option),
            // Code with spaces around the sign: `password = X`.
            None => !is_last && text.chars().all(is_name) && is_secret_name(text),
        };
        if announces {
            self.next = Next::Secret;
        }
        (text.to_owned(), true)
    }
}

/// Whether a word is an option rather than the previous option's value. A secret may begin with one
/// dash.
fn starts_option(word: &str) -> bool {
    let Some(rest) = word.strip_prefix("--") else {
        return false;
    };
    rest.is_empty()
        || rest.starts_with(|c: char| c.is_ascii_lowercase())
            && rest.chars().all(|c| is_name(c) || c == '=')
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Where the value of the first secret name in `text` starts, in bytes.
fn secret_assignment(text: &str) -> Option<usize> {
    for (at, separator) in text.char_indices().filter(|(_, c)| matches!(c, '=' | ':')) {
        let before = text.get(..at)?;
        // A quote or a bracket may close the name: `"password":`, `os.environ["TOKEN"]=`.
        let before = before.trim_end_matches(['"', '\'', ']', ')', '\\', ' ']);
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| is_name(*c))
            .last()
            .map_or(before.len(), |(start, _)| start);
        if is_secret_name(before.get(start..)?) {
            return Some(at + separator.len_utf8());
        }
    }
    None
}

/// A URL without its user part; `None` when it has none.
fn without_user(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    // The last `@`: an unescaped password may contain one, and even a slash.
    let (_, host) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{REDACTED}@{host}"))
}

/// Whether a part of the text has the format of a token.
fn holds_token(text: &str) -> bool {
    text.split(|c: char| !(is_name(c) || c == '+'))
        .filter(|part| part.len() >= SHORTEST_TOKEN)
        .filter(|part| part.contains(|c: char| c.is_ascii_digit()))
        .any(|part| TOKENS.iter().any(|token| part.starts_with(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        redact_command(&words).join(" ")
    }

    #[test]
    fn secrets_are_hidden() {
        for words in [
            &["app.py", "--password", "HUSH"][..],
            &["app.py", "--password", "HUSH HUSH", "--port", "3"],
            &["app.py", "--password=HUSH,HUSH&HUSH"],
            &["app.py", "--db-password", "-HUSH"],
            &["app.py", "-password", "HUSH"],
            &["env", "DB_PASSWORD=HUSH", "python3"],
            &["env", "SECRET_KEY=a?b&HUSH"],
            &["app.py", "--set", "db.password=HUSH"],
            &["app.py", "postgres://user:HUSH@db/name"],
            &["app.py", "--url=https://HUSH@host/path"],
            &["app.py", "redis://:HU/SH@HUSH@host"],
            &["app.py", "http://host/?a=1&token=HUSH&b=2"],
            &["app.py", "http://host/?token=HUSH&api_key=HUSH"],
            &["curl", "-u", "user:HUSH"],
            &["app.py", "-H", "Authorization: Bearer HUSH"],
            &["app.py", "-H", "X-Api-Key: HUSH"],
            &["app.py", "Cookie: a=HUSH; b=HUSH"],
            &["python3", "-c", "password = 'HUSH'; import app"],
            &["python3", "-c", "connect(password='HUSH HUSH')"],
            &["python3", "-c", r#"x = {"password": "HUSH", "n": "HUSH"}"#],
            &["python3", "-c", r#"os.environ["TOKEN"]="HUSH""#],
            // A process title is one argument.
            &["gunicorn: master --password HUSH --port 3"],
            &["worker token=HUSH HUSH"],
        ] {
            let shown = shown(words);
            assert!(!shown.contains("HUSH"), "{words:?}: {shown}");
            assert!(shown.contains(REDACTED), "{words:?}: {shown}");
        }
        for token in [
            "ghp_0123456789abcdefABCD",
            "sk-proj-0123456789abcdef",
            "AKIA0123456789ABCDEF",
        ] {
            assert!(!shown(&["app.py", token]).contains(token), "{token}");
            assert!(!shown(&["app.py", &format!("--x={token}")]).contains(token));
        }
    }

    #[test]
    fn other_arguments_are_unchanged() {
        for words in [
            &["python3", "app.py", "--port", "8080", "-v"][..],
            &[
                "python3",
                "-m",
                "gunicorn",
                "-w",
                "4",
                "app:app",
                "--bind=0.0.0.0:80",
            ],
            &["python3", "--max-tokens", "5", "--keyword=a", "x=1", "a:b"],
            &["python3", "-c", "import time; time.sleep(5)"],
            &["app.py", "http://host/path?a=1&b=2", "-u", "root"],
            &["app.py", "skiing", "sk-i", "hf_model", ""],
        ] {
            assert_eq!(shown(words), words.join(" "));
        }
        assert_eq!(
            shown(&["app.py", "--password", "--port", "3"]),
            "app.py --password --port 3"
        );
        assert_eq!(
            shown(&["a", "http://host/?token=HUSH&b=2"]),
            "a http://host/?token=<redacted>&b=2"
        );
    }

    #[test]
    fn long_command_lines_are_cut() {
        let long = "x".repeat(100_000);
        assert!(shown(&[&long]).len() < 5_000);
        let many = vec!["x"; 1_000];
        assert!(shown(&many).ends_with("… (744 more)"));
        // The cut does not separate a name from its secret.
        let secret = format!("{} --password HUSH", "x ".repeat(3_000));
        assert!(!shown(&[&secret]).contains("HUSH"));
    }
}
