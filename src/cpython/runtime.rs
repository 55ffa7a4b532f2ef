//! [`Runtime`]: what is read of an interpreter once, on attaching.

use python_offsets::{
    DEBUG_OFFSETS_LEN, Description, Layout, LayoutSource, OffsetsError, PythonVersion, Semantics,
    describe, needs_debug_offsets,
};

use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// One CPython: its version, the layout of its structures, the addresses of its state. Plain data, so
/// that recorded memory can be read with it as well as a live process.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The version, as read from the target.
    pub version: PythonVersion,
    /// The offsets of fields.
    pub layout: Layout,
    /// The meaning of fields.
    pub semantics: Semantics,
    /// Whether the layout came from the target or from a table.
    pub layout_source: LayoutSource,
    /// The addresses of its state.
    pub roots: RuntimeAddresses,
}

impl Runtime {
    /// The interpreter of this version with its state at `roots`.
    ///
    /// # Errors
    /// When the version is not supported, or the target's own table is not plausible.
    pub fn describe(
        memory: &impl RemoteMemory,
        version: PythonVersion,
        roots: RuntimeAddresses,
    ) -> Result<Runtime, OffsetsError> {
        let description = describe_build(memory, version, roots.runtime)?;
        Ok(Runtime {
            version,
            layout: description.layout,
            semantics: description.semantics,
            layout_source: description.source,
            roots,
        })
    }
}

/// Layout and semantics of a version, from the table at `runtime` where the version has one.
pub fn describe_build(
    memory: &impl RemoteMemory,
    version: PythonVersion,
    runtime: Option<RemoteAddr>,
) -> Result<Description, OffsetsError> {
    let mut bytes = [0; DEBUG_OFFSETS_LEN];
    let own = match runtime {
        Some(runtime) if needs_debug_offsets(version) => memory
            .read(runtime, &mut bytes)
            .ok()
            .map(|()| bytes.as_slice()),
        _ => None,
    };
    describe(version, own)
}

/// The addresses from which everything else is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeAddresses {
    /// The variable that points to the newest interpreter: `interp_head` before 3.7, else
    /// `_PyRuntime.interpreters.head`.
    pub interpreters_head: RemoteAddr,
    /// `_PyRuntime` (3.7+).
    pub runtime: Option<RemoteAddr>,
    /// The variable that points to the thread which holds the GIL (up to 3.11), if known.
    pub tstate_current: Option<RemoteAddr>,
    /// The variable that points to the thread which finalizes the interpreter, null if none does:
    /// `_Py_Finalizing` before 3.7, else in `_PyRuntime`. `None` if it is not known.
    pub finalizing: Option<RemoteAddr>,
    /// `_Py_next_func_version` (32 bits; 3.12, if the file has its full symbol table): incremented for
    /// each code object that any interpreter creates; stays 0 once it has wrapped.
    pub next_func_version: Option<RemoteAddr>,
    /// Bytes of a Python 2 `unicode` code unit, 2 or 4.
    pub unicode_unit: u8,
}
