use super::*;
use crate::text::secrets::redact;

#[test]
fn only_the_secret_part_is_replaced() {
    for (text, expected) in [
        ("https://user:hush@host/", "https://user:<redacted>@host/"),
        (
            "{\"password\": \"hush\", \"n\": 1}",
            "{\"password\": \"<redacted>\", \"n\": 1}",
        ),
        ("GET /?a=1&token=hush&b=2", "GET /?a=1&token=<redacted>&b=2"),
        (
            "Server=a;Password=hush;Database=b",
            "Server=a;Password=<redacted>;Database=b",
        ),
        (
            "curl -H 'Authorization: Bearer hush' http://host",
            "curl -H 'Authorization: <redacted>' http://host",
        ),
        (
            "app --password hush --port 3",
            "app --password <redacted> --port 3",
        ),
        (
            "token_count=5 token_type=hush",
            "token_count=5 token_type=<redacted>",
        ),
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
    // Longer than any URL that is searched for its end.
    let long = format!("postgres://user:{}", "h".repeat(5_000));
    assert_eq!(redact(&long, true), "postgres://user:<redacted>");
    for text in ["x ghp_0a", "Bearer a", "postgres://user:12"] {
        assert_eq!(redact(text, false), text);
    }
}

/// The text is the target's: what is found is where the text can be cut.
#[test]
fn ranges_of_hostile_text_are_disjoint_and_at_characters() {
    let patterns = [
        "sk-",
        "eyJ.",
        "$2b$",
        "scrypt:",
        "://",
        "https://a:é@b",
        "name=“",
        "password=“é",
        "(\"",
        "('\\'",
        "password=None ",
        "<password>é</",
        "--token é ",
        "bearer é1234567",
        "пароль：é ",
        "-----BEGIN PRIVATE KEY-----é",
        "token: {é",
        "-u é:é ",
        "＝",
        "Cookie:é\n",
    ];
    for (one, two) in patterns
        .iter()
        .flat_map(|one| patterns.map(|two| (*one, two)))
    {
        let text = format!("{one}{two}{one}{one}{two}");
        for kind in [Kind::Text, Kind::Prose, Kind::Argument] {
            let mut end = 0;
            for range in find(&text, kind, true) {
                assert!(
                    range.start >= end && text.get(range.clone()).is_some(),
                    "{text}: {range:?}"
                );
                end = range.end;
            }
        }
    }
}
