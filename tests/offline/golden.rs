//! What the formats write, byte for byte, against `fixtures/golden/`.
//!
//! `BLESS=1 cargo test --test offline golden` rewrites the files; check the difference before you
//! commit it. Of a flame graph, the part behind the viewer's script is compared: the rest is
//! inferno's, and changes with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyspy_rs::{
    Format, Frame, FrameId, FrameTable, Meta, Pid, ProcessLabel, ProcessSample, Profile,
    ProfileOptions, Sample, Selection, StackTrace, write,
};

const MAIN: Pid = 4_100;
const CHILD: Pid = 4_200;

/// A recording of a program with two threads and a child, every format and option can show
/// something of.
#[derive(Default)]
struct Recording {
    frames: FrameTable,
    samples: Vec<Sample>,
}

impl Recording {
    fn frame(&mut self, name: &str, filename: &str, line: u32, first_line: u32) -> FrameId {
        let short = filename
            .rsplit_once("/site-packages/")
            .map_or_else(|| filename.rsplit('/').next().unwrap(), |(_, below)| below);
        self.frames.intern(Frame {
            name: Arc::from(name),
            filename: Arc::from(filename),
            short_filename: Arc::from(short),
            line: Some(line),
            first_line,
            columns: None,
        })
    }

    fn tick(&mut self, processes: Vec<ProcessSample>, errors: &[&str]) {
        let elapsed = Duration::from_millis(20 * self.samples.len() as u64 + 5);
        self.samples.push(Sample {
            elapsed,
            processes,
            errors: errors.iter().map(ToString::to_string).collect(),
            ..Sample::default()
        });
    }

    fn profile(&self, options: ProfileOptions) -> Profile {
        let mut profile = Profile::new(ProfileOptions {
            rate_hz: 50,
            ..options
        });
        for sample in &self.samples {
            profile.add(sample, &self.frames, &|pid| {
                let (parent, command) = match pid {
                    MAIN => (None, "python app.py --name 'a;b'"),
                    CHILD => (Some(MAIN), "python worker.py"),
                    _ => return None,
                };
                Some(ProcessLabel {
                    pid,
                    parent,
                    command: Arc::from(command),
                })
            });
        }
        profile
    }
}

fn thread(
    pid: Pid,
    tid: Option<i32>,
    name: Option<&str>,
    active: bool,
    root_first: &[FrameId],
) -> StackTrace {
    let mut trace = crate::testing::thread(0)
        .pthread_id(0x7f00_0000_0000 + tid.unwrap_or(7) as u64)
        .active(active)
        .owns_gil(tid == Some(pid))
        .stack(root_first);
    trace.thread.os_thread_id = tid;
    trace.thread.name = name.map(Arc::from);
    trace.thread.is_main = tid == Some(pid);
    trace
}

fn process(pid: Pid, rss_mib: u64, traces: Vec<StackTrace>) -> ProcessSample {
    ProcessSample {
        pid,
        traces,
        rss_bytes: Some(rss_mib << 20),
        rss_change: None,
    }
}

fn recording() -> Recording {
    let mut r = Recording::default();
    let module = r.frame("<module>", "/srv/app/app.py", 31, 1);
    let main = r.frame("main", "/srv/app/app.py", 20, 15);
    let work_5 = r.frame("Thing.work", "/srv/app/app.py", 5, 4);
    let work_6 = r.frame("Thing.work", "/srv/app/app.py", 6, 4);
    let dot = r.frame(
        "dot",
        "/srv/venv/lib/python3.12/site-packages/numpy/core.py",
        9,
        8,
    );
    let boot = r.frame(
        "Thread._bootstrap",
        "/usr/lib/python3.12/threading.py",
        1002,
        988,
    );
    let wait = r.frame("wait", "/usr/lib/python3.12/threading.py", 629, 600);
    let odd = r.frame("имя<\"&'>;🐍\x1b[31m", "/srv/app/<odd>;\n.py", 3, 3);
    for tick in 0..12 {
        let leaf = if tick % 3 == 0 { work_5 } else { work_6 };
        let main_stack: &[FrameId] = match tick {
            7 => &[module, main],
            8..10 => &[module, main, leaf, dot],
            _ => &[module, main, leaf],
        };
        // A thread's name is known late, and it waits in between.
        let name = (tick > 1).then_some("wor;ker \"1\"");
        let is_waiting = (5..9).contains(&tick);
        let worker_stack: &[FrameId] = if is_waiting {
            &[boot, wait]
        } else {
            &[boot, odd]
        };
        let mut processes = vec![process(
            MAIN,
            40 + tick,
            vec![
                thread(MAIN, Some(MAIN), Some("MainThread"), true, main_stack),
                thread(MAIN, None, name, !is_waiting, worker_stack),
                thread(MAIN, Some(4_102), None, true, &[]),
            ],
        )];
        if tick >= 4 {
            processes.push(process(
                CHILD,
                10,
                vec![thread(
                    CHILD,
                    Some(CHILD),
                    Some("MainThread"),
                    true,
                    &[module, dot],
                )],
            ));
        }
        r.tick(
            processes,
            if tick == 9 {
                &["thread 4103: read failed"]
            } else {
                &[]
            },
        );
    }
    r
}

fn meta() -> Meta {
    Meta {
        command: "python app.py --name 'a;b'".to_owned(),
        python_version: Some("3.12.1".to_owned()),
        start: None,
        duration: Duration::from_millis(240),
        ..Meta::default()
    }
}

fn written(format: Format, profile: &Profile) -> String {
    let mut bytes = Vec::new();
    write(format, profile, &meta(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn assert_golden(name: &str, actual: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fixtures", "golden", name]
        .iter()
        .collect();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; BLESS=1 makes it", path.display()));
    assert!(
        expected == actual,
        "{} differs; BLESS=1 rewrites it.\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

fn drawn_part(svg: &str) -> String {
    let (_, drawn) = svg
        .split_once("</script>")
        .expect("a flame graph has a script");
    drawn.replace("><", ">\n<")
}

fn all_off(format: Format) -> ProfileOptions {
    ProfileOptions {
        timeline: format.needs_timeline(),
        ..ProfileOptions::default()
    }
}

fn all_on(format: Format) -> ProfileOptions {
    ProfileOptions {
        show_threads: true,
        subprocesses: true,
        selection: Selection {
            idle: true,
            ..Selection::default()
        },
        ..all_off(format)
    }
}

#[test]
fn raw() {
    let r = recording();
    let off = all_off(Format::Raw);
    let cases = [
        ("plain.folded", off.clone()),
        ("threads-subprocesses-idle.folded", all_on(Format::Raw)),
        (
            "function.folded",
            ProfileOptions {
                function_only: true,
                ..off.clone()
            },
        ),
        (
            "nolineno.folded",
            ProfileOptions {
                show_line_numbers: false,
                ..off.clone()
            },
        ),
        (
            "full-filenames.folded",
            ProfileOptions {
                full_filenames: true,
                ..off.clone()
            },
        ),
        (
            "gil.folded",
            ProfileOptions {
                selection: Selection {
                    gil_only: true,
                    ..Selection::default()
                },
                ..off
            },
        ),
    ];
    for (name, options) in cases {
        assert_golden(name, &written(Format::Raw, &r.profile(options)));
    }
}

#[test]
fn flamegraph() {
    let r = recording();
    let svg = written(Format::Flamegraph, &r.profile(all_off(Format::Flamegraph)));
    assert_golden("plain.svg.part", &drawn_part(&svg));
    let svg = written(Format::Flamegraph, &r.profile(all_on(Format::Flamegraph)));
    assert_golden("threads-subprocesses-idle.svg.part", &drawn_part(&svg));
}

#[test]
fn an_idle_recording_says_so() {
    let mut r = Recording::default();
    let sleep = r.frame("sleep", "/srv/app/app.py", 2, 1);
    for _ in 0..3 {
        r.tick(
            vec![process(
                MAIN,
                10,
                vec![thread(MAIN, Some(MAIN), None, false, &[sleep])],
            )],
            &[],
        );
    }
    let svg = written(Format::Flamegraph, &r.profile(all_off(Format::Flamegraph)));
    assert!(
        svg.contains(
            "No samples: every thread was idle (3 idle samples; record with --idle to see them)"
        ),
        "{svg}"
    );
    assert_golden("idle.svg", &svg);
    let json = written(Format::Speedscope, &r.profile(all_off(Format::Speedscope)));
    assert!(
        json.contains("every thread was idle (3 idle samples"),
        "{json}"
    );
    assert_golden("idle.speedscope.json", &json);
    assert_eq!(
        written(
            Format::Chrometrace,
            &r.profile(all_off(Format::Chrometrace))
        ),
        "[]"
    );
    assert_eq!(written(Format::Raw, &r.profile(all_off(Format::Raw))), "");
}

#[test]
fn json() {
    let r = recording();
    for format in [Format::Speedscope, Format::Chrometrace] {
        let cases = [
            ("plain", all_off(format)),
            ("threads-subprocesses-idle", all_on(format)),
            (
                "nolineno",
                ProfileOptions {
                    show_line_numbers: false,
                    ..all_off(format)
                },
            ),
        ];
        for (name, options) in cases {
            let text = written(format, &r.profile(options));
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            assert_golden(
                &format!("{name}.{format}.json"),
                &text.replace("},{", "},\n{"),
            );
        }
    }
}

#[test]
fn every_begin_of_a_trace_has_its_end_in_order() {
    let text = written(
        Format::Chrometrace,
        &recording().profile(all_on(Format::Chrometrace)),
    );
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(!events.is_empty());
    let mut open: std::collections::HashMap<(i64, u64), Vec<String>> =
        std::collections::HashMap::new();
    let mut last = 0;
    for event in &events {
        let track = open
            .entry((
                event["pid"].as_i64().unwrap(),
                event["tid"].as_u64().unwrap(),
            ))
            .or_default();
        let name = format!("{} {}", event["name"], event["args"]);
        match event["ph"].as_str().unwrap() {
            "B" => track.push(name),
            "E" => assert_eq!(track.pop(), Some(name)),
            other => panic!("phase {other}"),
        }
        assert!(event["ts"].as_u64().unwrap() >= last);
        last = event["ts"].as_u64().unwrap();
    }
    assert!(open.values().all(Vec::is_empty), "{open:?}");
}

#[test]
fn a_recursion_20_000_deep_can_be_written() {
    let mut r = Recording::default();
    let frame = r.frame("f", "/srv/app/app.py", 2, 1);
    for depth in [20_000, 19_999, 10] {
        r.tick(
            vec![process(
                MAIN,
                10,
                vec![thread(MAIN, Some(MAIN), None, true, &vec![frame; depth])],
            )],
            &[],
        );
    }
    let raw = written(Format::Raw, &r.profile(all_off(Format::Raw)));
    let depths: Vec<usize> = raw.lines().map(|line| line.split(';').count()).collect();
    assert_eq!(depths, [10, 19_999, 20_000]);
    let svg = written(Format::Flamegraph, &r.profile(all_off(Format::Flamegraph)));
    // The frames, and "all" above them.
    assert_eq!(
        svg.matches("<rect").count(),
        1 + 1_000 + 1,
        "as deep as is drawn, and the background"
    );
}
