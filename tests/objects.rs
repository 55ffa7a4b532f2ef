//! The object readers on live interpreters, below the command line: what a dump does not show, such
//! as how little is read again.

// A broken assumption ends the test, and the message says where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pyspy_rs::cpython::{FrameTable, Local, Objects, PythonProcess, ThreadNames, ValueOptions};
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

/// The locals of every function of the main thread, by function name without its class.
fn main_thread_locals(
    process: &mut PythonProcess,
    table: &mut FrameTable,
    options: ValueOptions,
) -> BTreeMap<String, Vec<Local>> {
    let threads = process.threads().expect("threads").threads;
    let main = threads.last().expect("a thread");
    let mut stack = Vec::new();
    process.walk(main, &mut stack).expect("a stack");
    let mut all = BTreeMap::new();
    for raw in stack {
        let id = process.resolve(&[raw], table).expect("a frame");
        let frame = table.get(*id.first().expect("a name")).expect("a frame");
        let locals = process
            .objects()
            .frame_locals(raw.addr, raw.executable, options)
            .expect("locals");
        let name = frame.name.rsplit('.').next().expect("a name").to_owned();
        all.insert(name, locals);
    }
    all
}

#[test]
fn locals_look_as_repr_writes_them() {
    for_each_interpreter("object-locals", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let mut process = attach(&target);
        let mut table = FrameTable::default();
        for (level, secrets) in [(1, true), (2, true), (1, false), (2, false)] {
            let all = main_thread_locals(
                &mut process,
                &mut table,
                ValueOptions::level(level, secrets),
            );
            println!("== {python} -l{level} {secrets}");
            for (function, locals) in all {
                for local in locals {
                    println!(
                        "{function} {} {} = {}",
                        local.is_argument, local.name, local.value
                    );
                }
            }
        }
    });
}
