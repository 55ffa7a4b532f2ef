//! CPython's own counters of code objects: they change when code objects are made and dropped, and at
//! nothing else, so a name that was read once needs no other check while they do not change.

use pyspy_rs::PythonProcess;
use pyspy_rs::internals::{RemoteAddr, RemoteMemory, interpreters};

use crate::support::{Target, for_each_interpreter};

/// A step of fixtures/code_objects.py, how many code objects it makes, and how many it drops.
const STEPS: [(&str, u64, u64); 11] = [
    ("only_run", 0, 0),
    ("change_functions", 0, 0),
    ("trace", 0, 0),
    ("compile_many", 100, 0),
    ("replace_many", 100, 0),
    ("construct_many", 100, 0),
    ("load_many", 200, 0),
    ("exec_many", 300, 300),
    ("only_run", 0, 0),
    ("drop_all", 0, 500),
    ("only_run", 0, 0),
];

/// What a version counts.
#[derive(Clone, Copy, Debug)]
enum Counter {
    /// Code objects made, in 32 bits at this address.
    Made(RemoteAddr),
    /// Code objects dropped, in 64 bits at this address.
    Dropped(RemoteAddr),
}

fn counter(process: &PythonProcess) -> Option<Counter> {
    let python = process.python();
    let layout = &python.layout.interpreter_state;
    let list = interpreters(process.target().memory(), python).expect("interpreters");
    let start = list.first().expect("an interpreter").addr;
    if let Some(field) = layout.code_object_generation {
        return Some(Counter::Dropped(start.offset(field.into())));
    }
    let field = layout.next_func_version;
    let made = field.map(|field| start.offset(field.into()));
    made.or(python.roots.next_func_version).map(Counter::Made)
}

fn number<const LEN: usize>(process: &PythonProcess, addr: RemoteAddr) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let memory = process.target().memory();
    memory.read(addr, &mut bytes).expect("readable memory");
    bytes
}

fn value(process: &PythonProcess, counter: Counter) -> u64 {
    match counter {
        Counter::Made(addr) => u32::from_le_bytes(number(process, addr)).into(),
        Counter::Dropped(addr) => u64::from_le_bytes(number(process, addr)),
    }
}

#[test]
fn the_counters_move_with_code_objects_alone() {
    for_each_interpreter("code-counters", (3, 12).., |python| {
        let mut target = Target::start(python, "code_objects.py", &[]);
        let pid = i32::try_from(target.pid()).expect("a pid");
        let process = PythonProcess::attach(pid).expect("attached");
        let Some(counter) = counter(&process) else {
            // A stripped file of 3.12 has one all the same, and so has a build of 3.13 that was not
            // examined; python-offsets tests those that it knows.
            assert!(python.version.minor_pair() < (3, 14), "it is in the table");
            println!("SKIPPED {python}: no counter that we know of");
            return;
        };
        println!("{python}: {counter:x?}");
        let mut before = value(&process, counter);
        for (step, made, dropped) in STEPS {
            target.say(step);
            let line = target.next_line();
            let newest = line.strip_prefix("done ").expect("an address");
            let newest = RemoteAddr(newest.parse().expect("an address"));
            let after = value(&process, counter);
            let expected = match counter {
                Counter::Made(_) => made,
                Counter::Dropped(_) => dropped,
            };
            assert_eq!(after - before, expected, "{step}");
            let field = process.python().layout.code_object.co_version;
            if let (Some(field), false) = (field, newest.is_null()) {
                let version = u32::from_le_bytes(number(&process, newest.offset(field.into())));
                assert!(u64::from(version) < after, "{step}: {version} < {after}");
            }
            before = after;
        }
        assert!(target.finish().success());
    });
}
