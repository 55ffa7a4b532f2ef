//! [`CommandLine`]: the arguments of a process, which are shown without their secrets.
//!
//! Hidden in any argument and any part of one (a program may write its whole title into one argument):
//! - the value after the name of a secret ([`secrecy`]), as `--password X`, `password=X`,
//!   `"password": X`;
//! - the password of a URL, and the part after the colon of `-u USER:X`;
//! - what has the shape of a secret ([`scan`](super::scan)).
//!
//! In doubt more is hidden. A secret without any of these signs is not recognized.

use std::borrow::Cow;

use super::lexis::{Kind, is_name, is_option, is_placeholder, is_plain, user_secret};
use super::names::{Secrecy, secrecy};
use super::scan::find;
use super::words::USER_OPTIONS;
use super::{REDACTED, Secrets, replace};
use crate::text::sanitize::shorten;

/// Most arguments of an excerpt.
const MAX_WORDS: usize = 256;
/// Most characters of each.
const MAX_WORD: usize = 4096;

/// The arguments of a process as it has them. They can only be compared, or shown by
/// [`CommandLine::words`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// These arguments, without the blanks and the empty arguments at their end: a program that sets its title
    /// pads it with these to its former length.
    pub fn new(mut words: Vec<String>) -> CommandLine {
        let is_padding = |word: &String| word.trim_end().is_empty();
        if let [.., last_but_one, last] = words.as_slice()
            && is_padding(last_but_one)
            && is_padding(last)
        {
            let used = words.iter().rposition(|word| !is_padding(word));
            words.truncate(used.map_or(0, |last| last + 1));
        }
        if let [title] = words.as_mut_slice() {
            title.truncate(title.trim_end().len());
        }
        CommandLine(words)
    }

    /// The arguments to be shown, with every secret replaced if they are hidden.
    pub fn words(&self, secrets: Secrets) -> Cow<'_, [String]> {
        match secrets {
            Secrets::Shown => Cow::Borrowed(&self.0),
            Secrets::Hidden => Cow::Owned(without_secrets(&self.0)),
        }
    }

    /// The same for a report: at most [`MAX_WORDS`] of them, and [`MAX_WORD`] characters of each.
    pub fn excerpt(&self, secrets: Secrets) -> Vec<String> {
        let words = self.words(secrets);
        let first = words.iter().take(MAX_WORDS);
        let mut shown: Vec<String> = first.map(|word| shorten(word, MAX_WORD)).collect();
        if words.len() > MAX_WORDS {
            shown.push(format!("… ({} more)", words.len() - MAX_WORDS));
        }
        shown
    }
}

/// For messages of tests and logs: without secrets.
impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(without_secrets(&self.0)).finish()
    }
}

fn without_secrets(words: &[String]) -> Vec<String> {
    let mut next = Next::Plain;
    let words = words.iter();
    words.map(|word| redact_word(word, &mut next)).collect()
}

/// The kind of the next word, as announced by the previous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    #[default]
    Plain,
    /// What follows the name of a secret: the word after `--password`.
    Named(Secrecy),
    /// `USER:SECRET`, the word after `-u`.
    User,
}

fn redact_word(word: &str, next: &mut Next) -> String {
    if let Some(hidden) = redact_announced(word, std::mem::take(next)) {
        return hidden;
    }
    *next = announced_by(word);
    replace(word, &find(word, Kind::Argument, false)).into_owned()
}

/// An argument as the previous one says that it is shown; `None`: as any other.
pub(crate) fn redact_announced(word: &str, next: Next) -> Option<String> {
    match next {
        // The argument after `--password` is the secret, including its spaces.
        Next::Named(secrecy) => {
            let is_shown = is_option(word) || is_placeholder(word);
            let is_secret = !is_shown && secrecy.hides(is_plain(word));
            is_secret.then(|| REDACTED.to_owned())
        }
        Next::User => {
            let secret = user_secret(word)?;
            Some(replace(word, &[secret]).into_owned())
        }
        Next::Plain => None,
    }
}

/// What an argument says about the next one.
pub(crate) fn announced_by(word: &str) -> Next {
    let last = word.split_whitespace().next_back().unwrap_or_default();
    if USER_OPTIONS.contains(&last) {
        return Next::User;
    }
    let bare = last.trim_matches(|c: char| !c.is_alphanumeric());
    if bare.eq_ignore_ascii_case("bearer") || bare.eq_ignore_ascii_case("basic") {
        return Next::Named(Secrecy::Secret);
    }
    // `--password`, `PASSWORD=`, `Authorization:`
    let name = match last.strip_suffix(['=', ':']) {
        Some(name) => name.trim_end_matches(['"', '\'']),
        None if last.starts_with('-') => last,
        None => return Next::Plain,
    };
    let start = name.rfind(|c: char| !is_name(c)).map_or(0, |at| at + 1);
    match secrecy(name.get(start..).unwrap_or(name)) {
        Secrecy::Public => Next::Plain,
        known => Next::Named(known),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    fn shown(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        CommandLine::new(words).words(Secrets::Hidden).join(" ")
    }

    /// Titles had 55 blanks at their end, and JSON had eleven empty strings.
    #[test]
    fn the_padding_of_a_title_is_left_out() {
        let words = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            let command = CommandLine::new(words.collect());
            command.words(Secrets::Hidden).into_owned()
        };
        assert_eq!(words(&["worker: idle", "", "", ""]), ["worker: idle"]);
        assert_eq!(words(&["worker: idle   "]), ["worker: idle"]);
        assert_eq!(words(&["worker", "", "a", "", " "]), ["worker", "", "a"]);
        // An argument that is empty.
        assert_eq!(words(&["grep", ""]), ["grep", ""]);
        assert!(words(&["", ""]).is_empty());
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
        let excerpt = |words: Vec<String>| CommandLine::new(words).excerpt(Secrets::Hidden);
        let long = excerpt(vec!["x".repeat(100_000)]);
        assert!(long[0].len() < 5_000 && long[0].ends_with('…'));
        let many = excerpt(vec!["x".to_owned(); 1_000]);
        assert_eq!((many.len(), &*many[256]), (257, "… (744 more)"));
        // Other output has all of them.
        assert_eq!(shown(&["x"; 1_000]).len(), 1_999);
        // The cut does not separate a name from its secret.
        let secret = format!("{} --password HUSH", "x ".repeat(3_000));
        assert!(!shown(&[&secret]).contains("HUSH"));
    }
}
