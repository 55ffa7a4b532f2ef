//! Values of the target as text, similar to Python's `repr`, within limits.
//!
//! Built-in types and their subclasses are shown by content (a subclass as `app.Config({...})`),
//! everything else as `<app.Thing at 0x7f…>`. No code of the target runs, so a class's own `__repr__`
//! has no effect.

pub mod attributes;
pub mod class;
pub mod containers;
pub mod dict;
pub mod instances;
pub mod locals;
pub mod number;
pub mod object;
pub mod repr;
pub mod scalars;
pub mod secrets;
pub mod slots;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::read::budget::Budget;
use super::read::error::ReadError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::text::secrets::names::secrecy;
use crate::text::secrets::{REDACTED, Secrets};
use class::{Class, Family};
use object::Objects;
use repr::printable_name;
use slots::{Slot, size_of_slots};

/// Replaces everything that is cut off.
const CUT: &str = "…";

/// How much of a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueOptions {
    /// Maximum length of one value's text, in characters.
    pub max_chars: usize,
    /// Maximum nesting depth of containers.
    pub max_depth: usize,
    /// Maximum number of items of one container.
    pub max_items: usize,
    /// Whether instances show their attributes.
    pub attributes: bool,
    /// Whether secrets are shown.
    pub secrets: Secrets,
    /// Maximum number of reads for the variables of one frame.
    pub max_reads: usize,
}

impl ValueOptions {
    /// The options of `-l` (1) and `-ll` (2 and more).
    pub fn level(level: u8, secrets: Secrets) -> ValueOptions {
        if level <= 1 {
            // As py-spy's for one -l.
            ValueOptions {
                max_chars: 128,
                max_depth: 4,
                max_items: 40,
                attributes: false,
                secrets,
                max_reads: 10_000,
            }
        } else {
            ValueOptions {
                max_chars: 2048,
                max_depth: 8,
                max_items: 400,
                attributes: true,
                secrets,
                max_reads: 100_000,
            }
        }
    }

    /// Maximum number of bytes for the variables of one frame: generous for that many reads.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_reads.saturating_mul(1024)
    }
}

/// A class and its names.
pub(crate) struct KnownClass {
    pub class: Class,
    pub family: Family,
    /// `tp_name`.
    pub short_name: String,
    full_name: OnceCell<String>,
    /// The names of a named tuple's items; empty for other classes.
    field_names: OnceCell<Rc<[String]>>,
}

impl KnownClass {
    /// Whether this is the built-in type of that name itself.
    pub fn is_builtin(&self, name: &str) -> bool {
        !self.class.is_heap_type() && self.short_name == name
    }
}

/// What was learnt from the values of one thread, to be used for those of its next frame.
#[derive(Default)]
pub(crate) struct ValueCache {
    classes: HashMap<RemoteAddr, Rc<KnownClass>>,
    /// When values are only read ahead: what was read to its end.
    seen: HashMap<(RemoteAddr, InsideInstance), Seen>,
    /// The variables of code objects, and the size of their names in bytes.
    codes: HashMap<RemoteAddr, Rc<[Slot]>>,
    codes_size: usize,
}

/// Whether a value is part of an instance's attributes, where other instances have none.
type InsideInstance = bool;

/// A value that was read to its end.
#[derive(Clone, Copy)]
struct Seen {
    /// Around how many others: deeper inside, less of it is shown.
    depth: usize,
    /// The length of its text, in characters, at least.
    chars: usize,
}

/// The most classes, and the most values that were read ahead, that a [`ValueCache`] has: some 10 MiB.
const MAX_CACHED: usize = 100_000;
/// The most bytes of names of variables that it has.
const MAX_CACHED_NAMES: usize = 8 << 20;

impl ValueCache {
    /// The variables of a code object, read by `read` if they are not known.
    fn slots_of(
        &mut self,
        code: RemoteAddr,
        read: impl FnOnce() -> Result<Vec<Slot>, ReadError>,
    ) -> Result<Rc<[Slot]>, ReadError> {
        if let Some(slots) = self.codes.get(&code) {
            return Ok(Rc::clone(slots));
        }
        let slots: Rc<[Slot]> = read()?.into();
        self.codes_size = self.codes_size.saturating_add(size_of_slots(&slots));
        if self.codes_size > MAX_CACHED_NAMES {
            self.codes.clear();
            self.codes_size = 0;
        }
        self.codes.insert(code, Rc::clone(&slots));
        Ok(slots)
    }

    /// Starts again with an empty one if there is too much in it.
    fn limit(&mut self) {
        if self.classes.len() > MAX_CACHED || self.seen.len() > MAX_CACHED {
            *self = ValueCache::default();
        }
    }
}

/// Writes the values of one frame.
pub(crate) struct ValueWriter<'o, 'a, M> {
    objects: Objects<'o, Budget<'a, M>>,
    pub(crate) options: ValueOptions,
    cache: &'o mut ValueCache,
    /// Whether the memory is only read, for copies of it, and no text is written.
    reads_ahead: bool,
    text: String,
    /// Characters that still fit into `text`.
    left: usize,
    /// Whether something did not fit.
    full: bool,
    /// The containers and instances that enclose the current value.
    enclosing: Vec<RemoteAddr>,
    /// Whether one of them is an instance.
    inside_instance: bool,
}

impl<'o, 'a, M: RemoteMemory> ValueWriter<'o, 'a, M> {
    pub fn new(
        objects: Objects<'o, Budget<'a, M>>,
        options: ValueOptions,
        cache: &'o mut ValueCache,
        reads_ahead: bool,
    ) -> Self {
        cache.limit();
        ValueWriter {
            objects,
            options,
            cache,
            reads_ahead,
            text: String::new(),
            left: 0,
            full: false,
            enclosing: Vec::new(),
            inside_instance: false,
        }
    }

    /// The text of one variable's value.
    ///
    /// # Errors
    /// Only when the process is gone; an unreadable part is marked in the text.
    pub fn variable(&mut self, name: &str, object: RemoteAddr) -> Result<String, ReadError> {
        self.text.clear();
        self.left = self.options.max_chars;
        self.full = false;
        self.named(Some(name), object)?;
        Ok(std::mem::take(&mut self.text))
    }

    /// The text of a variable whose value is an int that is stored in the frame itself.
    pub fn int_variable(&self, name: &str, value: i64) -> String {
        if self.options.secrets.are_hidden() && secrecy(name).hides(true) {
            REDACTED.to_owned()
        } else {
            value.to_string()
        }
    }

    /// Appends text up to the maximum length. Unprintable characters are replaced here, because all
    /// names from the target pass through it.
    fn push(&mut self, text: &str) {
        if self.full {
            return;
        }
        if self.reads_ahead {
            // Escapes make the real text longer.
            return self.count(text.chars().count());
        }
        let text = printable_name(text);
        match text.char_indices().nth(self.left) {
            None => {
                self.left -= text.chars().count();
                self.text.push_str(&text);
            }
            Some((end, _)) => {
                self.text.push_str(text.get(..end).unwrap_or(""));
                self.text.push_str(CUT);
                self.full = true;
            }
        }
    }

    /// Counts characters instead of writing them.
    fn count(&mut self, chars: usize) {
        self.full |= chars > self.left;
        self.left = self.left.saturating_sub(chars);
    }

    /// The value of something with a name, hidden if the name is that of a secret.
    fn named(&mut self, name: Option<&str>, object: RemoteAddr) -> Result<(), ReadError> {
        if let Some(name) = name
            && self.is_hidden(name, object)?
        {
            self.push(REDACTED);
            return Ok(());
        }
        self.value(object)
    }

    /// A value, or a mark if it cannot be read.
    fn value(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        if self.full {
            return Ok(());
        }
        let result = match self.reads_ahead {
            true => self.value_ahead(object),
            false => self.try_value(object),
        };
        match result {
            Err(error) if error.process_is_gone() => Err(error),
            Err(_) if self.objects.memory.is_spent() => {
                self.push(CUT);
                Ok(())
            }
            Err(_) => {
                self.push("<unreadable>");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reads a value, unless all of it was read before.
    fn value_ahead(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        let (depth, left) = (self.enclosing.len(), self.left);
        let key = (object, self.inside_instance);
        if let Some(seen) = self.cache.seen.get(&key)
            && seen.depth <= depth
        {
            self.count(seen.chars);
            return Ok(());
        }
        self.try_value(object)?;
        if !self.full {
            let chars = left.saturating_sub(self.left);
            self.cache.seen.insert(key, Seen { depth, chars });
        }
        Ok(())
    }

    fn class_of(&mut self, object: RemoteAddr) -> Result<Rc<KnownClass>, ReadError> {
        let addr = self.objects.type_of(object)?;
        if let Some(known) = self.cache.classes.get(&addr) {
            return Ok(Rc::clone(known));
        }
        let class = self.objects.class(addr)?;
        let known = Rc::new(KnownClass {
            class,
            family: self.objects.family(&class),
            short_name: self.objects.class_short_name(&class)?,
            full_name: OnceCell::new(),
            field_names: OnceCell::new(),
        });
        self.cache.classes.insert(addr, Rc::clone(&known));
        Ok(known)
    }

    /// A class's name with its module.
    fn full_name(&self, known: &KnownClass) -> Result<String, ReadError> {
        if let Some(name) = known.full_name.get() {
            return Ok(name.clone());
        }
        let name = self.objects.class_name(&known.class)?;
        Ok(known.full_name.get_or_init(|| name).clone())
    }

    fn try_value(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        if object.is_null() {
            return Err(ReadError::corrupt("PyObject", object));
        }
        let known = self.class_of(object)?;
        match known.family {
            Family::ShortInt | Family::Int | Family::Str | Family::Bytes => {
                let text = self.scalar(object, &known)?;
                self.wrapped(object, &known, |writer| {
                    writer.push(&text);
                    Ok(())
                })
            }
            Family::List => self.wrapped(object, &known, |writer| writer.list(object)),
            Family::Tuple => {
                let names = self.field_names(&known)?;
                self.wrapped(object, &known, |writer| writer.tuple(object, &names))
            }
            Family::Dict => self.wrapped(object, &known, |writer| writer.dict(object)),
            Family::Exception => self.exception(object, &known),
            Family::Type => self.class_object(object),
            Family::Other => self.other(object, &known),
        }
    }

    /// Writes a subclass of a built-in type as its class name around the content.
    fn wrapped(
        &mut self,
        object: RemoteAddr,
        known: &KnownClass,
        content: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let names: &[&str] = match known.family {
            Family::ShortInt | Family::Int => &["int", "long", "bool"],
            Family::Str | Family::Bytes => &["str", "unicode", "bytes"],
            Family::List => &["list"],
            Family::Tuple => &["tuple"],
            Family::Dict => &["dict"],
            Family::Exception | Family::Type | Family::Other => &[],
        };
        if names.iter().any(|name| known.is_builtin(name)) {
            return content(self);
        }
        let name = self.full_name(known)?;
        self.push(&name);
        self.push("(");
        content(self)?;
        let attributes = self.attributes(object, known)?;
        self.write_attributes(&attributes, ", ")?;
        self.push(")");
        Ok(())
    }

    /// Writes a container, unless it contains itself or is nested too deeply.
    fn inside(
        &mut self,
        object: RemoteAddr,
        (open, close): (&str, &str),
        content: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.push(open);
        if self.enclosing.contains(&object) {
            self.push("...");
        } else if self.enclosing.len() >= self.options.max_depth {
            self.push(CUT);
        } else {
            self.enclosing.push(object);
            let result = content(self);
            self.enclosing.pop();
            result?;
        }
        self.push(close);
        Ok(())
    }
}
