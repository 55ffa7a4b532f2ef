//! Memory tapes, and everything that a dump reads, over any memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use pyspy_rs::internals::{
    Local, Mode, PythonThread, ReadError, RemoteMemory, SampleError, StackReader, Tape,
    TapeMetadata, ValueOptions, shorten_path,
};
use pyspy_rs::{Frame, FrameTable};
use serde_json::Value;

use super::fixtures;

/// A tape of fixtures/tapes, and what the recorded program said about itself.
pub struct Recorded {
    /// Its version, as in `3.12.1`.
    pub version: String,
    pub tape: Tape,
    pub truth: Value,
}

/// What a dump knows of a process.
pub struct Parsed {
    pub threads: Vec<ParsedThread>,
    /// Threads and frames that could not be read.
    pub errors: Vec<String>,
}

pub struct ParsedThread {
    pub thread: PythonThread,
    pub name: Option<Arc<str>>,
    pub collecting: bool,
    /// Leaf first, with their variables.
    pub frames: Frames,
}

/// A stack's frames with their variables.
type Frames = Vec<(Frame, Vec<Local>)>;

/// Where the tapes are.
pub fn tapes_folder() -> PathBuf {
    fixtures().join("tapes")
}

/// All tapes, by their minor version.
///
/// # Panics
/// If one cannot be read or has no truth beside it.
pub fn recorded_tapes() -> BTreeMap<(u32, u32), Recorded> {
    let files = fs::read_dir(tapes_folder()).expect("the folder of tapes");
    let tapes = files.filter_map(|file| {
        let path = file.expect("a file").path();
        let name = path.file_stem()?.to_str()?;
        let version = name.strip_prefix("cpython-")?.to_owned();
        if path.extension()? != "tape" {
            return None;
        }
        let mut numbers = version
            .split('.')
            .map(|part| part.parse().expect("a number"));
        let minor = (numbers.next()?, numbers.next()?);
        let tape = Tape::from_bytes(&fs::read(&path).expect("a tape")).expect("a sound tape");
        let truth = fs::read_to_string(path.with_extension("json")).expect("the tape's truth");
        let truth = serde_json::from_str(&truth).expect("JSON");
        let recorded = Recorded {
            version,
            tape,
            truth,
        };
        Some((minor, recorded))
    });
    tapes.collect()
}

/// Reads everything that `dump -l` reads.
///
/// # Errors
/// When the threads cannot be listed.
pub fn parse(
    attached: &TapeMetadata,
    memory: &impl RemoteMemory,
    options: ValueOptions,
) -> Result<Parsed, SampleError> {
    parse_some(attached, memory, options, |_| true)
}

/// The same, but the variables of only some of the frames, which are counted over all threads.
///
/// # Errors
/// When the threads cannot be listed.
pub fn parse_some(
    attached: &TapeMetadata,
    memory: &impl RemoteMemory,
    options: ValueOptions,
    with_locals: impl Fn(usize) -> bool,
) -> Result<Parsed, SampleError> {
    let mut reader = StackReader::new(attached.python.clone());
    reader.begin_sample(true);
    let list = reader.threads(memory, || attached.tasks.clone())?;
    let mut errors: Vec<String> = list.errors.iter().map(ReadError::to_string).collect();
    let mut table = FrameTable::default();
    let mut count = 0;
    let mut threads = Vec::new();
    for mut thread in list.threads {
        let mut stack = Vec::new();
        reader.copy(memory, &thread);
        let resolved = reader
            .walk(memory, &mut thread, Mode::AtRest, &mut stack)
            .and_then(|_| reader.resolve(memory, &thread, &stack, &mut table));
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                errors.push(error.to_string());
                continue;
            }
        };
        table.shorten_new(|filename| shorten_path(filename, |_| false).into());
        let mut frames = Vec::new();
        let shown = stack.iter().zip(reader.shown(&thread));
        let shown: Vec<_> = shown.filter(|(_, is_shown)| *is_shown).collect();
        for ((raw, _), id) in shown.into_iter().zip(&*resolved.frames) {
            let frame = table.get(*id).expect("a frame of this table");
            count += 1;
            let locals = match with_locals(count) {
                true => reader.frame_locals(memory, raw, options),
                false => Ok(Vec::new()),
            };
            let locals = locals.unwrap_or_else(|error| {
                errors.push(error.to_string());
                Vec::new()
            });
            frames.push((frame.clone(), locals));
        }
        threads.push(ParsedThread {
            name: reader.thread_name(memory, &thread),
            collecting: thread.collects(&stack),
            thread,
            frames,
        });
    }
    Ok(Parsed { threads, errors })
}
