//! Which names are those of secrets, whose values are not shown.
//!
//! The rule compares words: a name is split where case changes and at everything that is neither a
//! letter nor a digit (`X-Api-Key`, `apiKey` and `API_KEY` are the words *api key*). It is secret
//! when
//! - one word is, or ends in, the word for a secret (`password`, `dbpassword`, `access_token`), or
//!   begins with one that nothing else begins with (`passwords`, `cookiejar`), or
//! - two adjacent words name a key or an id that grants access (`api key`, `session id`), written
//!   together or apart.
//!
//! Its first or last word can say that the value is a measure of the secret or a boolean about it
//! (`token_count`, `max_tokens`, `has_password`). Then the value is shown if it is one: a number, a bool or
//! None.

use super::words::{BEGINNINGS, ENDINGS, MEASURES, PAIRS, QUESTIONS, WORDS};

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Nothing.
    Public,
    /// That it is a secret, unless it is a number, a bool or None: `token_count`.
    Measure,
    /// That it is a secret.
    Secret,
}

impl Secrecy {
    /// Whether a value is hidden. `is_plain`: it is a number, a bool or None.
    pub fn hides(self, is_plain: bool) -> bool {
        match self {
            Secrecy::Public => false,
            Secrecy::Measure => !is_plain,
            Secrecy::Secret => true,
        }
    }
}

/// Whether a variable, a dict key or an attribute of this name holds a secret.
pub fn secrecy(name: &str) -> Secrecy {
    // Names are shorter. Longer text is a dict key, not a name.
    if name.len() > 256 {
        return Secrecy::Public;
    }
    let words = words(name);
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let is_secret = words.iter().any(|word| is_secret_word(word))
        || pairs.any(|(one, two)| {
            let two = singular(two);
            PAIRS.contains(&(one.as_str(), two))
        });
    match words.as_slice() {
        _ if !is_secret => Secrecy::Public,
        [first, .., last]
            if MEASURES.contains(&last.as_str()) || QUESTIONS.contains(&first.as_str()) =>
        {
            Secrecy::Measure
        }
        _ => Secrecy::Secret,
    }
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
            assert_eq!(secrecy(name), Secrecy::Secret, "{name}");
        }
    }

    #[test]
    fn words_of_other_languages_are_known() {
        for name in [
            "Passwort",
            "benutzer_passwort",
            "mot_de_passe",
            "contraseña",
            "CLAVE_SECRETA",
            "senha_do_banco",
            "chiavePrivata",
            "wachtwoord",
            "hasło",
            "пароль",
            "ПарольБазы",
            "токен",
            "用户密码",
            "密钥",
            "パスワード",
            "비밀번호",
        ] {
            assert_eq!(secrecy(name), Secrecy::Secret, "{name}");
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
            "clave_primaria",
            "Schlüssel",
            "primaryschluessel",
            "chave",
            "parola",
            "ключ",
            "主键",
            "word_count",
        ];
        for name in plain {
            assert_eq!(secrecy(name), Secrecy::Public, "{name}");
        }
    }

    #[test]
    fn measures_of_secrets_are_shown_if_they_are_numbers() {
        for name in [
            "token_count",
            "max_tokens",
            "num_tokens",
            "password_length",
            "password_type",
            "has_password",
            "is_secret",
        ] {
            assert_eq!(secrecy(name), Secrecy::Measure, "{name}");
        }
        assert!(Secrecy::Measure.hides(false) && !Secrecy::Measure.hides(true));
        assert!(Secrecy::Secret.hides(true) && !Secrecy::Public.hides(false));
    }

    #[test]
    fn a_name_is_split_into_words() {
        assert_eq!(words("X-Api-Key"), ["x", "api", "key"]);
        assert_eq!(words("myAPIKey2Value"), ["my", "api", "key2", "value"]);
        assert_eq!(words("_Config__password"), ["config", "password"]);
        assert_eq!(words("ПарольБазы"), ["пароль", "базы"]);
    }
}
