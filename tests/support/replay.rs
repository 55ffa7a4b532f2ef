//! A tape against what the recorded program said about itself.

use std::collections::BTreeMap;

use pyspy_rs::Secrets;
use pyspy_rs::internals::{Local, TapeMetadata, ValueOptions};
use serde_json::Value;

use super::{Dump, Frame, Parsed, ParsedThread, Recorded, Thread, Truth, assert_locals, parse};

impl Recorded {
    /// Fails unless the readers find on the tape what the program said about itself.
    ///
    /// # Panics
    /// If they do not.
    pub fn assert_reads_back(&self) {
        let Recorded {
            version,
            tape,
            truth,
        } = self;
        let attached = TapeMetadata::from_tape(tape, tape).unwrap();
        assert_eq!(attached.python.version.to_string(), *version);
        let parsed = parse(&attached, tape, ValueOptions::level(2, Secrets::Shown)).unwrap();
        let dump = Dump {
            pid: u64::try_from(attached.pid).unwrap(),
            version: version.clone(),
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

        let hidden = parse(&attached, tape, ValueOptions::level(2, Secrets::Hidden)).unwrap();
        let shown = format!("{:?}", main_locals(&hidden));
        for secret in truth["secrets"].as_array().unwrap() {
            assert!(!shown.contains(secret.as_str().unwrap()), "{secret}");
        }
        assert!(shown.contains("visible value"));
    }
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
        ended: thread.has_ended,
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
