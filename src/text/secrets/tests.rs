//! The corpus of `tests/offline/secrets/`.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use super::command::CommandLine;
use super::source::find_in_source;
use super::{REDACTED, Secrets, redact, replace};

const SECRET: &str = include_str!("../../../tests/offline/secrets/secret.txt");
const INNOCENT: &str = include_str!("../../../tests/offline/secrets/innocent.txt");
const HIDDEN_IN_VAIN: &str = include_str!("../../../tests/offline/secrets/hidden_in_vain.txt");

/// The lines of a file, each as kind and text.
fn cases(file: &'static str) -> Vec<(&'static str, &'static str)> {
    let lines = file.lines().filter(|line| !line.starts_with("# "));
    lines.map(|line| line.split_once('\t').unwrap()).collect()
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap()
}

fn shown(kind: &str, text: &str) -> String {
    match kind {
        "text" => redact(text, false).into_owned(),
        "code" => replace(text, &find_in_source(text)).into_owned(),
        _ => {
            let command = CommandLine::new(words(text));
            serde_json::to_string(&command.words(Secrets::Hidden)).unwrap()
        }
    }
}

/// The text as it is shown with `--show-secrets`.
fn unchanged(kind: &str, text: &str) -> String {
    match kind {
        "argv" => serde_json::to_string(&words(text)).unwrap(),
        _ => text.to_owned(),
    }
}

/// No part of a secret that is longer than its punctuation may be shown.
#[test]
fn all_secrets_are_hidden() {
    let mut found = Vec::new();
    let cases = cases(SECRET);
    for (kind, marked) in &cases {
        let (_, rest) = marked.split_once('⟦').unwrap();
        let secret = rest.split('⟧').next().unwrap();
        let shown = shown(kind, &marked.replace(['⟦', '⟧'], ""));
        let is_left = |part: &str| part.len() > 2 && shown.contains(part);
        let parts = secret.split(|c: char| c.is_whitespace() || "\\/;@".contains(c));
        if parts.into_iter().any(is_left) || !shown.contains(REDACTED) {
            found.push(format!("{kind} {marked}: {shown}"));
        }
    }
    assert!(cases.len() >= 100, "{}", cases.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn innocent_texts_are_unchanged() {
    let mut changed = Vec::new();
    let cases = cases(INNOCENT);
    for (kind, text) in &cases {
        let shown = shown(kind, text);
        if shown != unchanged(kind, text) {
            changed.push(format!("{kind} {text}: {shown}"));
        }
    }
    assert!(cases.len() >= 200, "{}", cases.len());
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

/// What the rules cost: no other innocent text of the corpus is hidden.
#[test]
fn what_is_hidden_in_vain_is_known() {
    let cases = cases(HIDDEN_IN_VAIN);
    assert_eq!(cases.len(), 13);
    for (kind, text) in cases {
        assert_ne!(shown(kind, text), unchanged(kind, text), "{text}");
    }
}
