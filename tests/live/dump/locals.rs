//! `dump -l` from the outside: which variables are shown, and that secrets are not without `--show-secrets`.

use serde_json::Value;

use crate::support::{Target, for_each_interpreter, for_each_kind, pyspy_rs, until};

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

/// The frames of the thread with the deepest stack, as JSON.
fn deepest(dump: &Value) -> Vec<Value> {
    let threads = dump["threads"].as_array().expect("threads").iter();
    let frames = threads.map(|thread| thread["frames"].as_array().expect("frames"));
    frames
        .max_by_key(|frames| frames.len())
        .expect("a thread")
        .clone()
}

fn says(target: &mut Target) -> u64 {
    target.say("gap");
    target.next_line().parse().expect("milliseconds")
}

/// A thread was paused until all of its variables were read: for 4 s with so many frames. The promise is 20 ms;
/// on a crowded machine, the thread lacks a CPU for longer than that anyway.
#[test]
fn a_deep_stack_is_not_paused_for_long() {
    for_each_kind("locals-pause", |python| {
        let mut target = Target::start(python, "deep_locals.py", &["600"]);
        says(&mut target);
        let dump = target.dump(&["-ll"]).json;
        let gap = says(&mut target);
        assert!(gap < 500, "it did not run for {gap} ms");
        let frames = deepest(&dump);
        let mut depth = 0;
        for frame in frames.iter().filter(|frame| frame["name"] == "descend") {
            let locals = frame["locals"].as_array().expect("variables");
            let is_omitted = frame["locals_omitted"].as_bool().expect("with -l");
            let is_consistent = frame["locals_consistent"].as_bool().expect("with -l");
            assert!(!is_omitted || !is_consistent && locals.is_empty());
            if !is_omitted {
                let local = locals.iter().find(|local| local["name"] == "depth");
                let expected = depth.to_string();
                assert_eq!(local.expect("depth")["repr"], expected, "{frame:#}");
            }
            depth += 1;
        }
        assert_eq!(depth, 601);
        let omitted = frames
            .iter()
            .filter(|frame| frame["locals_omitted"] == true);
        let said = dump["errors"].as_array().expect("errors").len();
        assert_eq!(said, usize::from(omitted.count() > 0), "{}", dump["errors"]);
    });
}

/// What shows whether variables are of the same moment as the stack.
#[test]
fn variables_of_a_running_thread_are_marked() {
    for_each_interpreter("locals-marks", .., |python| {
        let target = Target::start(python, "deep_locals.py", &["3"]);
        let states = |arguments: &[&str]| {
            let dump = target.dump(arguments).json;
            let frames = deepest(&dump);
            let mut states: Vec<Value> = frames
                .iter()
                .map(|frame| frame["locals_consistent"].clone())
                .collect();
            states.dedup();
            states
        };
        // On a crowded machine we may have no CPU during the time that a pause may take.
        until(|| states(&["-l"]), |states| *states == [true]);
        assert_eq!(states(&["-l", "--nonblocking"]), [false]);
        assert_eq!(states(&[]), [Value::Null]);
        let marked = dump(&target, &["-l", "--nonblocking"]);
        assert!(
            marked.contains("Locals: (read while running)\n"),
            "{marked}"
        );
        let is_unmarked = |text: &String| !text.contains("(read while running)");
        until(|| dump(&target, &["-l"]), is_unmarked);
        // A thread that sleeps is never marked.
        let sleeper = Target::start(python, "locals.py", &[]);
        let asleep = deepest(&sleeper.dump(&["-l", "--nonblocking"]).json);
        let consistent = |frame: &Value| frame["locals_consistent"] == true;
        assert!(asleep.iter().all(consistent), "{asleep:#?}");
    });
}
