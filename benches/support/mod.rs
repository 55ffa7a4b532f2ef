//! Recorded memory for the benches: the tapes of fixtures/tapes.

use std::fs;
use std::path::Path;

use pyspy_rs::Tid;
use pyspy_rs::internals::{PythonThread, StackReader, Tape, TapeMetadata};

/// A recorded process.
pub struct Recorded {
    /// Its version, as in `3.12.1`.
    pub version: String,
    pub memory: Tape,
    pub attached: TapeMetadata,
}

impl Recorded {
    /// The process's tasks.
    pub fn tasks(&self) -> Vec<(Tid, Tid)> {
        self.attached.tasks.clone()
    }

    /// An inspector that has seen nothing yet.
    pub fn reader(&self) -> StackReader {
        StackReader::new(self.attached.python.clone())
    }

    /// The threads whose stacks are recorded.
    pub fn threads(&self, reader: &mut StackReader) -> Vec<PythonThread> {
        reader.begin_sample(false);
        let list = reader.threads(&self.memory, || self.tasks()).unwrap();
        assert!(list.errors.is_empty() && !list.threads.is_empty());
        list.threads
    }
}

/// All tapes, oldest version first.
pub fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tapes");
    let files = fs::read_dir(folder).expect("the folder of tapes");
    let mut all: Vec<Recorded> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "tape"))
        .map(|path| {
            let memory = Tape::from_bytes(&fs::read(path).unwrap()).expect("a sound tape");
            let attached = TapeMetadata::from_tape(&memory, &memory).expect("the facts");
            Recorded {
                version: attached.python.version.to_string(),
                memory,
                attached,
            }
        })
        .collect();
    all.sort_by_key(|recorded| recorded.attached.python.version);
    all
}
