//! What of a value is secret: by its name, by the names in its container, and by its shape.

use std::borrow::Cow;
use std::rc::Rc;

use super::class::Family;
use super::dict::DictEntry;
use super::repr::quote_latin1;
use super::{CUT, KnownClass, REDACTED, ValueWriter};
use crate::cpython::read::error::ReadError;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::text::secrets::command::{Next, announced_by, redact_announced};
use crate::text::secrets::names::{Secrecy, secrecy};
use crate::text::secrets::redact;
use crate::text::secrets::words::{NAME_KEYS, VALUE_KEYS};

/// Most items of a container that has the name and the value of something.
const MAX_NAME_AND_VALUE: usize = 16;
/// Most items of a tuple that are searched for a name.
const MAX_IN_TUPLE: usize = 8;
/// Most base classes that are searched for the names of a named tuple's items.
const MAX_BASES: usize = 8;
/// Most attributes of each.
const MAX_CLASS_ATTRIBUTES: usize = 4096;
/// Most items of a named tuple that have names.
const MAX_FIELDS: usize = 256;
/// The name of a value that another value says to be a secret.
const NAMED_SECRET: &str = "secret";

/// The name by which a value is judged. `names_secret`: its container names a secret, as
/// `{"name": "password", "value": "x"}`.
pub(super) fn value_name(name: &str, names_secret: bool) -> &str {
    match names_secret && is_one_of(name, VALUE_KEYS) {
        true => NAMED_SECRET,
        false => name,
    }
}

fn is_one_of(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.eq_ignore_ascii_case(word))
}

impl<M: RemoteMemory> ValueWriter<'_, '_, M> {
    /// Whether secrets are looked for: not while values are only read, which reads all.
    fn hides_secrets(&self) -> bool {
        !self.reads_ahead && self.options.secrets.are_hidden()
    }

    /// Whether a value of this name is hidden.
    ///
    /// # Errors
    /// Only when the process is gone.
    pub(super) fn is_hidden(&mut self, name: &str, object: RemoteAddr) -> Result<bool, ReadError> {
        if !self.hides_secrets() {
            return Ok(false);
        }
        Ok(match secrecy(name) {
            Secrecy::Public => false,
            Secrecy::Secret => true,
            Secrecy::Measure => match self.is_plain(object) {
                Err(error) if error.process_is_gone() => return Err(error),
                is_plain => !is_plain.unwrap_or(false),
            },
        })
    }

    /// Whether a value is a number, a bool or None.
    fn is_plain(&mut self, object: RemoteAddr) -> Result<bool, ReadError> {
        if object.is_null() {
            return Ok(false);
        }
        let known = self.class_of(object)?;
        Ok(match known.family {
            Family::ShortInt | Family::Int => true,
            Family::Other => known.is_builtin("NoneType") || self.number(object, &known)?.is_some(),
            _ => false,
        })
    }

    /// A string, without what has the shape of a secret.
    pub(super) fn without_secrets<'t>(&self, text: &'t str, is_cut: bool) -> Cow<'t, str> {
        match self.hides_secrets() {
            true => redact(text, is_cut),
            false => Cow::Borrowed(text),
        }
    }

    /// Bytes in quotes, without secrets. There is one more than is shown of those that are cut.
    pub(super) fn quoted_bytes(&self, bytes: &[u8]) -> String {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let is_cut = bytes.len() > self.options.max_chars;
        let shown = self.without_secrets(&text, is_cut);
        let is_shorter = is_cut && shown.len() != text.len();
        quote_latin1(&shown) + if is_shorter { CUT } else { "" }
    }

    /// Writes an item of a list, hidden if the one before is an option that announces a secret, as in
    /// `["--password", "x"]`. Returns what this one announces.
    pub(super) fn argument(
        &mut self,
        announced: Next,
        write: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<Next, ReadError> {
        let (start, left) = (self.text.len(), self.left);
        write(self)?;
        if !self.hides_secrets() {
            return Ok(Next::default());
        }
        let written = self.text.get(start..).unwrap_or_default();
        let bare = written.trim_start_matches(['b', 'u']);
        let bare = bare.strip_prefix(['\'', '"']).unwrap_or(written);
        let bare = bare.trim_end_matches(['\'', '"', '…']);
        if let Some(hidden) = redact_announced(bare, announced) {
            let hidden = match hidden == REDACTED {
                true => hidden,
                false => format!("'{hidden}'"),
            };
            self.text.truncate(start);
            (self.left, self.full) = (left, false);
            self.push(&hidden);
            return Ok(Next::default());
        }
        Ok(match bare.starts_with('-') {
            true => announced_by(bare),
            false => Next::default(),
        })
    }

    /// The name in a tuple that is a key: that of a secret, if there is one.
    pub(super) fn name_in_tuple(&mut self, tuple: RemoteAddr) -> Result<Option<String>, ReadError> {
        let (items, _) = self.tuple_items(tuple)?;
        for item in items.into_iter().take(MAX_IN_TUPLE) {
            if self.class_of(item)?.family == Family::Tuple {
                continue;
            }
            let name = self.try_key_name(item)?;
            if name
                .as_deref()
                .is_some_and(|name| secrecy(name) != Secrecy::Public)
            {
                return Ok(name);
            }
        }
        Ok(None)
    }

    /// Whether one of the values, by its name, is the name of a secret: `{"name": "password"}`.
    pub(super) fn name_a_secret(
        &mut self,
        named: &[(&str, RemoteAddr)],
    ) -> Result<bool, ReadError> {
        if !self.hides_secrets() || named.len() > MAX_NAME_AND_VALUE {
            return Ok(false);
        }
        for (_, value) in named.iter().filter(|(name, _)| is_one_of(name, NAME_KEYS)) {
            let value = self.key_name(*value)?;
            if value.is_some_and(|value| secrecy(&value) == Secrecy::Secret) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// [`ValueWriter::name_a_secret`] of the items of a dict.
    pub(super) fn keys_name_a_secret(
        &mut self,
        items: &[(RemoteAddr, RemoteAddr)],
    ) -> Result<bool, ReadError> {
        if !self.hides_secrets() || !(2..=MAX_NAME_AND_VALUE).contains(&items.len()) {
            return Ok(false);
        }
        let mut names = Vec::new();
        for (key, value) in items {
            names.push((self.key_name(*key)?.unwrap_or_default(), *value));
        }
        let named: Vec<_> = names
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        self.name_a_secret(&named)
    }

    /// [`ValueWriter::name_a_secret`] of the attributes of an instance.
    pub(super) fn attributes_name_a_secret(
        &mut self,
        entries: &[DictEntry],
    ) -> Result<bool, ReadError> {
        let items: Vec<_> = entries
            .iter()
            .take(MAX_NAME_AND_VALUE + 1)
            .map(|entry| (entry.key, entry.value))
            .collect();
        self.keys_name_a_secret(&items)
    }

    /// The names of a named tuple's items; none for any other class.
    pub(super) fn field_names(&mut self, known: &KnownClass) -> Result<Rc<[String]>, ReadError> {
        if let Some(names) = known.field_names.get() {
            return Ok(Rc::clone(names));
        }
        let names = match known.class.is_heap_type() {
            false => Vec::new(),
            true => match self.read_field_names(known) {
                Err(error) if error.process_is_gone() => return Err(error),
                // Any class can have an attribute of that name.
                names => names.unwrap_or_default(),
            },
        };
        Ok(Rc::clone(known.field_names.get_or_init(|| names.into())))
    }

    /// `_fields` of the class or of one of its bases.
    fn read_field_names(&mut self, known: &KnownClass) -> Result<Vec<String>, ReadError> {
        let mut class = known.class;
        for _ in 0..MAX_BASES {
            if !class.is_heap_type() || class.dict.is_null() {
                break;
            }
            let fields = self
                .objects
                .dict_get(class.dict, "_fields", MAX_CLASS_ATTRIBUTES)?;
            if let Some(fields) = fields {
                return self.read_names(fields);
            }
            class = self.objects.class(class.base)?;
        }
        Ok(Vec::new())
    }

    fn read_names(&mut self, tuple: RemoteAddr) -> Result<Vec<String>, ReadError> {
        if self.class_of(tuple)?.family != Family::Tuple {
            return Ok(Vec::new());
        }
        let (items, _) = self.tuple_items(tuple)?;
        let mut names = Vec::new();
        for item in items.into_iter().take(MAX_FIELDS) {
            let is_name = self.objects.is_string(item)?;
            names.push(if is_name {
                self.objects.string(item)?
            } else {
                String::new()
            });
        }
        Ok(names)
    }
}
