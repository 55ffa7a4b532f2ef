//! Shapes of secrets that are recognized without a name: tokens of well-known services, keys in PEM,
//! credentials of HTTP.

use super::lexis::{Kind, is_alphanumeric, run_of};

/// A token: its prefix, and the fewest letters and digits in a row in what follows it. `sk-container-id-12`
/// has fewer.
const TOKENS: &[(&str, usize)] = &[
    // Code hosts, package registries
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glptt-", 16),
    ("glrt-", 16),
    ("ATBB", 24),
    ("ATATT3", 16),
    ("pypi-", 16),
    ("npm_", 20),
    ("rubygems_", 20),
    ("dckr_pat_", 16),
    // Clouds
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABIA", 16),
    ("AIza", 16),
    ("ya29.", 16),
    ("GOCSPX-", 12),
    ("dop_v1_", 16),
    ("doo_v1_", 16),
    ("hvs.", 16),
    ("hvb.", 16),
    ("dapi", 32),
    ("tskey-", 10),
    ("pul-", 32),
    ("sbp_", 32),
    // Models
    ("sk-", 16),
    ("hf_", 16),
    ("gsk_", 16),
    ("r8_", 16),
    ("nvapi-", 16),
    ("xai-", 16),
    ("pplx-", 16),
    // Payments, messages, the rest
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("rk_test_", 16),
    ("whsec_", 16),
    ("sq0atp-", 12),
    ("sq0csp-", 12),
    ("shpat_", 16),
    ("shpss_", 16),
    ("shpca_", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxs-", 10),
    ("xoxr-", 10),
    ("xapp-", 8),
    ("SG.", 16),
    ("xkeysib-", 16),
    ("PMAK-", 16),
    ("NRAK-", 16),
    ("sntrys_", 16),
    ("lin_api_", 16),
    ("figd_", 16),
    ("AGE-SECRET-KEY-1", 16),
    // A JSON object in base64: a JWT, a signed session.
    ("eyJ", 13),
];

/// The beginnings of the hash of a password, as in /etc/shadow or in a framework's database.
const HASHES: &[&str] = &[
    "$1$",
    "$5$",
    "$6$",
    "$y$",
    "$2a$",
    "$2b$",
    "$2y$",
    "$argon2",
    "$apr1$",
    "$pbkdf2",
    "$scrypt$",
    "pbkdf2_sha256$",
    "pbkdf2_sha1$",
    "pbkdf2:sha",
    "scrypt:",
    "argon2$",
    "bcrypt$",
    "bcrypt_sha256$",
];

/// In a URL: all that follows is the secret.
const WEBHOOKS: &[&str] = &[
    "hooks.slack.com/services/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "api.telegram.org/bot",
];

/// The beginning of a key in PEM; its kind ends in [`PEM_PRIVATE`].
const PEM: &str = "-----BEGIN ";
/// In the first line of a key that is not public.
const PEM_PRIVATE: &str = "PRIVATE KEY";
/// The beginning of its last line.
const PEM_END: &str = "-----END ";

/// Fewest characters after `Bearer`, and after `Basic`.
const SHORTEST_BEARER: usize = 6;
const SHORTEST_BASIC: usize = 8;
/// How many bytes of a token are compared with its rule.
const MAX_COMPARED: usize = 256;

/// The length of the secret that `text` begins with, and of what is shown before it.
pub(crate) struct Shape {
    pub shown: usize,
    pub secret: usize,
}

/// The secret that a word begins. `text` begins with it and goes on to the end of the whole text.
pub(crate) fn at_word(text: &str, is_cut: bool, kind: Kind) -> Option<Shape> {
    token(text, is_cut)
        .or_else(|| hash(text))
        .or_else(|| credentials(text, is_cut, kind))
        .or_else(|| webhook(text))
}

fn token(text: &str, is_cut: bool) -> Option<Shape> {
    let (prefix, run) = TOKENS.iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let is_part = |byte| is_alphanumeric(byte) || b"_-.+/=~".contains(&byte);
    let compared = compared(text, is_part);
    let token = text.get(prefix.len()..compared).unwrap_or_default();
    let is_token = is_random(token)
        && token
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|part| part.len() >= *run);
    (is_token || is_cut && compared == text.len()).then(|| {
        let secret = run_of(text, is_part);
        Shape {
            shown: 0,
            // The end of a sentence.
            secret: text
                .get(..secret)
                .map_or(secret, |token| token.trim_end_matches('.').len()),
        }
    })
}

fn hash(text: &str) -> Option<Shape> {
    let prefix = HASHES.iter().find(|prefix| text.starts_with(**prefix))?;
    let is_part = |byte| is_alphanumeric(byte) || b"$./=,+:_-".contains(&byte);
    let compared = compared(text, is_part);
    let is_hash = compared >= prefix.len() + 16 && text.get(..compared)?.contains('$');
    is_hash.then(|| Shape {
        shown: 0,
        secret: run_of(text, is_part),
    })
}

/// `Bearer X`, `Basic X`.
fn credentials(text: &str, is_cut: bool, kind: Kind) -> Option<Shape> {
    let is_bearer = starts_with_word(text, "bearer");
    let word = match is_bearer {
        true => "bearer",
        false if starts_with_word(text, "basic") => "basic",
        false => return None,
    };
    let spaces = run_of(text.get(word.len()..)?, |byte| matches!(byte, b' ' | b'\t'));
    let shown = word.len().saturating_add(spaces);
    let text = text.get(shown..)?;
    let is_base64 = |byte| is_alphanumeric(byte) || b"+/=".contains(&byte);
    let secret = match is_bearer {
        true => run_of(text, |byte| is_base64(byte) || b"-._~".contains(&byte)),
        false => run_of(text, is_base64),
    };
    let value = text.get(..secret)?;
    let is_secret = match (is_bearer, kind) {
        _ if spaces == 0 || secret == 0 => false,
        _ if is_cut && secret == text.len() => true,
        // A title has room for little more than the secret.
        (true, Kind::Argument) => !is_plain_word(value),
        (true, _) => secret >= SHORTEST_BEARER && !is_plain_word(value),
        // Always in groups of four.
        (false, _) => secret >= SHORTEST_BASIC && secret.is_multiple_of(4) && !is_plain_word(value),
    };
    is_secret.then_some(Shape { shown, secret })
}

fn webhook(text: &str) -> Option<Shape> {
    let marker = WEBHOOKS.iter().find(|marker| text.starts_with(**marker))?;
    let shown = marker.len();
    let secret = run_of(text.get(shown..)?, |byte| {
        is_alphanumeric(byte) || b"/_-:".contains(&byte)
    });
    (secret > 0).then_some(Shape { shown, secret })
}

/// A private key in PEM; without its end it goes on to the end of the text.
pub(crate) fn pem(text: &str) -> Option<Shape> {
    let rest = text.strip_prefix(PEM)?;
    let head = rest.char_indices().take(64).map_while(|(at, c)| {
        let is_kind = c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
        is_kind.then_some(at + 1)
    });
    let kind = rest.get(..head.last()?)?;
    if !kind.contains(PEM_PRIVATE) {
        return None;
    }
    let shown = PEM.len().saturating_add(kind.len());
    let dashes = run_of(text.get(shown..)?, |byte| byte == b'-');
    let shown = shown.saturating_add(dashes);
    let body = text.get(shown..)?;
    let secret = body.find(PEM_END).unwrap_or(body.len());
    (secret > 0).then_some(Shape { shown, secret })
}

/// Whether the text has the first line of a private key but not the last one.
pub(crate) fn opens_pem(text: &str) -> bool {
    let start = text.rfind(PEM);
    start.is_some_and(|start| {
        let key = text.get(start..).unwrap_or_default();
        key.contains(PEM_PRIVATE) && !key.contains(PEM_END)
    })
}

/// Whether the text has the last line of a key.
pub(crate) fn closes_pem(text: &str) -> bool {
    text.contains(PEM_END)
}

/// The part after the colon of a bot's token of Telegram, `123456789:AA…`.
pub(crate) fn bot_token(after_colon: &str) -> usize {
    let run = run_of(after_colon, |byte| {
        is_alphanumeric(byte) || b"_-".contains(&byte)
    });
    match after_colon.starts_with("AA") && run >= 30 {
        true => run,
        false => 0,
    }
}

/// [`run_of`] in the part that is compared with a rule.
fn compared(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    let bytes = text.bytes().take(MAX_COMPARED);
    bytes.take_while(|byte| is_part(*byte)).count()
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Whether a text has digits, or capitals and small letters: what words of a language have not.
fn is_random(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
        || (text.contains(|c: char| c.is_ascii_uppercase())
            && text.contains(|c: char| c.is_ascii_lowercase()))
}

/// Whether a text is a word of a language, also at the end of a sentence: `Bonds.`
fn is_plain_word(text: &str) -> bool {
    let text = text.trim_end_matches(['.', '-', '/']);
    let rest = text.get(1..).unwrap_or_default();
    let is_words = |c: char| c.is_ascii_lowercase() || c == '-' || c == '/' || c == '.';
    text.len() < 20
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && (rest.chars().all(is_words) || text.chars().all(|c| c.is_ascii_uppercase()))
}
