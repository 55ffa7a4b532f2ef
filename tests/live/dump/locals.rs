//! `dump -l` from the outside: which variables are shown, and that secrets are not without `--show-secrets`.

use crate::support::{Target, for_each_interpreter, pyspy_rs};

/// What a dump writes to stdout, without the thread that knows the truth and so all the secrets.
fn dump(target: &Target, arguments: &[&str]) -> String {
    let output = pyspy_rs()
        .args(["dump", "--pid", &target.pid().to_string()])
        .args(arguments)
        .output()
        .expect("our binary runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let threads = text.split("\nThread ");
    let others: Vec<&str> = threads
        .filter(|thread| !thread.contains("truth-reporter"))
        .collect();
    others.join("\nThread ")
}

fn texts<'t>(target: &'t Target, fact: &str) -> Vec<&'t str> {
    let texts = target.ready[fact].as_array().expect("a list").iter();
    texts.map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn secrets_need_a_flag() {
    for_each_interpreter("locals-secrets", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let secrets = texts(&target, "secrets");
        let json = |arguments| {
            let dump = target.dump(arguments);
            let main = dump.threads.iter().find(|thread| thread.frames.len() > 5);
            format!("{:?}", main.expect("the main thread"))
        };
        let texts = [
            dump(&target, &["-l"]),
            dump(&target, &["-ll"]),
            json(&["-ll"]),
        ];
        for text in texts {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
            assert!(text.contains("<redacted>") && text.contains("visible secretary"));
        }
        let text = dump(&target, &["-ll", "--show-secrets"]);
        for secret in &secrets {
            assert!(text.contains(secret), "no {secret} in {text}");
        }
        assert!(!text.contains("<redacted>"), "{text}");
    });
}

#[test]
fn variables_are_those_of_their_frames() {
    for_each_interpreter("locals-frames", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let without = target.dump(&[]);
        let with = target.dump(&["-l"]);
        let truth = target.ready["locals"].as_object().expect("variables");
        let [before, after] = [&without, &with].map(|dump| {
            let main = dump.threads.iter().find(|thread| thread.frames.len() > 5);
            &main.expect("the main thread").frames
        });
        assert!(before.iter().all(|frame| frame.locals.is_empty()));
        for frame in after {
            let name = frame.name.rsplit('.').next().expect("a name");
            let expected = truth.get(name).and_then(|locals| locals.as_object());
            let expected = expected.map_or(0, |locals| locals.len());
            // A module's variables are its globals, and not shown.
            assert_eq!(frame.locals.len(), expected, "{name}: {:#?}", frame.locals);
        }
    });
}

#[test]
fn control_characters_never_reach_the_terminal() {
    for_each_interpreter("locals-controls", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let text = dump(&target, &["-ll", "--show-secrets"]);
        let controls = text.chars().filter(|c| c.is_control() && *c != '\n');
        assert_eq!(controls.count(), 0, "{text:?}");
        assert!(text.contains(r"\x1b[31mred\x07"), "{text}");
    });
}
