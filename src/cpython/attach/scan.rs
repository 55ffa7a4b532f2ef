//! Finds an interpreter without symbols, by a pointer in the data that leads to a valid one.

use log::debug;

use python_offsets::peek_debug_offsets;

use crate::cpython::runtime::{Runtime, RuntimeAddresses};
use crate::cpython::threads::interpreter::{Interpreter, interpreters, thread};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::maps::Mapping;
use crate::os::work_budget::WorkBudget;

/// Bytes searched per range: more data than any CPython has. Data of an embedder beyond it is not
/// searched.
const MAX_DATA: u64 = 64 << 20;
/// How much is read at once.
const PIECE: usize = 64 << 10;
/// Maximum number of pointers that are followed: a few seconds of work.
const MAX_TRIED: usize = 1 << 20;
/// Maximum number of variables that lead to an interpreter. CPython has four.
const MAX_VALID: usize = 256;

/// Reads ranges of memory piece by piece, each with the `overlap` bytes after it, until `search` finds
/// something or the budget is spent. What cannot be read is skipped.
pub(super) fn search_pieces<T>(
    memory: &impl RemoteMemory,
    ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    overlap: usize,
    budget: &WorkBudget,
    mut search: impl FnMut(RemoteAddr, &[u8]) -> Option<T>,
) -> Option<T> {
    let mut bytes = vec![0; PIECE + overlap];
    for (start, size) in ranges {
        let mut at = 0;
        while at < size.min(MAX_DATA) {
            let left = usize::try_from(size - at).unwrap_or(usize::MAX);
            let piece = bytes.get_mut(..left.min(PIECE + overlap))?;
            if !budget.spend(piece.len() as u64) {
                debug!(
                    "too much data to be searched: not beyond {}",
                    start.offset(at)
                );
                return None;
            }
            let base = start.offset(at);
            at += PIECE as u64;
            if memory.read(base, piece).is_err() {
                debug!("cannot read {} bytes of data at {base}", piece.len());
            } else if let Some(found) = search(base, piece) {
                return Some(found);
            }
        }
    }
    None
}

/// Searches these ranges of the target's memory for the variable that points to the newest
/// interpreter. Several variables point to an interpreter; the list head is the one from which most
/// interpreters can be reached.
pub(crate) fn interpreters_head(
    memory: &impl RemoteMemory,
    python: &Runtime,
    ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    mappings: &[Mapping],
    budget: &WorkBudget,
) -> Option<RemoteAddr> {
    let mut best: Option<(usize, RemoteAddr)> = None;
    let (mut tried, mut valid) = (0, 0);
    search_pieces(memory, ranges, 0, budget, |base, piece| {
        for (slot, pointer) in piece.as_chunks::<8>().0.iter().enumerate() {
            let pointer = RemoteAddr(u64::from_le_bytes(*pointer));
            if !pointer.0.is_multiple_of(8) || !is_writable(mappings, pointer) {
                continue;
            }
            let variable = base.offset(slot as u64 * 8);
            let reached = reachable(memory, python, variable, pointer);
            tried += 1;
            valid += usize::from(reached > 0);
            if tried >= MAX_TRIED || valid >= MAX_VALID || budget.is_over() {
                debug!("too many pointers in the data may be an interpreter's");
                return Some(());
            }
            if reached > best.map_or(0, |(most, _)| most) {
                best = Some((reached, variable));
            }
        }
        None
    });
    // A search that was cut may have missed the list head.
    let best = best.filter(|_| !budget.is_over());
    best.map(|(_, variable)| variable)
}

/// Searches these ranges for `_PyRuntime` (3.13+), which starts with a cookie and the version.
pub(crate) fn debug_offsets(
    memory: &impl RemoteMemory,
    ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    budget: &WorkBudget,
) -> Option<RemoteAddr> {
    const WORD: usize = 8;
    // Each piece includes the first word of the next: a cookie at its end has its version there.
    search_pieces(memory, ranges, WORD, budget, |base, piece| {
        let found = piece
            .windows(2 * WORD)
            .step_by(WORD)
            .position(|words| peek_debug_offsets(words).is_some());
        found.map(|word| base.offset((word * WORD) as u64))
    })
}

fn is_writable(mappings: &[Mapping], addr: RemoteAddr) -> bool {
    let after = mappings.partition_point(|mapping| mapping.start <= addr.0);
    after
        .checked_sub(1)
        .and_then(|at| mappings.get(at))
        .is_some_and(|mapping| mapping.writable && mapping.contains(addr.0))
}

/// How many interpreters can be reached from a variable; 0 if it does not point to one. The first
/// thread of an interpreter points back to the interpreter.
fn reachable(
    memory: &impl RemoteMemory,
    python: &Runtime,
    variable: RemoteAddr,
    addr: RemoteAddr,
) -> usize {
    // The cheap test first: most pointers lead elsewhere.
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
    let is_valid = list.iter().all(|known| {
        known.threads_head.is_null() || thread(memory, &here, *known, known.threads_head).is_ok()
    });
    if is_valid { list.len() } else { 0 }
}
