//! What the formats write, byte for byte, against `fixtures/golden/`.
//!
//! `BLESS=1 cargo test --test offline golden` rewrites the files; check the difference before you
//! commit it. Of a flame graph, the part behind the viewer's script is compared: the rest is
//! inferno's, and changes with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
        fault_growth: Vec::new(),
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
        start: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696)),
        duration: Duration::from_millis(240),
        options: "--rate 50".to_owned(),
        pid: Some(MAIN),
        host: Some("<host>".to_owned()),
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
            "No samples: every thread was idle (3 idle samples; record with --idle to see"
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

/// What Perfetto's importer asks of a trace, with the tracks by name.
fn tracks(text: &str) -> BTreeMap<(i64, i64), String> {
    let events: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let mut open: BTreeMap<(i64, i64), Vec<String>> = BTreeMap::new();
    let (mut threads, mut processes) = (BTreeMap::new(), BTreeMap::new());
    let mut order = Vec::new();
    let mut last = 0;
    for event in &events {
        let (pid, tid) = (
            event["pid"].as_i64().unwrap(),
            event["tid"].as_i64().unwrap(),
        );
        assert!(
            u32::try_from(pid).is_ok() && i32::try_from(tid).is_ok(),
            "{event}"
        );
        let (name, ts) = (
            event["name"].as_str().unwrap(),
            event["ts"].as_u64().unwrap(),
        );
        assert!(!name.is_empty() && event["cat"].is_string(), "{event}");
        let call = format!("{name} {}", event["args"]);
        match event["ph"].as_str().unwrap() {
            "M" => {
                assert!(open.is_empty(), "a name after the first call: {event}");
                let text = event["args"]["name"].as_str().map(ToOwned::to_owned);
                let is_new = match name {
                    "process_name" => processes.insert(pid, text.unwrap()).is_none(),
                    "thread_name" => threads.insert((pid, tid), text.unwrap()).is_none(),
                    "process_sort_index" => event["args"]["sort_index"].is_u64(),
                    "thread_sort_index" => {
                        order.push(event["args"]["sort_index"].as_u64().unwrap());
                        true
                    }
                    other => panic!("metadata {other}"),
                };
                assert!(is_new, "{event}");
                continue;
            }
            "B" => open.entry((pid, tid)).or_default().push(call),
            "E" => assert_eq!(open.get_mut(&(pid, tid)).unwrap().pop(), Some(call)),
            other => panic!("phase {other}"),
        }
        assert!(threads.contains_key(&(pid, tid)), "no name: {event}");
        assert!(processes.contains_key(&pid), "no name: {event}");
        assert!(ts >= last, "{event}");
        last = ts;
    }
    assert!(open.values().all(Vec::is_empty), "{open:?}");
    assert!(
        order.is_sorted() && order.len() == threads.len(),
        "{order:?}"
    );
    assert_eq!(open.len(), threads.len(), "a name without calls");
    threads
}

#[test]
fn a_trace_is_as_perfetto_wants_it() {
    let options = all_on(Format::Chrometrace);
    let text = written(Format::Chrometrace, &recording().profile(options));
    let tracks = tracks(&text);
    let names: Vec<&str> = tracks.values().map(String::as_str).collect();
    let without_id = "wor;ker \"1\"";
    assert_eq!(names, ["MainThread", without_id, "MainThread"]);
    assert!(
        tracks.contains_key(&(MAIN.into(), MAIN.into())),
        "{tracks:?}"
    );
    assert!(text.contains(r#"{"name":"worker.py"}"#), "{text}");
}

/// 374 threads were on 3 tracks: the C library gives a new thread the `pthread_t` of one that has ended.
#[test]
fn each_thread_has_its_own_track() {
    let mut r = Recording::default();
    let frames: Vec<FrameId> = (1..4)
        .map(|line| r.frame("f", "/srv/app/app.py", line, 1))
        .collect();
    for tick in 0..300 {
        let tid = MAIN + 1 + tick / 2;
        let mut trace = thread(
            MAIN,
            Some(tid),
            None,
            true,
            &frames[..1 + tick as usize % 3],
        );
        trace.thread.pthread_id = 0x7f12_3456_7890;
        r.tick(vec![process(MAIN, 10, vec![trace])], &[]);
    }
    let text = written(
        Format::Chrometrace,
        &r.profile(all_off(Format::Chrometrace)),
    );
    let tracks = tracks(&text);
    assert_eq!(tracks.len(), 150);
    assert_eq!(
        tracks[&(MAIN.into(), i64::from(MAIN) + 1)],
        format!("thread {}", MAIN + 1)
    );
}

/// The kernel's ID of an ended thread is that of a later one: the calls of the first must have ended.
#[test]
fn two_threads_of_one_id_do_not_mix() {
    let mut r = Recording::default();
    let one = r.frame("one", "/srv/app/app.py", 1, 1);
    let two = r.frame("two", "/srv/app/app.py", 2, 2);
    for tick in 0..6 {
        let (pthread_id, frame) = if tick % 3 == 0 { (7, one) } else { (9, two) };
        let mut trace = thread(MAIN, Some(4_102), None, true, &[frame]);
        trace.thread.pthread_id = pthread_id;
        r.tick(vec![process(MAIN, 10, vec![trace])], &[]);
    }
    let text = written(
        Format::Chrometrace,
        &r.profile(all_off(Format::Chrometrace)),
    );
    assert_eq!(tracks(&text).len(), 1);
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
    let speedscope = written(Format::Speedscope, &r.profile(all_off(Format::Speedscope)));
    let json: serde_json::Value = serde_json::from_str(&speedscope).unwrap();
    let frames = json["shared"]["frames"].as_array().unwrap();
    let samples = json["profiles"][0]["samples"].as_array().unwrap();
    for (sample, left_out) in samples.iter().zip([16_001, 16_000]) {
        let sample = sample.as_array().unwrap();
        assert_eq!(sample.len(), 4_000, "what the viewer bears");
        let names: Vec<&str> = sample
            .iter()
            .map(|index| {
                frames[index.as_u64().unwrap() as usize]["name"]
                    .as_str()
                    .unwrap()
            })
            .filter(|name| *name != "f")
            .collect();
        assert_eq!(names, [format!("… {left_out} frames left out …")]);
    }
    assert_eq!(samples[2].as_array().unwrap().len(), 10);
    // The frames, and "all" above them.
    assert_eq!(
        svg.matches("<rect").count(),
        1 + 1_000 + 1,
        "as deep as is drawn, and the background"
    );
}
