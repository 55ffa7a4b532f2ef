//! Pass 2: from `(code object, instruction)` to a frame with names, cached.
//!
//! Code objects are freed and their addresses are reused, so a cached name must never outlive its code
//! object. An entry is valid while the interpreter's code-object [`Generation`], read after the stack,
//! equals the one at insertion. Without a generation, or after it changed, the entry is revalidated
//! once per stack: the fields that identify the code object are compared (its type, the pointers to its
//! names, file and line table, its first line, length and hash of name, file and line table), and so
//! is the line table itself. If one differs, the entry is dropped and the code object is read again.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::HashMap;
use log::debug;
use python_offsets::semantics::Executable;

use super::entry::{Cached, Code, FrameKey};
use super::frame_table::{Frame, FrameId, FrameTable};
use super::identity::{Generation, Identity, Known, are_same, has_names};
use super::instruction::{CODE_UNIT, byte_offset};
use super::line_table::LineIndex;
use super::resolved_stack::ResolvedStack;
use crate::cpython::frame::{MAX_CACHED_FRAMES, RawFrame};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::limit::Limit;
use crate::cpython::read::record::read_i32;
use crate::cpython::values::object::{MAX_STRING_BYTES, Objects};
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory_budget::Charge;

/// Above this many code objects the cache is cleared. Bounds memory for programs that create code all the
/// time.
const MAX_CODES: usize = 50_000;
/// How many more a single stack may add to that: the cache is only cleared between stacks.
const MAX_NEW_CODES: usize = 7_000;
/// The same limit for all that is cached, in bytes. The caches of all processes share a budget, too.
const MAX_CACHED_BYTES: usize = 32 << 20;
/// The longest line table that is read. A module of 100,000 lines has about 1 MiB.
const MAX_LINE_TABLE: usize = 4 << 20;
/// A longer one is none: a compiler that makes it needs hundreds of GiB.
const MAX_POSSIBLE_TABLE: usize = 1 << 30;
/// How many bytes of line tables a single stack may add to that. A table beyond it is not read.
const MAX_NEW_BYTES: usize = 32 << 20;
/// After so many frames the time is asked for: a frame whose name is cached takes some 50 ns.
const FRAMES_PER_QUESTION: usize = 256;
/// The same limit for the instructions that are cached of all of them.
const MAX_INSTRUCTIONS: usize = 1_000_000;
/// What an entry takes, in bytes, without its texts: a slot of a hash table that is half empty, the table of
/// its first instructions, the heads of allocations.
const ENTRY_BYTES: usize = 2 * size_of::<(RemoteAddr, Cached)>() + 256;
/// What an instruction takes: a slot of a hash table that is half empty.
const INSTRUCTION_BYTES: usize = 2 * size_of::<(FrameKey, Option<FrameId>)>();
/// What a line table takes in addition to its bytes, as their fraction: the places in it that are remembered.
const INDEX_FRACTION: usize = 4;

/// Resolved code objects of one process.
pub struct CodeCache {
    codes: HashMap<RemoteAddr, Cached>,
    /// Whether a type is `code`. In practice there is one, which is static: its address is never reused.
    code_types: HashMap<RemoteAddr, bool>,
    files: HashSet<Arc<str>>,
    /// What was added to all of them since they were cleared.
    charge: Charge,
    /// Instructions cached in all of `codes` since it was cleared.
    cached_frames: usize,
    /// The number of the stack that is being resolved.
    round: u64,
    /// Number of code objects read so far.
    reads: u64,
    /// Number of line tables that were left out since this was last asked for.
    omitted_tables: u64,
}

impl CodeCache {
    /// An empty cache, whose bytes are charged there.
    pub fn new(charge: Charge) -> CodeCache {
        CodeCache {
            codes: HashMap::default(),
            code_types: HashMap::default(),
            files: HashSet::new(),
            charge,
            cached_frames: 0,
            round: 0,
            reads: 0,
            omitted_tables: 0,
        }
    }

    /// Names for the frames of a stack, without those that run no code object or have not started yet.
    /// `generation` is the count of the thread's interpreter, read after the stack. `last` holds the
    /// names of the thread's previous stack and how many of its frames are unchanged; it receives the
    /// names of this one.
    ///
    /// # Errors
    /// When a code object cannot be read, or the limit is reached.
    pub fn resolve<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        generation: Option<Generation>,
        stack: &[RawFrame],
        last: &mut ResolvedStack,
        table: &mut FrameTable,
        limit: &Limit,
    ) -> Result<Arc<[FrameId]>, ReadError> {
        self.round = self.round.wrapping_add(1);
        self.make_room();
        // Frames at the same address with the same code have the same names.
        let last_len = last.ids.len();
        last.keep(stack.len());
        let fresh = stack.get(..stack.len() - last.reuse());
        let is_valid = generation.is_some() && generation == last.generation;
        let codes: &[_] = if is_valid { &[] } else { &last.codes };
        self.revalidate(objects, generation, fresh.unwrap_or_default(), codes);
        if !is_valid && !self.all_still_valid(generation, last) {
            last.keep(0);
        }
        let reused = last.reuse();
        if reused == stack.len()
            && reused == last_len
            && let Some(shown) = &last.shown
        {
            last.generation = generation;
            return Ok(Arc::clone(shown));
        }
        // On an error the cached prefix is dropped.
        last.keep(0);
        let shown_before = last.shown.take();
        let reused_shown = reused - last.hidden_count();
        let fresh = stack.get(..stack.len() - reused).unwrap_or_default();
        last.ids.reserve(fresh.len());
        for (number, raw) in fresh.iter().rev().enumerate() {
            if number % FRAMES_PER_QUESTION == FRAMES_PER_QUESTION - 1 && limit.is_reached() {
                return Err(ReadError::OutOfTime);
            }
            let id = self.frame(objects, generation, raw, table, limit)?;
            last.push(raw.executable, id);
        }
        let shown = shown_before.as_deref().unwrap_or_default();
        let prefix = shown
            .len()
            .checked_sub(reused_shown)
            .and_then(|at| shown.get(at..));
        let fresh = last.ids.iter().skip(reused).rev();
        let mut shown: Vec<FrameId> = Vec::with_capacity(stack.len());
        shown.extend(fresh.copied().flatten());
        shown.extend_from_slice(prefix.unwrap_or_default());
        let shown: Arc<[FrameId]> = shown.into();
        last.complete();
        last.generation = generation;
        last.reads = self.reads;
        last.shown = Some(Arc::clone(&shown)).filter(|_| stack.len() <= MAX_CACHED_FRAMES);
        Ok(shown)
    }

    /// Names each frame of a stack on its own: what cannot be named hides no other frame. `batch`: within one,
    /// a code object is validated once. `None` for a frame that is not shown.
    pub fn resolve_each<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        batch: Generation,
        stack: &[RawFrame],
        table: &mut FrameTable,
        limit: &Limit,
    ) -> Vec<Result<Option<FrameId>, ReadError>> {
        self.round = self.round.wrapping_add(1);
        self.make_room();
        self.revalidate(objects, Some(batch), stack, &[]);
        let name = |raw| self.frame(objects, Some(batch), raw, table, limit);
        stack.iter().map(name).collect()
    }

    /// Those of these code objects that are cached and are by now what they were when their names were read.
    pub fn unchanged<M: RemoteMemory>(
        &self,
        objects: Objects<'_, M>,
        codes: &[RemoteAddr],
    ) -> HashSet<RemoteAddr> {
        let known: Vec<Known<'_>> = codes.iter().filter_map(|addr| self.known(*addr)).collect();
        let same = are_same(objects, &known).into_iter();
        let same = known.iter().zip(same).filter(|(_, same)| *same);
        same.map(|(known, _)| known.addr).collect()
    }

    /// A cached code object, as it is compared with the target's.
    fn known(&self, addr: RemoteAddr) -> Option<Known<'_>> {
        let cached = self.codes.get(&addr)?;
        Some(Known {
            addr,
            identity: &cached.identity,
            line_table: cached.code.as_ref()?.table(),
        })
    }

    /// Whether all code objects that a stack ran are known to be unchanged since its names were resolved.
    fn all_still_valid(&self, generation: Option<Generation>, last: &ResolvedStack) -> bool {
        last.codes.iter().all(|(addr, _)| {
            self.codes.get(addr).is_some_and(|cached| {
                cached.code.is_some()
                    && cached.read <= last.reads
                    && cached.is_valid(self.round, generation)
            })
        })
    }

    /// How many code objects were read so far. Revalidation does not count.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Revalidates, all at once, those of the frames' code objects and of `codes` that are cached but not
    /// valid. Drops those that have changed.
    fn revalidate<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        generation: Option<Generation>,
        stack: &[RawFrame],
        codes: &[(RemoteAddr, usize)],
    ) {
        let mut stale: Vec<RemoteAddr> = Vec::new();
        let in_stack = stack.iter().map(|raw| raw.executable);
        for addr in in_stack.chain(codes.iter().map(|(addr, _)| *addr)) {
            let cached = self.codes.get(&addr);
            let code = cached.filter(|cached| !cached.is_valid(self.round, generation));
            if code.is_some_and(|cached| cached.code.is_some()) {
                stale.push(addr);
            }
        }
        if stale.is_empty() {
            return;
        }
        stale.sort_unstable();
        stale.dedup();
        let known: Vec<Known<'_>> = stale.iter().filter_map(|addr| self.known(*addr)).collect();
        let same = are_same(objects, &known);
        for (addr, same) in stale.into_iter().zip(same) {
            if !same {
                self.codes.remove(&addr);
            } else if let Some(cached) = self.codes.get_mut(&addr) {
                cached.validated_in_round = self.round;
                cached.generation = generation;
            }
        }
    }

    /// Clears the cache when it exceeds a limit, or other processes need its memory.
    fn make_room(&mut self) {
        let len = self.codes.len().max(self.code_types.len());
        let is_full = len > MAX_CODES
            || self.charge.bytes() > MAX_CACHED_BYTES
            || self.cached_frames > MAX_INSTRUCTIONS
            || self.charge.is_over();
        if is_full {
            self.clear();
        }
    }

    /// Drops all that is cached, and its memory.
    pub fn clear(&mut self) {
        self.codes = HashMap::default();
        self.code_types = HashMap::default();
        self.files = HashSet::new();
        self.charge.set(0);
        self.cached_frames = 0;
    }

    /// How many line tables did not fit since this was last asked for.
    pub fn take_omitted_tables(&mut self) -> u64 {
        std::mem::take(&mut self.omitted_tables)
    }

    fn count_instructions(&mut self, new: usize) {
        self.cached_frames += new;
        self.charge.add(new.saturating_mul(INSTRUCTION_BYTES));
    }

    /// Resolves one frame; `None` for one that is not shown.
    fn frame<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        generation: Option<Generation>,
        raw: &RawFrame,
        table: &mut FrameTable,
        limit: &Limit,
    ) -> Result<Option<FrameId>, ReadError> {
        if raw.executable.is_null() && objects.python.semantics.executable != Executable::Code {
            return Ok(None);
        }
        let code = self.code(objects, generation, raw.executable)?;
        let Some(code) = code else {
            return Ok(None);
        };
        let key = (raw.instruction, raw.tlbc_index, raw.owned_by_generator);
        if let Some(frame) = code.frames.get(&key) {
            return Ok(*frame);
        }
        let instruction = byte_offset(objects, raw, code.instructions)?;
        // As `_PyFrame_IsIncomplete` (`Include/internal/pycore_frame.h`, 3.11+): hides a call that is still
        // being set up, and shims.
        if (!raw.owned_by_generator && instruction < code.first_traceable) || code.is_shim() {
            let new = code.remember(key, None);
            self.count_instructions(new);
            return Ok(None);
        }
        let format = objects.python.semantics.line_table;
        let location = code.locate(format, instruction, limit);
        let location = location.ok_or(ReadError::OutOfTime)?;
        let frame = table.intern(Frame {
            name: Arc::clone(&code.name),
            filename: Arc::clone(&code.filename),
            // Filled in by the owner of the table, while no thread is paused.
            short_filename: Arc::default(),
            line: location.line,
            first_line: u32::try_from(code.first_line).unwrap_or(0),
            columns: location.columns,
        });
        let new = code.remember(key, Some(frame));
        self.count_instructions(new);
        Ok(Some(frame))
    }

    /// The code object at `addr`, from the cache if that is valid.
    fn code<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        generation: Option<Generation>,
        addr: RemoteAddr,
    ) -> Result<Option<&mut Code>, ReadError> {
        let round = self.round;
        let is_fresh = match self.codes.get(&addr) {
            Some(cached) if cached.is_valid(round, generation) => true,
            // Of another object, only the type is cached.
            Some(Cached {
                identity,
                code: None,
                ..
            }) => objects
                .type_of(addr)
                .is_ok_and(|type_object| *identity == Identity::of_type(type_object)),
            _ => false,
        };
        if !is_fresh {
            let has_room = self.charge.room() > ENTRY_BYTES + 2 * MAX_STRING_BYTES;
            if self.codes.len() >= MAX_CODES + MAX_NEW_CODES || !has_room {
                return Err(ReadError::too_much("the code objects of a stack"));
            }
            let cached = self.read(objects, addr)?;
            self.charge.add(ENTRY_BYTES);
            self.codes.insert(addr, cached);
        }
        Ok(self.codes.get_mut(&addr).and_then(|cached| {
            cached.validated_in_round = round;
            cached.generation = generation;
            cached.code.as_mut()
        }))
    }

    fn read<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Cached, ReadError> {
        self.reads += 1;
        let identity = self.identity(objects, addr)?;
        if identity.name.is_null() {
            // From 3.13 on a frame may run another object; before, this is not a frame.
            if objects.python.semantics.executable == Executable::Code {
                return Err(ReadError::corrupt("PyCodeObject", addr));
            }
            return Ok(Cached {
                identity,
                validated_in_round: self.round,
                generation: None,
                read: self.reads,
                code: None,
            });
        }
        let layout = &objects.python.layout.code_object;
        let filename = self.file(or_reason(objects.string(identity.filename))?);
        let table_len = identity.line_table_len();
        let room = (MAX_CACHED_BYTES + MAX_NEW_BYTES).saturating_sub(self.charge.bytes());
        // Half of it is for the names of what follows.
        let room = room.min(self.charge.room() / 2);
        // The stack is worth more than its lines. An impossible length is that of something else: an error.
        let is_possible = table_len <= MAX_POSSIBLE_TABLE;
        let table = if table_len <= MAX_LINE_TABLE.min(room) || !is_possible {
            Some(objects.bytes(identity.linetable)?)
        } else {
            debug!("a line table of {table_len} bytes is not read");
            self.omitted_tables += 1;
            None
        };
        let code = Code {
            name: or_reason(objects.string(identity.qualname))?.into(),
            filename,
            first_line: identity.first_line,
            table,
            lines: LineIndex::default(),
            instructions: addr.offset(layout.co_code_adaptive.unwrap_or(0).into()),
            first_traceable: match layout.firsttraceable {
                Some(field) => {
                    let units = read_i32(objects.memory, addr.offset(field.into()))?;
                    i64::from(units) * CODE_UNIT
                }
                None => i64::MIN,
            },
            frames: HashMap::default(),
        };
        // The strings were read one after another. They belong together only if nothing changed meanwhile.
        if self.identity(objects, addr)? != identity {
            return Err(ReadError::corrupt("PyCodeObject", addr));
        }
        let table_len = code.table().len();
        let bytes = code.name.len() + table_len + table_len / INDEX_FRACTION;
        self.charge.add(bytes);
        Ok(Cached {
            identity,
            validated_in_round: self.round,
            generation: None,
            read: self.reads,
            code: Some(code),
        })
    }

    /// Reads what identifies the object at `addr`: only its type if it is not a code object.
    fn identity<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        addr: RemoteAddr,
    ) -> Result<Identity, ReadError> {
        let type_object = objects.type_of(addr)?;
        if self.is_code_type(objects, type_object, addr)? {
            Identity::read(objects, addr)
        } else {
            Ok(Identity::of_type(type_object))
        }
    }

    fn is_code_type<M: RemoteMemory>(
        &mut self,
        objects: Objects<'_, M>,
        type_object: RemoteAddr,
        addr: RemoteAddr,
    ) -> Result<bool, ReadError> {
        if let Some(known) = self.code_types.get(&type_object) {
            return Ok(*known);
        }
        let is_code = match objects.type_name(type_object) {
            Ok(name) => name == "code",
            // A core file may lack the program's constants, and with them the name.
            Err(ReadError::Memory(_)) if has_names(objects, addr) => true,
            Err(error) => return Err(error),
        };
        self.code_types.insert(type_object, is_code);
        Ok(is_code)
    }

    /// A shared copy of a file's name.
    fn file(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.files.get(name.as_str()) {
            return Arc::clone(known);
        }
        self.charge.add(name.len());
        let file: Arc<str> = name.into();
        self.files.insert(Arc::clone(&file));
        file
    }
}

/// A name, or why it does not answer: one name on a dead file system must not hide a whole stack.
fn or_reason(name: Result<String, ReadError>) -> Result<String, ReadError> {
    match name {
        Err(ReadError::Memory(error)) if error.does_not_answer() => {
            Ok(format!("<unreadable name: {}>", error.cause))
        }
        name => name,
    }
}
