//! The words of names, as data. All are in lower case.
//!
//! Words of other languages are listed where they mean nothing else in a program: German *Schlüssel* and
//! Spanish *clave* are any key, so only pairs such as *clave secreta* count.

/// Replaces a secret.
pub const REDACTED: &str = "<redacted>";

/// A word that ends in one of these (with `s` or digits after it, too) is secret.
pub const ENDINGS: &[&str] = &[
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
    "accountkey",
    "authorization",
    "authorisation",
    "credential",
    "cookie",
    "sessionid",
    "sessid",
    "csrf",
    "xsrf",
    "oauth",
    // German
    "passwort",
    "kennwort",
    "passwörter",
    "kennwörter",
    "zugangsdaten",
    // Dutch
    "wachtwoord",
    "wachtwoorden",
    // Scandinavian, Finnish
    "lösenord",
    "losenord",
    "passord",
    "adgangskode",
    "salasana",
    // French
    "motdepasse",
    "jeton",
    "identifiantsecret",
    // Spanish, Portuguese, Italian
    "contraseña",
    "contrasena",
    "contrasenha",
    "senha",
    "palavrapasse",
    "segredo",
    "segreto",
    "secreto",
    "credencial",
    "credenciales",
    "credenciai",
    "credenziali",
    // Polish, Czech, Slovak, Hungarian, Turkish
    "hasło",
    "haslo",
    "hasła",
    "sekret",
    "heslo",
    "jelszó",
    "jelszo",
    "şifre",
    // Russian, Ukrainian
    "пароль",
    "пароля",
    "пароли",
    "паролем",
    "секрет",
    "токен",
    "токены",
    // Chinese
    "密码",
    "密碼",
    "口令",
    "密钥",
    "密鑰",
    "秘钥",
    "私钥",
    "私鑰",
    "令牌",
    "凭证",
    "憑證",
    // Japanese
    "パスワード",
    "パスフレーズ",
    "暗証番号",
    "トークン",
    "シークレット",
    "秘密鍵",
    "認証情報",
    "apiキー",
    // Korean
    "비밀번호",
    "패스워드",
    "암호",
    "토큰",
    "비밀키",
    "개인키",
    "인증키",
    "시크릿",
];

/// A word that begins with one of these is secret.
pub const BEGINNINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "kennwort",
    "wachtwoord",
    "authorization",
    "credential",
    "cookie",
    "apikey",
    "privatekey",
    "secretkey",
    "secretaccess",
    "contraseña",
    "пароль",
    "密码",
    "密碼",
    "パスワード",
    "비밀번호",
];

/// Secret only as a whole word: parts of too many others.
pub const WORDS: &[&str] = &[
    "auth",
    "pass",
    "passw",
    "pw",
    "pswd",
    "creds",
    "cred",
    "bearer",
    "jwt",
    "otp",
    "totp",
    "cvv",
    "cvc",
    "ssn",
    "dsn",
    "passkey",
    "kerberos",
    "geheim",
    "geheimnis",
    "mdp",
    "hasel",
    "sifre",
];

/// Two adjacent words that are secret together.
pub const PAIRS: &[(&str, &str)] = &[
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
    // German, Dutch
    ("api", "schlüssel"),
    ("api", "schluessel"),
    ("privater", "schlüssel"),
    ("privater", "schluessel"),
    ("geheimer", "schlüssel"),
    ("geheimer", "schluessel"),
    ("api", "sleutel"),
    ("geheime", "sleutel"),
    // French: `mot_de_passe`
    ("de", "passe"),
    ("mot", "passe"),
    ("clé", "api"),
    ("cle", "api"),
    ("clé", "privée"),
    ("cle", "privee"),
    ("clé", "secrète"),
    ("cle", "secrete"),
    // Spanish, Portuguese, Italian
    ("clave", "api"),
    ("clave", "secreta"),
    ("clave", "privada"),
    ("clave", "acceso"),
    ("palabra", "secreta"),
    ("chave", "api"),
    ("chave", "secreta"),
    ("chave", "privada"),
    ("chiave", "api"),
    ("chiave", "segreta"),
    ("chiave", "privata"),
    // Polish, Russian
    ("klucz", "api"),
    ("klucz", "prywatny"),
    ("tajny", "klucz"),
    ("апи", "ключ"),
    ("api", "ключ"),
    ("секретный", "ключ"),
    ("приватный", "ключ"),
    ("закрытый", "ключ"),
];

/// A last word that makes the value a measure of the secret.
pub const MEASURES: &[&str] = &[
    "count", "counts", "len", "length", "size", "index", "idx", "limit", "total", "max", "min",
    "ttl", "timeout", "expiry", "expires", "age", "type", "kind",
];

/// A first word that makes the value a number of secrets, or a boolean about one.
pub const QUESTIONS: &[&str] = &["max", "min", "num", "n", "total", "count", "is", "has"];

/// Parameters of a URL that are secret there.
pub const PARAMETERS: &[&str] = &["sig", "signature", "x-amz-signature", "x-goog-signature"];

/// Names whose value goes on to the end of the line, whatever it contains.
pub const HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];

/// In a mapping of a name and a value: the keys of the name, and those of the value.
pub const NAME_KEYS: &[&str] = &[
    "name",
    "key",
    "field",
    "param",
    "parameter",
    "header",
    "variable",
    "option",
];
/// See [`NAME_KEYS`].
pub const VALUE_KEYS: &[&str] = &["value", "val", "content", "data", "values", "default"];

/// Options whose value is `USER:SECRET`.
pub const USER_OPTIONS: &[&str] = &["-u", "--user", "--proxy-user"];
