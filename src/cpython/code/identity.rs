//! Detects that another code object has the address of a freed one: [`Identity`] compares fields,
//! [`Generation`] covers all code objects of an interpreter at once.

use python_offsets::layout::Offset;

use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::{Record, RecordBuffer, read_ptr, span};
use crate::cpython::runtime::Runtime;
use crate::cpython::values::object::Objects;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// An interpreter's count of the code objects that it created (3.12 and 3.13) or freed (3.14+). While it is
/// unchanged, no address of a code object was reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    interpreter: RemoteAddr,
    count: u64,
}

impl Generation {
    /// `None` for a count of 0: counting has not started, or has stopped after an overflow.
    pub fn new(interpreter: RemoteAddr, count: u64) -> Option<Generation> {
        (count != 0).then_some(Generation { interpreter, count })
    }

    /// One that stands for a batch of stacks, within which names are validated once. It equals no other one.
    pub fn of_batch(number: u64) -> Generation {
        Generation {
            interpreter: RemoteAddr::NULL,
            count: number,
        }
    }
}

/// Address and size in bytes of that count; `None` for a version that does not count, or if the address
/// is not known.
///
/// Memory freed by one interpreter may be reused by another; since a [`Generation`] names its interpreter, an
/// entry read in one is not valid in another.
pub fn generation_field(python: &Runtime, interpreter: RemoteAddr) -> Option<(RemoteAddr, usize)> {
    let layout = &python.layout.interpreter_state;
    let in_interpreter = |field: Offset| interpreter.offset(field.into());
    let dropped = layout
        .code_object_generation
        .map(|field| (in_interpreter(field), 8));
    let made = layout.next_func_version.map(in_interpreter);
    let made = made
        .or(python.roots.next_func_version)
        .map(|addr| (addr, 4));
    dropped.or(made)
}

/// The fields that distinguish code objects.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    pub type_object: RemoteAddr,
    pub name: RemoteAddr,
    /// `co_qualname`; the name where the version has none.
    pub qualname: RemoteAddr,
    pub filename: RemoteAddr,
    pub linetable: RemoteAddr,
    pub first_line: i32,
    /// `ob_size` or `length`, and the hash, of name, file and line table.
    contents: [[u8; CONTENTS]; 3],
}

impl Identity {
    /// The identity of an object that is not a code object: only its type.
    pub fn of_type(type_object: RemoteAddr) -> Identity {
        Identity {
            type_object,
            ..Identity::default()
        }
    }

    /// Reads the identity of the code object at `addr`.
    pub fn read<M: RemoteMemory>(
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Identity, ReadError> {
        let mut buffer = RecordBuffer::default();
        let record = buffer.read(
            objects.memory,
            "PyCodeObject",
            addr,
            head_len(objects.python),
        )?;
        let mut identity = Identity::decode(objects.python, &record)?;
        let head = u64::from(objects.python.layout.pyobject.size);
        let [name, filename, linetable] = &mut identity.contents;
        // Length and hash follow the object's head in `str` and in `bytes`, in every version.
        let mut parts: [(RemoteAddr, &mut [u8]); 3] = [
            (identity.name.offset(head), name),
            (identity.filename.offset(head), filename),
            (identity.linetable.offset(head), linetable),
        ];
        match objects.memory.read_many(&mut parts) {
            Err(error) if error.does_not_answer() => {}
            read => return read.map(|()| identity).map_err(ReadError::from),
        }
        // A name that does not answer distinguishes nothing. The line table decides on the lines.
        let [name, filename, (addr, linetable)] = parts;
        for (addr, part) in [name, filename] {
            match objects.memory.read(addr, part) {
                Err(error) if error.does_not_answer() => part.copy_from_slice(&NO_ANSWER),
                read => read?,
            }
        }
        objects.memory.read(addr, linetable)?;
        Ok(identity)
    }

    /// The length of its line table in bytes.
    pub fn line_table_len(&self) -> usize {
        let [_, _, line_table] = &self.contents;
        let len = line_table.first_chunk().copied().map(i64::from_le_bytes);
        len.and_then(|len| usize::try_from(len).ok())
            .unwrap_or(usize::MAX)
    }

    /// Decodes all but the contents, from a copy of the start of the code object.
    fn decode(python: &Runtime, record: &Record<'_>) -> Result<Identity, ReadError> {
        let layout = &python.layout;
        let code = &layout.code_object;
        Ok(Identity {
            type_object: record.ptr(layout.pyobject.ob_type)?,
            name: record.ptr(code.name)?,
            qualname: record.ptr(code.qualname.unwrap_or(code.name))?,
            filename: record.ptr(code.filename)?,
            linetable: record.ptr(code.linetable)?,
            first_line: record.i32(code.firstlineno)?,
            contents: Default::default(),
        })
    }
}

/// The fields whose values distinguish code objects. Where there is a `co_version`, which no two code objects share,
/// that is one of them.
pub fn identifying_fields(python: &Runtime) -> [Offset; 6] {
    let code = &python.layout.code_object;
    [
        python.layout.pyobject.ob_type,
        code.name,
        code.co_version.or(code.qualname).unwrap_or(code.name),
        code.filename,
        code.linetable,
        code.firstlineno,
    ]
}

/// Length of the part of a code object that holds its identity.
pub fn head_len(python: &Runtime) -> usize {
    let layout = &python.layout;
    let code = &layout.code_object;
    span(&[
        layout.pyobject.ob_type,
        code.name,
        code.co_version.unwrap_or(0),
        code.qualname.unwrap_or(code.name),
        code.filename,
        code.linetable,
        code.firstlineno,
    ])
}

/// A code object as it was once read.
pub struct Known<'a> {
    pub addr: RemoteAddr,
    pub identity: &'a Identity,
    pub line_table: &'a [u8],
}

/// Bytes of a length and a hash.
const CONTENTS: usize = 16;

/// The length and hash of a name that does not answer. A function or file whose name is empty has the same, and
/// then they are not compared either.
const NO_ANSWER: [u8; CONTENTS] = [0; CONTENTS];

/// The most bytes of line tables that one read compares, the last table aside: a thread may be paused
/// meanwhile, and the limit on time is asked before each read.
const MAX_COMPARED: usize = 1 << 20;

/// For each of these code objects, whether it is unchanged: its fields, length and hash of name, file and
/// line table, and the bytes of the line table, whose hash is usually not computed. One vectored read for
/// all unless the tables are long; if it fails, none of them counts as unchanged.
pub fn are_same<M: RemoteMemory>(objects: Objects<'_, M>, known: &[Known<'_>]) -> Vec<bool> {
    let mut all_same = Vec::with_capacity(known.len());
    let mut rest = known;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut fits = |one: &&Known<'_>| {
            let fits = bytes <= MAX_COMPARED;
            bytes += one.line_table.len();
            fits
        };
        let count = rest.iter().take_while(&mut fits).count();
        let (part, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        all_same.extend(are_same_at_once(objects, part));
        rest = after;
    }
    all_same
}

fn are_same_at_once<M: RemoteMemory>(objects: Objects<'_, M>, known: &[Known<'_>]) -> Vec<bool> {
    let layout = &objects.python.layout;
    let head = u64::from(layout.pyobject.size);
    let head_len = head_len(objects.python);
    // From the length of a bytes object to its first byte.
    let before_table = (layout.bytes_object.ob_sval as usize).saturating_sub(head as usize);
    let lens = |one: &Known<'_>| {
        let table = before_table.saturating_add(one.line_table.len());
        [head_len, CONTENTS, CONTENTS, table.max(CONTENTS)]
    };
    let total = known.iter().flat_map(lens).sum();
    let mut bytes = vec![0; total];
    let mut parts = Vec::with_capacity(known.len() * 4);
    let mut rest = bytes.as_mut_slice();
    for one in known {
        let addrs = [
            one.addr,
            one.identity.name.offset(head),
            one.identity.filename.offset(head),
            one.identity.linetable.offset(head),
        ];
        let [name, filename, _] = &one.identity.contents;
        let answers = [true, *name != NO_ANSWER, *filename != NO_ANSWER, true];
        for ((addr, len), answers) in addrs.into_iter().zip(lens(one)).zip(answers) {
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(len) else {
                break;
            };
            if answers {
                parts.push((addr, part));
            }
            rest = after;
        }
    }
    if objects.memory.read_many(&mut parts).is_err() {
        return vec![false; known.len()];
    }
    let mut rest = bytes.as_slice();
    let mut next = |len: usize| {
        let (part, after) = rest.split_at_checked(len).unwrap_or_default();
        rest = after;
        part
    };
    let is_same = |one: &Known<'_>| {
        let [head, name, filename, table] = lens(one).map(&mut next);
        let record = Record::new("PyCodeObject", one.addr, head);
        let decoded = Identity::decode(objects.python, &record);
        let contents = [name, filename, table].map(|part| part.first_chunk().copied());
        let [Some(name), Some(filename), Some(linetable)] = contents else {
            return false;
        };
        let now = decoded.map(|identity| Identity {
            contents: [name, filename, linetable],
            ..identity
        });
        let table = table.get(before_table..before_table + one.line_table.len());
        now.is_ok_and(|now| now == *one.identity) && table == Some(one.line_table)
    };
    known.iter().map(is_same).collect()
}

/// Whether there are strings where a code object has its names.
pub fn has_names<M: RemoteMemory>(objects: Objects<'_, M>, addr: RemoteAddr) -> bool {
    let layout = &objects.python.layout.code_object;
    [layout.name, layout.filename].into_iter().all(|field| {
        let name = read_ptr(objects.memory, addr.offset(field.into()));
        name.is_ok_and(|name| objects.string(name).is_ok())
    })
}
