//! Which names are those of secrets, whose values are not shown.
//!
//! The rule compares words: a name is split where case changes and at everything that is neither a
//! letter nor a digit (`X-Api-Key`, `apiKey` and `API_KEY` are the words *api key*). It is secret
//! when
//! - one word is, or ends in, the word for a secret (`password`, `dbpassword`, `access_token`), or
//!   begins with one that nothing else begins with (`passwords`, `cookiejar`), or
//! - two adjacent words name a key or an id that grants access (`api key`, `session id`), written
//!   together or apart,
//!
//! unless its first or last word shows that the value is a measure of the secret or a boolean about
//! it (`token_count`, `max_tokens`, `has_password`). In doubt a value is hidden: a hidden parser
//! `token` costs a minute in the source, a shown password costs a password.

/// Replaces a secret.
pub const REDACTED: &str = "<redacted>";

/// A word that ends in one of these (with `s` or digits after it, too) is secret.
const ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "authkey",
    "accesskey",
    "privatekey",
    "secretkey",
    "sessionkey",
    "encryptionkey",
    "signingkey",
    "authorization",
    "authorisation",
    "credential",
    "cookie",
    "sessionid",
    "sessid",
    "csrf",
    "xsrf",
    "oauth",
];

/// A word that begins with one of these is secret.
const BEGINNINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "authorization",
    "credential",
    "cookie",
    "apikey",
    "privatekey",
    "secretkey",
    "secretaccess",
];

/// Secret only as a whole word: parts of too many others.
const WORDS: &[&str] = &[
    "auth", "pass", "passw", "pw", "pswd", "creds", "cred", "bearer", "jwt", "otp", "totp", "cvv",
    "cvc", "ssn", "dsn", "passkey", "kerberos",
];

/// Two adjacent words that are secret together.
const PAIRS: &[(&str, &str)] = &[
    ("api", "key"),
    ("access", "key"),
    ("private", "key"),
    ("secret", "key"),
    ("session", "key"),
    ("session", "id"),
    ("auth", "key"),
    ("encryption", "key"),
    ("decryption", "key"),
    ("signing", "key"),
    ("master", "key"),
    ("shared", "key"),
    ("account", "key"),
    ("storage", "key"),
    ("service", "key"),
    ("license", "key"),
    ("ssh", "key"),
    ("rsa", "key"),
    ("aes", "key"),
    ("hmac", "key"),
    ("fernet", "key"),
    ("crypto", "key"),
    ("pass", "word"),
    ("pass", "phrase"),
    ("pass", "code"),
    ("connection", "string"),
    ("conn", "str"),
];

/// A last word that makes the value a measure of the secret.
const MEASURES: &[&str] = &[
    "count", "counts", "len", "length", "size", "index", "idx", "limit", "total", "max", "min",
    "ttl", "timeout", "expiry", "expires", "age", "type", "kind",
];

/// A first word that makes the value a number of secrets, or a boolean about one.
const QUESTIONS: &[&str] = &["max", "min", "num", "n", "total", "count", "is", "has"];

/// Whether a variable, a dict key or an attribute of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    // Names are shorter. Longer text is a dict key, not a name.
    if name.len() > 256 {
        return false;
    }
    let words = words(name);
    if let [first, .., last] = words.as_slice()
        && (MEASURES.contains(&last.as_str()) || QUESTIONS.contains(&first.as_str()))
    {
        return false;
    }
    let mut pairs = words.iter().zip(words.iter().skip(1));
    words.iter().any(|word| is_secret_word(word))
        || pairs.any(|(one, two)| {
            let two = singular(two);
            PAIRS.contains(&(one.as_str(), two))
        })
}

fn is_secret_word(word: &str) -> bool {
    let word = singular(word);
    WORDS.contains(&word)
        || ENDINGS.iter().any(|ending| word.ends_with(ending))
        || BEGINNINGS
            .iter()
            .any(|beginning| word.starts_with(beginning))
}

/// A word without its number and its plural: `passwords`, `password2`.
fn singular(word: &str) -> &str {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    word.strip_suffix('s')
        .filter(|word| !word.ends_with('s'))
        // `pas` is no word, `pass` is.
        .unwrap_or(word)
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            words.push(String::new());
        } else {
            let starts = c.is_uppercase()
                && (before.is_lowercase()
                    || before.is_numeric()
                    // The last capital of several belongs to the word after: APIKey.
                    || (before.is_uppercase() && chars.peek().is_some_and(|next| next.is_lowercase())));
            if starts {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        let secret = [
            "password",
            "PASSWORD",
            "Password1",
            "passwords",
            "password_hash",
            "user_password",
            "userPassword",
            "dbpassword",
            "_Config__password",
            "passwd",
            "pwd",
            "DB_PWD",
            "passphrase",
            "pass",
            "secret",
            "client_secret",
            "clientsecret",
            "SECRET_KEY",
            "secretkey",
            "AWS_SECRET_ACCESS_KEY",
            "aws_access_key_id",
            "token",
            "tokens",
            "access_token",
            "accessToken",
            "authtoken",
            "csrfmiddlewaretoken",
            "HF_TOKEN",
            "use_auth_token",
            "api_key",
            "apikey",
            "apiKey",
            "APIKey",
            "API_KEYS",
            "X-Api-Key",
            "authorization",
            "Authorization",
            "HTTP_AUTHORIZATION",
            "Proxy-Authorization",
            "auth",
            "oauth2",
            "basic_auth",
            "cookie",
            "cookies",
            "Set-Cookie",
            "cookiejar",
            "private_key",
            "privateKey",
            "ssh_keys",
            "credential",
            "credentials",
            "aws_creds",
            "session_id",
            "sessionid",
            "PHPSESSID",
            "session_key",
            "encryption_key",
            "jwt",
            "bearer",
            "otp",
            "connection_string",
        ];
        for name in secret {
            assert!(is_secret_name(name), "{name} is shown");
        }
    }

    #[test]
    fn other_names_are_shown() {
        let plain = [
            "",
            "_",
            "x",
            "key",
            "keys",
            "primary_key",
            "public_key",
            "sort_key",
            "cache_key",
            "keyword",
            "tokenizer",
            "tokenize",
            "token_count",
            "max_tokens",
            "num_tokens",
            "password_length",
            "has_password",
            "is_secret",
            "author",
            "authors",
            "authority",
            "authenticated",
            "secretary",
            "secretaries",
            "passage",
            "passenger",
            "compass",
            "bypass",
            "passed",
            "session",
            "session_count",
            "user",
            "username",
            "user_id",
            "cwd",
            "monkey",
            "apis",
            "description",
            "accessories",
            "class",
            "pos",
        ];
        for name in plain {
            assert!(!is_secret_name(name), "{name} is hidden");
        }
    }

    #[test]
    fn a_name_is_split_into_words() {
        assert_eq!(words("X-Api-Key"), ["x", "api", "key"]);
        assert_eq!(words("myAPIKey2Value"), ["my", "api", "key2", "value"]);
        assert_eq!(words("_Config__password"), ["config", "password"]);
        assert_eq!(words("ПарольБазы"), ["пароль", "базы"]);
    }
}
