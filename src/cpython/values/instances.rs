//! Text of instances, classes, functions, modules and exceptions.

use super::class::Family;
use super::dict::DictEntry;
use super::object::Objects;
use super::secrets::value_name;
use super::{KnownClass, ValueWriter};
use crate::cpython::read::error::ReadError;
use crate::cpython::read::record::read_ptr;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;

/// Maximum number of attributes of a module or an old-style class that are searched for a name.
const MAX_ATTRIBUTES: usize = 4096;

impl<M: RemoteMemory> ValueWriter<'_, '_, M> {
    /// An object outside the families: of a built-in type known by name, or an instance.
    pub(crate) fn other(
        &mut self,
        object: RemoteAddr,
        known: &KnownClass,
    ) -> Result<(), ReadError> {
        if let Some(number) = self.number(object, known)? {
            self.push(&number);
            return Ok(());
        }
        if known.class.is_heap_type() {
            return self.instance(object, known);
        }
        let text = match known.short_name.as_str() {
            "NoneType" => "None".to_owned(),
            "ellipsis" => "Ellipsis".to_owned(),
            "NotImplementedType" => "NotImplemented".to_owned(),
            "set" | "frozenset" => return self.set(object, known),
            "range" => return self.range(object),
            "bytearray" => {
                let bytes = self.objects.bytearray(object, self.options.max_chars)?;
                format!("bytearray(b{})", self.quoted_bytes(&bytes))
            }
            "frozendict" => {
                self.push("frozendict(");
                self.dict(object)?;
                self.push(")");
                return Ok(());
            }
            "function" => {
                format!("<function {} at {object}>", self.function_name(object)?)
            }
            "builtin_function_or_method" => {
                // PyCFunctionObject.m_ml, whose first field is the name.
                let definition = self.objects.ptr_after_head(object, 0)?;
                let name = read_ptr(self.objects.memory, definition)?;
                format!("<built-in function {}>", self.objects.c_string(name)?)
            }
            "method" | "instancemethod" => return self.method(object),
            "module" => format!("<module {}>", self.module_name(object)?),
            "instance" => return self.old_instance(object),
            "classobj" => format!("<class {}>", self.objects.old_class_name(object)?),
            _ => return self.instance(object, known),
        };
        self.push(&text);
        Ok(())
    }

    fn instance(&mut self, object: RemoteAddr, known: &KnownClass) -> Result<(), ReadError> {
        let name = self.full_name(known)?;
        let entries = self.attributes(object, known)?;
        self.with_attributes(object, &format!("<{name} at {object}"), &entries)
    }

    /// The attributes of an instance that are shown.
    pub(crate) fn attributes(
        &self,
        object: RemoteAddr,
        known: &KnownClass,
    ) -> Result<Vec<DictEntry>, ReadError> {
        if !self.shows_attributes() {
            return Ok(Vec::new());
        }
        let max = self.options.max_items;
        self.objects.instance_entries(object, &known.class, max)
    }

    /// `name=value` for each attribute, with the value hidden if the name is that of a secret. `first`
    /// precedes the first one.
    pub(crate) fn write_attributes(
        &mut self,
        entries: &[DictEntry],
        first: &str,
    ) -> Result<(), ReadError> {
        let names_secret = self.attributes_name_a_secret(entries)?;
        let outside = !self.inside_instance;
        self.inside_instance = true;
        let mut separator = first;
        let mut result = Ok(());
        for entry in entries {
            if self.full || result.is_err() {
                break;
            }
            self.push(separator);
            separator = ", ";
            result = self.write_attribute(entry, names_secret);
        }
        self.inside_instance = !outside;
        result
    }

    fn write_attribute(&mut self, entry: &DictEntry, names_secret: bool) -> Result<(), ReadError> {
        let name = self.key_name(entry.key)?;
        match &name {
            None if self.reads_ahead => {}
            Some(name) => self.push(name),
            None => self.value(entry.key)?,
        }
        self.push("=");
        let name = name.as_deref().map(|name| value_name(name, names_secret));
        self.named(name, entry.value)
    }

    /// Whether an instance shows its attributes here: not inside another instance, where they would
    /// soon fill the line.
    fn shows_attributes(&self) -> bool {
        self.options.attributes && !self.inside_instance
    }

    fn with_attributes(
        &mut self,
        object: RemoteAddr,
        head: &str,
        entries: &[DictEntry],
    ) -> Result<(), ReadError> {
        if entries.is_empty() {
            self.push(head);
            self.push(">");
            return Ok(());
        }
        self.inside(object, (head, ">"), |writer| {
            writer.write_attributes(entries, " ")
        })
    }

    fn range(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        // rangeobject: `start`, `stop`, `step` (Objects/rangeobject.c, 3.x).
        let parts = [0, 8, 16].map(|offset| self.objects.ptr_after_head(object, offset));
        let [start, stop, step] = parts;
        let step = step?;
        let is_one = self.objects.int(step)?.to_u64() == Some(1);
        let items = [start?, stop?, step];
        let shown = items.get(..if is_one { 2 } else { 3 }).unwrap_or(&items);
        self.inside(object, ("range(", ")"), |writer| {
            writer.items(shown, shown.len() as u64, &[])
        })
    }

    /// `ValueError('why')`: the class and its arguments.
    pub(crate) fn exception(
        &mut self,
        object: RemoteAddr,
        known: &KnownClass,
    ) -> Result<(), ReadError> {
        // In every version PyBaseExceptionObject starts with `dict` and `args`.
        let args = self.objects.ptr_after_head(object, 8)?;
        let name = self.full_name(known)?;
        if args.is_null() || self.class_of(args)?.family != Family::Tuple {
            self.push(&format!("<{name} at {object}>"));
            return Ok(());
        }
        let (items, total) = self.tuple_items(args)?;
        let attributes = self.attributes(object, known)?;
        self.push(&name);
        self.inside(object, ("(", ")"), |writer| {
            writer.items(&items, total, &[])?;
            writer.write_attributes(&attributes, if total > 0 { ", " } else { "" })
        })
    }

    /// `<class 'app.Config'>`.
    pub(crate) fn class_object(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        let name = self.objects.class_name(&self.objects.class(object)?)?;
        self.push(&format!("<class '{name}'>"));
        Ok(())
    }

    /// `<bound method Point.move of ...>`.
    fn method(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        // PyMethodObject: `im_func`, `im_self`.
        let function = self.objects.ptr_after_head(object, 0)?;
        let owner = self.objects.ptr_after_head(object, 8)?;
        let name = if self.class_of(function)?.is_builtin("function") {
            self.function_name(function)?
        } else {
            "?".to_owned()
        };
        // Python 2 has methods without an instance.
        if owner.is_null() {
            self.push(&format!("<unbound method {name}>"));
            return Ok(());
        }
        self.inside(
            object,
            (&format!("<bound method {name} of "), ">"),
            |writer| writer.value(owner),
        )
    }

    fn function_name(&mut self, function: RemoteAddr) -> Result<String, ReadError> {
        // PyFunctionObject starts with the code object up to 3.9; from 3.10 on with globals, builtins,
        // name and qualified name.
        let first = self.objects.ptr_after_head(function, 0)?;
        if self.class_of(first)?.is_builtin("code") {
            let field = self.objects.python.layout.code_object.name;
            let name = read_ptr(self.objects.memory, first.offset(field.into()))?;
            return self.objects.string(name);
        }
        let name = self.objects.ptr_after_head(function, 24)?;
        if self.class_of(name)?.family != Family::Str {
            return Err(ReadError::corrupt("PyFunctionObject", function));
        }
        self.objects.string(name)
    }

    fn module_name(&mut self, module: RemoteAddr) -> Result<String, ReadError> {
        let name = self.objects.module_attribute(module, "__name__")?;
        match name {
            Some(name) if self.objects.is_string(name)? => {
                Ok(format!("'{}'", self.objects.string(name)?))
            }
            _ => Ok(format!("at {module}")),
        }
    }

    /// An instance of a Python 2 class that does not derive from `object`.
    fn old_instance(&mut self, object: RemoteAddr) -> Result<(), ReadError> {
        // PyInstanceObject: `in_class`, `in_dict`.
        let class = self.objects.ptr_after_head(object, 0)?;
        let dict = self.objects.ptr_after_head(object, 8)?;
        let name = self.objects.old_class_name(class)?;
        let entries = if self.shows_attributes() {
            let head = self.objects.dict_head(dict)?;
            self.objects.dict_entries(&head, self.options.max_items)?
        } else {
            Vec::new()
        };
        self.with_attributes(object, &format!("<{name} at {object}"), &entries)
    }
}

impl<M: RemoteMemory> Objects<'_, M> {
    /// The name of a Python 2 class that does not derive from `object`, with its module.
    fn old_class_name(&self, class: RemoteAddr) -> Result<String, ReadError> {
        // PyClassObject: `cl_bases`, `cl_dict`, `cl_name`.
        let dict = self.ptr_after_head(class, 8)?;
        let name = self.string(self.ptr_after_head(class, 16)?)?;
        match self.dict_get(dict, "__module__", MAX_ATTRIBUTES)? {
            Some(module) if self.is_string(module)? => {
                Ok(format!("{}.{name}", self.string(module)?))
            }
            _ => Ok(name),
        }
    }
}
