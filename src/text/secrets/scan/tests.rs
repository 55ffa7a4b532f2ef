use super::*;
use crate::text::secrets::redact;

#[test]
fn only_the_secret_part_is_replaced() {
    for (text, expected) in [
        ("https://user:hush@host/", "https://user:<redacted>@host/"),
        ("{\"password\": \"hush\", \"n\": 1}", "{\"password\": \"<redacted>\", \"n\": 1}"),
        ("GET /?a=1&token=hush&b=2", "GET /?a=1&token=<redacted>&b=2"),
        ("Server=a;Password=hush;Database=b", "Server=a;Password=<redacted>;Database=b"),
        ("curl -H 'Authorization: Bearer hush' http://host", "curl -H 'Authorization: <redacted>' http://host"),
        ("app --password hush --port 3", "app --password <redacted> --port 3"),
        ("token_count=5 token_type=hush", "token_count=5 token_type=<redacted>"),
    ] {
        assert_eq!(redact(text, false), expected);
    }
}

/// The end of a text that is cut may be the beginning of a secret, too short to have its shape.
#[test]
fn a_shape_that_is_cut_is_hidden() {
    for (text, expected) in [
        ("x ghp_0a", "x <redacted>"),
        ("Bearer a", "Bearer <redacted>"),
        ("postgres://user:hus", "postgres://user:<redacted>"),
        ("postgres://user:12", "postgres://user:<redacted>"),
        ("password='hus", "password='<redacted>"),
    ] {
        assert_eq!(redact(text, true), expected);
    }
    for text in ["x ghp_0a", "Bearer a", "postgres://user:12"] {
        assert_eq!(redact(text, false), text);
    }
}

/// The text is the target's: each pattern repeated must not take quadratic time.
#[test]
fn time_is_linear() {
    for pattern in [
        "sk-", "eyJ.", "$2b$", "scrypt:", "://", "https://a:b", "name=“", "password=“", "(\"", "('\\'",
        "password=None ", "<password>", "a-", "--a ", "bearer ", "='", "\\\"", "-----BEGIN ", "x=", ":", "\"",
        "password: {", "[[", "pass ",
    ] {
        let text = pattern.repeat((1 << 20) / pattern.len());
        assert!(find(&text, Kind::Text, false).len() <= text.len());
    }
}
