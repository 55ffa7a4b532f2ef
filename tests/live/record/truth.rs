//! Recordings against what the program knows of itself, on every interpreter.

use crate::support::{
    Recording, Stack, Target, for_each_at_once, for_each_interpreter, for_each_kind,
};
use serde_json::Value;

/// A flame graph as XML, which must be well-formed; it has the DTD's name in its head.
fn xml(text: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    roxmltree::Document::parse_with_options(text, options).unwrap()
}

#[test]
fn a_launched_program_is_seen_from_its_first_frames_on() {
    for_each_interpreter("first-frames", .., |python| {
        let options = ["-f", "raw", "-r", "1000"];
        // Its first statement takes 100 ms, before it says anything. A crowded machine may give us no CPU
        // in these.
        Recording::until(
            || Recording::launch(python, &["imports.py"], &options),
            |recording| {
                let parts = ["<module> (slow_import.py", "last (imports.py"];
                parts.iter().all(|part| recording.samples_with(part).0 > 0)
            },
        );
    });
}

#[test]
fn labels_follow_the_options() {
    for_each_kind("labels", |python| {
        let target = Target::start(python, "shares.py", &["long"]);
        let label = |options: &[&str]| {
            let mut all = vec!["-f", "raw", "-r", "500", "-d", "0.1"];
            all.extend(options);
            let has = |frame: &String| frame.contains("sixty_percent");
            let is_it = |stack: &Stack| stack.frames.iter().any(has);
            let recording = Recording::until(
                || Recording::of_pid(target.pid(), &all),
                |recording| recording.stacks().iter().any(is_it),
            );
            recording.stacks().into_iter().find(is_it).unwrap().frames
        };
        let last = |options: &[&str]| label(options).pop().unwrap();

        let plain = label(&[]);
        assert!(plain[0].starts_with("<module> (shares.py:"), "{plain:?}");
        let leaf = plain.last().unwrap();
        let line = leaf.strip_prefix("sixty_percent (shares.py:").unwrap();
        let line: u64 = line.strip_suffix(')').unwrap().parse().unwrap();
        assert!((35..=39).contains(&line), "{leaf}");

        assert_eq!(last(&["-F"]), "sixty_percent (shares.py:34)");
        assert_eq!(last(&["--nolineno"]), "sixty_percent (shares.py)");
        let whole = python.fixture("shares.py");
        let full = format!("sixty_percent ({})", whole.display());
        assert_eq!(last(&["--nolineno", "--full-filenames"]), full);

        let threads = &label(&["-t"])[0];
        // It has a name where the program or the interpreter has imported `threading`.
        let name = threads.strip_suffix(": MainThread").unwrap_or(threads);
        let number = name.strip_prefix("thread (").unwrap();
        let number = number.strip_suffix(')').unwrap().trim_start_matches("0x");
        assert!(u64::from_str_radix(number, 16).is_ok(), "{threads}");

        let process = &label(&["-s"])[0];
        assert!(process.starts_with("process "), "{process}");
        assert!(process.ends_with(" long\""), "{process}");
        // The only busy thread holds the GIL.
        assert_eq!(label(&["-g", "-F"]), label(&["-F"]));
    });
}

#[test]
fn gil_and_idle_choose_the_threads() {
    for_each_interpreter("gil-and-idle", .., |python| {
        // One thread spins, three wait.
        let target = Target::start(python, "gil.py", &["3"]);
        let names = |options: &[&str]| {
            let mut all = vec!["-f", "raw", "-r", "400", "-d", "0.25", "-F"];
            all.extend(options);
            let recording = Recording::until(
                || Recording::of_pid(target.pid(), &all),
                |recording| recording.samples_with("spin (").0 > 0,
            );
            let stacks = recording.stacks();
            let count = stacks.iter().map(|stack| stack.count).sum::<u64>();
            (stacks.len(), count, recording)
        };
        let (plain, plain_count, _) = names(&[]);
        let (gil, gil_count, recording) = names(&["--gil"]);
        let (idle, _, with_idle) = names(&["--idle"]);
        assert_eq!(plain, 1);
        assert_eq!(gil, 1, "{recording:#?}");
        assert!(gil_count > 0 && plain_count > 0);
        assert!(idle > 1, "{with_idle:#?}");
        // Each of the waiting threads is in each sample, beside the one that spins.
        let (spinning, all) = with_idle.samples_with("spin (");
        assert!(spinning > 0 && all >= 4 * spinning, "{with_idle:#?}");
        let (_, both, _) = names(&["--gil", "--idle"]);
        assert!(both > 0);
    });
}

#[test]
fn an_idle_recording_is_a_file_that_says_so() {
    for_each_at_once("all-idle", .., |python| {
        let target = Target::start(python, "threads.py", &["4"]);
        for format in ["flamegraph", "raw", "speedscope", "chrometrace"] {
            let options = ["-f", format, "-d", "0.3"];
            let recording = Recording::of_pid(target.pid(), &options);
            let told = recording
                .stderr
                .lines()
                .find(|line| line.contains("every thread was idle"))
                .unwrap_or_else(|| panic!("{format}: {}", recording.stderr));
            let count = told.split("was idle (").nth(1).expect("a number");
            let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
            // Six threads, some ticks.
            assert!(count >= 6, "{told}");
            match format {
                "flamegraph" => {
                    let document = xml(&recording.file);
                    let said = document.descendants().filter_map(|node| node.text());
                    let all: String = said.collect();
                    assert!(all.contains("idle"), "{all}");
                }
                "raw" => assert_eq!(recording.file, ""),
                _ => {
                    serde_json::from_str::<Value>(&recording.file).unwrap();
                }
            }
        }
    });
}

#[test]
fn every_format_reports_the_same() {
    for_each_interpreter("formats", .., |python| {
        let functions = ["ten_percent", "thirty_percent", "sixty_percent"];
        let target = Target::start(python, "shares.py", &["long"]);
        let record = |format| {
            let options = ["-f", format, "-r", "1000", "-F", "-d", "0.25"];
            // A crowded machine gives few samples, and then none of some function.
            Recording::until(
                || Recording::of_pid(target.pid(), &options),
                |recording| {
                    let has = |function: &&str| recording.file.contains(function);
                    recording.samples() > 100 && functions.iter().all(has)
                },
            )
        };

        let svg = record("flamegraph");
        let document = xml(&svg.file);
        let titles: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("title"))
            .filter_map(|node| node.text())
            .collect();
        for function in functions {
            let titled = titles.iter().any(|title| title.starts_with(function));
            assert!(titled, "{function} is not in {titles:?}");
        }

        let json: Value = serde_json::from_str(&record("speedscope").file).unwrap();
        let frames = json["shared"]["frames"].as_array().unwrap();
        let profile = &json["profiles"][0];
        let samples = profile["samples"].as_array().unwrap();
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        assert!(samples.len() > 50, "{}", samples.len());
        let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        for function in functions {
            let ends_in = |sample: &&Value| {
                let leaf = sample.as_array().unwrap().last().unwrap();
                frames[index(leaf)]["name"] == function
            };
            assert!(samples.iter().any(|s| ends_in(&s)), "{function} in {json}");
        }

        let json: Value = serde_json::from_str(&record("chrometrace").file).unwrap();
        let events = json.as_array().unwrap();
        let count = |kind: &str| events.iter().filter(|event| event["ph"] == kind).count();
        assert_eq!(count("B"), count("E"));
        let mut last = 0.0;
        for event in events.iter().filter(|event| event["ph"] != "M") {
            let now = event["ts"].as_f64().unwrap();
            assert!(now >= last, "time runs back: {event}");
            last = now;
        }
        for function in functions {
            assert!(events.iter().any(|event| event["name"] == function));
        }
    });
}
