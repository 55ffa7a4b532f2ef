//! The readers on memory tapes: what a dump of each version saw once, seen again without any Python.

use std::collections::BTreeMap;
use std::fs;

use pyspy_rs::PythonProcess;
use pyspy_rs::internals::{
    Local, Mode, RecordingMemory, RemoteAddr, RemoteMemory, Runtime, StackReader, Tape,
    TapeMetadata, ValueOptions,
};
use serde_json::Value;

use crate::support::{
    Dump, Frame, Interpreter, Parsed, ParsedThread, Recorded, Target, Thread, Truth, assert_locals,
    for_each_interpreter, interpreters, parse, recorded_tapes, tapes_folder,
};

/// Executes fixtures/tape.py under a path that every machine can have.
const LOADER: &str = "import sys; \
    exec(compile(open(sys.argv[1] + '/tape.py').read(), '/srv/app/tape.py', 'exec'))";

/// The versions that must have a tape.
const VERSIONS: [(u32, u32); 11] = [
    (2, 7),
    (3, 6),
    (3, 7),
    (3, 8),
    (3, 9),
    (3, 10),
    (3, 11),
    (3, 12),
    (3, 13),
    (3, 14),
    (3, 15),
];

/// What is read for a tape: with secrets, to compare all values, and as users do.
fn options() -> [ValueOptions; 3] {
    [
        ValueOptions::level(2, true),
        ValueOptions::level(2, false),
        ValueOptions::level(1, false),
    ]
}

/// Makes fixtures/tapes anew from the interpreters of this machine.
#[test]
fn record_tapes() {
    if std::env::var_os("PYSPY_RECORD_TAPES").is_none() {
        println!("PYSPY_RECORD_TAPES is not set: the tapes stay as they are");
        return;
    }
    fs::create_dir_all(tapes_folder()).unwrap();
    for_each_interpreter("record-tapes", VERSIONS[0].., |python| {
        let minor = python.version.minor_pair();
        let mut same = interpreters()
            .iter()
            .filter(|other| other.version.minor_pair() == minor);
        if same.next_back().unwrap().executable != python.executable {
            return; // One tape of each minor version is enough: the newest's.
        }
        let (tape, truth) = record(python);
        let recorded = Recorded {
            version: python.version.to_string(),
            tape,
            truth,
        };
        replay(&recorded);
        let Recorded {
            version,
            tape,
            truth,
        } = recorded;
        let path = tapes_folder().join(format!("cpython-{version}.tape"));
        let truth = serde_json::to_string(&truth).unwrap() + "\n";
        for secret in machine_paths(python) {
            let found = |bytes: &[u8]| {
                let mut windows = bytes.windows(secret.len());
                windows.any(|window| window == secret.as_bytes())
            };
            let on_tape = tape.ranges().any(|(_, bytes)| found(bytes));
            assert!(!on_tape && !found(truth.as_bytes()), "{secret} is recorded");
        }
        if let Some(before) = recorded_tapes().get(&minor) {
            let before = tapes_folder().join(format!("cpython-{}.tape", before.version));
            fs::remove_file(before.with_extension("json")).unwrap();
            fs::remove_file(before).unwrap();
        }
        fs::write(path.with_extension("json"), truth).unwrap();
        fs::write(path, tape.to_bytes()).unwrap();
    });
}

/// Paths that tell of the machine on which a tape is made.
fn machine_paths(python: &Interpreter) -> Vec<String> {
    let mut paths = vec![
        env!("CARGO_MANIFEST_DIR").to_owned(),
        python.fixtures.display().to_string(),
    ];
    if let Some(home) = std::env::home_dir() {
        paths.push(format!("{}/", home.display()));
    }
    paths
}

/// Everything that is read of the program, and what it says itself.
fn record(python: &Interpreter) -> (Tape, Value) {
    let folder = python.fixtures.display().to_string();
    let target = Target::start_command(python.command(&["-c", LOADER, &folder]));
    let process = PythonProcess::attach(i32::try_from(target.pid()).unwrap()).unwrap();
    let memory = RecordingMemory::new(process.target().memory());
    let Runtime { version, roots, .. } = *process.python();
    let attached = TapeMetadata {
        // Describes the interpreter once more, so that its own offsets are on the tape.
        python: Runtime::describe(&memory, version, roots).unwrap(),
        pid: process.pid(),
        tasks: process.tasks(),
    };
    for options in options() {
        parse(&attached, &memory, options).unwrap();
    }
    let mut tape = memory.into_tape();
    attached.note(&mut tape);
    let mut truth = target.ready.clone();
    for of_the_machine in ["pid", "executable"] {
        truth.as_object_mut().unwrap().remove(of_the_machine);
    }
    (tape, truth)
}

#[test]
fn every_tape_shows_what_its_program_said() {
    let tapes = recorded_tapes();
    for version in VERSIONS {
        assert!(tapes.contains_key(&version), "no tape of {version:?}");
    }
    for recorded in tapes.values() {
        println!("replaying the tape of {}", recorded.version);
        replay(recorded);
    }
}

fn replay(recorded: &Recorded) {
    let Recorded { tape, truth, .. } = recorded;
    let attached = TapeMetadata::from_tape(tape, tape).unwrap();
    assert_eq!(attached.python.version.to_string(), recorded.version);
    let parsed = parse(&attached, tape, ValueOptions::level(2, true)).unwrap();
    let dump = Dump {
        pid: u64::try_from(attached.pid).unwrap(),
        version: recorded.version.clone(),
        command: Vec::new(),
        threads: parsed
            .threads
            .iter()
            .map(|thread| seen(thread, &attached))
            .collect(),
        errors: parsed.errors.clone(),
        json: Value::Null,
    };
    dump.assert_matches(&Truth::parse(truth));
    assert!(
        !dump
            .threads
            .iter()
            .any(|thread| thread.owns_gil || thread.collecting)
    );
    assert_locals(&main_locals(&parsed), &truth["locals"]);

    let hidden = parse(&attached, tape, ValueOptions::level(2, false)).unwrap();
    let shown = format!("{:?}", main_locals(&hidden));
    for secret in truth["secrets"].as_array().unwrap() {
        assert!(!shown.contains(secret.as_str().unwrap()), "{secret}");
    }
    assert!(shown.contains("visible value"));
}

/// A thread as a dump has it.
fn seen(parsed: &ParsedThread, attached: &TapeMetadata) -> Thread {
    let frames = parsed.frames.iter().map(|(frame, _)| Frame {
        name: frame.name.to_string(),
        filename: frame.filename.to_string(),
        short_filename: frame.short_filename.to_string(),
        line: frame.line.map(u64::from),
        first_line: frame.first_line.into(),
        columns: frame
            .columns
            .map(|columns| [columns.start, columns.end_line, columns.end].map(u64::from)),
        locals: Vec::new(),
    });
    let thread = &parsed.thread;
    Thread {
        os_thread_id: thread.os_thread_id.map(|tid| u64::try_from(tid).unwrap()),
        name: parsed.name.as_deref().map(str::to_owned),
        main: thread.os_thread_id == Some(attached.pid),
        active: false,
        owns_gil: thread.owns_gil,
        collecting: parsed.collecting,
        interpreter_ids: vec![thread.state.interpreter.id],
        frames: frames.collect(),
    }
}

/// The main thread's variables by function, without the functions' classes.
fn main_locals(parsed: &Parsed) -> BTreeMap<String, Vec<Local>> {
    let is_main = |thread: &&ParsedThread| thread.name.as_deref() == Some("MainThread");
    let main = parsed.threads.iter().find(is_main).unwrap();
    let frames = main.frames.iter().map(|(frame, locals)| {
        let name = frame.name.rsplit('.').next().unwrap().to_owned();
        (name, locals.clone())
    });
    frames.collect()
}

/// Puts a pointer on a tape.
fn patch(tape: &mut Tape, at: RemoteAddr, field: u32, pointer: RemoteAddr) {
    tape.insert(at.offset(field.into()), &pointer.0.to_le_bytes());
}

#[test]
fn a_stack_that_is_a_loop_is_an_error_and_soon() {
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let layout = &attached.python.layout;
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        let mut stack = Vec::new();
        for mut thread in list.threads {
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut stack)
                .unwrap();
            let (leaf, depth) = (stack[0].addr, stack.len());
            let root = stack.last().unwrap().addr;
            let previous = layout.interpreter_frame.previous;
            patch(tape, root, previous, leaf);
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut stack)
                .unwrap_err();
            assert!(stack.len() <= 4 * (depth + 1), "{depth}: {}", stack.len());
        }
    }
}

#[test]
fn a_list_of_threads_that_is_a_loop_has_each_thread_once() {
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        assert!(list.errors.is_empty());
        let newest = list.threads[0].state.addr;
        let oldest = list.threads.last().unwrap().state.addr;
        let next = attached.python.layout.thread_state.next;
        patch(tape, oldest, next, newest);
        let looped = reader.threads(tape, || attached.tasks.clone()).unwrap();
        assert_eq!(looped.threads.len(), list.threads.len());
        assert_eq!(looped.errors.len(), 1);
    }
}

/// Frames that a call left behind stay where they were until others are put there. Read in flight, a
/// stack seems to go on into them: Austin and py-spy report it so on a storm of calls.
#[test]
fn frames_above_one_that_runs_are_left_out_of_a_race() {
    let mut cut = 0;
    for mut recorded in recorded_tapes().into_values() {
        let tape = &mut recorded.tape;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        let layout = attached.python.layout.interpreter_frame.clone();
        let Some(stacktop) = layout.stacktop else {
            continue;
        };
        let mut reader = StackReader::new(attached.python.clone());
        let list = reader.threads(tape, || attached.tasks.clone()).unwrap();
        for mut thread in list.threads {
            let mut whole = Vec::new();
            reader
                .walk(tape, &mut thread, Mode::AtRest, &mut whole)
                .unwrap();
            for place in 1..whole.len() {
                let (above, at) = (whole[place - 1].addr, whole[place].addr);
                let mut previous = [0; 8];
                let field = above.offset(layout.previous.into());
                tape.read(field, &mut previous).unwrap();
                let mut is_entry = [0];
                if let Some(field) = layout.is_entry {
                    tape.read(above.offset(field.into()), &mut is_entry)
                        .unwrap();
                }
                // A frame that C called leaves the one below as one that runs.
                if u64::from_le_bytes(previous) != at.0 || is_entry != [0] {
                    continue;
                }
                let field = at.offset(stacktop.into());
                let mut before = [0; 4];
                tape.read(field, &mut before).unwrap();
                tape.insert(field, &(-1i32).to_le_bytes());
                let mut raced = Vec::new();
                reader
                    .walk(tape, &mut thread, Mode::Running, &mut raced)
                    .unwrap();
                assert_eq!(raced, whole[place..]);
                reader
                    .walk(tape, &mut thread, Mode::AtRest, &mut raced)
                    .unwrap();
                assert_eq!(raced, whole);
                tape.insert(field, &before);
                cut += 1;
            }
        }
    }
    assert!(cut > 5, "only {cut} calls without C");
}
