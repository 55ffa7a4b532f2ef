//! The whole command line, from the stack of the process.
//!
//! The kernel stores 79 bytes of it in the core file. But the initial stack of a program contains,
//! upwards: the number of arguments, pointers to them and a null, pointers to the environment and a
//! null, the auxiliary vector, and above all that the strings (create_elf_tables of the kernel's
//! fs/binfmt_elf.c). The core file has the vector, and in it addresses of what is right above it.

use super::notes::Notes;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Key for the address of 16 random bytes, right above the vector (getauxval(3)).
const AT_RANDOM: u64 = 25;
/// The maximum distance from those down to the vector: 16 bytes for each of its entries, and
/// padding.
const MAX_DISTANCE: usize = 4096;
/// Cap on the pointers to arguments and environment.
const MAX_POINTERS: u64 = 1 << 17;
/// Cap on the command line in bytes, as for a running process.
const MAX_TEXT: u64 = 64 << 10;

/// The arguments, lossy; `None` when they are not where expected.
pub fn read(memory: &impl RemoteMemory, notes: &Notes) -> Option<Vec<String>> {
    let vector = find_vector(memory, notes)?;
    let word = |addr: RemoteAddr| {
        let mut bytes = [0; 8];
        memory.read(addr, &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    // The null above the environment, then that above the arguments.
    let mut at = vector.offset_signed(-8);
    if word(at)? != 0 {
        return None;
    }
    let mut end = None;
    let mut count = 0;
    for _ in 0..MAX_POINTERS {
        at = at.offset_signed(-8);
        let value = word(at)?;
        if value == 0 {
            break;
        }
        // The first string of the environment follows the last argument.
        end = Some(value);
    }
    let first = loop {
        at = at.offset_signed(-8);
        let value = word(at)?;
        if value == count {
            break word(at.offset(8))?;
        }
        count += 1;
        if count > MAX_POINTERS {
            return None;
        }
    };
    if count == 0 {
        return None;
    }
    let length = end.and_then(|end| end.checked_sub(first));
    let mut text = vec![0; usize::try_from(length.filter(|length| *length <= MAX_TEXT)?).ok()?];
    memory.read(RemoteAddr(first), &mut text).ok()?;
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    let arguments = text.split(|byte| *byte == 0);
    Some(
        arguments
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect(),
    )
}

/// The address of the auxiliary vector.
fn find_vector(memory: &impl RemoteMemory, notes: &Notes) -> Option<RemoteAddr> {
    let start: Vec<u8> = notes
        .auxv
        .get(..2)?
        .iter()
        .flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()].concat())
        .collect();
    // A stack is aligned to 16 bytes, and the vector to 8.
    let above = notes.aux(AT_RANDOM)? & !7;
    let below = above.checked_sub(MAX_DISTANCE as u64)?;
    let mut bytes = vec![0; MAX_DISTANCE];
    memory.read(RemoteAddr(below), &mut bytes).ok()?;
    let slot = bytes
        .windows(start.len())
        .step_by(8)
        .position(|window| window == start.as_slice())?;
    Some(RemoteAddr(below).offset(slot as u64 * 8))
}
