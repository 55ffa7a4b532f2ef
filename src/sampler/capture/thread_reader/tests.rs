//! Tests on a recorded process whose kernel is made up.
//!
//! Long: all tests need the same process and kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::cpython::attach::candidate::RootsSource;
use crate::cpython::attach::locate::LocatedRuntime;
use crate::cpython::attach::version::VersionSource;
use crate::cpython::code::frame_table::FrameId;
use crate::cpython::reader::StackReader;
use crate::cpython::tape::TapeMetadata;
use crate::os::deadline::Deadline;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::tape::Tape;
use crate::os::memory::{MemoryError, RemoteMemory};
use crate::os::procfs::maps::Mapping;
use crate::os::procfs::schedstat::RunCount;
use crate::os::thread::activity::Activity;
use crate::os::{Pid, Tid};

/// A recorded process whose main thread moves between two frames.
struct ScriptedMemory {
    tape: Tape,
    /// The address of the thread state's pointer to the leaf frame.
    current_frame: RemoteAddr,
    /// What the pointer is before and after the stack, in each copy from now on; the last one repeats.
    script: RefCell<VecDeque<[RemoteAddr; 2]>>,
    /// Copies so far.
    copies: Cell<u32>,
    /// No read is done before.
    is_slow_until: Option<Deadline>,
}

impl RemoteMemory for ScriptedMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        while self.is_slow_until.is_some_and(|until| !until.is_over()) {
            std::thread::yield_now();
        }
        // The count of code objects was not recorded; 0 means that there is none.
        if self.tape.read(addr, buf).is_err() {
            buf.fill(0);
        }
        Ok(())
    }

    fn read_many(&self, parts: &mut [(RemoteAddr, &mut [u8])]) -> Result<(), MemoryError> {
        let mut pointers = Vec::new();
        for (addr, buf) in parts {
            self.read(*addr, buf)?;
            let offset = self.current_frame.distance_from(*addr);
            pointers.extend(offset.and_then(|at| buf.get_mut(at as usize..)?.first_chunk_mut()));
        }
        // A copy has the thread state before and after the stack.
        if let [before, after] = pointers.as_mut_slice() {
            self.copies.set(self.copies.get() + 1);
            let mut script = self.script.borrow_mut();
            let leaves = match script.len() {
                0 => return Ok(()),
                1 => script[0],
                _ => script.pop_front().unwrap(),
            };
            [**before, **after] = leaves.map(|leaf: RemoteAddr| leaf.0.to_le_bytes());
        }
        Ok(())
    }
}

struct ScriptedImage {
    memory: ScriptedMemory,
    tasks: Vec<(Tid, Tid)>,
}

impl ProcessImage for ScriptedImage {
    type Memory = ScriptedMemory;

    fn pid(&self) -> Pid {
        1
    }

    fn memory(&self) -> &ScriptedMemory {
        &self.memory
    }

    fn exe_path(&self) -> PathBuf {
        PathBuf::new()
    }

    fn maps(&self, _deadline: Deadline) -> io::Result<Vec<Mapping>> {
        Ok(Vec::new())
    }

    fn root_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn tasks(&self) -> Vec<(Tid, Tid)> {
        self.tasks.clone()
    }

    fn open_mapped(&self, _: &Mapping) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What the kernel reports of the thread.
#[derive(Default)]
struct Kernel {
    runs: Cell<bool>,
    has_ended: Cell<bool>,
    timeslices: Cell<u64>,
    /// How many more times it runs before its count is read.
    wakeups: Cell<u32>,
    /// Whether it runs on after the last of them.
    stays_awake: Cell<bool>,
    may_pause: Cell<bool>,
    paused: Cell<bool>,
    /// When a thread that is paused must be resumed; `None`: never.
    paused_until: Cell<Option<Deadline>>,
    /// Calls of `pause`, `resume` of a paused thread, and `wait`.
    pauses: Cell<u32>,
    resumes: Cell<u32>,
    waits: Cell<u32>,
}

fn add(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

fn add_timeslice(kernel: &Kernel) {
    kernel.timeslices.set(kernel.timeslices.get() + 1);
}

impl ActivitySource for Rc<Kernel> {
    fn runs(&self) -> io::Result<bool> {
        match self.has_ended.get() {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(self.runs.get()),
        }
    }

    fn count(&self) -> io::Result<Option<RunCount>> {
        if self.has_ended.get() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let count = RunCount {
            timeslices: self.timeslices.get(),
            on_cpu_ns: 0,
        };
        if self.wakeups.get() > 0 {
            self.wakeups.set(self.wakeups.get() - 1);
            add_timeslice(self);
            self.runs
                .set(self.wakeups.get() == 0 && self.stays_awake.get());
        }
        Ok(Some(count))
    }

    fn read(&self) -> io::Result<Activity> {
        Ok(Activity {
            runs: self.runs()?,
            count: self.count()?,
            waits_for_cpu: false,
        })
    }

    fn read_all(&self) -> io::Result<Activity> {
        self.read()
    }
}

impl ThreadControl for Rc<Kernel> {
    fn inspection_deadline(&self) -> Deadline {
        Deadline::NEVER
    }

    fn pause(&mut self, _: &[Tid]) -> Result<(), SampleError> {
        if !self.may_pause.get() {
            return Err(SampleError::CannotPause("not permitted".into()));
        }
        add(&self.pauses);
        self.paused.set(true);
        Ok(())
    }

    fn is_paused(&self, _: Tid) -> bool {
        self.paused.get()
    }

    fn resume(&mut self, _: Tid) {
        if self.paused.replace(false) {
            add(&self.resumes);
        }
    }

    fn wait(&mut self, _: Duration) {
        add(&self.waits);
    }

    fn deadline(&self) -> Deadline {
        let until = self.paused_until.get().filter(|_| self.paused.get());
        until.unwrap_or(Deadline::NEVER)
    }

    fn end_pausing(&mut self) -> bool {
        let holds = self.paused.get();
        self.resume(1);
        holds
    }
}

/// The main thread of the recorded process, read once so that its stack is cached.
struct Scene {
    process: Interpreter<ScriptedImage>,
    kernel: Rc<Kernel>,
    tracked: TrackedThread<Rc<Kernel>>,
    frames: FrameTable,
    /// When a read must be done.
    deadline: Deadline,
    /// The addresses of its frames, and their names, leaf first.
    stack: Vec<RawFrame>,
    names: Arc<[FrameId]>,
}

/// The tape with zeros around what was recorded: prefetching reads more.
fn padded(tape: &Tape) -> Tape {
    let mut padded = tape.clone();
    for (start, bytes) in tape.ranges() {
        padded.insert(start.offset_signed(-4096), &vec![0; bytes.len() + 8192]);
    }
    for (start, bytes) in tape.ranges() {
        padded.insert(start, bytes);
    }
    padded
}

/// What a read returned.
struct Read {
    frames: Option<Arc<[FrameId]>>,
    torn: u64,
    errors: Vec<String>,
    copies: u32,
}

impl Scene {
    fn new() -> Scene {
        let path = "fixtures/tapes/cpython-3.13.0.tape";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let tape = Tape::from_bytes(&std::fs::read(path).unwrap()).unwrap();
        let tape = padded(&tape);
        let TapeMetadata { python, tasks, .. } = TapeMetadata::from_tape(&tape, &tape).unwrap();
        let current_frame = python.layout.thread_state.current_frame;
        let found = LocatedRuntime {
            python,
            version_source: VersionSource::Text,
            roots_source: RootsSource::Section,
            image: String::new(),
        };
        let memory = ScriptedMemory {
            tape,
            current_frame: RemoteAddr::NULL,
            script: RefCell::default(),
            copies: Cell::new(0),
            is_slow_until: None,
        };
        let mut process = Interpreter::new(ScriptedImage { memory, tasks }, found);
        let thread = process.threads().unwrap().threads.pop().unwrap();
        let field = thread.state.addr.offset(current_frame.into());
        process.target_mut().memory.current_frame = field;
        let kernel = Rc::new(Kernel::default());
        let mut scene = Scene {
            process,
            tracked: TrackedThread::new(thread, Some(Rc::clone(&kernel))),
            kernel,
            frames: FrameTable::default(),
            deadline: Deadline::NEVER,
            stack: Vec::new(),
            names: Arc::default(),
        };
        let first = scene.read(CaptureOptions::default());
        scene.names = first.frames.unwrap();
        assert!(scene.stack.len() > 2 && scene.names.len() == scene.stack.len());
        // Without the mark on the frame that executes, only the roots show whether the thread ran.
        let stacktop = scene.process.python().layout.interpreter_frame.stacktop;
        let addr = scene.stack[0].addr.offset(stacktop.unwrap().into());
        scene.insert(addr, &0_i32.to_le_bytes());
        scene.kernel.timeslices.set(1);
        scene
    }

    /// The addresses of the leaf and of its caller.
    fn leaf_and_caller(&self) -> [RemoteAddr; 2] {
        [self.stack[0].addr, self.stack[1].addr]
    }

    fn script(&mut self, script: &[[RemoteAddr; 2]]) {
        let memory = &mut self.process.target_mut().memory;
        memory.script = RefCell::new(script.iter().copied().collect());
    }

    /// Starts with an interpreter of which nothing is cached.
    fn forget_names(&mut self) {
        let python = self.process.python().clone();
        *self.process.reader_and_memory().0 = StackReader::new(python);
    }

    /// Replaces a field of the memory.
    fn insert(&mut self, addr: RemoteAddr, bytes: &[u8]) {
        self.process.target_mut().memory.tape.insert(addr, bytes);
    }

    fn try_read(&mut self, options: CaptureOptions) -> Result<Read, SampleError> {
        self.tracked.refresh(false);
        let mut control = Rc::clone(&self.kernel);
        if self.tracked.runs() && options.keep_paused {
            control.pause(&[1])?;
        }
        let before = self.process.target().memory.copies.get();
        let mut reader = ThreadReader {
            process: &mut self.process,
            frames: &mut self.frames,
            options,
            inspector: &mut (),
            control,
            stack: Vec::new(),
            resumes_early: true,
            queries_all: false,
            deadline: self.deadline,
            errors: Vec::new(),
            torn: 0,
        };
        let sample = reader.read_with_retries(&mut self.tracked)?;
        if self.stack.is_empty() {
            self.stack.clone_from(&reader.stack);
        }
        let (errors, torn) = (reader.errors, reader.torn);
        Ok(Read {
            frames: sample.map(|sample| sample.trace.frames),
            torn,
            errors,
            copies: self.process.target().memory.copies.get() - before,
        })
    }

    fn read(&mut self, options: CaptureOptions) -> Read {
        let read = self.try_read(options).unwrap();
        assert!(read.errors.is_empty(), "{:?}", read.errors);
        read
    }

    /// Reads the thread while it runs and is not to be paused.
    fn read_running(&mut self) -> Read {
        self.kernel.runs.set(true);
        self.read(CaptureOptions {
            pausing: Pausing::Never,
            ..CaptureOptions::default()
        })
    }
}

#[test]
fn a_consistent_stack_is_accepted_at_once() {
    let mut scene = Scene::new();
    let read = scene.read_running();
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (1, 0));
}

#[test]
fn a_torn_stack_is_read_again() {
    let mut scene = Scene::new();
    let [leaf, caller] = scene.leaf_and_caller();
    scene.script(&[[leaf, caller], [leaf, caller], [leaf, leaf]]);
    let read = scene.read_running();
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (3, 0));
}

#[test]
fn a_stack_that_changes_in_every_read_is_torn() {
    let mut scene = Scene::new();
    let [leaf, caller] = scene.leaf_and_caller();
    scene.script(&[[leaf, caller]]);
    let read = scene.read_running();
    assert_eq!(read.frames, None);
    assert_eq!((read.copies, read.torn), (192, 1));
}

/// Else functions that return soon would be under-counted.
#[test]
fn a_stack_with_the_leaf_of_the_first_read_is_preferred() {
    let mut scene = Scene::new();
    let [leaf, caller] = scene.leaf_and_caller();
    let torn = [leaf, caller];
    let other = [caller, caller];
    scene.script(&[torn, other, torn, other, [leaf, leaf]]);
    let read = scene.read_running();
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (5, 0));
    // If none comes, the other one is accepted, long before the last attempt.
    scene.script(&[torn, other]);
    let read = scene.read_running();
    assert_eq!(read.frames.as_deref(), Some(&scene.names[1..]));
    assert!((10..60).contains(&read.copies), "{}", read.copies);
    assert_eq!(read.torn, 0);
    // After missed ticks it is accepted at once.
    scene.script(&[torn, other]);
    let read = scene.read(CaptureOptions {
        pausing: Pausing::Never,
        skip_leaf_match: true,
        ..CaptureOptions::default()
    });
    assert_eq!((read.copies, read.torn), (2, 0));
}

#[test]
fn the_stack_of_a_thread_that_sleeps_on_is_not_read_again() {
    let mut scene = Scene::new();
    for copies in [1, 0, 0] {
        let read = scene.read(CaptureOptions::default());
        assert_eq!(read.frames.as_ref(), Some(&scene.names));
        assert_eq!(read.copies, copies);
    }
}

/// The kernel's count shows it, though the memory does not.
#[test]
fn a_thread_that_was_scheduled_meanwhile_is_read_again() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    // It ran since the last sample and runs before its count is read, then before the stack is.
    kernel.wakeups.set(2);
    let read = scene.read(CaptureOptions::default());
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (2, 0));
    add_timeslice(&kernel);
    kernel.wakeups.set(u32::MAX);
    let read = scene.read(CaptureOptions::default());
    assert_eq!(read.frames, None);
    assert_eq!((read.copies, read.torn), (4, 1));
    assert_eq!(kernel.pauses.get(), 0);
}

/// A thread that waited for the GIL when the sample began got four attempts, and was torn in 5 % of the
/// dumps of a program with two busy threads.
#[test]
fn a_thread_that_wakes_up_and_is_not_paused_is_read_as_a_running_one() {
    let mut scene = Scene::new();
    let [leaf, caller] = scene.leaf_and_caller();
    let torn = [leaf, caller];
    scene.script(&[torn, torn, torn, torn, torn, torn, [leaf, leaf]]);
    scene.kernel.wakeups.set(2);
    scene.kernel.stays_awake.set(true);
    let read = scene.read(CaptureOptions {
        pausing: Pausing::Never,
        ..CaptureOptions::default()
    });
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (7, 0));
}

#[test]
fn a_thread_that_wakes_up_is_paused_read_and_resumed() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    kernel.may_pause.set(true);
    kernel.runs.set(true);
    let [leaf, caller] = scene.leaf_and_caller();
    // Without the GIL it is not paused before the second attempt has failed.
    scene.script(&[[leaf, caller], [leaf, caller], [leaf, leaf]]);
    let read = scene.read(CaptureOptions::default());
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (3, 0));
    assert_eq!((kernel.pauses.get(), kernel.resumes.get()), (1, 1));
}

#[test]
fn a_thread_that_may_not_be_paused_ends_the_capture() {
    let mut scene = Scene::new();
    scene.kernel.runs.set(true);
    let [leaf, caller] = scene.leaf_and_caller();
    scene.script(&[[leaf, caller]]);
    let read = scene.try_read(CaptureOptions::default());
    assert!(matches!(read, Err(SampleError::CannotPause(_))));
}

/// What is read of a thread that is paused throughout need not be consistent by itself.
#[test]
fn a_thread_that_stays_paused_is_accepted_and_resumed_afterwards() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    kernel.may_pause.set(true);
    kernel.runs.set(true);
    let [leaf, caller] = scene.leaf_and_caller();
    scene.script(&[[leaf, caller]]);
    let read = scene.read(CaptureOptions {
        keep_paused: true,
        ..CaptureOptions::default()
    });
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (1, 0));
    assert_eq!((kernel.pauses.get(), kernel.resumes.get()), (1, 1));
}

#[test]
fn a_thread_that_has_ended_is_neither_reported_nor_torn() {
    let mut scene = Scene::new();
    scene.kernel.has_ended.set(true);
    let read = scene.read(CaptureOptions::default());
    assert!(read.frames.is_none() && scene.tracked.has_ended);
    assert_eq!((read.copies, read.torn), (0, 0));

    // Its state belongs to another thread now.
    let mut scene = Scene::new();
    let field = scene.process.python().layout.thread_state.thread_id;
    let addr = scene.tracked.thread.state.addr.offset(field.into());
    scene.insert(addr, &1_u64.to_le_bytes());
    let read = scene.read_running();
    assert!(read.frames.is_none() && scene.tracked.has_ended);
    assert_eq!((read.copies, read.torn), (1, 0));
}

#[test]
fn an_unlinked_stack_is_read_again_more_often_if_the_thread_runs() {
    // Whether it runs; how many copies.
    for (runs, copies) in [(false, 4), (true, 16)] {
        let mut scene = Scene::new();
        let kernel = Rc::clone(&scene.kernel);
        kernel.may_pause.set(true);
        kernel.runs.set(runs);
        let link = scene.process.python().layout.interpreter_frame.previous;
        let addr = scene.stack[1].addr.offset(link.into());
        scene.insert(addr, &[0; 8]);
        let read = scene.read(CaptureOptions::default());
        assert_eq!(read.frames, None);
        assert_eq!((read.copies, read.torn), (copies, 1));
        assert_eq!(kernel.waits.get(), copies - 1);
        assert_eq!(kernel.pauses.get(), kernel.resumes.get());
        assert!(!kernel.paused.get());
    }
}

/// Otherwise a stack that is long, or slow to read, held its thread for as long as that took.
#[test]
fn a_thread_is_resumed_when_it_was_paused_for_too_long_and_read_without() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    kernel.may_pause.set(true);
    kernel.runs.set(true);
    kernel
        .paused_until
        .set(Some(Deadline::after(Duration::ZERO)));
    let [leaf, caller] = scene.leaf_and_caller();
    let keep_paused = CaptureOptions {
        keep_paused: true,
        ..CaptureOptions::default()
    };
    scene.script(&[[leaf, leaf]]);
    let read = scene.read(keep_paused);
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert!(!kernel.paused.get());
    assert_eq!((kernel.pauses.get(), kernel.resumes.get()), (1, 1));
    // It was paused, but is not any more: only the stack itself counts.
    scene.script(&[[leaf, caller], [leaf, caller], [leaf, leaf]]);
    let read = scene.read(keep_paused);
    assert_eq!(read.frames.as_ref(), Some(&scene.names));
    assert_eq!((read.copies, read.torn), (3, 0));
    scene.script(&[[leaf, caller]]);
    let read = scene.read(keep_paused);
    assert_eq!(read.frames, None);
    assert_eq!((read.copies, read.torn), (192, 1));
    assert_eq!(kernel.pauses.get(), kernel.resumes.get());
}

#[test]
fn a_pause_that_is_over_in_the_middle_of_a_read_ends_it() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    kernel.may_pause.set(true);
    kernel.runs.set(true);
    let [leaf, _] = scene.leaf_and_caller();
    scene.script(&[[leaf, leaf]]);
    // Its names are not known yet, so that there is much to read.
    scene.forget_names();
    let until = Some(Deadline::after(Duration::from_millis(20)));
    kernel.paused_until.set(until);
    scene.process.target_mut().memory.is_slow_until = until;
    let read = scene.read(CaptureOptions {
        keep_paused: true,
        ..CaptureOptions::default()
    });
    assert_eq!(
        read.frames.as_deref().map(<[_]>::len),
        Some(scene.names.len())
    );
    assert!(!kernel.paused.get());
    assert_eq!((kernel.pauses.get(), kernel.resumes.get()), (1, 1));
}

#[test]
fn a_thread_that_cannot_be_read_in_time_is_an_error_and_runs() {
    let mut scene = Scene::new();
    let kernel = Rc::clone(&scene.kernel);
    kernel.may_pause.set(true);
    kernel.runs.set(true);
    scene.deadline = Deadline::after(Duration::ZERO);
    scene.forget_names();
    for pausing in [Pausing::Running, Pausing::Never] {
        let read = scene.try_read(CaptureOptions {
            pausing,
            keep_paused: pausing == Pausing::Running,
            ..CaptureOptions::default()
        });
        let read = read.unwrap();
        assert_eq!((read.frames, read.torn), (None, 0));
        let label = scene.tracked.thread.label();
        let expected = format!("{label}: its stack was not read within 250 ms");
        assert_eq!(read.errors, [expected]);
        assert!(!kernel.paused.get());
        assert_eq!(kernel.pauses.get(), kernel.resumes.get());
    }
}
