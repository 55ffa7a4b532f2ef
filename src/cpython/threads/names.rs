//! Thread names, from `threading._active` in the target's memory.
//!
//! That dict maps the `pthread_t` to the `Thread` object of every thread that `threading` started, or
//! that called `current_thread`. The name is the object's `_name` (`Lib/threading.py`, 3.x), in
//! Python 2 `_Thread__name`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use python_offsets::semantics::DictFormat;

use crate::cpython::read::error::ReadError;
use crate::cpython::values::class::{Class, Family};
use crate::cpython::values::dict::{DictEntry, DictHead};
use crate::cpython::values::object::Objects;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::memory_budget::Charge;

/// Maximum number of threads whose names are read. Linux allows 4 million; programs have hundreds.
const MAX_THREADS: usize = 100_000;
/// Maximum number of attributes of a `Thread`, whose class may be one of the program.
const MAX_ATTRIBUTES: usize = 4096;
/// Maximum number of bytes of names of one interpreter. The caches of all processes share a budget, too.
const MAX_TEXT: usize = 16 << 20;
/// What a name takes in addition to its text, in bytes: slots in two hash tables that are half empty, and the
/// head of the text.
const ENTRY_BYTES: usize =
    2 * size_of::<(DictEntry, (u64, Arc<str>))>() + 2 * size_of::<(u64, Arc<str>)>() + 32;

impl<M: RemoteMemory> Objects<'_, M> {
    /// The names of an interpreter's threads by `pthread_t`. Empty if the program does not use
    /// `threading`; a thread whose name cannot be read is omitted.
    ///
    /// # Errors
    /// When the modules or `threading._active` cannot be read.
    pub fn thread_names(
        &self,
        interpreter: RemoteAddr,
    ) -> Result<HashMap<u64, Arc<str>>, ReadError> {
        let mut names = ThreadNames::default();
        names.refresh(self, interpreter)?;
        Ok(names
            .interpreters
            .remove(&interpreter)
            .map_or_else(HashMap::new, |known| known.names.into_values().collect()))
    }
}

/// A cache of thread names: a refresh costs three small reads while no thread started or ended (3.6+;
/// before, every name is read again).
///
/// A renamed thread has its old name here until [`ThreadNames::forget`], because renaming does not
/// change the dict of threads.
#[derive(Debug, Default)]
pub struct ThreadNames {
    interpreters: BTreeMap<RemoteAddr, InterpreterNames>,
    /// For the names of all interpreters; `None`: they are not charged to any budget.
    charge: Option<Charge>,
}

#[derive(Debug, Default)]
struct InterpreterNames {
    /// `sys.modules` when it was found to have no `threading`.
    without_threading: Option<DictHead>,
    /// `threading._active`, which lives as long as the module.
    active: Option<RemoteAddr>,
    /// The keys object of `_active` at the last refresh.
    keys: Option<RemoteAddr>,
    /// From an entry of the dict to the thread's ident and name.
    names: HashMap<DictEntry, (u64, Arc<str>)>,
    by_ident: HashMap<u64, Arc<str>>,
    /// Approximate size in bytes.
    size: usize,
}

impl ThreadNames {
    /// An empty cache, whose bytes are charged there.
    pub fn new(charge: Charge) -> ThreadNames {
        ThreadNames {
            interpreters: BTreeMap::new(),
            charge: Some(charge),
        }
    }

    /// Reads the names of threads that are new since the last refresh.
    ///
    /// # Errors
    /// When the modules or `threading._active` cannot be read. Cached names stay.
    pub fn refresh<M: RemoteMemory>(
        &mut self,
        objects: &Objects<'_, M>,
        interpreter: RemoteAddr,
    ) -> Result<(), ReadError> {
        let known = self.interpreters.entry(interpreter).or_default();
        let before = known.size;
        let room = self.charge.as_ref().map_or(usize::MAX, Charge::room);
        let result = known.refresh(objects, interpreter, before.saturating_add(room));
        if let Some(charge) = &mut self.charge {
            let others = charge.bytes().saturating_sub(before);
            charge.set(others.saturating_add(known.size));
        }
        if result.is_err() {
            // The dict may have been freed with its module: find it again next time.
            known.active = None;
        }
        result
    }

    /// The name of the thread with this `pthread_t`, as of the last [`ThreadNames::refresh`].
    pub fn name(&self, interpreter: RemoteAddr, pthread_id: u64) -> Option<Arc<str>> {
        let known = self.interpreters.get(&interpreter)?;
        known.by_ident.get(&pthread_id).map(Arc::clone)
    }

    /// Drops all names, so that the next refresh reads all of them.
    pub fn forget(&mut self) {
        self.interpreters.clear();
        if let Some(charge) = &mut self.charge {
            charge.set(0);
        }
    }
}

impl InterpreterNames {
    /// Reads the names that are new. Names beyond `max_size` bytes are left out.
    fn refresh<M: RemoteMemory>(
        &mut self,
        objects: &Objects<'_, M>,
        interpreter: RemoteAddr,
        max_size: usize,
    ) -> Result<(), ReadError> {
        let Some(active) = self.find_active(objects, interpreter)? else {
            return Ok(());
        };
        let head = objects.dict_head(active)?;
        let entries = objects.dict_entries(&head, MAX_THREADS)?;
        // A slot of a keys object is filled only once, so an unchanged entry in the same slot is the
        // same thread. Older tables reuse slots: there every name is read each time.
        let slots_are_final = matches!(
            objects.python.semantics.dict_format,
            DictFormat::Compact | DictFormat::CompactKinds
        );
        let mut before = if slots_are_final && self.keys == Some(head.keys) {
            std::mem::take(&mut self.names)
        } else {
            HashMap::new()
        };
        self.names.clear();
        self.keys = Some(head.keys);
        let mut reader = NameReader::new(objects);
        let (mut text, mut size) = (0, 0);
        let mut is_out_of_time = false;
        for entry in entries {
            let known = before.remove(&entry);
            match known.map_or_else(|| reader.read(&entry), |known| Ok(Some(known))) {
                Ok(Some(name)) => {
                    text += name.1.len();
                    let with_it = size + ENTRY_BYTES + name.1.len();
                    if text > MAX_TEXT || with_it > max_size {
                        break;
                    }
                    size = with_it;
                    self.names.insert(entry, name);
                }
                Err(error) if error.process_is_gone() => return Err(error),
                Err(ReadError::OutOfTime) => {
                    is_out_of_time = true;
                    break;
                }
                // Only this name is missing; the next refresh retries.
                Ok(None) | Err(_) => {}
            }
        }
        if is_out_of_time {
            // The next refresh goes on from here.
            self.names.extend(before);
            size = size.max(self.size);
        }
        self.size = size;
        self.by_ident = self.names.values().cloned().collect();
        match is_out_of_time {
            true => Err(ReadError::OutOfTime),
            false => Ok(()),
        }
    }

    /// `threading._active`, if it exists.
    fn find_active<M: RemoteMemory>(
        &mut self,
        objects: &Objects<'_, M>,
        interpreter: RemoteAddr,
    ) -> Result<Option<RemoteAddr>, ReadError> {
        if self.active.is_some() {
            return Ok(self.active);
        }
        let Some(modules) = objects.modules_dict(interpreter)? else {
            return Ok(None);
        };
        let head = objects.dict_head(modules)?;
        if self.without_threading == Some(head) {
            return Ok(None);
        }
        if let Some(module) = objects.module(interpreter, "threading")? {
            self.active = objects.module_attribute(module, "_active")?;
        } else {
            self.without_threading = Some(head);
        }
        Ok(self.active)
    }
}

/// Reads names, and caches the classes of the threads: most have the same.
struct NameReader<'o, 'a, M> {
    objects: &'o Objects<'a, M>,
    attribute: &'static str,
    classes: HashMap<RemoteAddr, Class>,
}

impl<'o, 'a, M: RemoteMemory> NameReader<'o, 'a, M> {
    fn new(objects: &'o Objects<'a, M>) -> Self {
        let attribute = if objects.is_python2() {
            "_Thread__name"
        } else {
            "_name"
        };
        NameReader {
            objects,
            attribute,
            classes: HashMap::new(),
        }
    }

    fn class_of(&mut self, object: RemoteAddr) -> Result<Class, ReadError> {
        let addr = self.objects.type_of(object)?;
        if let Some(class) = self.classes.get(&addr) {
            return Ok(*class);
        }
        let class = self.objects.class(addr)?;
        self.classes.insert(addr, class);
        Ok(class)
    }

    /// The ident and the name of one entry of `_active`; `None` if it has another form.
    fn read(&mut self, entry: &DictEntry) -> Result<Option<(u64, Arc<str>)>, ReadError> {
        let key_class = self.class_of(entry.key)?;
        let ident = match self.objects.family(&key_class) {
            Family::Int => self.objects.int(entry.key)?.to_u64(),
            Family::ShortInt => Some(self.objects.short_int(entry.key)?.cast_unsigned()),
            _ => None,
        };
        let Some(ident) = ident else {
            return Ok(None);
        };
        let class = self.class_of(entry.value)?;
        let attributes = self
            .objects
            .instance_entries(entry.value, &class, MAX_ATTRIBUTES)?;
        let Some(name) = self.objects.find(&attributes, self.attribute)? else {
            return Ok(None);
        };
        let name_class = self.class_of(name)?;
        let name = match (self.objects.family(&name_class), self.objects.is_python2()) {
            (Family::Str, true) => self.objects.python2_unicode(name)?,
            (Family::Str, false) | (Family::Bytes, true) => self.objects.string(name)?,
            _ => return Ok(None),
        };
        Ok(Some((ident, Arc::from(name))))
    }
}
