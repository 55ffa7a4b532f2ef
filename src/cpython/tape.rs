//! [`TapeMetadata`]: what a tape holds in addition to memory, as text.

use std::fmt::{self, Write};
use std::str::FromStr;

use python_offsets::{OffsetsError, PythonVersion};

use super::runtime::{Runtime, RuntimeAddresses};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory::tape::Tape;
use crate::os::{Pid, Tid};

/// What is known of a process before its stacks are read.
#[derive(Clone, Debug)]
pub struct TapeMetadata {
    /// The interpreter.
    pub python: Runtime,
    /// Its id.
    pub pid: Pid,
    /// Its tasks, as pairs of the id in its own PID namespace and the id in ours.
    pub tasks: Vec<(Tid, Tid)>,
}

/// Why the metadata cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// A fact is missing or malformed.
    #[error("the tape has no valid {0}")]
    Missing(&'static str),
    /// The version is not supported, or the memory does not describe such an interpreter.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
}

const VERSION: &str = "version";
const PID: &str = "pid";
const TASKS: &str = "tasks";
const HEAD: &str = "interpreters_head";
const RUNTIME: &str = "runtime";
const CURRENT: &str = "tstate_current";
const FINALIZING: &str = "finalizing";
const COUNTER: &str = "next_func_version";
const UNIT: &str = "unicode_unit";

impl TapeMetadata {
    /// Writes the facts to a tape. The interpreter's debug offsets are memory, not facts: they must be read
    /// while the tape is recorded, as [`TapeMetadata::from_tape`] does.
    pub fn note(&self, tape: &mut Tape) {
        let Runtime { version, roots, .. } = &self.python;
        tape.set_fact(VERSION, &version.to_string());
        tape.set_fact(PID, &self.pid.to_string());
        let mut tasks = String::new();
        for (theirs, ours) in &self.tasks {
            // Writing to a String cannot fail.
            let _ = write!(tasks, "{theirs}:{ours} ");
        }
        tape.set_fact(TASKS, tasks.trim_end());
        tape.set_fact(HEAD, &Hex(roots.interpreters_head).to_string());
        for (key, root) in [
            (RUNTIME, roots.runtime),
            (CURRENT, roots.tstate_current),
            (FINALIZING, roots.finalizing),
            (COUNTER, roots.next_func_version),
        ] {
            if let Some(addr) = root {
                tape.set_fact(key, &Hex(addr).to_string());
            }
        }
        tape.set_fact(UNIT, &roots.unicode_unit.to_string());
    }

    /// The facts of a tape, with the interpreter described by `memory`: the tape itself, or a
    /// modification of it.
    ///
    /// # Errors
    /// When a fact is missing, or the memory does not describe the interpreter.
    pub fn from_tape(tape: &Tape, memory: &impl RemoteMemory) -> Result<TapeMetadata, FactsError> {
        let version = tape.fact(VERSION).and_then(PythonVersion::parse);
        let version = version.ok_or(FactsError::Missing(VERSION))?;
        let root = |key| tape.fact(key)?.parse().ok().map(|Hex(addr)| addr);
        let roots = RuntimeAddresses {
            interpreters_head: root(HEAD).ok_or(FactsError::Missing(HEAD))?,
            runtime: root(RUNTIME),
            tstate_current: root(CURRENT),
            finalizing: root(FINALIZING),
            next_func_version: root(COUNTER),
            unicode_unit: number(tape, UNIT)?,
        };
        let tasks = tape.fact(TASKS).ok_or(FactsError::Missing(TASKS))?;
        let tasks = tasks.split_whitespace().map(|pair| {
            let (theirs, ours) = pair.split_once(':')?;
            Some((theirs.parse().ok()?, ours.parse().ok()?))
        });
        Ok(TapeMetadata {
            python: Runtime::describe(memory, version, roots)?,
            pid: number(tape, PID)?,
            tasks: tasks
                .collect::<Option<_>>()
                .ok_or(FactsError::Missing(TASKS))?,
        })
    }
}

fn number<T: FromStr>(tape: &Tape, key: &'static str) -> Result<T, FactsError> {
    let number = tape.fact(key).and_then(|text| text.parse().ok());
    number.ok_or(FactsError::Missing(key))
}

/// An address as text, `0x` and hexadecimal.
struct Hex(RemoteAddr);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Hex {
    type Err = FactsError;

    fn from_str(text: &str) -> Result<Hex, FactsError> {
        let digits = text.strip_prefix("0x");
        let addr = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let addr = addr.ok_or(FactsError::Missing("address"))?;
        Ok(Hex(RemoteAddr(addr)))
    }
}
