//! The object readers on live interpreters, below the command line: what a dump does not show, such
//! as how little is read again.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pyspy_rs::internals::{
    Local, MemoryError, Mode, Objects, PythonThread, RemoteAddr, RemoteMemory, ThreadNames,
    ValueOptions,
};
use pyspy_rs::{FrameTable, PythonProcess, Secrets};

use crate::support::{Target, assert_locals, for_each_interpreter};

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
        assert!(first > 100, "only {first} reads");
        // Python 2's tables do not distinguish an old thread from a new one in its place.
        assert!(python.version.major == 2 || again <= 3, "{again} reads");
        let main = threads.last().expect("a thread").state.pthread_id;
        assert_eq!(cache.name(interpreter, main).as_deref(), Some("MainThread"));
    });
}

#[test]
fn a_new_thread_at_an_old_ident_has_its_own_name() {
    for_each_interpreter("object-renewed-names", .., |python| {
        let mut target = Target::start(python, "renewed_thread.py", &[]);
        let mut process = attach(&target);
        let mut cache = ThreadNames::default();
        let mut idents = BTreeSet::new();
        for number in 0..30 {
            let name = format!("thread-{number}");
            target.say(&name);
            assert_eq!(target.next_line(), name);
            let threads = process.threads().expect("threads").threads;
            // Between them there may be one that was joined: `join` returns when the lock of the thread is
            // released, and only then its state is unlinked (PyThreadState_Clear and tstate_delete_common,
            // Python/pystate.c).
            let [newest, .., main] = threads.as_slice() else {
                panic!("{threads:?}");
            };
            let interpreter = main.state.interpreter.addr;
            cache
                .refresh(&process.objects(), interpreter)
                .expect("names");
            let name_of = |thread: &PythonThread| cache.name(interpreter, thread.state.pthread_id);
            assert_eq!(name_of(newest).as_deref(), Some(name.as_str()));
            assert_eq!(name_of(main).as_deref(), Some("MainThread"));
            idents.insert(newest.state.pthread_id);
        }
        assert!(idents.len() < 30, "no ident was used again");
    });
}

/// The locals of every function of the main thread, by function name without its class.
fn main_thread_locals(
    process: &mut PythonProcess,
    table: &mut FrameTable,
    options: ValueOptions,
) -> BTreeMap<String, Vec<Local>> {
    let mut threads = process.threads().expect("threads").threads;
    let main = threads.last_mut().expect("a thread");
    let mut stack = Vec::new();
    let (reader, memory) = process.reader_and_memory();
    reader
        .walk(memory, main, Mode::AtRest, &mut stack)
        .expect("a stack");
    let mut all = BTreeMap::new();
    for raw in stack {
        let (reader, memory) = process.reader_and_memory();
        let resolved = reader
            .resolve(memory, main, &[raw], table)
            .expect("a frame");
        let Some(&id) = resolved.frames.first() else {
            continue;
        };
        let frame = table.get(id).expect("a frame");
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
        let options = ValueOptions::level(2, Secrets::Shown);
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
            let options = ValueOptions::level(level, Secrets::Hidden);
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

/// What `-ll` shows of fixtures/odd_values.py; `ADDR` is an address. Python 3's spelling.
const ODD_VALUES: &[(&str, &str, &str)] = &[
    ("values", "first", "1"),
    ("values", "second", "2"),
    ("values", "rest", "(3,)"),
    ("values", "named", "{'key': 4}"),
    (
        "values",
        "old",
        "<__main__.Old at ADDR inside=1, password=<redacted>>",
    ),
    ("values", "inner", "<__main__.Inner at ADDR>"),
    (
        "values",
        "tagged",
        "__main__.Tagged(-1099511627776, label='big')",
    ),
    ("values", "row", "__main__.Row((1, 2), label='row')"),
    (
        "values",
        "table",
        "__main__.Table({'key': 'value'}, label='table')",
    ),
    ("values", "slots", "<__main__.Slots at ADDR label='slots'>"),
    ("values", "point", "__main__.Point((1, 'y'))"),
    (
        "values",
        "failure",
        "__main__.Failure('why', 3, label='failure')",
    ),
    ("values", "holes", "{99}"),
    ("values", "emptied", "set()"),
    (
        "values",
        "pairs",
        "[('Authorization', <redacted>), (b'cookie', <redacted>), ('accept', 'shown')]",
    ),
    ("values", "odd_keys", "<__main__.Name at ADDR 5='number'>"),
    ("values", "longer_int", "<int of about 16620 bits>"),
    ("values", "endless", "{'self': [{...}]}"),
    ("values", "gone", "None"),
    ("generator", "start", "1"),
    ("generator", "sent", "()"),
    ("generator", "step", "3"),
    ("<lambda>", "taken", "1"),
];

/// The same in dicts, which are ordered from 3.6 on (instances' from 3.3).
const ODD_ORDERS: &[(&str, &str, &str)] = &[
    (
        "values",
        "ordered",
        "collections.OrderedDict({'one': 1, 'two': 2})",
    ),
    ("values", "counted", "collections.defaultdict({'one': 1})"),
    (
        "values",
        "in_order",
        "<__main__.Name at ADDR first=1, second=1>",
    ),
    (
        "values",
        "reversed_order",
        "<__main__.Name at ADDR second=1, first=1>",
    ),
    (
        "values",
        "strange",
        "{('tuple',): [{'deep': {'api-key': <redacted>}}], None: 1.5, b'x-auth-token': <redacted>}",
    ),
];

fn without_addresses(text: &str) -> String {
    let mut parts = text.split("0x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "ADDR" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit())
    })
}

#[test]
fn odd_values_are_shown() {
    for_each_interpreter("object-odd-values", .., |python| {
        let target = Target::start(python, "odd_values.py", &[]);
        let mut process = attach(&target);
        let mut table = FrameTable::default();
        let options = ValueOptions::level(2, Secrets::Hidden);
        let all = main_thread_locals(&mut process, &mut table, options);
        let is_2 = python.version.major == 2;
        let orders = if is_2 { &[] } else { ODD_ORDERS };
        for (function, name, expected) in ODD_VALUES.iter().chain(orders) {
            let local = all[*function].iter().find(|local| local.name == *name);
            let local = local.unwrap_or_else(|| panic!("no {name} in {function}"));
            let shown = without_addresses(&local.value);
            let expected = match (is_2, *name) {
                (true, "holes") => "set([99])".to_owned(),
                (true, "pairs") => expected.replace("b'cookie'", "'cookie'"),
                _ => (*expected).to_owned(),
            };
            assert_eq!(shown, expected, "{function} {name}");
        }
        let names: Vec<&str> = all["values"]
            .iter()
            .map(|local| local.name.as_str())
            .collect();
        assert_eq!(names[..4], ["first", "second", "rest", "named"]);
        assert!(all["values"][3].is_argument && !all["values"][4].is_argument);
        assert!(!names.contains(&"deleted"));
        // A comprehension's variable, in a frame of its own (3.x to 3.11) or among the function's.
        let items = all
            .iter()
            .filter(|(function, _)| *function != "in_comprehension");
        assert!(
            items
                .flat_map(|(_, locals)| locals)
                .any(|local| local.name == "item" && local.value == "41")
        );
    });
}
