//! The object readers on live interpreters, below the command line: what a dump does not show, such
//! as how little is read again.

// A broken assumption ends the test, and the message says where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::Cell;
use std::collections::BTreeSet;

use pyspy_rs::cpython::{Objects, PythonProcess, ThreadNames};
use pyspy_rs::target::{MemoryError, RemoteAddr, RemoteMemory};

use support::{Target, for_each_interpreter};

/// Memory that counts what is read of it.
struct Counting<'a, M> {
    memory: &'a M,
    calls: Cell<usize>,
}

impl<M: RemoteMemory> RemoteMemory for Counting<'_, M> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.calls.set(self.calls.get() + 1);
        self.memory.read(addr, buf)
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        self.calls.set(self.calls.get() + 1);
        self.memory.read_many(parts)
    }
}

fn attach(target: &Target) -> PythonProcess {
    let pid = i32::try_from(target.pid()).expect("a pid");
    PythonProcess::attach(pid).expect("attached")
}

#[test]
fn threads_have_their_names() {
    for_each_interpreter("object-thread-names", .., |python| {
        let target = Target::start(python, "threads.py", &["40"]);
        let mut process = attach(&target);
        let threads = process.threads().expect("threads").threads;
        let interpreter = threads.first().expect("a thread").state.interpreter.addr;
        let objects = process.objects();
        let names = objects.thread_names(interpreter).expect("names");
        let expected: BTreeSet<String> = (0..40)
            .map(|number| format!("worker-{number:02}"))
            .chain(["MainThread".to_owned(), "truth-reporter".to_owned()])
            .collect();
        let found: BTreeSet<String> = threads
            .iter()
            .filter_map(|thread| names.get(&thread.state.pthread_id))
            .map(|name| name.to_string())
            .collect();
        assert_eq!(found, expected);

        let counting = Counting {
            memory: objects.memory,
            calls: Cell::new(0),
        };
        let objects = Objects {
            memory: &counting,
            python: objects.python,
        };
        let mut cache = ThreadNames::default();
        cache.refresh(&objects, interpreter).expect("names");
        let first = counting.calls.replace(0);
        cache.refresh(&objects, interpreter).expect("names");
        let again = counting.calls.get();
        assert!(first > 100 && again <= 3, "{first} reads, then {again}");
        let main = threads.last().expect("a thread").state.pthread_id;
        assert_eq!(cache.name(interpreter, main).as_deref(), Some("MainThread"));
    });
}
