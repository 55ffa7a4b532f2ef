//! Memory that is not what it should be: whatever a target holds, reading its objects ends.

use std::cell::Cell;

use pyspy_rs::PythonProcess;
use pyspy_rs::Secrets;
use pyspy_rs::internals::{MemoryError, Mode, Objects, RemoteAddr, RemoteMemory, ValueOptions};

use crate::support::{Target, for_each_at_once};

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
    for_each_at_once("object-lies", .., |python| {
        let target = Target::start(python, "locals.py", &[]);
        let pid = i32::try_from(target.pid()).expect("a pid");
        let mut process = PythonProcess::attach(pid).expect("attached");
        let mut threads = process.threads().expect("threads").threads;
        let main = threads.last_mut().expect("a thread");
        let mut stack = Vec::new();
        let (reader, memory) = process.reader_and_memory();
        reader
            .walk(memory, main, Mode::AtRest, &mut stack)
            .expect("a stack");
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
                let options = ValueOptions::level(level, Secrets::Shown);
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
