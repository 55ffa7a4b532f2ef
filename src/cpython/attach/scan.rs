//! Finding an interpreter without symbols: a pointer in the program's data that holds up as one.

use log::debug;

use python_offsets::peek_debug_offsets;

use crate::cpython::runtime::{Runtime, RuntimeAddresses};
use crate::cpython::threads::interpreter::{Interpreter, interpreters, thread};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::maps::Mapping;

/// More data than any CPython has; an embedder's beyond it is not searched.
const MAX_DATA: u64 = 64 << 20;
/// The most pointers that are followed: some seconds' worth.
const MAX_TRIED: usize = 1 << 20;
/// The most variables that may hold up: CPython has four that point to an interpreter.
const MAX_HELD: usize = 256;

/// Looks for the variable that points to the newest interpreter in these ranges of the target's
/// memory. Several variables point to an interpreter; the list's head is the one from which most
/// interpreters can be reached.
pub(crate) fn interpreters_head(
    memory: &impl RemoteMemory,
    python: &Runtime,
    ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    mappings: &[Mapping],
) -> Option<RemoteAddr> {
    const PIECE: usize = 64 << 10;
    let mut best: Option<(usize, RemoteAddr)> = None;
    let (mut tried, mut held) = (0, 0);
    let mut bytes = vec![0; PIECE];
    for (start, size) in ranges {
        let mut at = 0;
        while at < size.min(MAX_DATA) {
            let len = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            let base = start.offset(at);
            at += len as u64;
            let Some(piece) = bytes.get_mut(..len) else {
                break;
            };
            if memory.read(base, piece).is_err() {
                debug!("cannot read {len} bytes of data at {base}");
                continue;
            }
            for (slot, pointer) in piece.as_chunks::<8>().0.iter().enumerate() {
                let pointer = RemoteAddr(u64::from_le_bytes(*pointer));
                if !pointer.0.is_multiple_of(8) || !is_writable(mappings, pointer) {
                    continue;
                }
                let variable = base.offset(slot as u64 * 8);
                let reached = reachable(memory, python, variable, pointer);
                tried += 1;
                held += usize::from(reached > 0);
                if tried >= MAX_TRIED || held >= MAX_HELD {
                    debug!("too many pointers in the data look like an interpreter's");
                    return best.map(|(_, variable)| variable);
                }
                if reached > best.map_or(0, |(most, _)| most) {
                    best = Some((reached, variable));
                }
            }
        }
    }
    best.map(|(_, variable)| variable)
}

/// Looks for `_PyRuntime` of 3.13 and later in these ranges: it starts with a cookie and the version.
pub(crate) fn debug_offsets(
    memory: &impl RemoteMemory,
    ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
) -> Option<RemoteAddr> {
    const PIECE: usize = 64 << 10;
    const WORD: usize = 8;
    let mut bytes = vec![0; PIECE + WORD];
    for (start, size) in ranges {
        let mut at = 0;
        while at < size.min(MAX_DATA) {
            // A piece has the first word of the next, where the version of a cookie at its end is.
            let left = usize::try_from(size - at).unwrap_or(usize::MAX);
            let piece = bytes.get_mut(..left.min(PIECE + WORD))?;
            let base = start.offset(at);
            at += PIECE as u64;
            if memory.read(base, piece).is_err() {
                debug!("cannot read {} bytes of data at {base}", piece.len());
                continue;
            }
            let found = piece
                .windows(2 * WORD)
                .step_by(WORD)
                .position(|words| peek_debug_offsets(words).is_some());
            if let Some(word) = found {
                return Some(base.offset((word * WORD) as u64));
            }
        }
    }
    None
}

fn is_writable(mappings: &[Mapping], addr: RemoteAddr) -> bool {
    let after = mappings.partition_point(|mapping| mapping.start <= addr.0);
    after
        .checked_sub(1)
        .and_then(|at| mappings.get(at))
        .is_some_and(|mapping| mapping.writable && mapping.contains(addr.0))
}

/// How many interpreters a variable leads to, 0 when what it points to is none: an interpreter's
/// first thread points back to it.
fn reachable(
    memory: &impl RemoteMemory,
    python: &Runtime,
    variable: RemoteAddr,
    addr: RemoteAddr,
) -> usize {
    // The cheap test first: most pointers lead to something else.
    let field = python.layout.interpreter_state.threads_head;
    let mut head = [0; 8];
    if memory.read(addr.offset(field.into()), &mut head).is_err() {
        return 0;
    }
    let threads_head = RemoteAddr(u64::from_le_bytes(head));
    let interpreter = Interpreter {
        addr,
        id: 0,
        threads_head,
    };
    if threads_head.is_null() || thread(memory, python, interpreter, threads_head).is_err() {
        return 0;
    }
    let here = Runtime {
        roots: RuntimeAddresses {
            interpreters_head: variable,
            ..python.roots
        },
        ..python.clone()
    };
    let list = interpreters(memory, &here).unwrap_or_default();
    let holds_up = list.iter().all(|known| {
        known.threads_head.is_null() || thread(memory, &here, *known, known.threads_head).is_ok()
    });
    if holds_up { list.len() } else { 0 }
}
