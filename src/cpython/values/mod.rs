//! Values of the target as text, much as Python's `repr` writes them, within limits.
//!
//! Built-in types and what derives from them are shown by content (a subclass as
//! `app.Config({...})`), everything else as `<app.Thing at 0x7f…>`. Nothing of the target runs, so
//! a class's own `__repr__` does not count.

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

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::read::budget::Budget;
use super::read::error::ReadError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::text::secrets::{REDACTED, is_secret_name};
use class::{Class, Family};
use object::Objects;
use repr::printable_name;

/// What stands for everything left out.
const CUT: &str = "…";

/// How much of a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueOptions {
    /// The longest text of one value, in characters.
    pub max_chars: usize,
    /// How many containers deep it goes.
    pub max_depth: usize,
    /// How many items of one container are shown.
    pub max_items: usize,
    /// Whether instances show their attributes.
    pub attributes: bool,
    /// Whether values whose names look like secrets are shown.
    pub show_secrets: bool,
    /// How many reads one frame's variables may take.
    pub max_reads: usize,
}

impl ValueOptions {
    /// What `-l` (1) and `-ll` (2 and more) show.
    pub fn level(level: u8, show_secrets: bool) -> ValueOptions {
        if level <= 1 {
            // py-spy's length for one -l.
            ValueOptions {
                max_chars: 128,
                max_depth: 4,
                max_items: 40,
                attributes: false,
                show_secrets,
                max_reads: 10_000,
            }
        } else {
            ValueOptions {
                max_chars: 2048,
                max_depth: 8,
                max_items: 400,
                attributes: true,
                show_secrets,
                max_reads: 100_000,
            }
        }
    }

    /// Bytes that one frame's variables may take: generous for what fits in the reads.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_reads.saturating_mul(1024)
    }
}

/// A class, and what objects of it are called.
pub(crate) struct KnownClass {
    pub class: Class,
    pub family: Family,
    /// `tp_name`.
    pub short_name: String,
    full_name: OnceCell<String>,
}

impl KnownClass {
    /// Whether this is the built-in type of that name itself.
    pub fn is_builtin(&self, name: &str) -> bool {
        !self.class.is_heap_type() && self.short_name == name
    }
}

/// Writes values of one frame.
pub(crate) struct ValueWriter<'o, 'a, M> {
    objects: Objects<'o, Budget<'a, M>>,
    pub(crate) options: ValueOptions,
    classes: HashMap<RemoteAddr, Rc<KnownClass>>,
    text: String,
    /// Characters that `text` may still grow by.
    left: usize,
    /// Whether something did not fit.
    full: bool,
    /// The containers and instances around what is being written.
    around: Vec<RemoteAddr>,
    /// Whether one of them is an instance.
    inside_instance: bool,
}

impl<'o, 'a, M: RemoteMemory> ValueWriter<'o, 'a, M> {
    pub fn new(objects: Objects<'o, Budget<'a, M>>, options: ValueOptions) -> Self {
        ValueWriter {
            objects,
            options,
            classes: HashMap::new(),
            text: String::new(),
            left: 0,
            full: false,
            around: Vec::new(),
            inside_instance: false,
        }
    }

    /// The text of one variable's value.
    ///
    /// # Errors
    /// Only when the process is gone; what cannot be read says so in the text.
    pub fn variable(&mut self, name: &str, object: RemoteAddr) -> Result<String, ReadError> {
        self.text.clear();
        self.left = self.options.max_chars;
        self.full = false;
        self.named(Some(name), object)?;
        Ok(std::mem::take(&mut self.text))
    }

    /// The text of a variable whose value is an int that stands in the frame itself.
    pub fn int_variable(&self, name: &str, value: i64) -> String {
        if !self.options.show_secrets && is_secret_name(name) {
            REDACTED.to_owned()
        } else {
            value.to_string()
        }
    }

    /// Appends text, cut where the value's length ends. What cannot be printed is replaced here, in
    /// the one place that all names from the target pass.
    fn push(&mut self, text: &str) {
        if self.full {
            return;
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

    /// The value of something with a name: hidden when the name is a secret's.
    fn named(&mut self, name: Option<&str>, object: RemoteAddr) -> Result<(), ReadError> {
        if !self.options.show_secrets && name.is_some_and(is_secret_name) {
            self.push(REDACTED);
            return Ok(());
        }
        self.value(object)
    }

    /// A value, or a word on why there is none.
    fn value(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        if self.full {
            return Ok(());
        }
        match self.try_value(object) {
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

    fn class_of(&mut self, object: RemoteAddr) -> Result<Rc<KnownClass>, ReadError> {
        let addr = self.objects.type_of(object)?;
        if let Some(known) = self.classes.get(&addr) {
            return Ok(Rc::clone(known));
        }
        let class = self.objects.class(addr)?;
        let known = Rc::new(KnownClass {
            class,
            family: self.objects.family(&class),
            short_name: self.objects.class_short_name(&class)?,
            full_name: OnceCell::new(),
        });
        self.classes.insert(addr, Rc::clone(&known));
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
                let text = self.atom(object, &known)?;
                self.wrapped(object, &known, |writer| {
                    writer.push(&text);
                    Ok(())
                })
            }
            Family::List => self.wrapped(object, &known, |writer| writer.list(object)),
            Family::Tuple => self.wrapped(object, &known, |writer| writer.tuple(object)),
            Family::Dict => self.wrapped(object, &known, |writer| writer.dict(object)),
            Family::Exception => self.exception(object, &known),
            Family::Type => self.class_object(object),
            Family::Other => self.other(object, &known),
        }
    }

    /// Writes what derives from a built-in type as its class around the content.
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

    /// Writes something that contains others, unless it contains itself or is too deep.
    fn inside(
        &mut self,
        object: RemoteAddr,
        (open, close): (&str, &str),
        content: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.push(open);
        if self.around.contains(&object) {
            self.push("...");
        } else if self.around.len() >= self.options.max_depth {
            self.push(CUT);
        } else {
            self.around.push(object);
            let result = content(self);
            self.around.pop();
            result?;
        }
        self.push(close);
        Ok(())
    }
}
