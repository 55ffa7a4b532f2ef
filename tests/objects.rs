//! The object readers on live interpreters, below the command line: what a dump does not show, such
//! as how little is read again.

// A broken assumption ends the test, and the message says where.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pyspy_rs::cpython::{FrameTable, Local, Objects, PythonProcess, ThreadNames, ValueOptions};
use pyspy_rs::target::{MemoryError, RemoteAddr, RemoteMemory};

use support::{Target, assert_locals, for_each_interpreter};

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
        let frame = table
            .get(id.first().copied().flatten().expect("a name"))
            .expect("a frame");
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
fn locals_are_what_the_program_says() {
    for_each_interpreter("object-locals", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let mut process = attach(&target);
        let mut table = FrameTable::default();
        let options = ValueOptions::level(2, true);
        let all = main_thread_locals(&mut process, &mut table, options);
        assert_locals(&all, &target.ready["locals"]);

        let value = |function: &str, name: &str| {
            let local = all[function].iter().find(|local| local.name == name);
            local.unwrap_or_else(|| panic!("no {name}")).value.clone()
        };
        assert!(value("instances", "point").starts_with("<__main__.Point at 0x"));
        assert!(value("instances", "grown").contains("extra="));
        assert!(value("instances", "materialised").contains("x=3"));
        assert!(!value("instances", "shrunk").contains("x=1"));
        assert_eq!(value("instances", "a_class"), "<class '__main__.Point'>");
        assert_eq!(value("instances", "module"), "<module 'sys'>");
        assert_eq!(value("instances", "builtin"), "<built-in function len>");
        assert!(value("instances", "function").starts_with("<function scalars at 0x"));
        assert!(value("instances", "error").starts_with("ValueError("));
        assert_eq!(value("scalars", "subclass"), "__main__.IntSubclass(7)");
    });
}

#[test]
fn secrets_are_hidden() {
    for_each_interpreter("object-secrets", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let mut process = attach(&target);
        let mut table = FrameTable::default();
        for level in [1, 2] {
            let options = ValueOptions::level(level, false);
            let all = format!(
                "{:?}",
                main_thread_locals(&mut process, &mut table, options)
            );
            for secret in target.ready["secrets"].as_array().expect("secrets") {
                let secret = secret.as_str().expect("a text");
                assert!(!all.contains(secret), "-l{level} shows {secret}");
            }
            assert!(all.contains("visible value") && all.contains("visible secretary"));
            assert!(all.matches("<redacted>").count() >= 7, "{all}");
        }
    });
}

/// Memory that lies: one read in so many has a wrong word in it.
struct Lying<'a, M> {
    memory: &'a M,
    state: Cell<u64>,
    reads: Cell<usize>,
    words: &'a [u64],
}

impl<M> Lying<'_, M> {
    /// Marsaglia's xorshift.
    fn random(&self) -> u64 {
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        state
    }
}

impl<M: RemoteMemory> RemoteMemory for Lying<'_, M> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read(addr, buf)?;
        let random = self.random();
        if random.is_multiple_of(16) && buf.len() >= 8 {
            let at = usize::try_from(random >> 8).expect("64 bits") % (buf.len() / 8) * 8;
            let word =
                self.words[usize::try_from(random >> 4).expect("64 bits") % self.words.len()];
            buf[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }
}

/// Whatever the target's memory says, reading ends, in bounded reads, without a panic.
#[test]
fn lying_memory_is_survived() {
    for_each_interpreter("object-lies", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let mut process = attach(&target);
        let threads = process.threads().expect("threads").threads;
        let main = threads.last().expect("a thread");
        let mut stack = Vec::new();
        process.walk(main, &mut stack).expect("a stack");
        let real = process.objects();
        let mut words = vec![
            0,
            1,
            3,
            7,
            u64::MAX,
            u64::MAX - 1,
            i64::MAX as u64,
            1 << 20,
            1 << 33,
            0x0101_0101_0101_0101,
        ];
        // Pointers that lead somewhere, in a circle for instance.
        words.extend(
            stack
                .iter()
                .flat_map(|frame| [frame.addr.0, frame.executable.0]),
        );
        let mut shown = 0;
        for seed in 1..=150 {
            let lying = Lying {
                memory: real.memory,
                state: Cell::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)),
                reads: Cell::new(0),
                words: &words,
            };
            let objects = Objects {
                memory: &lying,
                python: real.python,
            };
            let _ = objects.thread_names(main.state.interpreter.addr);
            for frame in &stack {
                lying.reads.set(0);
                let level = if seed % 2 == 0 { 1 } else { 2 };
                let options = ValueOptions::level(level, true);
                let locals = objects.frame_locals(frame.addr, frame.executable, options);
                assert!(lying.reads.get() <= options.max_reads);
                for local in locals.into_iter().flatten() {
                    assert!(
                        local.value.chars().count() <= options.max_chars + 1,
                        "{local:?}"
                    );
                    assert!(
                        !local
                            .value
                            .chars()
                            .chain(local.name.chars())
                            .any(char::is_control),
                        "{local:?}"
                    );
                    shown += 1;
                }
            }
        }
        assert!(shown > 1000, "only {shown} values");
    });
}
