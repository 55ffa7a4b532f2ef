//! Finds secrets in Python code: string literals that are assigned to the name of a secret, and what has
//! the shape of a secret in any literal or comment.
//!
//! Code is read token by token, without its grammar: names, literals, brackets and the signs between them.
//! `password = os.environ["PASSWORD"]` has no secret, `password = get("x")` has one.

use std::ops::Range;

use super::lexis::{Kind, is_placeholder};
use super::names::{Secrecy, secrecy};
use super::scan::find;
use super::shapes::{closes_pem, opens_pem};
use super::words::{NAME_KEYS, USER_OPTIONS, VALUE_KEYS};

/// Opening and closing quotes of strings, longest first.
const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];
/// Operators that may stand before the `=` of an assignment or a comparison.
const BEFORE_EQUALS: &[char] = &['+', '!', ':', '%', '|', '&', '/', '*', '-'];

/// The secrets in the text of a Python file, ascending and disjoint.
pub fn find_in_source(text: &str) -> Vec<Range<usize>> {
    let mut reader = Reader {
        text,
        starts: true,
        ..Reader::default()
    };
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        at = reader.token(at, c).max(at + c.len_utf8());
    }
    reader.found
}

/// The last name or literal before a place.
#[derive(Clone, Copy, Default)]
enum Last<'t> {
    #[default]
    Other,
    Name(&'t str),
    Literal(&'t str),
}

#[derive(Default)]
struct Reader<'t> {
    text: &'t str,
    found: Vec<Range<usize>>,
    depth: usize,
    last: Last<'t>,
    /// What a literal is a secret of: the depth and kind of the name that it is assigned to.
    assigned: Option<(usize, Secrecy)>,
    /// Whether a literal here is compared with a secret: `password == "x"`.
    compared: bool,
    /// The name of `name: type = value`, and its depth.
    annotated: Option<(usize, &'t str)>,
    /// Whether a name would be the first of a statement or of a parameter.
    starts: bool,
    /// Whether the last token is an opening parenthesis.
    opened: bool,
    /// The literal after the next comma is a secret: `("password", "x")`, `["--password", "x"]`.
    pair: Option<Pair>,
    /// Whether the last `"name": "x"` was the name of a secret.
    names_secret: bool,
    /// Whether the name before is one of [`NAME_KEYS`].
    is_name_key: bool,
    /// Inside a private key of several literals.
    in_pem: bool,
}

/// The state of a pair of literals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    Named,
    AfterComma,
}

impl<'t> Reader<'t> {
    /// Reads a token, and returns where it ends.
    fn token(&mut self, at: usize, c: char) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        if let Some(quotes) = QUOTES.into_iter().find(|quotes| rest.starts_with(quotes)) {
            return self.literal(at, quotes);
        }
        if c.is_alphanumeric() || c == '_' {
            return self.name(at, rest);
        }
        self.compared &= c == ' ';
        let opened = std::mem::take(&mut self.opened);
        let starts = std::mem::take(&mut self.starts);
        match c {
            '#' => {
                let comment = rest.get(..rest.find('\n').unwrap_or(rest.len()));
                let comment = comment.unwrap_or_default();
                self.scan(at, comment, Kind::Prose);
                (self.opened, self.starts) = (opened, starts);
                return at + comment.len();
            }
            ' ' | '\t' | '\r' => (self.opened, self.starts) = (opened, starts),
            '\\' => {}
            '\n' => self.line_end(),
            ';' if self.depth == 0 => self.line_end(),
            ',' => self.comma(),
            '(' | '[' | '{' => {
                self.depth += 1;
                (self.opened, self.starts) = (c == '(', c == '(');
                self.last = Last::Other;
            }
            ')' | ']' | '}' => {
                self.depth = self.depth.saturating_sub(1);
                let inner = |(depth, _)| depth > self.depth;
                self.assigned = self.assigned.filter(|one| !inner(*one));
                self.annotated = self.annotated.filter(|one| one.0 <= self.depth);
                self.pair = None;
            }
            ':' if !rest.starts_with(":=") => self.colon(),
            '=' => return self.equals(at, rest),
            '.' => {}
            _ if BEFORE_EQUALS.contains(&c) && rest.get(1..2) == Some("=") => {}
            _ => self.last = Last::Other,
        }
        at + c.len_utf8()
    }

    fn name(&mut self, at: usize, rest: &'t str) -> usize {
        let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
        let end = rest.find(ends).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        self.last = Last::Name(name);
        // The prefix of a literal: b'x'.
        self.compared &= name.len() <= 2;
        if std::mem::take(&mut self.starts) {
            self.annotated = Some((self.depth, name)).filter(|_| !is_keyword(name));
        }
        self.opened = false;
        at + end
    }

    fn line_end(&mut self) {
        self.starts = self.depth == 0;
        if self.depth == 0 {
            (self.assigned, self.annotated, self.pair) = (None, None, None);
            self.last = Last::Other;
        }
    }

    fn comma(&mut self) {
        self.assigned = self.assigned.filter(|(depth, _)| *depth < self.depth);
        self.annotated = None;
        self.pair = self.pair.map(|_| Pair::AfterComma);
        self.last = Last::Other;
        self.starts = true;
    }

    /// `"name": value`, or the annotation of a name.
    fn colon(&mut self) {
        match self.last {
            Last::Literal(key) if self.depth > 0 => self.assign(key),
            _ => {}
        }
        self.last = Last::Other;
    }

    fn equals(&mut self, at: usize, rest: &str) -> usize {
        let is_comparison = rest.starts_with("==")
            || at
                .checked_sub(1)
                .is_some_and(|before| self.text.get(before..at) == Some("!"));
        if is_comparison {
            let (Last::Name(name) | Last::Literal(name)) = self.last else {
                return at + 2;
            };
            self.compared = secrecy(name) != Secrecy::Public;
            self.last = Last::Other;
            return at + if rest.starts_with("==") { 2 } else { 1 };
        }
        match (self.annotated.take(), self.last) {
            (Some((depth, name)), _) if depth == self.depth && secrecy(name) != Secrecy::Public => {
                self.assign(name);
            }
            (_, Last::Name(name) | Last::Literal(name)) => self.assign(name),
            (Some((_, name)), Last::Other) => self.assign(name),
            (None, Last::Other) => {}
        }
        self.last = Last::Other;
        at + 1
    }

    /// What follows is the value of this name.
    fn assign(&mut self, name: &str) {
        let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        self.is_name_key = NAME_KEYS.contains(&last.as_str());
        let known = match secrecy(name) {
            Secrecy::Public if VALUE_KEYS.contains(&last.as_str()) && self.names_secret => {
                self.names_secret = false;
                Secrecy::Secret
            }
            known => known,
        };
        // An outer name counts for all that is inside.
        if known != Secrecy::Public && self.assigned.is_none() {
            self.assigned = Some((self.depth, known));
        }
    }

    fn literal(&mut self, at: usize, quotes: &'static str) -> usize {
        let start = at + quotes.len();
        let rest = self.text.get(start..).unwrap_or_default();
        let (length, closes) = literal_end(rest, quotes);
        let inside = rest.get(..length).unwrap_or_default();
        let is_long = quotes.len() == 3;
        if self.is_secret(inside) {
            self.hide(start, inside);
        } else if self.in_pem {
            self.hide(start, inside);
            self.in_pem = !closes_pem(inside);
        } else {
            self.scan(
                start,
                inside,
                if is_long { Kind::Prose } else { Kind::Text },
            );
            self.in_pem = opens_pem(inside);
        }
        if std::mem::take(&mut self.is_name_key) {
            self.names_secret = secrecy(inside) == Secrecy::Secret;
        }
        // The first argument of a call or of a tuple, or an option.
        let is_first = std::mem::take(&mut self.opened) || inside.starts_with('-');
        let is_secret = !inside.contains(['=', ' ']) && secrecy(inside) == Secrecy::Secret;
        let is_named = is_first && (is_secret || USER_OPTIONS.contains(&inside));
        self.pair = is_named.then_some(Pair::Named);
        self.last = Last::Literal(inside);
        self.compared = false;
        self.starts = false;
        start + length + if closes { quotes.len() } else { 0 }
    }

    /// Whether a literal is the value of a secret's name.
    fn is_secret(&self, inside: &str) -> bool {
        if !inside.contains(char::is_alphanumeric) || is_placeholder(inside) {
            return false;
        }
        if self.compared || self.pair == Some(Pair::AfterComma) && !inside.starts_with("--") {
            return true;
        }
        match self.assigned {
            Some((depth, _)) if self.depth == depth => true,
            // `os.environ["PASSWORD"]` is a name.
            Some(_) => secrecy(inside) == Secrecy::Public || inside.contains(' '),
            None => false,
        }
    }

    /// Hides each line of a literal: lines keep their numbers.
    fn hide(&mut self, start: usize, inside: &str) {
        let mut at = start;
        for line in inside.split_inclusive('\n') {
            let text = line.trim_end();
            if !text.is_empty() {
                self.found.push(at..at + text.len());
            }
            at += line.len();
        }
    }

    fn scan(&mut self, start: usize, text: &str, kind: Kind) {
        for secret in find(text, kind, false) {
            let inside = text.get(secret.clone()).unwrap_or_default();
            self.hide(start + secret.start, inside);
        }
    }
}

/// The length of a literal whose opening quotes were read, and whether it is closed.
fn literal_end(rest: &str, quotes: &str) -> (usize, bool) {
    let mut at = 0;
    while let Some(c) = rest.get(at..).and_then(|rest| rest.chars().next()) {
        if rest.get(at..).is_some_and(|rest| rest.starts_with(quotes)) {
            return (at, true);
        }
        // Only strings in triple quotes continue on the next line, and escaped line ends.
        if c == '\n' && quotes.len() == 1 {
            return (at, false);
        }
        at += c.len_utf8();
        if c == '\\' {
            let escaped = rest.get(at..).and_then(|rest| rest.chars().next());
            at += escaped.map_or(0, char::len_utf8);
        }
    }
    (rest.len(), false)
}

/// Whether a word begins a statement whose colon is no annotation.
fn is_keyword(name: &str) -> bool {
    [
        "if", "elif", "while", "for", "with", "lambda", "return", "else", "case", "def", "class",
        "except", "assert", "not", "and", "or", "in", "yield", "await", "async", "del",
    ]
    .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::secrets::replace;

    fn shown(text: &str) -> String {
        replace(text, &find_in_source(text)).into_owned()
    }

    #[test]
    fn literals_of_secret_names_are_hidden() {
        for (code, expected) in [
            ("password = 'hunter2'", "password = '<redacted>'"),
            ("password: str = 'hunter2'", "password: str = '<redacted>'"),
            (
                "self.password = b\"hunter2\"",
                "self.password = b\"<redacted>\"",
            ),
            (
                "os.environ['TOKEN'] = 'abc'",
                "os.environ['TOKEN'] = '<redacted>'",
            ),
            (
                "if token == 'abc': go('x')",
                "if token == '<redacted>': go('x')",
            ),
            ("if token != 'abc':", "if token != '<redacted>':"),
            (
                "f(a='x', password='abc', b='y')",
                "f(a='x', password='<redacted>', b='y')",
            ),
            (
                "def f(password='abc', b='y'): pass",
                "def f(password='<redacted>', b='y'): pass",
            ),
            (
                "d = {'password': 'abc', 'user': 'y'}",
                "d = {'password': '<redacted>', 'user': 'y'}",
            ),
            (
                "{'name': 'password', 'value': 'abc'}",
                "{'name': 'password', 'value': '<redacted>'}",
            ),
            (
                "Env(name='TOKEN', value='abc')",
                "Env(name='TOKEN', value='<redacted>')",
            ),
            (
                "run(['app', '--password', 'abc'])",
                "run(['app', '--password', '<redacted>'])",
            ),
            (
                "run(['curl', '-u', 'bob:abc'])",
                "run(['curl', '-u', '<redacted>'])",
            ),
            (
                "h = [('Authorization', 'abc')]",
                "h = [('Authorization', '<redacted>')]",
            ),
            (
                "getenv('API_KEY', 'abc')",
                "getenv('API_KEY', '<redacted>')",
            ),
            (
                "password = decode('abc')",
                "password = decode('<redacted>')",
            ),
            (
                "tokens = [\n    'abc',\n    'def',\n]",
                "tokens = [\n    '<redacted>',\n    '<redacted>',\n]",
            ),
            (
                "password = ('abc'\n    'def')",
                "password = ('<redacted>'\n    '<redacted>')",
            ),
        ] {
            assert_eq!(shown(code), expected);
        }
    }

    #[test]
    fn shapes_in_literals_and_comments_are_hidden() {
        for (code, expected) in [
            (
                "x = 'mysql://root:abc@db/'",
                "x = 'mysql://root:<redacted>@db/'",
            ),
            (
                "c = 'host=db password=abc x=1'",
                "c = 'host=db password=<redacted> x=1'",
            ),
            (
                "x = 1  # password: hunter2",
                "x = 1  # password: <redacted>",
            ),
            ("пароль = 'abc'", "пароль = '<redacted>'"),
        ] {
            assert_eq!(shown(code), expected);
        }
    }

    #[test]
    fn a_key_of_several_lines_or_literals_is_hidden() {
        let key = "K = '''-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\ndef==\n-----END RSA PRIVATE KEY-----'''\nx = 'y'";
        let hidden = "K = '''-----BEGIN RSA PRIVATE KEY-----\n<redacted>\n<redacted>\n-----END RSA PRIVATE KEY-----'''\nx = 'y'";
        assert_eq!(shown(key), hidden);
        let key =
            "K = ('-----BEGIN PRIVATE KEY-----\\n'\n 'MIIEabc'\n '-----END PRIVATE KEY-----', 'x')";
        let shown = shown(key);
        assert!(
            !shown.contains("MIIEabc") && shown.ends_with("'x')"),
            "{shown}"
        );
    }

    #[test]
    fn other_code_is_unchanged() {
        for code in [
            "password = os.environ['DB_PASSWORD']",
            "password = config.get('password')",
            "password = getpass.getpass()",
            "if password: raise ValueError('what')",
            "for token in tokens: print('x', token)",
            "password, user = read('file')",
            "token = next(tokens); kind = 'x'",
            "def f(password, user='x'):",
            "x = {'user': 'password', 'n': 'y'}",
            "\"\"\"Log in.\n\n    password: Password of the user.\n\"\"\"",
            "x = lambda token: 'abc'",
            "print(f'{token_count} tokens')",
            "password = ''",
            "cur.execute('SELECT id FROM t WHERE password = %s', (p,))",
            "tokenizer = 'wordpiece'",
            "'unclosed",
            "\"\\",
        ] {
            assert_eq!(shown(code), code);
        }
    }
}
