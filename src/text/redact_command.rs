//! A command line without its secrets, for a page that people paste where others read it.
//!
//! Hidden is, in any argument and in any part of one (a program may write its whole title into one):
//! - what follows a name that looks like a secret's ([`is_secret_name`]) as `--password X`,
//!   `password=X`, `"password": X`,
//! - the user part of an URL, `https://USER:PASSWORD@host`, and what follows the colon in `-u USER:X`,
//! - what follows `Bearer` or `Basic`,
//! - what has the shape of a well-known service's token.
//!
//! In doubt more is hidden. A secret that nothing tells from other words stays, so the page says that
//! it is to be looked over.

use super::secrets::{REDACTED, is_secret_name};

/// Arguments that are shown at most, and characters of each before they are looked at.
const MAX_WORDS: usize = 256;
const MAX_WORD: usize = 4096;

/// How the tokens of well-known services begin.
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
/// No word of a language that begins so is longer than this.
const SHORTEST_TOKEN: usize = 16;

/// The arguments with every secret replaced, cut where there is no end of them.
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

/// What the last word announced.
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
        // An argument that follows `--password` is the secret with all the blanks that it has.
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
                // Inside one argument nothing says where the secret ends.
                shown.push_str(REDACTED);
                return shown;
            } else if next == Next::User
                && let Some((user, _)) = text.split_once(':')
            {
                shown.push_str(user);
                shown.push(':');
                shown.push_str(REDACTED);
            } else {
                let (safe, goes_on) = self.piece(text, piece.len() == text.len());
                shown.push_str(&safe);
                if !goes_on {
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

    /// A part of an argument between two blanks, and whether what follows may be shown. `is_last`:
    /// nothing follows in this argument.
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
                // `"password": X`: inside one argument nothing says where the secret ends.
                return (format!("{name} {REDACTED}"), false);
            }
            // A parameter of an URL ends at the next one; else all the rest may be the secret.
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
            // A line of code, whose sign stands apart: `password = X`.
            None => !is_last && text.chars().all(is_name) && is_secret_name(text),
        };
        if announces {
            self.next = Next::Secret;
        }
        (text.to_owned(), true)
    }
}

/// Whether a word is the next option rather than the last one's value. One dash may begin a secret.
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

/// An URL without its user part; `None` when it has none.
fn without_user(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    // To the last one: a password may hold an `@` and even a slash, by mistake.
    let (_, host) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{REDACTED}@{host}"))
}

/// Whether a part of the text has the shape of a token.
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
            // A title that the process has set is one argument.
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
    fn the_rest_stays() {
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
    fn long_ones_are_cut() {
        let long = "x".repeat(100_000);
        assert!(shown(&[&long]).len() < 5_000);
        let many = vec!["x"; 1_000];
        assert!(shown(&many).ends_with("… (744 more)"));
        // A name that was announced is not forgotten at the cut.
        let secret = format!("{} --password HUSH", "x ".repeat(3_000));
        assert!(!shown(&[&secret]).contains("HUSH"));
    }
}
