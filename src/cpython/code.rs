//! Pass 2: from `(code object, instruction)` to a frame with names, cached.
//!
//! Code objects die and their addresses are reused, so a cached name must never outlive its code
//! object. The rule: once a sample, the fields that identify a code object are read again (its type,
//! the pointers to its names, file and line table, its first line, and the length and hash that name,
//! file and line table keep) and so is the line table itself, whose hash nobody has asked for mostly;
//! when one differs, the entry is forgotten and read anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use python_offsets::semantics::{Executable, InstructionPointer};

use super::frame::RawFrame;
use super::line_table::locate;
use super::record::{Record, RecordBuffer, read_i32, read_ptr, span};
use super::{Frame, FrameId, FrameTable, Objects, ReadError};
use crate::target::{RemoteAddr, RemoteMemory};

/// Above this many code objects the cache starts anew: programs that make code all the time must not
/// make us grow.
const MAX_CODES: usize = 50_000;
/// The same for the bytes of their names and line tables.
const MAX_CACHED_BYTES: usize = 32 << 20;
/// The same for the instructions that are remembered in all of them.
const MAX_INSTRUCTIONS: usize = 1_000_000;
/// Bytes of a code unit, since 3.6.
const CODE_UNIT: i64 = 2;
/// The longest array of thread-local bytecode copies (one a thread that ever ran).
const MAX_TLBC: u64 = 100_000;

/// Resolved code objects of one process.
#[derive(Default)]
pub struct CodeCache {
    codes: HashMap<RemoteAddr, Cached>,
    /// Which types are `code`: one in practice. Its address is never reused: it is static.
    code_types: HashMap<RemoteAddr, bool>,
    files: HashSet<Arc<str>>,
    /// Bytes that were added to `codes` and `files` since they were empty.
    bytes: usize,
    /// Instructions that were remembered in all of `codes` since it was empty.
    memos: usize,
    sample: u64,
}

/// A code object, or the knowledge that it is none.
struct Cached {
    identity: Identity,
    checked_in: u64,
    code: Option<Code>,
}

/// What a frame's [`FrameId`] depends on besides its code: the instruction, which copy of the
/// instructions, whether it is a generator's.
type FrameKey = (u64, u32, bool);

struct Code {
    name: Arc<str>,
    filename: Arc<str>,
    first_line: i32,
    table: Vec<u8>,
    /// Where the instructions start (3.11+).
    instructions: RemoteAddr,
    /// Byte offset of the first instruction that tracing would show (3.11+).
    first_traceable: i64,
    frames: HashMap<FrameKey, Option<FrameId>>,
}

/// What tells one code object from the next at the same address.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Identity {
    type_object: RemoteAddr,
    name: RemoteAddr,
    /// `co_qualname`; the name where the version has none.
    qualname: RemoteAddr,
    filename: RemoteAddr,
    linetable: RemoteAddr,
    first_line: i32,
    /// `ob_size` or `length`, and the hash, of name, file and line table.
    contents: [[u8; 16]; 3],
}

impl CodeCache {
    /// Starts a new sample: every code object is looked at again the first time it is seen in it.
    pub fn begin_sample(&mut self) {
        self.sample = self.sample.wrapping_add(1);
        self.make_room();
    }

    /// Forgets everything when it has become too much.
    fn make_room(&mut self) {
        let len = self.codes.len().max(self.code_types.len());
        let is_full =
            len > MAX_CODES || self.bytes > MAX_CACHED_BYTES || self.memos > MAX_INSTRUCTIONS;
        if is_full {
            self.codes.clear();
            self.code_types.clear();
            self.files.clear();
            self.bytes = 0;
            self.memos = 0;
        }
    }

    /// The frame with its names, or `None` where it runs no code object or has not begun yet.
    ///
    /// # Errors
    /// When the code object cannot be read.
    pub fn resolve<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        raw: &RawFrame,
        table: &mut FrameTable,
    ) -> Result<Option<FrameId>, ReadError> {
        if raw.executable.is_null() && objects.python.semantics.executable != Executable::Code {
            return Ok(None);
        }
        let code = self.code(objects, raw.executable)?;
        let Some(code) = code else {
            return Ok(None);
        };
        let key = (raw.instruction, raw.tlbc_index, raw.is_generators);
        if let Some(frame) = code.frames.get(&key) {
            return Ok(*frame);
        }
        let instruction = code.byte_offset(objects, raw)?;
        // As `_PyFrame_IsIncomplete` (`Include/internal/pycore_frame.h`, 3.11 to 3.15): a call that
        // is still being set up is not there yet, and a shim's code never is.
        if !raw.is_generators && instruction < code.first_traceable {
            code.frames.insert(key, None);
            self.memos += 1;
            return Ok(None);
        }
        let format = objects.python.semantics.line_table;
        let location = locate(format, &code.table, code.first_line, instruction);
        let frame = table.intern(Frame {
            name: Arc::clone(&code.name),
            filename: Arc::clone(&code.filename),
            // Looked for by the table's owner, outside of any pause.
            short_filename: Arc::default(),
            line: location.line,
            first_line: u32::try_from(code.first_line).unwrap_or(0),
            columns: location.columns,
        });
        code.frames.insert(key, Some(frame));
        self.memos += 1;
        Ok(Some(frame))
    }

    /// The code object at `addr`, from the cache when it is still the same one.
    fn code<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Option<&mut Code>, ReadError> {
        let sample = self.sample;
        let fresh = self.codes.get(&addr).is_some_and(|cached| {
            // What cannot be read now is no longer the same; reading it anew says why.
            cached.checked_in == sample || cached.is_same(objects, addr).unwrap_or(false)
        });
        if !fresh {
            self.make_room();
            let cached = self.read(objects, addr)?;
            self.codes.insert(addr, cached);
        }
        Ok(self.codes.get_mut(&addr).and_then(|cached| {
            cached.checked_in = sample;
            cached.code.as_mut()
        }))
    }

    fn read<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Cached, ReadError> {
        let identity = self.identity(objects, addr)?;
        if identity.name.is_null() {
            // From 3.13 on a frame may run something else; before, this is no frame at all.
            if objects.python.semantics.executable == Executable::Code {
                return Err(ReadError::corrupt("PyCodeObject", addr));
            }
            return Ok(Cached {
                identity,
                checked_in: self.sample,
                code: None,
            });
        }
        let layout = &objects.python.layout.code_object;
        let filename = self.file(objects.string(identity.filename)?);
        let code = Code {
            name: objects.string(identity.qualname)?.into(),
            filename,
            first_line: identity.first_line,
            table: objects.bytes(identity.linetable)?,
            instructions: addr.offset(layout.co_code_adaptive.unwrap_or(0).into()),
            first_traceable: match layout.firsttraceable {
                Some(field) => {
                    let units = read_i32(objects.memory, addr.offset(field.into()))?;
                    i64::from(units) * CODE_UNIT
                }
                None => i64::MIN,
            },
            frames: HashMap::new(),
        };
        // The strings were read one after another: only when nothing changed meanwhile do they
        // belong together.
        if self.identity(objects, addr)? != identity {
            return Err(ReadError::corrupt("PyCodeObject", addr));
        }
        self.bytes += code.name.len() + code.table.len();
        Ok(Cached {
            identity,
            checked_in: self.sample,
            code: Some(code),
        })
    }

    /// Reads what identifies the object at `addr`: of what is no code object, only its type.
    fn identity<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Identity, ReadError> {
        let type_object = objects.type_of(addr)?;
        if self.is_code_type(objects, type_object)? {
            Identity::read(objects, addr)
        } else {
            Ok(Identity {
                type_object,
                ..Identity::default()
            })
        }
    }

    fn is_code_type<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        type_object: RemoteAddr,
    ) -> Result<bool, ReadError> {
        if let Some(known) = self.code_types.get(&type_object) {
            return Ok(*known);
        }
        let is_code = objects.type_name(type_object)? == "code";
        self.code_types.insert(type_object, is_code);
        Ok(is_code)
    }

    /// A file's name, once for all code objects of the file.
    fn file(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.files.get(name.as_str()) {
            return Arc::clone(known);
        }
        self.bytes += name.len();
        let file: Arc<str> = name.into();
        self.files.insert(Arc::clone(&file));
        file
    }
}

impl Cached {
    /// Whether the object at `addr` is still the one that was read.
    fn is_same<M: RemoteMemory>(
        &self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<bool, ReadError> {
        let Some(code) = &self.code else {
            // Of what is no code object, the type is all that is known.
            let only_type = Identity {
                type_object: objects.type_of(addr)?,
                ..Identity::default()
            };
            return Ok(self.identity == only_type);
        };
        if Identity::read(objects, addr)? != self.identity {
            return Ok(false);
        }
        // Its length is part of the identity.
        let mut table = vec![0; code.table.len()];
        let content = objects.python.layout.bytes_object.ob_sval;
        let start = self.identity.linetable.offset(content.into());
        objects.memory.read(start, &mut table)?;
        Ok(table == code.table)
    }
}

impl Identity {
    fn read<M: RemoteMemory>(
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Identity, ReadError> {
        let layout = &objects.python.layout;
        let code = &layout.code_object;
        let mut buffer = RecordBuffer::default();
        let len = span(&[
            layout.pyobject.ob_type,
            code.name,
            code.qualname.unwrap_or(code.name),
            code.filename,
            code.linetable,
            code.firstlineno,
        ]);
        let record = buffer.read(objects.memory, "PyCodeObject", addr, len)?;
        let mut identity = Identity {
            type_object: record.ptr(layout.pyobject.ob_type)?,
            name: record.ptr(code.name)?,
            qualname: record.ptr(code.qualname.unwrap_or(code.name))?,
            filename: record.ptr(code.filename)?,
            linetable: record.ptr(code.linetable)?,
            first_line: record.i32(code.firstlineno)?,
            contents: Default::default(),
        };
        // Length and hash follow the object's head in `str` and in `bytes`, in every version.
        let head = u64::from(layout.pyobject.size);
        let [name, filename, linetable] = &mut identity.contents;
        objects.memory.read_many(&mut [
            (identity.name.offset(head), name),
            (identity.filename.offset(head), filename),
            (identity.linetable.offset(head), linetable),
        ])?;
        Ok(identity)
    }
}

impl Code {
    /// The byte offset of a frame's instruction in its code, −1 or less before the first.
    fn byte_offset<M: RemoteMemory>(
        &self,
        objects: Objects<'_, M>,
        raw: &RawFrame,
    ) -> Result<i64, ReadError> {
        let instruction = raw.instruction.cast_signed();
        Ok(match objects.python.semantics.instruction_pointer {
            InstructionPointer::LastiBytes => instruction,
            InstructionPointer::LastiUnits => instruction.saturating_mul(CODE_UNIT),
            InstructionPointer::Pointer => {
                let start = match raw.tlbc_index {
                    0 => self.instructions,
                    index => thread_local_instructions(objects, raw.executable, index)?,
                };
                instruction.wrapping_sub(start.0.cast_signed())
            }
        })
    }
}

/// Where a thread's own copy of a code object's instructions starts: entry `index` of its
/// `_PyCodeArray` (`Include/internal/pycore_code.h`, 3.14: a size, then the pointers).
fn thread_local_instructions<M: RemoteMemory>(
    objects: Objects<'_, M>,
    code: RemoteAddr,
    index: u32,
) -> Result<RemoteAddr, ReadError> {
    let corrupt = || ReadError::corrupt("_PyCodeArray", code);
    let field = objects
        .python
        .layout
        .code_object
        .co_tlbc
        .ok_or_else(corrupt)?;
    let array = read_ptr(objects.memory, code.offset(field.into()))?;
    let mut size = [0; 8];
    objects.memory.read(array, &mut size)?;
    let size = Record::new("_PyCodeArray", array, &size).u64(0)?;
    let index = u64::from(index);
    if index >= size.min(MAX_TLBC) {
        return Err(corrupt());
    }
    read_ptr(objects.memory, array.offset(8 + index * 8))
}
